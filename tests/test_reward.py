import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from processes import run_python
from tiny import seeded, shake, tiny_reward
from trailward.checkpoint import CheckpointError
from trailward.diffuser import Diffuser
from trailward.guide import reward_gradient
from trailward.learnt_reward import LearntReward
from trailward.reward import (
    AdditiveReward,
    KnownReward,
    LinearReward,
    MLPReward,
    RewardConfig,
    StepRewardModel,
)
from trailward.trajectory import PlanSpec
from trailward.value import Value

CONFIGS = [
    RewardConfig(hidden=(8,)),
    RewardConfig(features=(1,), hidden=(4, 4)),
    RewardConfig(hidden=(8,), features=(1, 0), num_local=6, local_frequency=2.0),
    RewardConfig("linear"),
    RewardConfig("mlp", hidden=(8, 6, 4)),
]
OBSERVATIONS = np.random.default_rng(0).standard_normal((6, 2))


def windows(spec: PlanSpec) -> torch.Tensor:
    return torch.randn((3, spec.horizon, spec.transition_dim), generator=seeded())


def valued_reward(diffuser: Diffuser) -> LearntReward:
    value = shake(Value(diffuser.spec, width=8, num_frequencies=2), seed=3)
    assert isinstance(value, Value)
    return replace(tiny_reward(diffuser), value=value)


@pytest.fixture
def saved(diffuser: Diffuser, tmp_path: Path) -> Path:
    return tiny_reward(diffuser).save(tmp_path / "reward")


def test_an_additive_reward_is_the_mean_of_its_step_rewards(action_spec: PlanSpec) -> None:
    model, plans = shake(AdditiveReward(action_spec, hidden=(8,))), windows(action_spec)
    torch.testing.assert_close(model(plans), model.step_rewards(plans).mean(1))
    assert model.step_rewards(plans).std() > 1e-3


def test_an_additive_reward_judges_steps_one_by_one(spec: PlanSpec) -> None:
    model, plans = shake(AdditiveReward(spec)), windows(spec)
    torch.testing.assert_close(model.step_rewards(plans.flip(1)), model.step_rewards(plans).flip(1))


@pytest.mark.parametrize("features", [(0,), (1,), (1, 0)])
def test_features_restrict_what_an_additive_reward_sees(
    features: tuple[int, ...], action_spec: PlanSpec
) -> None:
    model = shake(AdditiveReward(action_spec, features=features))
    gradient = reward_gradient(model, windows(action_spec)).abs().amax((0, 1))
    assert [bool(entry > 0) for entry in gradient] == [entry in features for entry in range(6)]


@pytest.mark.parametrize("features", [(), (2,), (-1,), (0, 5)])
def test_features_that_are_not_there_are_refused(features: tuple[int, ...], spec: PlanSpec) -> None:
    with pytest.raises(ValueError, match="each in 0 to 1"):
        AdditiveReward(spec, features=features)


@pytest.mark.parametrize("num_local", [0, 16])
def test_the_local_part_starts_at_zero(num_local: int, action_spec: PlanSpec) -> None:
    model, plans = AdditiveReward(action_spec, num_local=num_local), windows(action_spec)
    assert torch.equal(model.local_rewards(plans), torch.zeros(3, 4))
    assert torch.equal(model.step_rewards(plans), model.network(plans[..., :2]).squeeze(-1))
    assert (model.local is None) == (num_local == 0)


def test_step_rewards_are_the_sum_of_the_plain_and_the_local_part(action_spec: PlanSpec) -> None:
    model = shake(AdditiveReward(action_spec, features=(1,), num_local=16))
    plans = windows(action_spec)
    local, plain = model.local_rewards(plans), model.network(plans[..., 1:2]).squeeze(-1)
    torch.testing.assert_close(model.step_rewards(plans), plain + local)
    assert local.std() > 1e-3


def test_the_local_part_sees_no_other_features(action_spec: PlanSpec) -> None:
    model = shake(AdditiveReward(action_spec, features=(1,), num_local=16))
    plans = windows(action_spec).requires_grad_()
    (gradient,) = torch.autograd.grad(model.local_rewards(plans).sum(), plans)
    assert [bool(entry > 0) for entry in gradient.abs().amax((0, 1))] == [False, True, *4 * [False]]


