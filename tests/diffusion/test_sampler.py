from collections.abc import Sequence
from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from refusals import refused
from tiny import seeded
from trailward.data.plan import PlanSpec
from trailward.diffusion.conditioning import Condition, condition_on
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.guide import CleanGuide, Guide, NoisyGuide
from trailward.diffusion.sampler import (
    ReverseStep,
    ddim_step,
    ddpm_step,
    parse_reverse_step,
    sample,
)
from trailward.diffusion.schedule import Move, cosine_schedule
from trailward.errors import SettingsError

NUM_STEPS = 20
SCHEDULE = cosine_schedule(NUM_STEPS)
COSINE = {
    "num_train_timesteps": NUM_STEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "clip_sample": False,
}
SHAPE = (3, 5, 2)


def clean_estimate(noisy: Tensor, step: int) -> Tensor:
    return torch.tanh(0.7 * noisy) + 0.01 * step


def assert_same_steps(
    scheduler: DDPMScheduler | DDIMScheduler,
    moves: Sequence[Move],
    reverse_step: ReverseStep,
    **options: float,
) -> None:
    """Both walk from the same plan with the same noise; every plan on the way must be the same."""
    assert [move.step for move in moves] == scheduler.timesteps.tolist()
    ours = theirs = torch.randn(SHAPE, generator=seeded())
    for move in moves:
        noise = torch.randn(SHAPE, generator=seeded(move.step))
        ours = reverse_step(ours, clean_estimate(ours, move.step), move, noise)
        theirs = scheduler.step(
            clean_estimate(theirs, move.step),
            move.step,
            theirs,
            generator=seeded(move.step),
            **options,
        ).prev_sample
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_ddpm_equals_that_of_diffusers_over_the_full_chain() -> None:
    scheduler = DDPMScheduler(**COSINE)
    scheduler.set_timesteps(NUM_STEPS)
    assert_same_steps(scheduler, SCHEDULE.moves(NUM_STEPS), ddpm_step)


@pytest.mark.parametrize("num_moves", [1, 3, 7])
def test_ddpm_equals_that_of_diffusers_with_fewer_steps(num_moves: int) -> None:
    scheduler, moves = DDPMScheduler(**COSINE), SCHEDULE.moves(num_moves)
    scheduler.set_timesteps(timesteps=[move.step for move in moves])
    assert_same_steps(scheduler, moves, ddpm_step)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_moves", [1, 4, 5, NUM_STEPS])
