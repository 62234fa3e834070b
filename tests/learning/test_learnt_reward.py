"""A learnt reward: judging in environment units, guiding plans, and the way to disk and back."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from processes import run_python
from refusals import refused
from tiny import (
    STAGED,
    given,
    random_walks,
    seeded,
    shake,
    tiny_diffuser,
    tiny_reward,
    tiny_staged_reward,
)
from trailward.checkpoint import CheckpointError
from trailward.data.dataset import Windows
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser
from trailward.errors import SettingsError
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import (
    AdditiveSettings,
    ConvSettings,
    MLPSettings,
    RewardSettings,
    StagedSettings,
    TrueReward,
)
from trailward.rewards.value import Value

CONFIGS = [
    AdditiveSettings(hidden=(8,)),
    AdditiveSettings(features=(1,), hidden=(4, 4)),
    AdditiveSettings(hidden=(8,), features=(1, 0), num_local=6, local_frequency=2.0),
    STAGED,
    StagedSettings(features=(1,), num_local=6, memory_radius=0.3),
    "linear",
    MLPSettings(hidden=(8, 6, 4)),
    ConvSettings(hidden=(4, 6, 8)),
]
ACTING = AdditiveSettings(hidden=(8,), sees_actions=True)
NAN = pytest.approx(float("nan"), nan_ok=True)
EPISODE = random_walks([9]).episodes[0]
OBSERVATIONS = np.random.default_rng(0).standard_normal((6, 2))


def windows(spec: PlanSpec) -> torch.Tensor:
    return torch.randn((3, spec.horizon, spec.transition_dim), generator=seeded())


def with_value(reward: LearntReward) -> LearntReward:
    """The same with a value whose weights are noise."""
    value = Value(reward.spec, width=8, num_frequencies=2, num_stages=reward.num_stages)
    shake(value, seed=3)
    return replace(reward, value=value)


def valued_reward(diffuser: Diffuser) -> LearntReward:
    return with_value(tiny_reward(diffuser))


@pytest.fixture
def saved(diffuser: Diffuser, tmp_path: Path) -> Path:
    return tiny_reward(diffuser).save(tmp_path / "reward")


def test_only_rewards_of_steps_say_what_an_observation_is_worth(diffuser: Diffuser) -> None:
    additive, linear = tiny_reward(diffuser), tiny_reward(diffuser, "linear")
    assert additive.is_additive
    assert not linear.is_additive
    assert TrueReward(torch.sum, diffuser.normalizer, diffuser.spec).per_step
    with pytest.raises(TypeError, match="'linear' reward is of whole plans; learn an 'additive'"):
        linear.step_rewards(OBSERVATIONS)


@pytest.mark.parametrize("axes", [(), (6,), (2, 3), (1, 2, 3), (0,), (0, 3), (3, 0)])
def test_step_rewards_keep_the_axes_and_take_environment_units(
    axes: tuple[int, ...], diffuser: Diffuser
) -> None:
    reward = tiny_reward(diffuser)
    observations = OBSERVATIONS[: int(np.prod(axes))].reshape(*axes, 2)
    rewards = reward.step_rewards(observations)
    normalized = diffuser.observation_normalizer.normalize(torch.from_numpy(observations).float())
    expected = reward.model.step_rewards(normalized.reshape(1, -1, 2)).reshape(axes)
    assert rewards.shape == axes
    np.testing.assert_allclose(rewards, expected.detach().numpy(), rtol=1e-5)


def test_plan_rewards_take_environment_units(action_diffuser: Diffuser) -> None:
    reward, plans = tiny_reward(action_diffuser), windows(action_diffuser.spec)
    rewards = reward.plan_rewards(action_diffuser.normalizer.unnormalize(plans))
    np.testing.assert_allclose(rewards, reward.model(plans).detach().numpy(), rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_saved_reward_comes_back_equal(
    config: RewardSettings, diffuser: Diffuser, tmp_path: Path
) -> None:
    reward, plans = tiny_reward(diffuser, config), windows(diffuser.spec)
    back = LearntReward.load(reward.save(tmp_path))
    for name in ("spec", "planning", "sampling", "diffuser_fingerprint", "provenance"):
        assert getattr(back, name) == getattr(reward, name)
    assert back.model.to_config() == reward.model.to_config()
    np.testing.assert_array_equal(back.plan_rewards(plans), reward.plan_rewards(plans))
    assert not any(weight.requires_grad for weight in back.model.parameters())


def test_a_saved_value_comes_back_equal_and_frozen(diffuser: Diffuser, tmp_path: Path) -> None:
    reward, plans = valued_reward(diffuser), windows(diffuser.spec)
    back = LearntReward.load(reward.save(tmp_path))
    assert back.value is not None
    assert back.value.to_config() == reward.value.to_config()
    assert torch.equal(back.value(plans), reward.value(plans))
    assert torch.equal(back.guide_model(plans), reward.guide_model(plans))
    assert not any(weight.requires_grad for weight in back.value.parameters())


def test_plans_are_guided_by_the_reward_and_its_value_if_there_is_one(diffuser: Diffuser) -> None:
    reward, plans = valued_reward(diffuser), windows(diffuser.spec)
    torch.testing.assert_close(reward.guide_model(plans), reward.model(plans) + reward.value(plans))
    assert reward.value(plans).abs().min() > 1e-3
    without = replace(reward, value=None)
    assert without.guide_model is without.model


def test_a_discounted_value_guides_in_the_place_of_the_reward(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    value = shake(Value(diffuser.spec, width=8, discount=0.9), seed=3)
    reward, plans = replace(tiny_reward(diffuser), value=value), windows(diffuser.spec)
    assert reward.guide_model is value
    back = LearntReward.load(reward.save(tmp_path))
    assert back.value is not None
    assert back.value.discount == 0.9
    assert back.guide_model is back.value
    assert torch.equal(back.guide_model(plans), value(plans))
    assert (value(plans) - reward.model(plans)).abs().min() > 1e-3


def test_a_reward_saved_before_values_were_discounted_can_be_read(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    reward, plans = valued_reward(diffuser), windows(diffuser.spec)
    config = json.loads((reward.save(tmp_path) / "config.json").read_text())
    del config["value"]["discount"], config["reward"]["settings"]["sees_actions"]
    del config["sampling"]["temperature"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    back = LearntReward.load(tmp_path)
    assert torch.equal(back.guide_model(plans), reward.guide_model(plans))
    assert back.sampling == reward.sampling


def units(episode: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(episode.observations).float(), torch.from_numpy(episode.actions).float()


def test_the_rewards_of_an_episode_are_those_of_its_observations(diffuser: Diffuser) -> None:
    for reward in (tiny_reward(diffuser), tiny_staged_reward(diffuser)):
        found = reward.episode_rewards(EPISODE)
        assert found.shape == (10,)
        np.testing.assert_array_equal(found, reward.step_rewards(EPISODE.observations))
        assert reward.mean_reward(EPISODE) == pytest.approx(found.mean())


def test_a_reward_that_sees_actions_judges_observations_with_all_their_actions(
    action_diffuser: Diffuser,
) -> None:
    """Step by step; a plan step holds two actions, so that the last observation has too few."""
    reward = tiny_reward(action_diffuser, ACTING)
    observations, actions = units(EPISODE)
    expected = []
    for time in range(8):
        step = torch.cat([observations[time], actions[time], actions[time + 1]])
        plan = action_diffuser.normalizer.normalize(step).view(1, 1, 6)
        expected.append(reward.model.step_rewards(plan).item())
    found = reward.episode_rewards(EPISODE)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert reward.mean_reward(EPISODE) == pytest.approx(np.mean(expected), rel=1e-4)
    (steps,) = Windows(random_walks([9]), action_diffuser.spec).steps()
    np.testing.assert_allclose(reward.plan_rewards(steps[:, None]), found, rtol=1e-4, atol=1e-6)


def test_a_reward_that_sees_actions_cannot_judge_observations_alone(
    action_diffuser: Diffuser,
) -> None:
    with pytest.raises(TypeError, match="sees actions too; judge episodes, by episode_rewards"):
        tiny_reward(action_diffuser, ACTING).step_rewards(OBSERVATIONS)


@pytest.mark.parametrize("axes", [(), (6,), (2, 3), (1, 2, 3), (0,), (0, 3), (3, 0)])
def test_called_it_judges_a_step_a_batch_or_episodes(
    axes: tuple[int, ...], diffuser: Diffuser
) -> None:
    observations = OBSERVATIONS[: int(np.prod(axes))].reshape(*axes, 2)
    for reward in (tiny_reward(diffuser), tiny_staged_reward(diffuser)):
        found = reward(observations)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, reward.step_rewards(observations))
        np.testing.assert_array_equal(reward(observations, np.zeros((1, 7))), found)  # not seen


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("model", ["additive", "staged"])
def test_called_a_reward_that_sees_actions_judges_episodes_and_batches_of_them(
    model: str, stride: int
) -> None:
    """With an action for each observation, or for each but the last."""
    diffuser = tiny_diffuser(PlanSpec(4, stride, 2, 2, with_actions=True))
    staged = StagedSettings(hidden=(8,), sees_actions=True, memory_radius=0.7)
    reward = (
        tiny_reward(diffuser, AdditiveSettings(hidden=(8,), sees_actions=True))
        if model == "additive"
        else tiny_staged_reward(diffuser, staged)
    )
    episodes = random_walks([9, 9, 9]).episodes
    expected = np.stack([reward.episode_rewards(episode) for episode in episodes])
    assert expected.shape == (3, 10 - stride)
    seen = np.stack([episode.observations for episode in episodes])
    acted = np.stack([episode.actions for episode in episodes])
    np.testing.assert_allclose(reward(seen, acted), expected, rtol=1e-5)
    np.testing.assert_allclose(reward(seen[0], acted[0]), expected[0], rtol=1e-5)
    np.testing.assert_allclose(reward(seen[:, :9], acted), expected, rtol=1e-5)
    assert np.ptp(expected) > 1e-3


def test_called_a_reward_that_sees_one_action_judges_one_step() -> None:
    reward = tiny_reward(tiny_diffuser(PlanSpec(4, 1, 2, 2, with_actions=True)), ACTING)
    found = reward(EPISODE.observations[4], EPISODE.actions[4])
    assert found.shape == ()
    np.testing.assert_allclose(found, reward.episode_rewards(EPISODE)[4], rtol=1e-5)


@pytest.mark.usefixtures("without_type_checks")
def test_called_it_refuses_what_does_not_fit(diffuser: Diffuser, action_diffuser: Diffuser) -> None:
    reward, acting = tiny_reward(diffuser), tiny_reward(action_diffuser, ACTING)
    with refused(place="observations", value=(6, 3), remedy="last axis must have 2"):
        reward(np.zeros((6, 3)))
    with refused(place="observations", value=()):
        reward(np.float64(1))
    with refused(place="observations[1, 0]", value=NAN, remedy="finite"):
        reward(np.array([[0.0, 1.0], [np.nan, 0.0]]))
    with pytest.raises(TypeError, match="sees actions too; give both observations and actions"):
        acting(EPISODE.observations)
    with refused(place="actions[8, 1]", value=np.inf):
        acting(EPISODE.observations, np.where(EPISODE.actions == EPISODE.actions[8, 1], np.inf, 0))
    with refused(place="actions", value=(4, 2), remedy="give an action") as caught:
        acting(EPISODE.observations, EPISODE.actions[:4])
    assert "(10, 2)" in str(caught.value)
    with refused(place="actions", value=1, remedy="takes 2"):
        acting(EPISODE.observations[0], EPISODE.actions[0])
    with pytest.raises(TypeError, match="'mlp' reward is of whole plans"):
        tiny_reward(diffuser, MLPSettings())(OBSERVATIONS)
    with refused(place="observations[0]", value=1e39, remedy="may not be larger"):
        reward(np.array([1e39, 0.0]))
    np.testing.assert_array_equal(reward([[1, 2]]), reward(np.array([[1.0, 2.0]])))
    backwards = reward(EPISODE.observations[::-1])
    np.testing.assert_allclose(backwards, reward(EPISODE.observations)[::-1], rtol=1e-5)


@pytest.mark.usefixtures("without_type_checks")
def test_rewards_of_steps_and_transitions_refuse_what_does_not_fit(
    diffuser: Diffuser, action_diffuser: Diffuser
) -> None:
    reward, acting = tiny_reward(diffuser), tiny_reward(action_diffuser, ACTING)
    now, act, then = np.zeros((6, 2)), np.zeros((6, 2)), np.zeros((6, 2))
    one, nothing = np.zeros((6, 1)), np.full((6, 2), np.nan)
    for wrong, where, value in ((one, "", (6, 1)), (nothing, "[0, 0]", NAN)):
        with refused(place=f"observations{where}", value=value):
            reward.step_rewards(wrong)
        with refused(place=f"next_observations{where}", value=value):
            reward.transition_rewards(now, act, wrong)
    choices = np.zeros(6, int)
    reward.transition_rewards(nothing, choices, then)  # it looks at where they arrive alone
    place, alike = "observations, next_observations", "must be alike"
    with refused(place=place, value=((5, 2), (6, 2)), remedy=alike):
        reward.transition_rewards(now[:5], choices, then)
    at_once = tiny_reward(tiny_diffuser(PlanSpec(4, 1, 2, 2, with_actions=True)), ACTING)
    with refused(place="observations", value=(6, 1)):
        at_once.transition_rewards(one, act, then)
    shapes = ((6, 2), (5, 2), (6, 2))
    with refused(place="observations, actions, next_observations", value=shapes, remedy=alike):
        at_once.transition_rewards(now, act[:5], then)
    with refused(place="actions[0, 0]", value=NAN):
        at_once.transition_rewards(now, nothing, then)
    staged = tiny_staged_reward(tiny_diffuser(PlanSpec(4, 1, 2, 2)))
    with refused(place=f"{place}, past", value=((6, 2), (6, 2), (5, 1))):
        staged.transition_rewards(now, act, then, past=np.zeros(5, int))
    with pytest.raises(TypeError, match="sees the actions of 2 environment steps"):
        acting.transition_rewards(now, act, then)


@pytest.mark.parametrize("acts", [False, True])
def test_transitions_told_one_by_one_make_up_a_staged_episode(acts: bool) -> None:
    """Told what came before, each is worth what it is in the episode."""
    config = replace(STAGED, sees_actions=acts)
    reward = tiny_staged_reward(tiny_diffuser(PlanSpec(4, 1, 2, 2, with_actions=acts)), config)
    seen, acted = EPISODE.observations, EPISODE.actions
    remembered = reward.observe(seen[None])[0]
    assert set(remembered) == {0, 1}
    found = reward.transition_rewards(seen[:-1], acted, seen[1:], past=remembered[:-1])
    whole = reward.episode_rewards(EPISODE)
    np.testing.assert_allclose(found, whole if acts else whole[1:], rtol=1e-4)
    assert not reward.is_of_transitions
    late = reward.observe(seen[None, 5:], remembered[5:6])[0]
    np.testing.assert_array_equal(late, remembered[5:])
    without = tiny_reward(tiny_diffuser(PlanSpec(4, 1, 2, 2)))
    assert not without.observe(seen[None]).any()


def parts(episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its transitions."""
    return episode.observations[:-1], episode.actions, episode.observations[1:]