def test_a_fresh_local_part_can_be_learnt(spec: PlanSpec) -> None:
    model = AdditiveReward(spec, num_local=16)
    model(windows(spec)).sum().backward()
    assert list(model.local.parameters())[-2].grad.abs().max() > 0


@pytest.mark.parametrize("frequency", [0.5, 20.0])
def test_a_higher_frequency_lets_the_local_part_hold_finer_detail(
    frequency: float, spec: PlanSpec
) -> None:
    model = AdditiveReward(spec, num_local=2000, local_frequency=frequency)
    assert model.local[0].directions.std() == pytest.approx(frequency, rel=0.1)


def test_a_linear_reward_is_the_weighted_sum(spec: PlanSpec) -> None:
    model, plans = shake(LinearReward(spec)), windows(spec)
    expected = plans.flatten(1) @ model.weight.flatten()
    torch.testing.assert_close(model(plans), expected)


def test_the_thesis_network_has_four_layers(spec: PlanSpec) -> None:
    sizes = [tuple(w.shape) for w in MLPReward(spec).parameters() if w.ndim == 2]
    assert sizes == [(384, 10), (128, 384), (64, 128), (1, 64)]


def test_a_known_reward_is_evaluated_in_environment_units(action_diffuser: Diffuser) -> None:
    spec, normalizer = action_diffuser.spec, action_diffuser.normalizer
    known = KnownReward(lambda observations: observations[..., 0] ** 2, normalizer, spec)
    plans = windows(spec)
    expected = normalizer.unnormalize(plans)[..., 0] ** 2
    torch.testing.assert_close(known.step_rewards(plans), expected)
    torch.testing.assert_close(known(plans), expected.mean(1))


def test_only_rewards_of_steps_say_what_an_observation_is_worth(diffuser: Diffuser) -> None:
    additive, linear = tiny_reward(diffuser), tiny_reward(diffuser, RewardConfig("linear"))
    assert additive.is_additive
    assert not linear.is_additive
    assert isinstance(KnownReward(torch.sum, diffuser.normalizer, diffuser.spec), StepRewardModel)
    with pytest.raises(TypeError, match="'linear' reward is of whole plans; learn an 'additive'"):
        linear.step_rewards(OBSERVATIONS)


@pytest.mark.parametrize("axes", [(), (6,), (2, 3), (1, 2, 3)])
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
    config: RewardConfig, diffuser: Diffuser, tmp_path: Path
) -> None:
    reward, plans = tiny_reward(diffuser, config), windows(diffuser.spec)
    back = LearntReward.load(reward.save(tmp_path))
    for name in ("spec", "config", "sampling", "diffuser_fingerprint", "provenance"):
        assert getattr(back, name) == getattr(reward, name)
    np.testing.assert_array_equal(back.plan_rewards(plans), reward.plan_rewards(plans))
    assert not any(weight.requires_grad for weight in back.model.parameters())


def test_a_saved_value_comes_back_equal_and_frozen(diffuser: Diffuser, tmp_path: Path) -> None:
    reward, plans = valued_reward(diffuser), windows(diffuser.spec)
    back = LearntReward.load(reward.save(tmp_path))
    assert back.value is not None
    assert back.value.to_config() == {"width": 8, "num_frequencies": 2}
    assert torch.equal(back.value(plans), reward.value(plans))
    assert torch.equal(back.guide_model(plans), reward.guide_model(plans))
    assert not any(weight.requires_grad for weight in back.value.parameters())


def test_plans_are_guided_by_the_reward_and_its_value_if_there_is_one(diffuser: Diffuser) -> None:
    reward, plans = valued_reward(diffuser), windows(diffuser.spec)
    torch.testing.assert_close(reward.guide_model(plans), reward.model(plans) + reward.value(plans))
    assert reward.value(plans).abs().min() > 1e-3
    without = replace(reward, value=None)
    assert without.guide_model is without.model


def test_the_value_is_no_part_of_what_an_observation_is_worth(diffuser: Diffuser) -> None:
    reward, without = valued_reward(diffuser), tiny_reward(diffuser)
    np.testing.assert_array_equal(
        reward.step_rewards(OBSERVATIONS), without.step_rewards(OBSERVATIONS)
    )