def test_ddim_equals_that_of_diffusers(num_moves: int, eta: float) -> None:
    scheduler = DDIMScheduler(**COSINE, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler.set_timesteps(num_moves)
    moves = SCHEDULE.moves(num_moves)
    assert_same_steps(scheduler, moves, partial(ddim_step, eta=eta), eta=eta)


def test_ddim_with_eta_one_is_ddpm() -> None:
    noisy, clean, noise = torch.randn((3, *SHAPE), generator=seeded()).double()
    for move in SCHEDULE.moves(6):
        torch.testing.assert_close(
            ddim_step(noisy, clean, move, noise, eta=1.0), ddpm_step(noisy, clean, move, noise)
        )


@pytest.mark.parametrize("name", ["ddpm", "ddim", "ddim:0.5"])
@pytest.mark.parametrize("kind", [NoisyGuide, CleanGuide])
def test_known_entries_hold_after_every_step(
    name: str, kind: type[Guide], spec: PlanSpec, diffuser: Diffuser
) -> None:
    first, last = torch.randn((2, 3, 2), generator=seeded(1))
    condition = condition_on(spec, first, last)
    seen = []

    def watched(noisy: Tensor, clean: Tensor, move: Move, noise: Tensor) -> Tensor:
        seen.append(noisy)
        return parse_reverse_step(name)(noisy, clean, move, noise)

    plan = sample(
        diffuser.denoiser,
        diffuser.schedule.moves(6),
        condition,
        generator=seeded(),
        reverse_step=watched,
        guide=kind(lambda plan: plan.sum((1, 2)), stop_step=0),
    )
    assert len(seen) == 6
    for at_step in [*seen, plan]:
        assert torch.equal(at_step[:, 0, :2], first)
        assert torch.equal(at_step[:, -1, :2], last)
        assert not torch.equal(at_step[:, 1], at_step[:, 0])


@pytest.mark.parametrize("kind", [NoisyGuide, CleanGuide])
def test_a_guide_sees_the_known_entries_as_they_are(
    kind: type[Guide], spec: PlanSpec, diffuser: Diffuser
) -> None:
    seen = []

    def watching(plan: Tensor) -> Tensor:
        seen.append(plan)
        return plan.sum((1, 2))

    sample_three(spec, diffuser, "ddim", kind(watching, stop_step=0))
    first = torch.randn((3, 2), generator=seeded(1))
    assert len(seen) >= 6
    assert all(torch.equal(plan[:, 0], first) for plan in seen)


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
@pytest.mark.parametrize("kind", [NoisyGuide, CleanGuide])
def test_a_guide_of_scale_zero_changes_not_one_bit(
    name: str, kind: type[Guide], spec: PlanSpec, diffuser: Diffuser
) -> None:
    guides = [None, kind(lambda plan: plan.square().sum((1, 2)), scale=0.0, stop_step=0)]
    unguided, guided = (sample_three(spec, diffuser, name, guide) for guide in guides)
    assert torch.equal(unguided, guided)


@pytest.mark.parametrize("kind", [NoisyGuide, CleanGuide])
def test_a_guide_moves_the_plan_towards_reward(kind: type[Guide], spec: PlanSpec) -> None:
    reward = lambda plan: plan.mean((1, 2))
    unguided, guided = (
        sample(
            lambda noisy, step: 0.5 * noisy,
            SCHEDULE.moves(6),
            condition_on(spec, torch.zeros(3, 2)),
            generator=seeded(),
            guide=kind(reward, scale=scale, stop_step=0),
        )
        for scale in (0.0, 1.0)
    )
    assert (reward(guided) > reward(unguided)).all()


def test_the_same_seed_gives_the_same_plan_and_another_seed_another(
    spec: PlanSpec, diffuser: Diffuser
) -> None:
    plans = [sample_three(spec, diffuser, "ddpm", None, seed=seed) for seed in (5, 5, 6)]
    assert torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_at_temperature_zero_the_seed_does_not_matter(
    name: str, spec: PlanSpec, diffuser: Diffuser
) -> None:
    cold, other, usual = (
        sample_three(spec, diffuser, name, None, seed=seed, temperature=temperature)
        for seed, temperature in ((5, 0.0), (6, 0.0), (5, 1.0))
    )
    assert torch.equal(cold, other)
    assert not torch.equal(cold, usual)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_is_the_deviation_of_all_noise(
    temperature: float, spec: PlanSpec, diffuser: Diffuser
) -> None:
    seen = {}

    def watched(noisy: Tensor, clean: Tensor, move: Move, noise: Tensor) -> Tensor:
        seen.setdefault(watched_at, []).append((noisy, noise))
        return ddpm_step(noisy, clean, move, noise)

    for watched_at in (1.0, temperature):
        sample(
            diffuser.denoiser,
            diffuser.schedule.moves(3),
            condition_on(spec, torch.zeros(3, 2)),
            generator=seeded(),
            reverse_step=watched,
            temperature=watched_at,
        )
    torch.testing.assert_close(seen[temperature][0][0], temperature * seen[1.0][0][0])
    for (_, ours), (_, theirs) in zip(seen[temperature], seen[1.0], strict=True):
        torch.testing.assert_close(ours, temperature * theirs)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_cold_plans_vary_less_by_as_much(temperature: float) -> None:
    """Play data is standard normal; along DDIM its exact denoiser leaves the noise's deviation."""
    alpha_bars = torch.tensor(SCHEDULE.alpha_bars)
    spec = PlanSpec(2, 1, 1, 1)
    plans = sample(
        lambda noisy, step: alpha_bars[step].sqrt().view(-1, 1, 1) * noisy,
        SCHEDULE.moves(NUM_STEPS),
        condition_on(spec, torch.zeros(20_000, 1)),
        generator=seeded(),
        temperature=temperature,
    )
    deviation = 1.0  # of the first noise; each move multiplies by what DDIM does to it
    for move in SCHEDULE.moves(NUM_STEPS):
        a, b = move.alpha_bar, move.alpha_bar_next
        deviation *= (a * b) ** 0.5 + ((1 - a) * (1 - b)) ** 0.5
    assert deviation == pytest.approx(1, abs=0.15)
    assert plans[:, 1].mean() == pytest.approx(0, abs=0.02)
    assert plans[:, 1].std() == pytest.approx(temperature * deviation, rel=0.03)


def test_a_diffuser_samples_at_the_temperature_of_its_settings(diffuser: Diffuser) -> None:
    first, settings = torch.zeros(3, 2), SamplingConfig(num_steps=3, temperature=0.0)
    plans = [diffuser.sample_plans(first, settings, generator=seeded(seed)) for seed in (0, 1)]
    assert torch.equal(*plans)
    warm = diffuser.sample_plans(first, SamplingConfig(num_steps=3), generator=seeded())
    assert not torch.equal(plans[0], warm)


def test_a_temperature_below_zero_is_refused() -> None:
    with refused(SettingsError, place="temperature", value=-0.5, remedy="at least 0"):
        SamplingConfig(temperature=-0.5)


def test_sampling_leaves_the_condition_as_it_is(spec: PlanSpec, diffuser: Diffuser) -> None:
    condition = condition_on(spec, torch.ones(3, 2))
    before = condition.values.clone()
    sample(diffuser.denoiser, diffuser.schedule.moves(2), condition, generator=seeded())
    assert torch.equal(condition.values, before)


def test_a_diffuser_plans_between_the_ends_it_is_given(diffuser: Diffuser) -> None:
    first, last = torch.randn((2, 3, 2), generator=seeded(1))
    sampling = SamplingConfig(num_steps=3)
    plans = diffuser.sample_plans(first, sampling, generator=seeded(), last=last)
    assert torch.equal(plans[:, 0], first)
    assert torch.equal(plans[:, -1], last)


def test_a_condition_writes_known_entries_and_leaves_its_argument() -> None:
    plan = torch.zeros(1, 2, 2)
    known = torch.tensor([[[True, False], [False, False]]])
    conditioned = Condition(known, torch.ones(1, 2, 2))(plan)
    assert conditioned.tolist() == [[[1, 0], [0, 0]]]
    assert plan.abs().max() == 0


def test_conditions_on_plans_with_actions_fix_observations_only(action_spec: PlanSpec) -> None:
    condition = condition_on(action_spec, torch.ones(1, 2), 2 * torch.ones(1, 2))
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[0, :2] = expected[-1, :2] = True
    assert torch.equal(condition.known[0], expected)
    plan = condition(torch.zeros(1, 4, 6))[0]
    assert plan[0].tolist() == [1, 1, 0, 0, 0, 0]
    assert plan[-1].tolist() == [2, 2, 0, 0, 0, 0]


@pytest.mark.parametrize("eta", [0.0, 0.25, 1.0])
def test_reverse_steps_are_found_by_name(eta: float) -> None:
    plans, move = torch.randn((3, *SHAPE), generator=seeded()), SCHEDULE.moves(5)[1]
    by_name = parse_reverse_step(f"ddim:{eta}")(plans[0], plans[1], move, plans[2])
    assert torch.equal(by_name, ddim_step(plans[0], plans[1], move, plans[2], eta=eta))
    assert parse_reverse_step("ddim") is ddim_step
    assert parse_reverse_step("ddpm") is ddpm_step


@pytest.mark.parametrize(
    "name", ["", "euler", "ddpm:1", "ddim:", "ddim:1.5", "ddim:-1", "ddim:x", "ddim:.", "DDIM"]
)
def test_an_unknown_reverse_step_is_refused(name: str) -> None:
    with refused(SettingsError, place="sampler", value=name, remedy="ddpm, ddim or ddim:ETA"):
        parse_reverse_step(name)


def sample_three(
    spec: PlanSpec,
    diffuser: Diffuser,
    name: str,
    guide: Guide | None,
    *,
    seed: int = 0,
    temperature: float = 1.0,
) -> Tensor:
    return sample(
        diffuser.denoiser,
        diffuser.schedule.moves(6),
        condition_on(spec, torch.randn((3, 2), generator=seeded(1))),
        generator=seeded(seed),
        reverse_step=parse_reverse_step(name),
        guide=guide,
        temperature=temperature,
    )


def test_plans_near_others_are_nearer_to_them_than_those_from_noise(diffuser: Diffuser) -> None:
    first = torch.zeros(4, 2)
    sampling = SamplingConfig(num_steps=8)
    others = torch.ones(4, diffuser.spec.horizon, diffuser.spec.transition_dim)
    plain = diffuser.sample_plans(first, sampling, generator=seeded())
    near = diffuser.sample_plans(first, sampling, generator=seeded(), near=others)
    assert torch.equal(near[:, 0], plain[:, 0])
    seen: list[Move] = []
    moves = diffuser.schedule.moves(8)[6:]
    sample(
        diffuser.denoiser,
        moves,
        condition_on(diffuser.spec, first),
        generator=seeded(),
        near=others,
        callback=lambda move, plan: seen.append(move),
    )
    assert seen == moves
    assert not torch.equal(near, plain)