def test_a_transition_is_worth_what_the_observation_is_that_it_arrives_at(
    diffuser: Diffuser, action_diffuser: Diffuser
) -> None:
    for reward in (tiny_reward(diffuser), tiny_reward(action_diffuser)):
        found = reward.transition_rewards(*parts(EPISODE))
        np.testing.assert_array_equal(found, reward.step_rewards(EPISODE.observations[1:]))
        assert reward.is_of_transitions


def test_to_a_reward_that_sees_actions_a_transition_is_where_it_begins_and_what_is_done() -> None:
    reward = tiny_reward(tiny_diffuser(PlanSpec(4, 1, 2, 2, with_actions=True)), ACTING)
    found = reward.transition_rewards(*parts(EPISODE))
    np.testing.assert_allclose(found, reward.episode_rewards(EPISODE), rtol=1e-5)
    observations, actions, _ = parts(EPISODE)
    shuffled = reward.transition_rewards(observations, actions, observations)
    np.testing.assert_array_equal(shuffled, found)
    assert reward.is_of_transitions
    assert found.std() > 1e-3


def test_rewards_that_are_not_of_transitions_say_what_to_do(
    diffuser: Diffuser, action_diffuser: Diffuser
) -> None:
    wrong = [
        (tiny_reward(diffuser, MLPSettings()), "'mlp' reward is of whole plans; learn an"),
        (tiny_staged_reward(diffuser), "a staged reward remembers what came before; judge episod"),
        (tiny_reward(action_diffuser, ACTING), "of 2 environment steps; .* plans of stride 1"),
    ]
    for reward, words in wrong:
        assert not reward.is_of_transitions
        with pytest.raises(TypeError, match=words):
            reward.transition_rewards(*parts(EPISODE))


