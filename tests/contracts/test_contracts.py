"""One battery an interface, run over every implementation of it."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tiny import given, seeded, shake, tiny_diffuser, tiny_reward, tiny_staged_reward
from trailward.acting.planner import PlanFollower, Planner, Policy
from trailward.checkpoint import with_tuples
from trailward.data.normalizer import NORMALIZERS, fit_limits
from trailward.data.plan import PlanSpec
from trailward.diffusion.adjoint import Adjoint, parse_adjoint
from trailward.diffusion.denoiser import PARAMETERIZATIONS, Denoiser
from trailward.diffusion.diffuser import DenoiserConfig, SamplingConfig
from trailward.diffusion.guide import GUIDES, CleanGuide, Guide, NoGuide, NoisyGuide
from trailward.diffusion.networks import NETWORKS
from trailward.diffusion.sampler import parse_reverse_step
from trailward.diffusion.schedule import NoiseSchedule, cosine_schedule
from trailward.learning.config import PlanningConfig
from trailward.objectives.direct import (
    DIRECT_OBJECTIVES,
    DirectObjective,
    GuidedDenoiser,
    direct_loss,
)
from trailward.objectives.matching import OBJECTIVES, Objective
from trailward.rewards import (
    REWARDS,
    AdditiveReward,
    RewardModel,
    RewardSettings,
    StagedReward,
    TrueReward,
    build_reward,
)
from trailward.rewards.avoided import Avoided, TollReward, WayRound
from trailward.rewards.contract import from_config
from trailward.rewards.known_region import KnownRegion, PessimisticReward
from trailward.rewards.value import RewardToGo, Value

STATES = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=3)
ACTIONS = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=1, with_actions=True)
SPECS = [STATES, ACTIONS]
SAMPLING = SamplingConfig(num_steps=3, stop_step=0)


def plans_of(spec: PlanSpec, seed: int = 0) -> Tensor:
    return torch.randn((4, spec.horizon, spec.transition_dim), generator=seeded(seed))


@dataclass
class Untouched:
    """Calls a function twice; its arguments must stay as they are and its results be the same."""

    function: Callable[..., Tensor]

    def __call__(self, *arguments: Tensor) -> Tensor:
        before = [argument.clone() for argument in arguments]
        first, second = self.function(*arguments), self.function(*arguments)
        assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))
        assert torch.equal(first, second)
        assert torch.isfinite(first).all()
        assert first.dtype == torch.float32
        return first


@pytest.mark.parametrize("make", [cosine_schedule, partial(cosine_schedule, offset=0.02)])
@pytest.mark.parametrize("num_steps", [1, 2, 20, 256])
class TestSchedules:
    def test_signal_falls_within_zero_and_one(
        self, make: Callable[[int], NoiseSchedule], num_steps: int
    ) -> None:
        schedule = make(num_steps)
        signals = np.array([1.0, *schedule.alpha_bars])
        assert schedule.num_steps == num_steps
        assert (np.diff(signals) < 0).all()
        assert (signals > 0).all()

    def test_moves_lead_from_the_noisiest_step_to_the_clean_end(
        self, make: Callable[[int], NoiseSchedule], num_steps: int
    ) -> None:
        moves = make(num_steps).moves(max(1, num_steps // 2))
        assert moves[0].step == num_steps - 1
        assert moves[-1].alpha_bar_next == 1
        assert all(0 < move.beta < 1 for move in moves)
        assert all(0 <= move.posterior_variance <= move.beta for move in moves)
        assert moves == make(num_steps).moves(max(1, num_steps // 2))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("spec", SPECS, ids=["states", "actions"])
class TestDenoisers:
    def build(self, spec: PlanSpec, network: str, parameterization: str) -> Denoiser:
        config = DenoiserConfig(network, 8, 1, (1, 2), parameterization, 8)
        return shake(config.build(spec)[0])

    def test_clean_estimates_have_the_shape_of_noisy_plans(
        self, spec: PlanSpec, network: str, parameterization: str
    ) -> None:
        denoiser = self.build(spec, network, parameterization)
        assert isinstance(denoiser, Denoiser)
        estimate = Untouched(denoiser)(plans_of(spec), torch.tensor([0, 3, 5, 6]))
        assert estimate.shape == (4, spec.horizon, spec.transition_dim)

    def test_estimates_are_differentiable_in_the_noisy_plan(
        self, spec: PlanSpec, network: str, parameterization: str
    ) -> None:
        noisy = plans_of(spec).requires_grad_()
        denoiser = self.build(spec, network, parameterization)
        denoiser(noisy, torch.tensor([0, 3, 5, 6])).sum().backward()
        assert (noisy.grad.abs().sum((1, 2)) > 0).all()


@pytest.mark.parametrize("name", ["ddpm", "ddim", "ddim:0.3", "ddim:1"])
@pytest.mark.parametrize("num_moves", [1, 4, 8])
class TestReverseSteps:
    def test_less_noisy_plans_have_the_shape_of_noisy_ones(self, name: str, num_moves: int) -> None:
        noisy, clean, noise = (plans_of(STATES, seed) for seed in range(3))
        for move in cosine_schedule(8).moves(num_moves):
            step = Untouched(lambda a, b, c, m=move: parse_reverse_step(name)(a, b, m, c))
            assert step(noisy, clean, noise).shape == noisy.shape

    def test_the_last_move_ends_at_the_clean_estimate(self, name: str, num_moves: int) -> None:
        noisy, clean, noise = (plans_of(STATES, seed) for seed in range(3))
        move = cosine_schedule(8).moves(num_moves)[-1]
        torch.testing.assert_close(parse_reverse_step(name)(noisy, clean, move, noise), clean)

    def test_a_right_estimate_leads_to_the_right_noise(self, name: str, num_moves: int) -> None:
        """Mean and variance of ``x = sqrt(a) x0 + sqrt(1 - a) noise`` are kept along the chain."""
        clean, noise, fresh = torch.randn((3, 100_000, 1, 1), generator=seeded())
        clean = 0 * clean + 2
        for move in cosine_schedule(8).moves(num_moves):
            noisy = move.alpha_bar**0.5 * clean + (1 - move.alpha_bar) ** 0.5 * noise
            plan = parse_reverse_step(name)(noisy, clean, move, fresh)
            assert plan.mean() == pytest.approx(2 * move.alpha_bar_next**0.5, abs=0.02)
            assert plan.var() == pytest.approx(1 - move.alpha_bar_next, abs=0.02)


@functools.cache
class LastStepReward(RewardModel):
    """Somebody else's: it has ``step_rewards`` and nothing else."""

    def __init__(self, spec: PlanSpec) -> None:
        super().__init__(spec)
        self.network = nn.Linear(spec.transition_dim, 1)

    def step_rewards(self, plan: Tensor, past: Tensor | None = None) -> Tensor:
        return torch.tanh(self.network(plan)).squeeze(-1)


