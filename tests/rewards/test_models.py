import pytest
import torch

from refusals import refused
from tiny import given, seeded, shake
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser
from trailward.diffusion.guide import reward_gradient
from trailward.errors import SettingsError
from trailward.registry import UnknownPartError
from trailward.rewards import (
    REWARDS,
    AdditiveReward,
    AdditiveSettings,
    ConvReward,
    ConvSettings,
    LinearReward,
    MLPReward,
    StagedReward,
    StagedSettings,
    TrueReward,
    build_reward,
)


def windows(spec: PlanSpec) -> torch.Tensor:
    return torch.randn((3, spec.horizon, spec.transition_dim), generator=seeded())


def test_an_additive_reward_is_the_mean_of_its_step_rewards(action_spec: PlanSpec) -> None:
    model, plans = shake(AdditiveReward(action_spec, hidden=(8,))), windows(action_spec)
    torch.testing.assert_close(model(plans), model.step_rewards(plans).mean(1))
    assert model.step_rewards(plans).std() > 1e-3


def test_an_additive_reward_judges_steps_one_by_one(spec: PlanSpec) -> None:
    model, plans = shake(AdditiveReward(spec)), windows(spec)
    torch.testing.assert_close(model.step_rewards(plans.flip(1)), model.step_rewards(plans).flip(1))


def test_entries_that_nobody_moves_are_seen_and_have_no_gradient(spec: PlanSpec) -> None:
    model, plans = shake(AdditiveReward(spec, unmoved=(1,), num_local=4)), windows(spec)
    other = plans.clone()
    other[..., 1] += 1
    assert not torch.allclose(model(plans), model(other))
    slope = reward_gradient(model, plans)
    assert (slope[..., 1] == 0).all()
    assert (slope[..., 0] != 0).all()


@pytest.mark.parametrize("features", [(0,), (1,), (1, 0)])
def test_features_restrict_what_an_additive_reward_sees(
    features: tuple[int, ...], action_spec: PlanSpec
) -> None:
    model = shake(AdditiveReward(action_spec, features=features))
    gradient = reward_gradient(model, windows(action_spec)).abs().amax((0, 1))
    assert [bool(entry > 0) for entry in gradient] == [entry in features for entry in range(6)]


@pytest.mark.parametrize("features", [(), (2,), (-1,), (0, 5)])
def test_features_that_are_not_there_are_refused(features: tuple[int, ...], spec: PlanSpec) -> None:
    with refused(SettingsError, place="features", value=features, remedy="0 to 1"):
        AdditiveReward(spec, features=features)


@pytest.mark.parametrize("features", [None, (0,), (1,)])
def test_a_reward_that_sees_actions_sees_all_of_them_beside_its_features(
    features: tuple[int, ...] | None, action_spec: PlanSpec
) -> None:
    model = AdditiveReward(action_spec, features=features, sees_actions=True, num_local=8)
    gradient = reward_gradient(shake(model), windows(action_spec)).abs().amax((0, 1))
    seen = {*((0, 1) if features is None else features), 2, 3, 4, 5}
    assert [bool(entry > 0) for entry in gradient] == [entry in seen for entry in range(6)]
    assert model.inputs.tolist() == sorted(seen)


def test_actions_that_plans_do_not_carry_cannot_be_seen(spec: PlanSpec) -> None:
    for settings in (AdditiveSettings(sees_actions=True), StagedSettings(sees_actions=True)):
        with refused(SettingsError, place="sees_actions", value=True, remedy="with_actions"):
            settings.build(spec)


@pytest.mark.parametrize("name", ["linear", "mlp", "conv"])
def test_rewards_of_whole_plans_need_not_be_told_to_see_actions(
    name: str, action_spec: PlanSpec
) -> None:
    with pytest.raises(TypeError, match="sees_actions"):
        REWARDS[name].Settings(sees_actions=True)
    model = shake(build_reward(name, action_spec))
    assert model.sees_actions
    gradient = reward_gradient(model, windows(action_spec)).abs().amax((0, 1))
    assert (gradient > 0).all()