def test_an_episode_with_fewer_actions_than_a_plan_step_is_refused(
    action_diffuser: Diffuser,
) -> None:
    (short,) = random_walks([1]).episodes
    with refused(place="actions", value=1, remedy="takes 2"):
        tiny_reward(action_diffuser, ACTING).episode_rewards(short)


def test_rewards_of_whole_plans_have_none_of_single_steps_of_an_episode(
    diffuser: Diffuser,
) -> None:
    with pytest.raises(TypeError, match="'conv' reward is of whole plans"):
        tiny_reward(diffuser, ConvSettings()).episode_rewards(EPISODE)


@pytest.mark.parametrize("name", ["linear", "mlp", "conv"])
@pytest.mark.parametrize("actions", [False, True])
def test_the_mean_reward_of_whole_plans_is_that_of_windows_end_to_end(
    name: str, actions: bool, request: pytest.FixtureRequest
) -> None:
    """Windows of 9 consecutive observations, of which 30 have room for 3."""
    owner = request.getfixturevalue("action_diffuser" if actions else "diffuser")
    spec, reward = owner.spec, tiny_reward(owner, name)
    episode = random_walks([29]).episodes[0]
    observations, acted = units(episode)
    assert spec.num_observations == 9
    windows = []
    for first in (0, 9, 18):
        times = first + spec.stride * torch.arange(spec.horizon)
        chunks = torch.stack([acted[time : time + spec.stride] for time in times])
        windows.append(spec.join(observations[times], chunks))
    expected = reward.model(owner.normalizer.normalize(torch.stack(windows))).mean().item()
    assert reward.mean_reward(episode) == pytest.approx(expected, rel=1e-4)


