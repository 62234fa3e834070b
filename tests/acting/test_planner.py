from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oracles import GaussianWorld
from refusals import refused
from tiny import ToldReward, ToldWholeReward, given, seeded, tiny_diffuser, tiny_reward
from trailward import randomness
from trailward.acting.planner import PlanFollower, Planner, Policy
from trailward.data.episode import Columns
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.schedule import cosine_schedule
from trailward.errors import DataError, SettingsError
from trailward.learning.config import PlanningConfig
from trailward.rewards.staged import Memory

SAMPLING = SamplingConfig(num_steps=3, stop_step=0)
OBSERVATIONS = np.random.default_rng(0).standard_normal((4, 2))


class Counting(nn.Module):
    """A denoiser that counts how often it is asked."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser, self.calls = denoiser, 0

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        self.calls += 1
        return self.denoiser(noisy, step)


class Answering(nn.Module):
    """A denoiser that is a function of the noisy plans alone."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return self.answer(noisy)


class Exact(nn.Module):
    """The denoiser of a Gaussian world."""

    def __init__(self, world: GaussianWorld) -> None:
        super().__init__()
        self.world = world

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return self.world.denoiser(noisy, step)


def normalized(diffuser: Diffuser) -> Tensor:
    return diffuser.observation_normalizer.normalize(torch.from_numpy(OBSERVATIONS))


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("name", ["diffuser", "action_diffuser"])
def test_a_planner_acts_in_every_environment(
    name: str, num_envs: int, request: pytest.FixtureRequest
) -> None:
    planner = Planner(
        request.getfixturevalue(name), SAMPLING, planning=PlanningConfig(replan_every=2)
    )
    assert isinstance(planner, Policy)
    for _ in range(3):
        actions = planner(OBSERVATIONS[:num_envs])
        assert actions.shape == (num_envs, 2)
        assert actions.dtype == np.float64
        assert np.isfinite(actions).all()


def test_environments_do_not_disturb_each_other(diffuser: Diffuser) -> None:
    moved = OBSERVATIONS.copy()
    moved[0] += 1
    reward = tiny_reward(diffuser).model
    ours, theirs = (Planner(diffuser, SAMPLING, reward).plan(o) for o in (OBSERVATIONS, moved))
    assert not torch.equal(ours[0], theirs[0])
    torch.testing.assert_close(ours[1:], theirs[1:], atol=1e-5, rtol=1e-5)


def test_plans_start_where_the_environments_are(diffuser: Diffuser) -> None:
    plans = Planner(diffuser, SAMPLING).plan(OBSERVATIONS)
    assert plans.shape == (4, 5, 2)
    assert torch.equal(plans[:, 0], normalized(diffuser))


@pytest.mark.parametrize(("replan_every", "num_plans"), [(1, 7), (2, 4), (3, 3), (7, 1), (8, 1)])
def test_it_replans_as_often_as_it_was_told(
    replan_every: int, num_plans: int, diffuser: Diffuser
) -> None:
    denoiser = Counting(diffuser.denoiser)
    planner = Planner(
        replace(diffuser, denoiser=denoiser),
        SAMPLING,
        planning=PlanningConfig(replan_every=replan_every),
    )
    for _ in range(7):
        planner(OBSERVATIONS)
    assert denoiser.calls == num_plans * SAMPLING.num_steps


@pytest.mark.parametrize("stride", [1, 3])
def test_unless_told_otherwise_it_replans_at_every_plan_step(stride: int) -> None:
    diffuser = tiny_diffuser(PlanSpec(4, stride, 2, 2))
    denoiser = Counting(diffuser.denoiser)
    planner = Planner(replace(diffuser, denoiser=denoiser), SAMPLING)
    for _ in range(2 * stride + 1):
        planner(OBSERVATIONS)
    assert denoiser.calls == 3 * SAMPLING.num_steps


def test_between_plans_it_takes_the_planned_actions(action_diffuser: Diffuser) -> None:
    planner = Planner(action_diffuser, SAMPLING, planning=PlanningConfig(replan_every=5), seed=3)
    plans = Planner(
        action_diffuser, SAMPLING, planning=PlanningConfig(replan_every=5), seed=3
    ).plan(OBSERVATIONS)
    actions = action_diffuser.spec.split(plans)[1].flatten(1, 2)
    expected = action_diffuser.action_normalizer.unnormalize(actions).numpy()
    for time in range(5):
        np.testing.assert_array_equal(planner(OBSERVATIONS + time), expected[:, time])