def test_a_reward_saved_before_there_were_values_can_be_read(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config["value"], config["reward"]["num_local"], config["reward"]["local_frequency"]
    (saved / "config.json").write_text(json.dumps(config))
    assert LearntReward.load(saved).value is None


def test_a_value_that_does_not_fit_its_configuration_is_refused(
    diffuser: Diffuser, tmp_path: Path
) -> None:
    config = json.loads((valued_reward(diffuser).save(tmp_path) / "config.json").read_text())
    config["value"]["width"] = 9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weights and configuration disagree"):
        LearntReward.load(tmp_path)


def test_a_saved_reward_works_in_a_fresh_process_without_data(
    saved: Path, diffuser: Diffuser
) -> None:
    code = """
import json, sys
import numpy as np
from trailward.learnt_reward import LearntReward
observations = np.array(json.loads(sys.argv[2]))
print(json.dumps(LearntReward.load(sys.argv[1]).step_rewards(observations).tolist()))
"""
    printed = run_python(code, saved, json.dumps(OBSERVATIONS.tolist()))
    np.testing.assert_array_equal(
        json.loads(printed), tiny_reward(diffuser).step_rewards(OBSERVATIONS)
    )


def test_a_missing_reward_is_refused(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere holds no model: there is no config\.json"):
        LearntReward.load(tmp_path / "nowhere")
    (saved / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is missing"):
        LearntReward.load(saved)


def test_a_model_of_another_kind_is_refused(saved: Path, diffuser: Diffuser) -> None:
    with pytest.raises(CheckpointError, match="kind 'reward', not 'diffuser'"):
        Diffuser.load(saved)
    with pytest.raises(CheckpointError, match="kind 'diffuser', not 'reward'"):
        LearntReward.load(diffuser.save(saved))


@pytest.mark.parametrize("content", [b"", b"not weights", None], ids=["empty", "text", "half"])
def test_damaged_weights_are_refused(content: bytes | None, saved: Path) -> None:
    path = saved / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors .* is damaged"):
        LearntReward.load(saved)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"kind": 1}'])
def test_a_damaged_configuration_is_refused(content: str, saved: Path) -> None:
    (saved / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"is not JSON|holds a model of kind"):
        LearntReward.load(saved)


@pytest.mark.parametrize("missing", ["spec", "reward", "sampling", "provenance"])
def test_an_incomplete_configuration_is_refused(missing: str, saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config[missing]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weights and configuration disagree"):
        LearntReward.load(saved)


def test_weights_that_do_not_fit_the_configuration_are_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["reward"]["hidden"] = [9]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weights and configuration disagree"):
        LearntReward.load(saved)


def test_saving_again_replaces_the_model_whole(saved: Path, diffuser: Diffuser) -> None:
    tiny_reward(diffuser, RewardConfig("linear")).save(saved)
    assert LearntReward.load(saved).config.model == "linear"
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "weights.safetensors"]


def test_an_unknown_reward_model_is_refused(spec: PlanSpec) -> None:
    with pytest.raises(ValueError, match="'deep' is unknown; choose one of additive, linear, mlp"):
        RewardConfig("deep").build(spec)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_a_local_part_is_for_additive_rewards_alone(name: str, spec: PlanSpec) -> None:
    with pytest.raises(ValueError, match=f"num_local 8 is for additive rewards, not for '{name}'"):
        RewardConfig(name, num_local=8).build(spec)


@pytest.mark.parametrize("changes", [{"num_local": -1}, {"local_frequency": -1.0}], ids=str)
def test_a_negative_local_part_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"local\w* is -1.*; it must be at least 0"):
        RewardConfig(**changes)


@pytest.mark.parametrize("name", ["additive", "mlp"])
def test_second_derivatives_stay_finite_far_outside_the_data(name: str) -> None:
    spec = PlanSpec(3, 1, 2, 1)
    model = RewardConfig(name).build(spec)
    plan = 1e4 * torch.randn((4, 3, 2), generator=seeded(), dtype=torch.float32)
    plan.requires_grad_()
    (gradient,) = torch.autograd.grad(model(plan).sum(), plan, create_graph=True)
    gradient.square().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    assert bool(plan.grad.isfinite().all())