def test_plans_of_a_staged_reward_are_guided_by_reward_and_value_of_their_stage(
    diffuser: Diffuser,
) -> None:
    reward, plans = with_value(tiny_staged_reward(diffuser)), windows(diffuser.spec)
    assert reward.value is not None
    both = reward.model.stage_rewards(plans) + reward.value.stage_rewards(plans)
    guide, seen = reward.guide_model, reward.model.memory.visited(plans)
    assert guide.num_stages == 2
    torch.testing.assert_close(guide(plans), torch.where(seen, both[..., 1], both[..., 0]).mean(1))
    for stage in (0, 1):
        judge = given(guide, torch.full((3,), bool(stage)))
        torch.testing.assert_close(judge(plans), both[..., stage].mean(1))
    assert torch.equal(guide.observe(plans).bool(), seen)
    assert seen.any()
    assert not seen.all()


def test_a_staged_reward_without_a_value_remembers_too(diffuser: Diffuser) -> None:
    reward = tiny_staged_reward(diffuser)
    assert reward.guide_model.num_stages == 2
    assert tiny_reward(diffuser).guide_model.num_stages == 1


def test_a_staged_reward_judges_observations_by_those_before_them(diffuser: Diffuser) -> None:
    """The axis before the last is time, whatever comes before that."""
    reward = tiny_staged_reward(diffuser)
    assert (reward.num_stages, tiny_reward(diffuser).num_stages) == (2, 1)
    assert reward.is_additive
    units = diffuser.observation_normalizer.unnormalize
    far, middle = units(torch.full((2,), 5.0)).numpy(), units(torch.zeros(2)).numpy()
    path = np.stack([far, middle, far])
    first, then = (reward.step_rewards(path, stage=stage) for stage in (0, 1))
    expected = [first[0], then[1], then[2]]
    np.testing.assert_allclose(reward.step_rewards(path), expected, rtol=1e-5)
    two = reward.step_rewards(np.stack([path, path[:1].repeat(3, 0)]))
    np.testing.assert_allclose(two, [expected, 3 * [first[0]]], rtol=1e-5)
    np.testing.assert_allclose(reward.step_rewards(far), first[0], rtol=1e-5)
    assert abs(first - then).min() > 1e-3