@functools.cache
def rewards(spec: PlanSpec) -> dict[str, RewardModel]:
    diffuser = tiny_diffuser(spec)
    models = {name: shake(build_reward(name, spec), size=0.5) for name in REWARDS}
    value, values = (shake(Value(spec, width=8, num_stages=n), size=0.5) for n in (1, 2))
    staged = shake(StagedReward(spec, hidden=(8, 8), memory_radius=0.6), size=0.5)
    staged.memory.place.zero_()
    additive = shake(AdditiveReward(spec, hidden=(8, 8)), size=0.5)
    acting = AdditiveReward(spec, hidden=(8, 8), sees_actions=spec.with_actions)
    region = KnownRegion(torch.zeros(1, 2), torch.tensor(3.0), torch.tensor(-2.0))
    avoided = Avoided(
        places=torch.zeros(1, 2),
        tolls=torch.tensor([4.0]),
        width=torch.ones(2),
        worth=torch.tensor(0.5),
        seen=torch.tensor([0, 1]),
        nodes=torch.tensor([[0.5, 0.0], [0.0, 1.0]]),
        ahead=torch.tensor([1, 1]),
        arrivals=torch.zeros(2, spec.transition_dim),
    )
    return {
        **models,
        "staged": staged,
        "additive": additive,
        "known": TrueReward(lambda obs: obs.square().sum(-1), diffuser.normalizer, spec),
        "value": value,
        "reward to go": RewardToGo(additive, value),
        "plan to go": RewardToGo(models["mlp"], value),
        "local": shake(AdditiveReward(spec, hidden=(8, 8), num_local=8), size=0.5),
        "acting": shake(acting, size=0.5),
        "staged to go": RewardToGo(staged, values),
        "pessimistic": PessimisticReward(additive, region),
        "pessimistic stages": PessimisticReward(staged, region),
        "toll": TollReward(additive, avoided),
        "way round": WayRound(spec, avoided),
        "third party": shake(LastStepReward(spec), size=0.5),
    }