def test_without_planned_actions_inverse_dynamics_leads_to_the_next_planned_state(
    diffuser: Diffuser,
) -> None:
    plans = torch.randn((4, 5, 2), generator=seeded())
    follower = PlanFollower(diffuser, plans)
    for step, left in [(1, 2.0), (1, 1.0), (2, 2.0), (2, 1.0), (3, 2.0)]:
        action = diffuser.inverse_dynamics(
            normalized(diffuser), plans[:, step], torch.full((4,), left)
        )
        expected = diffuser.action_normalizer.unnormalize(action).numpy()
        np.testing.assert_array_equal(follower(OBSERVATIONS), expected)


def test_past_the_plan_its_last_state_remains_the_target(diffuser: Diffuser) -> None:
    plans = torch.randn((4, 5, 2), generator=seeded())
    actions = [PlanFollower(diffuser, plans, age=age)(OBSERVATIONS) for age in (6, 8, 100)]
    np.testing.assert_array_equal(actions[0], actions[1])
    np.testing.assert_array_equal(actions[0], actions[2])


def test_a_follower_starts_over_after_a_reset(action_diffuser: Diffuser) -> None:
    follower = PlanFollower(action_diffuser, torch.randn((4, 4, 6), generator=seeded()))
    first, second = follower(OBSERVATIONS), follower(OBSERVATIONS)
    follower.reset()
    np.testing.assert_array_equal(follower(OBSERVATIONS), first)
    assert not np.array_equal(first, second)


def test_plans_over_states_need_inverse_dynamics(diffuser: Diffuser) -> None:
    planner = Planner(replace(diffuser, inverse_dynamics=None), SAMPLING)
    with refused(place="actions", value=None):
        planner(OBSERVATIONS)


@pytest.mark.parametrize("choose", ["plausible", "reward"])
@pytest.mark.parametrize("num_candidates", [2, 5])
def test_the_best_of_the_candidates_is_kept(
    num_candidates: int, choose: str, diffuser: Diffuser
) -> None:
    reward = tiny_reward(diffuser).model.requires_grad_(False)
    planner = Planner(
        diffuser, SAMPLING, reward, PlanningConfig(num_candidates=num_candidates, choose=choose), 2
    )
    generator = randomness.generator(2, "planner: noise")
    candidates = diffuser.sample_plans(
        normalized(diffuser).repeat_interleave(num_candidates, 0),
        SAMPLING,
        generator=generator,
        reward_model=reward,
    )
    plausible = choose == "plausible"
    merits = (
        -diffuser.implausibility(candidates, generator=generator)
        if plausible
        else torch.cat([reward(candidate[None]) for candidate in candidates])
    )
    choices = zip(merits.split(num_candidates), candidates.split(num_candidates), strict=True)
    for plan, (merit, choice) in zip(planner.plan(OBSERVATIONS), choices, strict=True):
        torch.testing.assert_close(plan, choice[merit.argmax()])
        assert merit.max() > merit.min()


def test_it_chooses_the_plausible_plan_unless_told_otherwise(diffuser: Diffuser) -> None:
    reward = tiny_reward(diffuser).model
    usual, plausible, rewarding = (
        planner.plan(OBSERVATIONS)
        for planner in (
            Planner(diffuser, SAMPLING, reward, PlanningConfig(num_candidates=5)),
            Planner(
                diffuser, SAMPLING, reward, PlanningConfig(num_candidates=5, choose="plausible")
            ),
            Planner(diffuser, SAMPLING, reward, PlanningConfig(num_candidates=5, choose="reward")),
        )
    )
    assert torch.equal(usual, plausible)
    assert not torch.equal(usual, rewarding)


def test_an_unknown_choice_is_refused(diffuser: Diffuser) -> None:
    with refused(SettingsError, place="choose", value="best", remedy="'plausible' or 'reward'"):
        PlanningConfig(choose="best")


def test_a_plan_that_the_denoiser_gives_back_is_not_implausible(action_diffuser: Diffuser) -> None:
    plans = torch.randn((3, 4, 6), generator=seeded())
    perfect = replace(action_diffuser, denoiser=Answering(lambda noisy: plans))
    assert perfect.implausibility(plans, generator=seeded(1)).tolist() == [0, 0, 0]
    off = perfect.implausibility(
        plans + torch.tensor([0.0, 1, 2]).view(3, 1, 1), generator=seeded()
    )
    torch.testing.assert_close(off, torch.tensor([0.0, 1, 2]))