@pytest.mark.parametrize("axes", [(), (6,), (2, 3), (1, 2, 3), (0,), (0, 3), (3, 0)])
def test_the_reward_of_a_stage_keeps_the_axes_and_takes_environment_units(
    axes: tuple[int, ...], diffuser: Diffuser
) -> None:
    reward = tiny_staged_reward(diffuser)
    observations = OBSERVATIONS[: int(np.prod(axes))].reshape(*axes, 2)
    normalized = diffuser.observation_normalizer.normalize(torch.from_numpy(observations).float())
    both = reward.model.stage_rewards(normalized.reshape(1, -1, 2)).reshape(*axes, 2).detach()
    for stage in (0, 1):
        rewards = reward.step_rewards(observations, stage=stage)
        assert rewards.shape == axes
        np.testing.assert_allclose(rewards, both[..., stage].numpy(), rtol=1e-5)


def test_the_only_stage_of_an_additive_reward_is_its_reward(diffuser: Diffuser) -> None:
    reward = tiny_reward(diffuser)
    np.testing.assert_array_equal(
        reward.step_rewards(OBSERVATIONS, stage=0), reward.step_rewards(OBSERVATIONS)
    )


@pytest.mark.parametrize("axes", [(0,), (0, 3)])
def test_a_staged_reward_of_no_observations_is_empty(
    axes: tuple[int, ...], diffuser: Diffuser
) -> None:
    assert tiny_staged_reward(diffuser).step_rewards(np.zeros((*axes, 2))).shape == axes