WHOLE = ["linear", "mlp", "conv", "plan to go", "way round"]
THAT_REMEMBER = ["staged", "staged to go", "pessimistic stages"]


@pytest.mark.parametrize("name", rewards(STATES))
@pytest.mark.parametrize("spec", SPECS, ids=["states", "actions"])
class TestRewardModels:
    def test_every_plan_gets_one_number(self, name: str, spec: PlanSpec) -> None:
        model = rewards(spec)[name]
        assert isinstance(model, RewardModel)
        assert Untouched(model)(plans_of(spec)).shape == (4,)

    def test_plans_are_judged_by_themselves(self, name: str, spec: PlanSpec) -> None:
        model, plans = rewards(spec)[name], plans_of(spec)
        alone = torch.cat([model(plan[None]) for plan in plans])
        torch.testing.assert_close(model(plans), alone, rtol=2e-5, atol=1e-4)

    def test_rewards_are_differentiable_in_the_plan(self, name: str, spec: PlanSpec) -> None:
        plans = plans_of(spec).requires_grad_()
        rewards(spec)[name](plans).sum().backward()
        assert (plans.grad.abs().sum((1, 2)) > 0).all()

    def test_a_reward_of_steps_is_the_mean_of_its_steps(self, name: str, spec: PlanSpec) -> None:
        model, plans = rewards(spec)[name], plans_of(spec)
        assert model.per_step == (name not in WHOLE)
        if model.per_step:
            steps = model.step_rewards(plans)
            assert steps.shape == (4, spec.horizon)
            torch.testing.assert_close(steps.mean(1), model(plans))
        else:
            with pytest.raises(TypeError, match="is of whole plans"):
                model.step_rewards(plans)

    def test_it_sees_its_inputs_and_nothing_else(self, name: str, spec: PlanSpec) -> None:
        model, plans = rewards(spec)[name], plans_of(spec).requires_grad_()
        model(plans).sum().backward()
        seen = plans.grad.abs().amax((0, 1)).nonzero().flatten().tolist()
        assert set(seen) <= set(model.inputs.tolist())
        assert model.sees_actions == any(entry >= 2 for entry in model.inputs.tolist())

    def test_the_contract_is_total(self, name: str, spec: PlanSpec) -> None:
        model, plans = rewards(spec)[name], plans_of(spec)
        stages = model.observe(plans)
        assert stages.shape == (4, spec.horizon)
        assert stages.dtype == torch.long
        assert (stages < model.num_stages).all()
        assert (model.num_stages == 2) == (name in THAT_REMEMBER)
        torch.testing.assert_close(model(plans, stages), model(plans))
        assert model.penalty(plans).shape == ()
        assert len(model.members()) >= 1
        torch.testing.assert_close(
            torch.stack([member(plans) for member in model.members()]).mean(0), model(plans)
        )
        assert model.separately()(plans[:2]).shape == (2,)
        assert isinstance(model.settings, RewardSettings)

    def test_settings_build_it_again(self, name: str, spec: PlanSpec) -> None:
        if name not in REWARDS:
            return
        model = rewards(spec)[name]
        kept = json.dumps(model.to_config())
        again = from_config(with_tuples(json.loads(kept)), spec)  # as folders are loaded
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(plans_of(spec)), model(plans_of(spec)))