def test_implausibility_is_of_a_quarter_of_the_noise_on_all_but_where_plans_start(
    action_diffuser: Diffuser,
) -> None:
    """A denoiser that takes nothing off leaves the change by signal and noise of step 2 of 8."""
    plans, noise = (torch.randn((3, 4, 6), generator=seeded(seed)) for seed in (0, 1))
    lazy = replace(action_diffuser, denoiser=Answering(lambda noisy: noisy))
    signal = action_diffuser.schedule.alpha_bars[2]
    change = (signal**0.5 - 1) * plans + (1 - signal) ** 0.5 * noise
    change[:, 0, :2] = 0
    torch.testing.assert_close(
        lazy.implausibility(plans, generator=seeded(1)), change.square().mean((1, 2)).sqrt()
    )


def test_plans_off_the_play_data_are_less_plausible(spec: PlanSpec) -> None:
    """Play data of straight lines, and the exact denoiser for it; some plans are bent."""
    schedule = cosine_schedule(16)
    along = torch.linspace(0, 1, spec.horizon)
    covariance = np.kron(np.ones((5, 5)) + np.outer(along, along), np.eye(2)) + 1e-4 * np.eye(10)
    world = GaussianWorld(spec, schedule, np.zeros(10), covariance, np.arange(10) < 2)
    exact = replace(tiny_diffuser(spec), denoiser=Exact(world), schedule=schedule)
    slopes = torch.randn((20, 1, 2), generator=seeded())
    straight = slopes * along.view(1, -1, 1)
    off = exact.implausibility(straight, generator=seeded(1))
    for size, at_least in ((0.5, 1.1), (2.0, 2.0)):
        bent = straight.clone()
        bent[:, 2] += size
        assert exact.implausibility(bent, generator=seeded(1)).mean() > at_least * off.mean()


def test_the_reward_guides_the_plans(diffuser: Diffuser) -> None:
    reward = ToldWholeReward(lambda plan: plan.mean((1, 2)), diffuser.spec)
    unguided, guided = (Planner(diffuser, SAMPLING, r).plan(OBSERVATIONS) for r in (None, reward))
    assert (reward(guided) > reward(unguided)).all()


