"""What a reward is learnt by: which plans are compared with which steps of demonstrations."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tiny import random_walks, seeded, shake, tiny_diffuser
from trailward.dataset import Dataset, Windows
from trailward.diffuser import SamplingConfig
from trailward.matching import matching_loss
from trailward.objective import MSE
from trailward.reward import RewardConfig, StagedReward
from trailward.trajectory import Episode, PlanSpec

SPEC = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
DEMONSTRATIONS = random_walks([12, 12, 6, 12], drift=0.4, seed=7)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.5)
REWARD = RewardConfig(hidden=(8,))
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
    model = shake(RewardConfig("staged", hidden=(8,), memory_radius=0.12).build(SPEC), size=1.0)
    assert isinstance(model, StagedReward)
    model.memory.place.zero_()
    return model


def mask_of(windows: Windows, index: int, reward: Callable[[Tensor], Tensor]) -> list[bool]:
    """The plan steps of a window that the objective is told to compare."""
    masks = []

    def note(plans: Tensor, demonstrations: Tensor, mask: Tensor | None = None) -> Tensor:
        masks.append(torch.ones(plans.shape[:2], dtype=torch.bool) if mask is None else mask)
        return MSE()(plans, demonstrations, mask)

    options = OPTIONS | {"objective": note, "generator": seeded()}
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
        generator=seeded(),
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
    options = {"objective": MSE(), "sampling": SAMPLING, "generator": seeded()}
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
            reward_model=model.given(torch.tensor(past)),
        )
        return MSE()(plans, demonstrations, mask)

    loss = matching_loss(diffuser, model, windows, picks, **OPTIONS, generator=seeded())
    torch.testing.assert_close(loss, expected([False, True, False]))
    for other in ([False] * 3, [True] * 3, [True, False, True]):
        assert abs(loss - expected(other)) > 1e-6
    gradients = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
    for part in (model.before, model.after):
        size = len([*part.parameters()])
        mine, gradients = gradients[:size], gradients[size:]
        assert max(float(each.abs().max()) for each in mine if each is not None) > 0


def test_a_guide_without_weights_cannot_be_learnt() -> None:
    windows, idle = Windows(DEMONSTRATIONS, SPEC), lambda plan: plan.sum((1, 2))
    picks, options = torch.tensor([0]), OPTIONS | {"generator": seeded()}
    with pytest.raises(ValueError, match="no differentiated step is guided; give adjoint"):
        matching_loss(tiny_diffuser(SPEC), idle, windows, picks, **options)
    with torch.no_grad():
        assert matching_loss(tiny_diffuser(SPEC), idle, windows, picks, **options) > 0