def test_both_stages_see_actions_and_the_memory_does_not(action_spec: PlanSpec) -> None:
    model = StagedSettings(features=(1,), sees_actions=True).build(action_spec)
    assert isinstance(model, StagedReward)
    assert [part.inputs.tolist() for part in (model.before, model.after)] == [[1, 2, 3, 4, 5]] * 2
    assert model.memory.features.tolist() == [1]


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


def test_an_additive_reward_has_one_stage(spec: PlanSpec) -> None:
    model, plans = shake(AdditiveReward(spec)), windows(spec)
    assert torch.equal(model.stage_rewards(plans), model.step_rewards(plans)[..., None])


def staged(spec: PlanSpec, **options) -> StagedReward:
    """Its second stage begins near the middle of model space."""
    model = shake(StagedReward(spec, **{"memory_radius": 0.7} | options))
    assert isinstance(model, StagedReward)
    model.memory.place.zero_()
    return model


@pytest.fixture
def visiting(spec: PlanSpec) -> torch.Tensor:
    """Plans that reach the middle at the third plan step, at the first and never."""
    far, near = torch.full((2,), 5.0), torch.zeros(2)
    rows = [[far, far, near, far, far], [near, far, far, far, far], 5 * [far]]
    return torch.stack([torch.stack(row) for row in rows])


def test_a_staged_reward_is_one_until_the_visit_and_another_from_then_on(
    spec: PlanSpec, visiting: torch.Tensor
) -> None:
    model = staged(spec, hidden=(8,))
    before, after = model.before.step_rewards(visiting), model.after.step_rewards(visiting)
    expected = torch.stack(
        [torch.cat([before[0, :2], after[0, 2:]]), after[1], before[2]],
    )
    assert torch.equal(model.stage_rewards(visiting), torch.stack([before, after], -1))
    torch.testing.assert_close(model.step_rewards(visiting), expected)
    torch.testing.assert_close(model(visiting), expected.mean(1))
    assert (before - after).abs().min() > 1e-3


def test_what_came_before_decides_the_stage_of_a_staged_reward(
    spec: PlanSpec, visiting: torch.Tensor
) -> None:
    model = staged(spec, hidden=(8,))
    assert model.num_stages == 2
    remembered = model.observe(visiting)
    assert remembered.tolist() == [[False] * 2 + [True] * 3, [True] * 5, [False] * 5]
    again = model.observe(visiting.flip(0), remembered[:, -1])
    assert again.tolist() == [[True] * 5, [True] * 5, [False] * 2 + [True] * 3]
    for known, part in ((False, model.before), (True, model.after)):
        judge = given(model, torch.full((3,), known))
        torch.testing.assert_close(judge(visiting), part(visiting))
    mixed = given(model, torch.tensor([True, False, False]))(visiting)
    expected = [model.after(visiting)[0], *model.before(visiting)[1:]]
    torch.testing.assert_close(mixed, torch.stack(expected))


def test_before_a_place_is_known_a_staged_reward_stays_in_its_first_stage(
    spec: PlanSpec, visiting: torch.Tensor
) -> None:
    model = StagedReward(spec)
    assert torch.equal(model(visiting), model.before(visiting))
    assert not torch.equal(model(visiting), model.after(visiting))


def test_both_stages_of_a_staged_reward_have_the_same_make(action_spec: PlanSpec) -> None:
    model = StagedSettings(
        features=(1,), hidden=(8,), num_local=6, local_frequency=2.0, memory_radius=0.3
    ).build(action_spec)
    assert isinstance(model, StagedReward)
    for part in (model.before, model.after):
        assert part.inputs.tolist() == [1]
        assert [len(weights) for weights in part.network.parameters()] == [8, 8, 1, 1]
        assert part.local is not None
        assert part.local[0].directions.shape == (1, 6)
    assert (model.memory.features.tolist(), model.memory.radius) == ([1], 0.3)


def test_the_penalty_of_a_staged_reward_is_that_of_each_stage(spec: PlanSpec) -> None:
    model, plans = staged(spec, num_local=6), windows(spec)
    local = [part.local_rewards(plans) for part in (model.before, model.after)]
    assert torch.stack(local, -1).std(-1).min() > 0
    expected = sum(each.square().mean() for each in local)
    torch.testing.assert_close(model.penalty(plans), expected)
    assert model.is_penalized
    assert staged(spec).penalty(plans) == 0
    assert not staged(spec).is_penalized


