import inspect
import json
import random
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from adversaries import ENVIRONMENTS, METHODS, TINY, demonstrations, train, trained

from refusals import refused
from trailward.acting.rollout import rollout
from trailward.baselines.adversarial import (
    AIRL_TUNED,
    GAIL_TUNED,
    Budget,
    NetworkReward,
    Recipe,
)
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import SettingsError
from trailward.optional import MissingExtraError
from trailward_benchmark.methods import METHODS as COMPARED
from trailward_benchmark.problems import parse_problem

ROOT = Path(__file__).parents[2]

every_method = pytest.mark.parametrize("method", METHODS)


@every_method
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_learnt_acts_and_rewards(method: str, environment: str) -> None:
    result = trained(method, environment)
    assert result.num_env_steps == 128
    (episode,) = rollout([ENVIRONMENTS[environment]()], result.policy, seeds=[5], num_steps=20)
    rewards = result.reward(episode)
    assert rewards.shape == (20,)
    assert np.isfinite(rewards).all()
    assert rewards.std() > 0


@every_method
def test_the_same_seed_gives_the_same_result(method: str) -> None:
    episode = demonstrations("maze").episodes[0]
    first, again = trained(method, "maze"), train(method, "maze")
    other = train(method, "maze", seed=1)
    now = episode.observations
    assert np.array_equal(first.policy(now), again.policy(now))
    assert np.array_equal(first.reward(episode), again.reward(episode))
    assert not np.array_equal(first.policy(now), other.policy(now))
    assert not np.array_equal(first.reward(episode), other.reward(episode))


@pytest.mark.slow
@every_method
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
def test_weights_are_those_of_the_librarys_own_script(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    benchmark = runpy.run_path(str(ROOT / "benchmarks/adversarial.py"))
    env_id, data = benchmark["ENV_ID"], benchmark["demonstrate"](11)
    library, ours = benchmark["METHODS"][method]
    trainer = library(
        benchmark["library_trajectories"](data),
        benchmark["make_vec_env"](env_id, rng=np.random.default_rng(9), n_envs=2),
        seed=3,
        num_env_steps=1024,
        n_steps=256,
    )
    budget = Budget(1024, num_envs=2, rollout_steps=256)
    result = ours(data, lambda: gymnasium.make(env_id), seed=3, budget=budget)
    assert benchmark["identical"](trainer, result)


@pytest.mark.parametrize(("method", "recipe"), [("gail", GAIL_TUNED), ("airl", AIRL_TUNED)])
def test_settings_tuned_to_halfcheetah_are_those_of_the_librarys_file(
    method: str, recipe: Recipe
) -> None:
    name = f"{method}_seals_half_cheetah_best_hp_eval.json"
    files = resources.files("imitation") / "scripts/config/tuned_hps"
    tuned = json.loads((files / name).read_text())
    ppo = inspect.signature(stable_baselines3.PPO).parameters
    given = tuned["rl"]["rl_kwargs"]
    used = {key: recipe.generator.get(key, ppo[key].default) for key in given}
    assert used == given
    assert set(recipe.generator) <= set(given)
    assert tuned["algorithm_kwargs"] == {
        "demo_batch_size": recipe.batch_size,
        "gen_replay_buffer_capacity": 512,
        "n_disc_updates_per_round": recipe.num_updates,
    }
    assert tuned["reward"]["net_cls"]["py/type"].endswith(f".{recipe.reward_net}")
    assert tuned["reward"]["normalize_output_layer"]["py/type"].endswith(".RunningNorm")
    assert tuned["policy"]["policy_cls"]["py/type"].endswith(".FeedForward32Policy")
    (extractor, normalizer) = tuned["policy"]["policy_kwargs"].values()
    assert extractor["py/type"].endswith(".NormalizeFeaturesExtractor")
    assert normalizer["normalize_class"]["py/type"].endswith(".RunningNorm")
    assert recipe.normalized
    problem = parse_problem("halfcheetah/mixture")
    compared = COMPARED[method].settings(problem, problem.settings)
    assert compared["recipe"] == asdict(recipe)
    assert compared["num_envs"] * compared["rollout_steps"] == tuned["rl"]["batch_size"]


@pytest.mark.parametrize(("method", "recipe"), [("gail", GAIL_TUNED), ("airl", AIRL_TUNED)])
def test_a_normalized_recipe_learns_from_normalised_observations(
    method: str, recipe: Recipe
) -> None:
    result = METHODS[method](
        demonstrations("halfcheetah"),
        ENVIRONMENTS["halfcheetah"],
        seed=0,
        budget=TINY,
        recipe=recipe,
    )
    normalizer = result.policy.network.features_extractor.normalize
    assert normalizer.count > 0
    assert normalizer.running_var.std() > 0
    (episode,) = rollout([ENVIRONMENTS["halfcheetah"]()], result.policy, seeds=[5], num_steps=20)
    assert np.isfinite(result.reward(episode)).all()
    assert result.reward(episode).std() > 0


def test_the_reward_of_gail_is_minus_log_one_minus_d() -> None:
    result, episode = trained("gail", "maze"), demonstrations("maze").episodes[0]
    logits = NetworkReward(result.reward.network.base)(episode)
    np.testing.assert_allclose(result.reward(episode), np.log1p(np.exp(logits)), rtol=1e-5)


def test_the_reward_of_airl_is_not_shaped() -> None:
    network = trained("airl", "maze").reward.network
    assert type(network).__name__ == "BasicRewardNet"
    assert not network.use_next_state


def test_progress_is_told_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    data, told = demonstrations("maze"), []
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = torch.rand(3), np.random.random(3)
    torch.manual_seed(7), np.random.seed(7)
    METHODS["gail"](data, ENVIRONMENTS["maze"], seed=0, budget=TINY, progress=told.append)
    assert told == [64, 128]
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.random(3), expected[1])
    assert capsys.readouterr() == ("", "")