@pytest.mark.parametrize("stage", [-1, 2])
def test_a_stage_that_is_not_there_is_refused(stage: int, diffuser: Diffuser) -> None:
    with refused(SettingsError, place="stage", value=stage, remedy="at least 0 and below 2"):
        tiny_staged_reward(diffuser).step_rewards(OBSERVATIONS, stage=stage)
    with refused(SettingsError, place="stage", value=1, remedy="at least 0 and below 1"):
        tiny_reward(diffuser).step_rewards(OBSERVATIONS, stage=1)


def test_a_saved_staged_reward_comes_back_with_its_place_and_value(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    reward, plans = with_value(tiny_staged_reward(diffuser)), windows(diffuser.spec)
    back = LearntReward.load(reward.save(tmp_path))
    assert back.value is not None
    assert (back.num_stages, back.value.num_stages) == (2, 2)
    assert back.model.memory.radius == STAGED.memory_radius
    assert torch.equal(back.guide_model(plans), reward.guide_model(plans))
    np.testing.assert_array_equal(
        back.step_rewards(OBSERVATIONS), reward.step_rewards(OBSERVATIONS)
    )
    every = torch.ones(3, dtype=torch.bool)
    assert torch.equal(
        given(back.guide_model, every)(plans), given(reward.guide_model, every)(plans)
    )


def test_the_value_is_no_part_of_what_an_observation_is_worth(diffuser: Diffuser) -> None:
    reward, without = valued_reward(diffuser), tiny_reward(diffuser)
    np.testing.assert_array_equal(
        reward.step_rewards(OBSERVATIONS), without.step_rewards(OBSERVATIONS)
    )


def test_a_reward_saved_before_there_were_values_can_be_read(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config["value"], config["reward"]["settings"]["num_local"]
    (saved / "config.json").write_text(json.dumps(config))
    assert LearntReward.load(saved).value is None


def test_a_reward_saved_before_there_were_stages_can_be_read(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    reward, plans = valued_reward(diffuser), windows(diffuser.spec)
    config = json.loads((reward.save(tmp_path) / "config.json").read_text())
    del config["value"]["num_stages"], config["fine_tuned"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(LearntReward.load(tmp_path).guide_model(plans), reward.guide_model(plans))


def test_a_value_that_does_not_fit_its_configuration_is_refused(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    config = json.loads((valued_reward(diffuser).save(tmp_path) / "config.json").read_text())
    config["value"]["width"] = 9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with refused(CheckpointError, place=str(tmp_path), remedy="save it again"):
        LearntReward.load(tmp_path)


def test_a_saved_reward_works_in_a_fresh_process_without_data(
    saved: Path, diffuser: Diffuser
) -> None:
    code = """
import json, sys
import numpy as np
from trailward.learning.learnt_reward import LearntReward
observations = np.array(json.loads(sys.argv[2]))
print(json.dumps(LearntReward.load(sys.argv[1]).step_rewards(observations).tolist()))
"""
    printed = run_python(code, saved, json.dumps(OBSERVATIONS.tolist()))
    np.testing.assert_array_equal(
        json.loads(printed), tiny_reward(diffuser).step_rewards(OBSERVATIONS)
    )


def test_a_missing_reward_is_refused(tmp_path: Path, saved: Path) -> None:
    nowhere, weights = tmp_path / "nowhere", saved / "weights.safetensors"
    with refused(CheckpointError, place=str(nowhere / "config.json"), value=None):
        LearntReward.load(nowhere)
    weights.unlink()
    with refused(CheckpointError, place=str(weights), value=None):
        LearntReward.load(saved)


def test_a_model_of_another_kind_is_refused(saved: Path, diffuser: Diffuser) -> None:
    with refused(CheckpointError, place=str(saved), value="reward") as caught:
        Diffuser.load(saved)
    assert "'diffuser'" in str(caught.value)
    with refused(CheckpointError, place=str(saved), value="diffuser") as caught:
        LearntReward.load(diffuser.save(saved))
    assert "'reward'" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not weights", None], ids=["empty", "text", "half"])
def test_damaged_weights_are_refused(content: bytes | None, saved: Path) -> None:
    path = saved / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with refused(CheckpointError, place=str(path), remedy="save it again"):
        LearntReward.load(saved)


@pytest.mark.parametrize(
    ("content", "place", "value"),
    [
        ("", "config.json", ANY),
        ("{", "config.json", ANY),
        ("[]", "", []),
        ("3", "", 3),
        ('{"kind": 1}', "", 1),
    ],
)
def test_a_damaged_configuration_is_refused(
    content: str, place: str, value: object, saved: Path
) -> None:
    (saved / "config.json").write_text(content)
    with refused(CheckpointError, place=str(saved / place), value=value):
        LearntReward.load(saved)


@pytest.mark.parametrize("missing", ["spec", "reward", "sampling", "provenance"])
def test_an_incomplete_configuration_is_refused(missing: str, saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config[missing]
    (saved / "config.json").write_text(json.dumps(config))
    with refused(CheckpointError, place=str(saved), value=f"there is no '{missing}'"):
        LearntReward.load(saved)


def test_weights_that_do_not_fit_the_configuration_are_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["reward"]["settings"]["hidden"] = [9]
    (saved / "config.json").write_text(json.dumps(config))
    with refused(CheckpointError, place=str(saved), remedy="save it again"):
        LearntReward.load(saved)


def test_saving_again_replaces_the_model_whole(saved: Path, diffuser: Diffuser) -> None:
    tiny_reward(diffuser, "linear").save(saved)
    assert LearntReward.load(saved).model.name == "linear"
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "weights.safetensors"]
