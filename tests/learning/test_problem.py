"""What a reward is learnt by: which plans are compared with which steps of demonstrations."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from refusals import refused
from tiny import ToldWholeReward, given, random_walks, seeded, shake, tiny_diffuser
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.errors import SettingsError
from trailward.learning.config import STARTS, LearningConfig, SelectionConfig, ValueSchedule
from trailward.learning.problem import MatchingProblem, matching_loss
from trailward.learning.selection import best_sampling
from trailward.learning.validation import check_combination
from trailward.objectives.matching import MSE, OBJECTIVES
from trailward.rewards import AdditiveSettings, StagedReward, StagedSettings

SPEC = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
PLAY = random_walks([30] * 6, seed=3)
DEMONSTRATIONS = random_walks([12, 12, 6, 12], drift=0.4, seed=7)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.5)
REWARD = AdditiveSettings(hidden=(8,))
OPTIONS = {"objective": MSE(), "sampling": SAMPLING}
PASSING = [-0.6, -0.6, -0.6, -0.3, 0.0, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
"""A walk that is at the remembered place at environment step 4 alone."""


def walks(*alongs: list[float]) -> Windows:
    """Windows of walks along the first entry of model space."""
    unnormalize = tiny_diffuser(SPEC).observation_normalizer.unnormalize
    episodes = []
    for along in alongs:
        path = torch.tensor([[x, 0.0] for x in along], dtype=torch.float64)
        episodes.append(Episode(unnormalize(path).numpy(), np.zeros((len(along) - 1, 2))))
    return Windows(Dataset(episodes), SPEC)


def staged() -> StagedReward:
    """It remembers the origin of model space."""
    model = shake(StagedSettings(hidden=(8,), memory_radius=0.12).build(SPEC), size=1.0)
    assert isinstance(model, StagedReward)
    model.memory.place.zero_()
    return model


def mask_of(windows: Windows, index: int, reward: Callable[[Tensor], Tensor]) -> list[bool]:
    """The plan steps of a window that the objective is told to compare."""
    masks = []

    def note(plans: Tensor, demonstrations: Tensor, mask: Tensor | None = None) -> Tensor:
        masks.append(torch.ones(plans.shape[:2], dtype=torch.bool) if mask is None else mask)
        return MSE()(plans, demonstrations, mask)

    options = OPTIONS | {"objective": note, "noise": seeded()}
    matching_loss(tiny_diffuser(SPEC), reward, windows, torch.tensor([index]), **options)
    (mask,) = masks
    return mask[0].tolist()


def test_the_loss_is_the_objective_of_guided_plans_from_where_demonstrations_start() -> None:
    diffuser, windows = tiny_diffuser(SPEC), Windows(DEMONSTRATIONS, SPEC)
    indices, reward = torch.tensor([0, 3]), REWARD.build(SPEC)
    demonstrations, _ = windows.batch(indices, diffuser.normalizer)
    plans = diffuser.sample_plans(
        demonstrations[:, 0], SAMPLING, generator=seeded(), reward_model=reward
    )
    assert torch.equal(plans[:, 0], demonstrations[:, 0])
    loss = matching_loss(
        diffuser,
        reward,
        windows,
        indices,
        objective=MSE(),
        sampling=SAMPLING,
        noise=seeded(),
    )
    torch.testing.assert_close(loss, (plans - demonstrations).square().mean())


def test_padded_steps_of_short_demonstrations_do_not_count() -> None:
    diffuser, windows = tiny_diffuser(SPEC), Windows(DEMONSTRATIONS, SPEC)
    short = windows.subset(lambda episode: episode == 2)
    demonstrations, mask = windows.batch(short, diffuser.normalizer)
    assert mask.tolist() == [[True] * 4 + [False]]
    reward = REWARD.build(SPEC)
    plans = diffuser.sample_plans(
        demonstrations[:, 0], SAMPLING, generator=seeded(), reward_model=reward
    )
    options = {"objective": MSE(), "sampling": SAMPLING, "noise": seeded()}
    loss = matching_loss(diffuser, reward, windows, short, **options)
    torch.testing.assert_close(loss, (plans - demonstrations)[:, :4].square().mean())


@pytest.mark.parametrize(
    ("first", "compared"), [(0, 3), (1, 3), (2, 2), (3, 2), (4, 5)], ids=lambda value: str(value)
)
def test_windows_are_compared_up_to_the_step_of_arrival(first: int, compared: int) -> None:
    """Windows take every second observation, so that those of odd beginnings step over the visit.

    What begins with the visit, or after it, is compared to its end.
    """
    mask = mask_of(walks(PASSING), first, staged())
    assert mask == [step < compared for step in range(5)]
    assert mask_of(walks(PASSING), first, REWARD.build(SPEC)) == [True] * 5


def test_windows_that_never_arrive_are_compared_to_their_end() -> None:
    assert mask_of(walks([-0.6] * 9), 0, staged()) == [True] * 5


def test_steps_behind_a_short_demonstration_stay_out_of_the_comparison() -> None:
    """It arrives with its fourth plan step, and ends there; or long before it ends."""
    assert mask_of(walks([-0.6] * 6 + [0.0]), 0, staged()) == [True] * 4 + [False]
    assert mask_of(walks([-0.6] * 2 + [0.0] * 5), 0, staged()) == [True] * 2 + [False] * 3


def test_plans_are_given_the_stage_at_the_beginning_of_their_window() -> None:
    """The first passes the place, the second begins there, the third never arrives."""
    diffuser, windows, model = tiny_diffuser(SPEC), walks(PASSING, [-0.6] * 9), staged()
    picks = torch.tensor([1, 4, len(windows) - 1])
    assert windows.episode[picks].tolist() == [0, 0, 1]
    demonstrations, mask = windows.batch(picks, diffuser.normalizer)
    mask[0, 3:] = False

    def expected(past: list[bool]) -> Tensor:
        plans = diffuser.sample_plans(
            demonstrations[:, 0],
            SAMPLING,
            generator=seeded(),
            reward_model=given(model, torch.tensor(past)),
        )
        return MSE()(plans, demonstrations, mask)

    loss = matching_loss(diffuser, model, windows, picks, **OPTIONS, noise=seeded())
    torch.testing.assert_close(loss, expected([False, True, False]))
    for other in ([False] * 3, [True] * 3, [True, False, True]):
        assert abs(loss - expected(other)) > 1e-6
    gradients = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
    for part in (model.before, model.after):
        size = len([*part.parameters()])
        mine, gradients = gradients[:size], gradients[size:]
        assert max(float(each.abs().max()) for each in mine if each is not None) > 0


def test_a_guide_without_weights_cannot_be_learnt() -> None:
    windows = Windows(DEMONSTRATIONS, SPEC)
    idle = ToldWholeReward(lambda plan: plan.sum((1, 2)), SPEC)
    picks, options = torch.tensor([0]), OPTIONS | {"noise": seeded()}
    with refused(SettingsError, place="stop_step", value=0, remedy="give adjoint"):
        matching_loss(tiny_diffuser(SPEC), idle, windows, picks, **options)
    with torch.no_grad():
        assert matching_loss(tiny_diffuser(SPEC), idle, windows, picks, **options) > 0


def problem(**changes) -> MatchingProblem:
    """The last of four demonstrations is held out."""
    objective = changes.pop("objective", OBJECTIVES["mmd_gaussian"])
    chosen = {name: changes.pop(name) for name in [*changes] if name != "starts"}
    config = LearningConfig(batch_size=7, selection=SelectionConfig(**chosen), **changes)
    return MatchingProblem(
        diffuser=tiny_diffuser(SPEC),
        windows=Windows(DEMONSTRATIONS, SPEC),
        num_learnt=3,
        play=Windows(PLAY, SPEC),
        objective=objective,
        sampling=SAMPLING,
        config=config,
    )


def beginnings(windows: Windows, keep: Callable[[Tensor], Tensor]) -> set[tuple[float, ...]]:
    """Where windows of some episodes begin, model space."""
    plans, _ = windows.batch(windows.subset(keep), tiny_diffuser(SPEC).normalizer)
    return {tuple(plan[0].tolist()) for plan in plans}


LEARNT = beginnings(Windows(DEMONSTRATIONS, SPEC), lambda episode: episode < 3)
HELD_OUT = beginnings(Windows(DEMONSTRATIONS, SPEC), lambda episode: episode == 3)
PLAYED = beginnings(Windows(PLAY, SPEC), lambda episode: episode >= 0)


@pytest.fixture
def firsts(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[float, ...]]]:
    """Where the plans of each call to the sampler start."""
    seen, sample_plans = [], Diffuser.sample_plans

    def watching(self: Diffuser, first: Tensor, *arguments, **options) -> Tensor:
        seen.append([tuple(row) for row in first.tolist()])
        return sample_plans(self, first, *arguments, **options)

    monkeypatch.setattr(Diffuser, "sample_plans", watching)
    return seen


@pytest.mark.parametrize(("starts", "num_demonstrated"), [("demonstrations", 7), ("play", 0)])
def test_plans_start_where_they_were_told_to(
    starts: str, num_demonstrated: int, firsts: list[list[tuple[float, ...]]]
) -> None:
    asked = problem(starts=starts)
    for step in range(3):
        asked.loss(REWARD.build(SPEC), step)
    assert len({first for batch in firsts for first in batch}) > 7
    for batch in firsts:
        assert sum(first in LEARNT for first in batch) == num_demonstrated
        assert sum(first in PLAYED for first in batch) == 7 - num_demonstrated


def test_half_of_the_plans_start_at_demonstrations_and_half_at_play(
    firsts: list[list[tuple[float, ...]]],
) -> None:
    problem(starts="both").loss(REWARD.build(SPEC), 0)
    problem(starts="demonstrations").loss(REWARD.build(SPEC), 0)
    both, demonstrated = firsts
    assert both[:3] == demonstrated[:3]
    assert all(first in PLAYED for first in both[3:])
    assert len(both) == len(demonstrated) == 7


@pytest.mark.parametrize("starts", STARTS)
def test_plans_are_compared_with_the_same_demonstrations_wherever_they_start(
    starts: str,
) -> None:
    seen, usual = [], OBJECTIVES["mmd_gaussian"]

    def note(plans: Tensor, demonstrations: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.append(demonstrations)
        return usual(plans, demonstrations, mask)

    for asked in (starts, "demonstrations"):
        problem(starts=asked, objective=note).loss(REWARD.build(SPEC), 5)
    assert torch.equal(*seen)


def test_held_out_demonstrations_are_judged_from_the_same_kind_of_starts(
    firsts: list[list[tuple[float, ...]]],
) -> None:
    for starts, known in (("demonstrations", HELD_OUT), ("play", PLAYED)):
        problem(starts=starts).held_out_loss(REWARD.build(SPEC), num_windows=9)
        assert set(firsts.pop()) <= known


def test_the_loss_of_given_starts_is_that_of_plans_from_there() -> None:
    diffuser, windows = tiny_diffuser(SPEC), Windows(DEMONSTRATIONS, SPEC)
    picks, reward = torch.tensor([0, 3]), REWARD.build(SPEC)
    starts = torch.randn((2, 2), generator=seeded(4))
    plans = diffuser.sample_plans(starts, SAMPLING, generator=seeded(), reward_model=reward)
    options = OPTIONS | {"noise": seeded(), "starts": starts}
    loss = matching_loss(diffuser, reward, windows, picks, **options)
    demonstrations, _ = windows.batch(picks, diffuser.normalizer)
    torch.testing.assert_close(loss, (plans - demonstrations).square().mean())


def test_a_reward_that_remembers_is_learnt_from_where_demonstrations_start() -> None:
    options = OPTIONS | {"noise": seeded(), "starts": torch.zeros(1, 2)}
    with refused(SettingsError, place="starts", value=(1, 2)):
        matching_loss(tiny_diffuser(SPEC), staged(), walks(PASSING), torch.tensor([0]), **options)
    with refused(SettingsError, place="starts", value=(7, 2)):
        problem(starts="both").loss(staged(), 0)


def test_an_unknown_start_is_refused() -> None:
    with refused(SettingsError, place="starts", value="goal", remedy="demonstrations, play, both"):
        LearningConfig(starts="goal")


@pytest.mark.parametrize("starts", ["play", "both"])
def test_plans_compared_one_by_one_start_at_their_demonstrations(starts: str) -> None:
    with refused(SettingsError, place="starts", value=starts, remedy="another objective"):
        check_combination(REWARD.build(SPEC), MSE(), LearningConfig(starts=starts))


@pytest.mark.parametrize("stop_steps", [(0, 3, 6), ()])
def test_the_scale_and_stop_step_that_do_best_on_held_out_demonstrations_are_chosen(
    stop_steps: tuple[int, ...],
) -> None:
    asked, model = problem(stop_steps=stop_steps, scale_factors=(0.2, 4.0)), REWARD.build(SPEC)
    shake(model, size=1.0)
    tried = [
        replace(SAMPLING, scale=factor * 0.5, stop_step=stop_step)
        for stop_step in stop_steps or (0,)
        for factor in (0.2, 4.0)
    ]
    losses = [
        replace(asked, sampling=sampling).held_out_loss(model, num_windows=256)
        for sampling in tried
    ]
    assert best_sampling(asked, model) == tried[int(np.argmin(losses))]
    assert len(set(losses)) == len(tried)


@pytest.mark.parametrize("best", [(0.5, 0), (1.0, 3), (0.5, 6)])
def test_the_lowest_loss_wins_wherever_it_is(
    best: tuple[float, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def held_out_loss(self: MatchingProblem, model: object, *, num_windows: int) -> float:
        return float((self.sampling.scale, self.sampling.stop_step) != best)

    monkeypatch.setattr(MatchingProblem, "held_out_loss", held_out_loss)
    asked = problem(stop_steps=(0, 3, 6), scale_factors=(1.0, 2.0))
    found = best_sampling(asked, staged())
    assert found == replace(SAMPLING, scale=best[0], stop_step=best[1])


def test_without_held_out_demonstrations_guidance_stays_as_it_is() -> None:
    asked = problem(stop_steps=(3, 6), scale_factors=(0.2, 4.0), num_held_out=0)
    assert best_sampling(asked, REWARD.build(SPEC)) == SAMPLING


def test_a_stop_step_below_zero_is_refused() -> None:
    with refused(SettingsError, place="stop_steps", value=(0, -1), remedy="below 0"):
        SelectionConfig(stop_steps=(0, -1))


@pytest.mark.parametrize("factors", [(), (1.0, 0.0)], ids=str)
def test_factors_of_the_scale_are_above_zero_and_at_least_one(factors: tuple[float, ...]) -> None:
    with refused(SettingsError, place="scale_factors", value=factors, remedy="above 0"):
        SelectionConfig(scale_factors=factors)


@pytest.mark.parametrize("discount", [-0.1, 1.0, 1.5, float("nan")])
def test_a_discount_that_is_none_is_refused(discount: float) -> None:
    value, limits = pytest.approx(discount, nan_ok=True), "at least 0 and below 1"
    with refused(SettingsError, place="discount", value=value, remedy=limits):
        ValueSchedule(discount=discount)


def test_a_discounted_value_and_one_of_rounds_are_refused_together() -> None:
    with refused(SettingsError, place="num_rounds and discount", value=(2, 0.9)):
        ValueSchedule(num_rounds=2, discount=0.9)
    assert ValueSchedule(num_rounds=2).discount == 0


def test_the_auc_is_of_pairs_of_windows_learnt_from_and_of_play_with_ties_half() -> None:
    given = problem()
    assert given.auc(lambda plans: plans.new_zeros(len(plans))) == 0.5
    is_learnt = lambda plans: torch.tensor([tuple(p[0].tolist()) in LEARNT for p in plans]).double()
    assert given.auc(is_learnt) == 1
    assert given.auc(lambda plans: -is_learnt(plans)) == 0