@pytest.mark.parametrize("horizon", [2, 6])
def test_where_the_way_only_stays_it_is_the_plan(horizon: int) -> None:
    class Ways(ToldReward):
        """The way of the first two environments stays; that of the others moves to the end."""

        def reference(self, first: Tensor, horizon: int) -> Tensor:
            way = torch.ones(len(first), horizon, first.shape[-1])
            way[len(first) // 2 :, -1] = 2.0
            return torch.cat([first, way[:, 1:]], 1)

    diffuser = tiny_diffuser(PlanSpec(horizon=horizon, stride=2, observation_dim=2, action_dim=2))
    reward = Ways(lambda plan: plan.mean(-1), diffuser.spec)
    plans = Planner(diffuser, SAMPLING, reward).plan(OBSERVATIONS)
    assert plans.shape[1] == horizon
    assert (plans[:2, 1:] == 1).all()
    assert torch.equal(plans[:, 0], normalized(diffuser).float())
    assert not torch.isin(plans[2:, 1:], torch.tensor([1.0, 2.0])).any()


def test_the_same_seed_gives_the_same_actions(diffuser: Diffuser) -> None:
    def actions(seed: int) -> np.ndarray:
        planner = Planner(diffuser, SAMPLING, planning=PlanningConfig(replan_every=1), seed=seed)
        return np.stack([planner(OBSERVATIONS) for _ in range(3)])

    np.testing.assert_array_equal(actions(1), actions(1))
    assert not np.array_equal(actions(1), actions(2))


def test_a_reset_planner_acts_as_at_first(diffuser: Diffuser) -> None:
    planner = Planner(diffuser, SAMPLING, planning=PlanningConfig(replan_every=2))
    first = [planner(OBSERVATIONS) for _ in range(3)]
    planner.reset()
    np.testing.assert_array_equal(first, [planner(OBSERVATIONS) for _ in range(3)])


def test_planning_records_no_gradients(diffuser: Diffuser) -> None:
    reward = tiny_reward(diffuser).model
    assert not Planner(diffuser, SAMPLING, reward).plan(OBSERVATIONS).requires_grad


@pytest.mark.parametrize("replan_every", [-1, 0, 9])
def test_replanning_later_than_a_plan_reaches_is_refused(
    replan_every: int, diffuser: Diffuser
) -> None:
    with refused(SettingsError, place="replan_every", value=replan_every, remedy="1 to 8"):
        Planner(diffuser, SAMPLING, planning=PlanningConfig(replan_every=replan_every))


def test_another_number_of_environments_gets_new_plans() -> None:
    planner = Planner(
        tiny_diffuser(PlanSpec(4, 2, 2, 2)),
        SamplingConfig(num_steps=2),
        planning=PlanningConfig(replan_every=2),
    )
    assert planner(np.zeros((4, 2))).shape == (4, 2)
    assert planner(np.zeros((2, 2))).shape == (2, 2)


def test_no_candidates_are_refused() -> None:
    with refused(SettingsError, place="num_candidates", value=0, remedy="at least 1"):
        PlanningConfig(num_candidates=0)


def test_guidance_that_would_never_act_is_refused() -> None:
    diffuser = tiny_diffuser(PlanSpec(4, 2, 2, 2))
    sampling = SamplingConfig(num_steps=2, stop_step=diffuser.schedule.num_steps)
    with refused(SettingsError, place="stop_step", value=sampling.stop_step):
        Planner(diffuser, sampling, ToldWholeReward(lambda plan: plan.sum((1, 2)), diffuser.spec))(
            np.zeros((1, 2))
        )


def two_stages(diffuser: Diffuser) -> ToldReward:
    """To the right before the origin (environment units) has been visited, then to the left."""
    memory = Memory((0, 1), radius=0.01)
    memory.place.copy_(diffuser.observation_normalizer.normalize(torch.zeros(2)))
    rewards = lambda plan: torch.stack([plan[..., 0], -plan[..., 0]], -1)
    return ToldReward(rewards, diffuser.spec, memory)


def actions_in(diffuser: Diffuser, visited: list[bool], walk: list[np.ndarray]) -> np.ndarray:
    """The actions of a planner whose reward knows which environment has been at the origin."""
    model = two_stages(diffuser)
    known = lambda plan: given(
        model, torch.tensor(visited).repeat_interleave(len(plan) // len(visited))
    )(plan)
    reward = ToldWholeReward(known, diffuser.spec)
    planner = Planner(
        diffuser,
        SAMPLING,
        reward,
        planning=PlanningConfig(num_candidates=3, replan_every=1),
    )
    return np.stack([planner(observations) for observations in walk])


VISIT = OBSERVATIONS.copy()
VISIT[1] = 0  # the second of four environments is at the origin


def test_a_planner_remembers_what_each_environment_has_visited(diffuser: Diffuser) -> None:
    planner = Planner(
        diffuser,
        SAMPLING,
        two_stages(diffuser),
        planning=PlanningConfig(num_candidates=3, replan_every=1),
    )
    walk = [OBSERVATIONS, VISIT, OBSERVATIONS, OBSERVATIONS]
    actions = [planner(observations) for observations in walk]
    none, second = (actions_in(diffuser, [False, at, False, False], walk) for at in (False, True))
    np.testing.assert_array_equal(actions[0], none[0])
    np.testing.assert_array_equal(actions[1:], second[1:])
    assert (none[[0, 2, 3], 1] != second[[0, 2, 3], 1]).any(-1).all()


def test_a_planner_remembers_visits_between_plans(diffuser: Diffuser) -> None:
    plans = []
    for between in (OBSERVATIONS, VISIT):
        planner = Planner(
            diffuser, SAMPLING, two_stages(diffuser), planning=PlanningConfig(replan_every=3)
        )
        for observations in (OBSERVATIONS, between, OBSERVATIONS):
            planner(observations)
        plans.append(planner.plan(OBSERVATIONS))
    forgetful, remembering = plans
    assert torch.equal(remembering[[0, 2, 3]], forgetful[[0, 2, 3]])
    assert remembering[1, 1:, 0].mean() < forgetful[1, 1:, 0].mean()


def test_a_reset_planner_has_visited_nothing(diffuser: Diffuser) -> None:
    planner = Planner(
        diffuser, SAMPLING, two_stages(diffuser), planning=PlanningConfig(replan_every=1)
    )
    planner(VISIT)
    planner.reset()
    fresh = Planner(
        diffuser, SAMPLING, two_stages(diffuser), planning=PlanningConfig(replan_every=1)
    )
    np.testing.assert_array_equal(planner(OBSERVATIONS), fresh(OBSERVATIONS))


def test_other_environments_have_visited_nothing(diffuser: Diffuser) -> None:
    """After a change of their number nobody knows which is which."""
    planner, fresh = (
        Planner(diffuser, SAMPLING, two_stages(diffuser), planning=PlanningConfig(replan_every=1))
        for _ in range(2)
    )
    planner(VISIT)
    fresh(OBSERVATIONS)
    np.testing.assert_array_equal(planner(OBSERVATIONS[:2]), fresh(OBSERVATIONS[:2]))
    np.testing.assert_array_equal(planner(VISIT[:2]), fresh(VISIT[:2]))
    np.testing.assert_array_equal(planner(OBSERVATIONS[:2]), fresh(OBSERVATIONS[:2]))


def test_the_planner_of_a_reward_is_guided_by_it_or_has_the_diffuser_tuned_to_it() -> None:
    spec, wider = (PlanSpec(4, 2, 2, actions) for actions in (1, 2))
    diffuser, other = tiny_diffuser(spec), tiny_diffuser(wider)
    learnt = tiny_reward(diffuser)
    planning = PlanningConfig(num_candidates=3, replan_every=2, choose="reward")
    planner = Planner.for_reward(replace(learnt, planning=planning), diffuser, seed=4)
    by_hand = Planner(diffuser, learnt.sampling, learnt.guide_model, planning, 4)
    np.testing.assert_array_equal(planner(OBSERVATIONS), by_hand(OBSERVATIONS))

    tuned = replace(
        learnt,
        fine_tuned=tiny_diffuser(spec, config=DenoiserConfig(width=8, num_diffusion_steps=8)),
    )
    planner = Planner.for_reward(tuned, diffuser, planning=PlanningConfig(num_candidates=3), seed=4)
    assert tuned.fine_tuned is not None
    by_hand = Planner(tuned.fine_tuned, learnt.sampling, seed=4)
    np.testing.assert_array_equal(planner(OBSERVATIONS), by_hand(OBSERVATIONS))

    with refused(place="diffuser", value=other.fingerprint) as caught:
        Planner.for_reward(learnt, other)
    assert diffuser.fingerprint in str(caught.value)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("given", "value"),
    [
        ([[np.nan, 0.0]], np.nan),
        ([[0.0, np.inf]], np.inf),
        ([[1e39, 0.0]], 1e39),
        (np.zeros(2), (2,)),
        (np.zeros((5, 1)), (5, 1)),
        (np.zeros((5, 3)), (5, 3)),
        ([["a", "b"]], "<U1"),
    ],
)
def test_what_is_no_observation_is_refused_and_forgotten(
    given: object, value: object, diffuser: Diffuser
) -> None:
    planner, fresh = (
        Planner(diffuser, SAMPLING, planning=PlanningConfig(replan_every=3), seed=1)
        for _ in range(2)
    )
    with pytest.raises(DataError) as caught:
        planner(given)  # pyright: ignore[reportArgumentType]
    assert caught.value.place.startswith("observations")
    assert caught.value.value == pytest.approx(value, nan_ok=True)
    good = np.array([[0.1, 0.2], [0.3, 0.4]])
    for _ in range(3):
        np.testing.assert_array_equal(planner(good), fresh(good))


@pytest.mark.usefixtures("without_type_checks")
def test_after_a_bad_observation_all_is_planned_anew(diffuser: Diffuser) -> None:
    planner = Planner(diffuser, SAMPLING, planning=PlanningConfig(replan_every=3))
    good = np.array([[0.1, 0.2]])
    planner(good)
    nan = pytest.approx(np.nan, nan_ok=True)
    with refused(place="observations[0, 0]", value=nan, remedy="finite"):
        planner(np.array([[np.nan, 0.2]]))
    with mock.patch.object(Planner, "plan", autospec=True, side_effect=Planner.plan) as planned:
        planner(good)
    assert planned.call_count == 1


def test_a_big_endian_or_reversed_array_is_taken(diffuser: Diffuser) -> None:
    good = np.array([[0.1, 0.2], [0.3, 0.4]])
    expected = Planner(diffuser, SAMPLING)(good)
    for same in (good.astype(">f8"), good[::-1].copy()[::-1]):
        np.testing.assert_array_equal(Planner(diffuser, SAMPLING)(same), expected)


def test_choices_come_out_as_their_numbers() -> None:
    world = tiny_diffuser(PlanSpec(4, 1, 2, 3, with_actions=True))
    bare = Planner(world, SAMPLING)(OBSERVATIONS)
    names = ("a=0", "a=1", "a=2")[: bare.shape[1]]
    chosen = replace(world, columns=Columns((), names, choices=tuple(range(5, 5 + len(names)))))
    planner = Planner(chosen, SAMPLING)
    np.testing.assert_array_equal(planner(OBSERVATIONS), 5 + bare.argmax(1))
    planner.reset()
    action, _ = planner.predict(OBSERVATIONS[0])
    assert action.dtype.kind == "i"
    assert action.shape == ()