@pytest.mark.parametrize("name", THAT_REMEMBER)
@pytest.mark.parametrize("spec", SPECS, ids=["states", "actions"])
class TestRewardsThatRemember:
    def model(self, name: str, spec: PlanSpec) -> RewardModel:
        return rewards(spec)[name]

    def test_a_past_in_which_nothing_came_changes_nothing(self, name: str, spec: PlanSpec) -> None:
        model, plans = self.model(name, spec), plans_of(spec)
        nothing = torch.zeros(4, dtype=torch.long)
        assert torch.equal(model.observe(plans, nothing), model.observe(plans))

    def test_what_is_remembered_is_not_forgotten(self, name: str, spec: PlanSpec) -> None:
        model, plans = self.model(name, spec), plans_of(spec)
        found = model.observe(plans)
        assert found.shape == (4, spec.horizon)
        assert not found.all()
        assert (found[:, 1:] >= found[:, :-1]).all()
        assert model.observe(plans, torch.ones(4, dtype=torch.long)).all()

    @pytest.mark.parametrize("step", range(1, 5))
    def test_a_plan_in_two_parts_is_the_plan_as_a_whole(
        self, step: int, name: str, spec: PlanSpec
    ) -> None:
        """What is remembered of it; the second part begins with the end of the first."""
        model, plans = self.model(name, spec), plans_of(spec)
        first = model.observe(plans[:, :step])
        then = model.observe(plans[:, step - 1 :], first[:, -1])
        assert torch.equal(torch.cat([first, then[:, 1:]], 1), model.observe(plans))

    @pytest.mark.parametrize("past", [0, 1])
    def test_plans_are_judged_in_the_stage_they_begin_in(
        self, past: int, name: str, spec: PlanSpec
    ) -> None:
        """So each step counts as it would alone."""
        model, plans = self.model(name, spec), plans_of(spec)
        judge = given(model, torch.full((4,), past))
        alone = torch.stack([judge(step) for step in plans.split(1, dim=1)])
        judged = Untouched(judge)(plans)
        assert judged.shape == (4,)
        torch.testing.assert_close(judged, alone.mean(0))

    def test_a_model_by_itself_switches_along_the_plan(self, name: str, spec: PlanSpec) -> None:
        model, plans = self.model(name, spec), plans_of(spec)
        found = model.observe(plans)
        switches = found[:, 0] != found[:, -1]
        differs = (given(model, found[:, 0])(plans) - model(plans)).abs() > 1e-5
        assert torch.equal(differs, switches)
        assert switches.any()
        assert not switches.all()

    def test_each_plan_has_its_own_past(self, name: str, spec: PlanSpec) -> None:
        model, plans = self.model(name, spec), plans_of(spec)
        one = torch.tensor([True, False, False, False])
        changed = given(model, one)(plans) != given(model, one & False)(plans)
        assert changed.tolist() == one.tolist()


def guides(spec: PlanSpec) -> dict[str, Guide]:
    reward = rewards(spec)["additive"]
    assert set(GUIDES.values()) == {NoisyGuide, CleanGuide}
    return {
        "none": NoGuide(),
        "noisy": NoisyGuide(reward, stop_step=2),
        "noisy without variance": NoisyGuide(reward, use_variance=False, stop_step=2),
        "clean": CleanGuide(reward, stop_step=2),
    }