def test_a_linear_reward_is_the_weighted_sum(spec: PlanSpec) -> None:
    model, plans = shake(LinearReward(spec)), windows(spec)
    expected = plans.flatten(1) @ model.weight.flatten()
    torch.testing.assert_close(model(plans), expected)


def test_the_thesis_network_has_four_layers(spec: PlanSpec) -> None:
    sizes = [tuple(w.shape) for w in MLPReward(spec).parameters() if w.ndim == 2]
    assert sizes == [(384, 10), (128, 384), (64, 128), (1, 64)]


@pytest.mark.parametrize("horizon", [1, 4, 7, 32])
def test_the_convolutions_take_any_horizon_and_halve_it(horizon: int) -> None:
    spec = PlanSpec(horizon, 1, 17, 6, with_actions=True)
    model, plans = shake(ConvReward(spec, hidden=(8, 16, 32))), windows(spec)
    features = model.convolutions(plans.transpose(1, 2))
    assert features.shape == (3, 16, -(-horizon // 4))
    expected = model.network(features.flatten(1)).squeeze(-1)
    assert torch.equal(model(plans), expected)
    assert expected.std() > 1e-4


def test_the_thesis_convolutions_are_of_five_steps_each(action_spec: PlanSpec) -> None:
    shapes = [tuple(w.shape) for w in ConvReward(action_spec).parameters() if w.ndim > 1]
    assert shapes == [(32, 6, 5), (64, 32, 5), (128, 64), (1, 128)]


def test_a_convolutional_reward_does_not_judge_steps_one_by_one(action_spec: PlanSpec) -> None:
    model, plans = shake(ConvReward(action_spec)), windows(action_spec)
    assert (model(plans.flip(1)) - model(plans)).abs().min() > 1e-4


def test_a_known_reward_is_evaluated_in_environment_units(action_diffuser: Diffuser) -> None:
    spec, normalizer = action_diffuser.spec, action_diffuser.normalizer
    known = TrueReward(lambda observations: observations[..., 0] ** 2, normalizer, spec)
    plans = windows(spec)
    expected = normalizer.unnormalize(plans)[..., 0] ** 2
    torch.testing.assert_close(known.step_rewards(plans), expected.float())
    torch.testing.assert_close(known(plans), expected.float().mean(1))


def test_an_unknown_reward_model_is_refused(spec: PlanSpec) -> None:
    with refused(UnknownPartError, place="rewards", value="deep", remedy="one of add"):
        build_reward("deep", spec)


def test_layers_without_units_and_convolutions_without_layers_are_refused(spec: PlanSpec) -> None:
    with refused(SettingsError, place="hidden", value=(8, 0), remedy="at least 1"):
        AdditiveSettings(hidden=(8, 0))
    with refused(SettingsError, place="hidden", value=(), remedy="'conv'"):
        ConvSettings(hidden=()).build(spec)
    assert AdditiveSettings(hidden=()).build(spec)(windows(spec)).shape == (len(windows(spec)),)


@pytest.mark.parametrize("name", ["linear", "mlp", "conv"])
def test_a_local_part_is_for_additive_rewards_alone(name: str, spec: PlanSpec) -> None:
    with pytest.raises(TypeError, match="num_local"):
        REWARDS[name].Settings(num_local=8)
    assert not build_reward(name, spec).is_penalized


@pytest.mark.parametrize(
    "changes", [{"num_local": -1}, {"local_frequency": -1.0}, {"memory_radius": -1.0}], ids=str
)
def test_settings_below_zero_are_refused(changes: dict) -> None:
    ((name, value),) = changes.items()
    with refused(SettingsError, place=name, value=value, remedy="at least 0"):
        StagedSettings(**changes)


@pytest.mark.parametrize("name", ["additive", "staged", "mlp", "conv"])
def test_second_derivatives_stay_finite_far_outside_the_data(name: str) -> None:
    spec = PlanSpec(3, 1, 2, 1)
    model = build_reward(name, spec)
    plan = 1e4 * torch.randn((4, 3, 2), generator=seeded(), dtype=torch.float32)
    plan.requires_grad_()
    (gradient,) = torch.autograd.grad(model(plan).sum(), plan, create_graph=True)
    gradient.square().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    assert bool(plan.grad.isfinite().all())