def test_a_budget_below_one_round_is_refused() -> None:
    with refused(SettingsError, place="num_env_steps", value=63, remedy="64"):
        replace(TINY, num_env_steps=63)


@pytest.mark.parametrize("name", ["num_envs", "rollout_steps", "episode_steps"])
def test_counts_below_one_are_refused(name: str) -> None:
    with refused(SettingsError, place=name, value=0, remedy="at least 1"):
        replace(TINY, **{name: 0})


def test_demonstrations_of_another_environment_are_refused() -> None:
    with refused(place="observations", value=(17,), remedy="(4,)"):
        METHODS["gail"](demonstrations("maze"), ENVIRONMENTS["halfcheetah"], seed=0, budget=TINY)


def test_demonstrations_of_several_lengths_need_a_length() -> None:
    data = demonstrations("maze")
    first = data.episodes[0]
    shorter = Episode(first.observations[:31], first.actions[:30])
    mixed = Dataset([*data.episodes, shorter])
    with refused(place="demonstrations", value=(30, 40), remedy="episode_steps"):
        METHODS["gail"](mixed, ENVIRONMENTS["maze"], seed=0, budget=TINY)
    METHODS["gail"](mixed, ENVIRONMENTS["maze"], seed=0, budget=replace(TINY, episode_steps=40))


class Fleeting(gymnasium.Env):
    """Ends when it likes to."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, **how: Any) -> tuple[np.ndarray, dict]:
        super().reset(**how)
        return np.zeros(4), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(4), 0.0, bool(self.np_random.random() < 0.2), False, {}


@every_method
def test_episodes_that_end_when_they_like_are_refused(method: str) -> None:
    with refused(SettingsError, place="make_env", value=None, remedy="never ends"):
        METHODS[method](demonstrations("maze"), Fleeting, seed=0, budget=TINY)


def test_environments_are_cut_and_closed() -> None:
    closed: list[int] = []

    class Watched(gymnasium.Wrapper):
        def close(self) -> None:
            closed.append(1)
            super().close()

    make: Callable[[], gymnasium.Env] = lambda: Watched(ENVIRONMENTS["maze"]())
    METHODS["gail"](demonstrations("maze"), make, seed=0, budget=Budget(64, 2, 32))
    assert len(closed) == 2


@every_method
def test_a_missing_library_is_an_error_that_names_the_command(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = demonstrations("maze")
    monkeypatch.setitem(sys.modules, "imitation.util.logger", None)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps imitation==1.0.1"):
        METHODS[method](data, ENVIRONMENTS["maze"], seed=0, budget=TINY)