@pytest.mark.parametrize("name", guides(STATES))
@pytest.mark.parametrize("spec", SPECS, ids=["states", "actions"])
class TestGuides:
    def test_corrections_have_the_shape_of_plans(self, name: str, spec: PlanSpec) -> None:
        guide = guides(spec)[name]
        assert isinstance(guide, Guide)
        assert guide.repeats >= 0
        for move in cosine_schedule(8).moves(4):
            for correct in (guide.on_noisy, guide.on_clean):
                correction = Untouched(lambda plan, m=move, c=correct: c(plan, m))(plans_of(spec))
                assert correction.shape == (4, spec.horizon, spec.transition_dim)

    def test_corrections_are_the_same_where_gradients_are_off(
        self, name: str, spec: PlanSpec
    ) -> None:
        guide, move = guides(spec)[name], cosine_schedule(8).moves(4)[1]
        for correct in (guide.on_noisy, guide.on_clean):
            with torch.no_grad():
                correction = correct(plans_of(spec), move)
            torch.testing.assert_close(correction, correct(plans_of(spec), move))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("masked", [False, True])
class TestObjectives:
    def mask(self, masked: bool) -> Tensor | None:
        return torch.arange(5).expand(4, 5) < torch.tensor([[5], [3], [1], [4]]) if masked else None

    def test_one_finite_number_comes_out(self, name: str, masked: bool) -> None:
        objective, mask = OBJECTIVES[name], self.mask(masked)
        assert isinstance(objective, Objective)
        compare = Untouched(lambda a, b: objective(a, b, mask))
        assert compare(plans_of(STATES), plans_of(STATES, 1)).shape == ()

    def test_equal_plans_are_at_most_as_far_as_any_others(self, name: str, masked: bool) -> None:
        objective, mask, plans = OBJECTIVES[name], self.mask(masked), plans_of(STATES)
        same = objective(plans, plans.clone(), mask)
        assert same < objective(plans, plans + 1, mask)

    def test_a_gradient_step_brings_plans_closer(self, name: str, masked: bool) -> None:
        objective, mask = OBJECTIVES[name], self.mask(masked)
        plans, demonstrations = plans_of(STATES).requires_grad_(), plans_of(STATES, 1) + 0.5
        before = objective(plans, demonstrations, mask)
        (gradient,) = torch.autograd.grad(before, plans)
        assert torch.isfinite(gradient).all()
        assert objective(plans - 0.1 * gradient, demonstrations, mask) < before


@pytest.mark.parametrize("name", DIRECT_OBJECTIVES)
@pytest.mark.parametrize("spec", SPECS, ids=["states", "actions"])
class TestDirectObjectives:
    def loss(self, name: str, spec: PlanSpec, reward: RewardModel) -> Tensor:
        objective, diffuser = DIRECT_OBJECTIVES[name], tiny_diffuser(spec)
        mask = torch.arange(5).expand(4, 5) < torch.tensor([[5], [3], [1], [4]])
        batches = [(plans_of(spec), mask), (plans_of(spec, 1) - 1, mask | True)]
        return direct_loss(
            objective,
            GuidedDenoiser(diffuser.denoiser, SAMPLING, reward, lambda noisy, step: 0 * noisy),
            diffuser,
            batches[: 1 + objective.needs_play],
            generator=seeded(),
        )

    def test_one_finite_number_comes_out(self, name: str, spec: PlanSpec) -> None:
        reward = tiny_reward(tiny_diffuser(spec)).model
        assert isinstance(DIRECT_OBJECTIVES[name], DirectObjective)
        loss = self.loss(name, spec, reward)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert torch.equal(loss, self.loss(name, spec, reward))

    def test_a_gradient_step_lowers_it(self, name: str, spec: PlanSpec) -> None:
        reward = tiny_reward(tiny_diffuser(spec)).model
        before = self.loss(name, spec, reward)
        before.backward()
        torch.optim.SGD(reward.parameters(), lr=1e-3).step()
        assert self.loss(name, spec, reward) < before


