"""HalfCheetah: simulator, scores, the packaged ladder, and the data collected with it."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer

from refusals import refused
from trailward.acting.network_policy import (
    NetworkPolicy,
    NoisyPolicy,
    describe_returns,
    ladder,
    ladder_of,
    normalized_score,
    save_ladder,
)
from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.checkpoint import CONFIG, WEIGHTS, CheckpointError
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.environments.halfcheetah.environment import (
    COLUMNS,
    ENV_ID,
    FORWARD_VELOCITY,
    REFERENCE_RETURNS,
    HalfCheetah,
    make_env,
    transition_rewards,
)
from trailward.environments.recipes import ROLL_OUTS, Told, silent
from trailward.errors import SettingsError
from trailward.optional import MissingExtraError
from trailward.pretrained import model_folder, packaged

LADDER = "halfcheetah_policies"
SHORT = {"episode_steps": 20, "seed": 0}


def policy(mean_return: float, *, seed: int = 0) -> NetworkPolicy:
    generator = np.random.default_rng(seed)
    layers = [
        (generator.standard_normal(shape).astype(np.float32), np.ones(shape[0], np.float32))
        for shape in ((8, 17), (6, 8))
    ]
    return NetworkPolicy(layers, {"step": seed, "return": {"mean": mean_return}})


THREE = [policy(value, seed=index) for index, value in enumerate([-100.0, 3000.0, 5000.0])]


def recorded(
    what: str, policies: Sequence[NetworkPolicy], *, seed: int, progress: Told = silent, **settings
) -> Dataset:
    """What a recipe records with these policies."""
    with tempfile.TemporaryDirectory() as folder:
        save_ladder(Path(folder), policies, {}, environment=ENV_ID)
        recipe = ROLL_OUTS[what](**{"policies": Path(folder)}, **settings)
        return recipe.record(HalfCheetah(), seed=seed, progress=progress)


def same(one: Dataset, other: Dataset) -> bool:
    return one.fingerprint == other.fingerprint


def test_observations_have_a_name_and_a_unit_each_and_the_reward_is_the_forward_velocity() -> None:
    env = make_env()
    assert env.observation_space.shape == (len(COLUMNS.observations),)
    assert env.action_space.shape == (6,)
    (episode,) = rollout([env], THREE[0], seeds=[0], num_steps=50)
    velocity = episode.observations[1:, FORWARD_VELOCITY]
    control = 0.1 * (episode.actions**2).sum(-1)
    assert COLUMNS.observations[FORWARD_VELOCITY] == "forward velocity"
    assert np.corrcoef(velocity, episode.rewards + control)[0, 1] > 0.8


def test_observations_and_actions_tell_the_reward_of_a_transition_but_for_a_little() -> None:
    play = recorded("play", ladder_of(ENV_ID), num_steps=1800, seed=0, episode_steps=100)
    told = [
        transition_rewards(e.observations[:-1], e.actions, e.observations[1:])
        for e in play.episodes
    ]
    true = [e.rewards for e in play.episodes]
    assert np.corrcoef(np.concatenate(told), np.concatenate(true))[0, 1] > 0.95
    assert np.concatenate(told).mean() == pytest.approx(np.concatenate(true).mean(), abs=0.1)


def test_of_a_step_at_constant_speed_observations_and_actions_tell_the_reward() -> None:
    """Its parts, as the environment names them, at rest."""
    env = make_env()
    env.reset(seed=0)
    *_, info = env.step(np.full(6, 0.5, np.float32))
    now = np.zeros((1, 17))
    found = transition_rewards(now, np.full((1, 6), 0.5), now)
    np.testing.assert_allclose(found, info["reward_ctrl"])


def test_scores_are_those_of_d4rl() -> None:
    assert normalized_score(-280.179, REFERENCE_RETURNS) == 0
    assert normalized_score(12135.0, REFERENCE_RETURNS) == pytest.approx(100)
    returns = np.array([-280.179, 5927.4105])
    np.testing.assert_allclose(normalized_score(returns, REFERENCE_RETURNS), [0, 50])
    found = describe_returns(np.array([12135.0, -280.179]), REFERENCE_RETURNS)
    assert found == pytest.approx(
        {
            "count": 2,
            "mean": 5927.4105,
            "std": 6207.5895,
            "min": -280.179,
            "max": 12135,
            "score": 50,
        }
    )


def test_making_the_simulator_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    make_env()
    assert capfd.readouterr() == ("", "")


def test_without_mujoco_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trailward\[halfcheetah\]'"):
        make_env()


def test_a_policy_is_layers_with_relu_between_and_tanh_at_the_end() -> None:
    weights, bias = np.full((1, 2), 2.0, np.float32), np.array([1.0], np.float32)
    out, more = np.full((1, 1), -1.0, np.float32), np.array([0.5], np.float32)
    tiny = NetworkPolicy([(weights, bias), (out, more)], {})
    observations = np.array([[0.1, 0.2], [-9.0, 0.0]])
    np.testing.assert_allclose(tiny(observations), np.tanh([[-1.1], [0.5]]), atol=1e-6)
    assert isinstance(tiny, Policy)
    with refused(SettingsError, place="layer 1", value=(1, 2), remedy="(1, 1)"):
        NetworkPolicy([(weights, bias), (weights, bias)], {})


def test_noise_repeats_with_its_seed_and_keeps_within_bounds() -> None:
    observations = np.random.default_rng(0).standard_normal((200, 17))
    noisy = NoisyPolicy(THREE[0], 0.5, seed=1)
    first = noisy(observations)
    assert not np.array_equal(noisy(observations), first)
    noisy.reset()
    np.testing.assert_array_equal(noisy(observations), first)
    assert np.abs(first).max() == 1
    assert not np.array_equal(NoisyPolicy(THREE[0], 0.5, seed=2)(observations), first)
    np.testing.assert_array_equal(NoisyPolicy(THREE[0], 0.0)(observations), THREE[0](observations))
    assert isinstance(noisy, Policy)


def test_a_ladder_comes_back_in_order_of_return(tmp_path: Path) -> None:
    save_ladder(tmp_path, THREE[::-1], {"seed": 3}, environment=ENV_ID)
    back = ladder(tmp_path)
    assert [each.mean_return for each in back] == [-100, 3000, 5000]
    observations = np.random.default_rng(0).standard_normal((3, 17))
    np.testing.assert_array_equal(back[2](observations), THREE[2](observations))


def test_a_ladder_keeps_the_form_of_each_network(tmp_path: Path) -> None:
    other = replace(THREE[1], activation="tanh", squashed=False)
    save_ladder(tmp_path, [THREE[0], other], {}, environment=ENV_ID)
    observations = np.random.default_rng(0).standard_normal((3, 17))
    back = ladder(tmp_path)
    for policy, wanted in zip(back, (THREE[0], other), strict=True):
        np.testing.assert_array_equal(policy(observations), wanted(observations))
        assert dict(policy.facts) == dict(wanted.facts)


def test_a_folder_without_a_whole_ladder_is_refused(tmp_path: Path) -> None:
    with refused(CheckpointError, place=str(tmp_path / CONFIG), value=None):
        ladder(tmp_path)
    umaze = model_folder("umaze")
    with refused(CheckpointError, place=str(umaze), value="diffuser") as caught:
        ladder(umaze)
    assert "'policies'" in str(caught.value)
    config = json.loads((save_ladder(tmp_path, THREE, {}, environment=ENV_ID) / CONFIG).read_text())
    config["policies"].append({"return": {"mean": 0}})
    (tmp_path / CONFIG).write_text(json.dumps(config))
    remedy = "make the ladder again"
    with refused(CheckpointError, place=f"{tmp_path}: layers", value=(), remedy=remedy):
        ladder(tmp_path)


def test_the_packaged_ladder_is_small_and_spread_from_random_to_good() -> None:
    assert packaged("policies") == [LADDER]
    folder = model_folder(LADDER, "policies")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3_000_000
    config = json.loads((folder / CONFIG).read_text())
    assert config["provenance"]["command"].startswith("trailward policies ")
    policies = ladder_of(ENV_ID)
    assert len(policies) >= 8
    assert all(each.facts["return"]["count"] >= 20 for each in policies)
    returns = np.array([each.mean_return for each in policies])
    assert np.diff(returns).max() < 0.4 * (returns[-1] - returns[0])


def test_the_best_packaged_policy_returns_what_it_is_said_to() -> None:
    found = recorded("expert", ladder_of(ENV_ID), num_episodes=3, seed=7)
    known = ladder_of(ENV_ID)[-1].facts["return"]
    assert abs(found.returns.mean() - known["mean"]) < 4 * known["std"]


def test_play_is_of_all_policies_but_the_best_as_often_as_each_other() -> None:
    play = recorded("play", THREE, num_steps=190, action_noise=0.1, **SHORT)
    assert [len(episode) for episode in play.episodes] == [20] * 10
    facts = play.provenance
    assert facts["policies"] == [
        {"step": 0, "return": -100.0, "episodes": 5},
        {"step": 1, "return": 3000.0, "episodes": 5},
    ]
    noise = [
        min(np.abs(each(e.observations[:-1]) - e.actions).mean() for each in THREE[:-1])
        for e in play.episodes
    ]
    assert 0.01 < np.mean(noise) < 0.1
    assert (facts["what"], facts["action_noise"]) == ("play", 0.1)


def test_a_mixture_is_the_play_and_a_few_episodes_of_the_best_that_nothing_tells_apart() -> None:
    settings = {"num_steps": 2000, "action_noise": 0.1, **SHORT}
    play, mixture = recorded("play", THREE, **settings), recorded("mixture", THREE, **settings)
    shared = {episode.actions.tobytes() for episode in play.episodes}
    best = [index for index, e in enumerate(mixture.episodes) if e.actions.tobytes() not in shared]
    assert (len(play.episodes), len(mixture.episodes), len(best)) == (100, 103, 3)
    assert max(best) < 100  # they are not at the end
    for index in best:
        episode = mixture.episodes[index]
        np.testing.assert_allclose(THREE[2](episode.observations[:-1]), episode.actions, atol=1e-5)
    assert mixture.provenance["best"] == {"step": 2, "return": 5000.0, "episodes": 3}


def test_medium_is_of_the_policy_half_as_good_and_expert_of_the_best() -> None:
    medium = recorded("medium", THREE, num_episodes=2, **SHORT)
    assert [each["step"] for each in medium.provenance["policies"]] == [1]
    expert = recorded("expert", THREE, num_episodes=2, **SHORT)
    for episode in expert.episodes:
        np.testing.assert_allclose(THREE[2](episode.observations[:-1]), episode.actions, atol=1e-5)
    starts = {e.observations[0].tobytes() for e in [*medium.episodes, *expert.episodes]}
    assert len(starts) == 4


def test_the_runner_up_is_the_best_policy_of_the_play_data_without_noise() -> None:
    found = recorded("runner-up", THREE, num_episodes=2, **SHORT)
    for episode in found.episodes:
        np.testing.assert_allclose(THREE[1](episode.observations[:-1]), episode.actions, atol=1e-5)
    facts = found.provenance
    assert facts["what"] == "runner-up"
    assert facts["policies"] == [{"step": 1, "return": 3000.0, "episodes": 2}]
    play = recorded("play", THREE, num_steps=190, **SHORT)
    assert facts["policies"][0]["step"] == play.provenance["policies"][-1]["step"]
    others = [recorded(what, THREE, num_episodes=2, **SHORT) for what in ("expert", "medium")]
    starts = {e.observations[0].tobytes() for data in (found, *others) for e in data.episodes}
    assert len(starts) == 6
    with refused(place="policies", value=1, remedy="at least two"):
        recorded("runner-up", THREE[:1], num_episodes=1, **SHORT)


@pytest.mark.parametrize("what", ["play", "mixture"])
def test_a_seed_decides_what_is_recorded(what: str) -> None:
    one, again, other = (
        recorded(what, THREE, num_steps=80, episode_steps=20, seed=seed) for seed in (0, 0, 1)
    )
    assert same(one, again)
    assert not same(one, other)


def test_recording_goes_on_past_the_environments_made_at_once() -> None:
    done = []
    found = recorded(
        "medium", THREE, num_episodes=60, episode_steps=3, seed=0, progress=done.append
    )
    assert len({episode.actions.tobytes() for episode in found.episodes}) == 60
    assert done == [150, 180]


def test_what_is_known_of_the_data_is_written_with_it(tmp_path: Path) -> None:
    found = recorded("expert", THREE, num_episodes=2, seed=0)
    back = read_dataset(write_dataset(found, tmp_path / "expert")).provenance
    assert back["returns"] == describe_returns(found.returns, REFERENCE_RETURNS)
    assert (back["score_0"], back["score_100"]) == (-280.179, 12135.0)
    assert "score" not in recorded("expert", THREE, num_episodes=1, **SHORT).provenance["returns"]


def test_a_ladder_of_one_is_refused() -> None:
    with refused(place="policies", value=1, remedy="at least two"):
        recorded("play", THREE[:1], num_steps=20, **SHORT)


def test_minaris_own_datasets_are_read_by_their_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env, (episode,) = make_env(), rollout([make_env()], THREE[0], seeds=[0], num_steps=30)
    buffer = EpisodeBuffer(
        id=0,
        observations=episode.observations,
        actions=episode.actions.astype(np.float32),
        rewards=episode.rewards,
        terminations=np.zeros(30, bool),
        truncations=np.arange(30) == 29,
    )
    minari.create_dataset_from_buffers(
        "mujoco/halfcheetah/expert-v0",
        [buffer],
        env=env,
        eval_env=env,
        author="someone",
        author_email="someone@example.org",
        code_permalink="https://example.org",
        algorithm_name="SAC",
        description="as the Farama Foundation writes them",
    )
    for source in ("mujoco/halfcheetah/expert-v0", tmp_path / "mujoco/halfcheetah/expert-v0"):
        (back,) = read_dataset(source).episodes
        np.testing.assert_array_equal(back.observations, episode.observations)
        np.testing.assert_allclose(back.actions, episode.actions, atol=1e-6)
        np.testing.assert_array_equal(back.rewards, episode.rewards)


def test_weights_of_the_ladder_are_of_32_bits() -> None:
    assert {
        array.dtype for each in ladder_of(ENV_ID) for layer in each.layers for array in layer
    } == {np.dtype(np.float32)}
    assert (model_folder(LADDER, "policies") / WEIGHTS).is_file()