def policies(spec: PlanSpec) -> dict[str, Callable[[], Policy]]:
    diffuser = tiny_diffuser(spec)
    reward, staged = tiny_reward(diffuser).model, tiny_staged_reward(diffuser).model
    return {
        "planner": lambda: Planner(diffuser, SAMPLING, planning=PlanningConfig(replan_every=2)),
        "guided planner": lambda: Planner(
            diffuser, SAMPLING, reward, PlanningConfig(num_candidates=3)
        ),
        "planner that chooses by reward": lambda: Planner(
            diffuser, SAMPLING, reward, PlanningConfig(num_candidates=3, choose="reward")
        ),
        "noisily guided planner": lambda: Planner(
            diffuser, replace(SAMPLING, guide="noisy", sampler="ddpm"), reward
        ),
        "planner that remembers": lambda: Planner(
            diffuser, SAMPLING, staged, planning=PlanningConfig(num_candidates=3, replan_every=2)
        ),
        "follower": lambda: PlanFollower(diffuser, plans_of(spec)),
    }


@pytest.mark.parametrize("name", policies(STATES))
@pytest.mark.parametrize("spec", SPECS, ids=["states", "actions"])
class TestPolicies:
    observations = np.random.default_rng(0).standard_normal((4, 2))

    def act(self, policy: Policy) -> np.ndarray:
        return np.stack([policy(self.observations + time) for time in range(4)])

    def test_every_environment_gets_an_action(self, name: str, spec: PlanSpec) -> None:
        policy, before = policies(spec)[name](), self.observations.copy()
        assert isinstance(policy, Policy)
        actions = self.act(policy)
        assert actions.shape == (4, 4, spec.action_dim)
        assert actions.dtype == np.float64
        assert np.isfinite(actions).all()
        assert np.array_equal(self.observations, before)

    def test_a_reset_policy_acts_as_a_new_one(self, name: str, spec: PlanSpec) -> None:
        policy = policies(spec)[name]()
        first = self.act(policy)
        policy.reset()
        assert np.array_equal(self.act(policy), first)
        assert np.array_equal(self.act(policies(spec)[name]()), first)


@pytest.mark.parametrize("name", NORMALIZERS)
class TestNormalizers:
    @pytest.mark.parametrize("num_samples", [1, 2, 50])
    def test_there_and_back_is_the_identity(self, name: str, num_samples: int) -> None:
        data = torch.randn((num_samples, 3), generator=seeded()) * torch.tensor([1e-3, 1, 1e3])
        normalizer = NORMALIZERS[name](data)
        normalized = Untouched(normalizer.normalize)(data)
        assert normalized.shape == data.shape
        back = normalizer.unnormalize(normalized)  # in 64 bits
        torch.testing.assert_close(back, data.double(), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("num_samples", [2, 50])
    def test_units_do_not_matter(self, name: str, num_samples: int) -> None:
        data = torch.randn((num_samples, 3), generator=seeded())
        scaled = 64 * data + 32
        torch.testing.assert_close(
            NORMALIZERS[name](data).normalize(data),
            NORMALIZERS[name](scaled).normalize(scaled),
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize("name", ["full", "checkpointed", "last:1", "last:9"])
@pytest.mark.parametrize("steps_left", [1, 2, 9])
def test_adjoints_keep_the_values(name: str, steps_left: int) -> None:
    adjoint = parse_adjoint(name)
    assert isinstance(adjoint, Adjoint)
    advance = lambda plan, noise: torch.tanh(plan) + 0.1 * noise
    step = Untouched(adjoint(advance, steps_left))
    plan, noise = plans_of(STATES).requires_grad_(), plans_of(STATES, 1)
    assert torch.equal(step(plan, noise), advance(plan, noise))


def test_fitting_does_not_touch_the_data() -> None:
    data = plans_of(STATES).flatten(0, 1)
    before = data.clone()
    fit_limits(data)
    assert torch.equal(data, before)
