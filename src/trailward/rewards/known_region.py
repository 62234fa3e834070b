"""Where the data is that a reward was learnt from, and pessimism everywhere else.

A learnt reward is known near its data. Elsewhere it is whatever its network makes of it, and may
lead a reinforcement learner astray. A pessimistic reward is worth the least there
that it is worth in the data, so that nothing draws a learner away from it. Offline reinforcement
learning on a learnt model of the environment does the same with states that the model does not
know (MOReL, Kidambi et al. 2020, arXiv 2005.05951).
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trailward.data.dataset import Windows
from trailward.data.normalizer import Normalizer
from trailward.data.statistics import distances_to
from trailward.randomness import generator
from trailward.rewards.contract import RewardModel
from trailward.typing import Past, Plans, Stages, StagesOfSteps, StepRewards

_NUM_PLAY, _NUM_SHOWN, _NUM_QUERIES, _AT_ONCE = 5_000, 1_000, 2_000, 250
_USUAL, _SPARSER = 0.99, 10.0


class KnownRegion(nn.Module):
    """Where a reward is known: near a sample of the data that it was learnt from.

    Args:
        sample: plan steps of play data and demonstrations, model space, the entries that the
            reward sees.
        limit: how near is near, model space. 99% of the play data's steps have one of the sample,
            from another episode, within some distance; data is a tenth as dense as it is there
            where the nearest is at the limit (one over its distance, to the power of the number of
            entries seen, goes as the density does).
        floor: the least reward of the sample, learnt units.
    """

    sample: Tensor
    limit: Tensor
    floor: Tensor

    def __init__(
        self,
        sample: Float[Tensor, "sample seen"],
        limit: Float[Tensor, ""],
        floor: Float[Tensor, ""],
    ) -> None:
        super().__init__()
        self.register_buffer("sample", sample)
        self.register_buffer("limit", limit)
        self.register_buffer("floor", floor)

    @torch.no_grad()
    def with_floor(self, model: RewardModel) -> "KnownRegion":
        """The same region with the least reward of another model of the same entries.

        Args:
            model: a reward of single steps.
        """
        steps = self.sample.new_zeros(len(self.sample), model.spec.transition_dim)
        steps[:, model.inputs] = self.sample
        least = model.stage_rewards(steps.unsqueeze(0)).min()
        return KnownRegion(self.sample, self.limit, least)

    def forward(self, steps: Float[Tensor, "*axes seen"]) -> Bool[Tensor, "*axes"]:
        """Whether each plan step (model space, the entries that the reward sees) is near."""
        rows = steps.reshape(-1, steps.shape[-1])
        nearest = rows.new_full(rows.shape[:1], torch.inf)
        for part in self.sample.split(_AT_ONCE):  # of the sample: a batch may have any size
            found = torch.cdist(rows, part, compute_mode="donot_use_mm_for_euclid_dist")
            nearest = torch.minimum(nearest, found.amin(1))
        return (nearest <= self.limit).reshape(steps.shape[:-1])


class PessimisticReward(RewardModel):
    """A reward where it is known, and the least reward of its data elsewhere.

    Args:
        model: a reward of single steps.
        region: where it is known.
    """

    def __init__(self, model: RewardModel, region: KnownRegion) -> None:
        super().__init__(model.spec, inputs=model.inputs.tolist())
        self.model: Any = model
        self.region, self.num_stages = region, model.num_stages
        self.to(region.sample.device)

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """The stage at each step, as the reward itself tells it."""
        return self.model.observe(steps, past)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step by itself."""
        known = self.region(plan[..., self.inputs])
        return torch.where(known, self.model.step_rewards(plan, past), self.region.floor)


class Familiarity(RewardModel):
    """1 where a reward is known, 0 elsewhere; as a reward model, so that it is asked alike.

    Args:
        model: the reward.
        region: where it is known.
    """

    def __init__(self, model: RewardModel, region: KnownRegion) -> None:
        super().__init__(model.spec, inputs=model.inputs.tolist())
        self.region = region
        self.to(region.sample.device)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step by itself."""
        return self.region(plan[..., self.inputs]).to(plan.dtype)


@torch.no_grad()
def find_known_region(
    model: RewardModel,
    normalizer: Normalizer,
    play: Windows,
    demonstrations: Windows,
    *,
    seed: int = 0,
) -> KnownRegion:
    """Where a reward is known that was learnt from this data.

    Args:
        model: a reward of single steps.
        normalizer: of whole transitions.
        play: at most 5,000 of its steps are kept.
        demonstrations: of which at most 1,000 are.
        seed: of the draws.
    """
    draw = lambda what: generator(seed, f"known region: {what}")
    steps, episodes = _draw(play, normalizer, _NUM_PLAY, draw("play"))
    shown, _ = _draw(demonstrations, normalizer, _NUM_SHOWN, draw("demonstrations"))
    queries, asked = _draw(play, normalizer, _NUM_QUERIES, draw("queries"))
    inputs = model.inputs
    several = len(np.unique(episodes)) > 1
    usual = distances_to(
        queries[:, inputs].cpu().numpy(),
        steps[:, inputs].cpu().numpy(),
        apart=(asked, episodes) if several else None,
    )
    sample = torch.cat([steps, shown])
    rewards = model.stage_rewards(sample.unsqueeze(0))
    limit = np.quantile(usual[np.isfinite(usual)], _USUAL) * _SPARSER ** (1 / len(inputs))
    return KnownRegion(sample[:, inputs].contiguous(), sample.new_tensor(limit), rewards.min())


@torch.no_grad()
def known_share(
    model: RewardModel,
    region: KnownRegion,
    normalizer: Normalizer,
    windows: Windows,
    *,
    count: int,
    seed: int = 0,
) -> float:
    """The share of data in which a reward is known.

    Args:
        model: the reward, not its pessimistic form.
        region: where it is known.
        normalizer: of whole transitions.
        windows: the data.
        count: steps that are drawn.
        seed: of the draw.
    """
    steps, _ = _draw(windows, normalizer, count, generator(seed, "known region: share"))
    return region(steps[:, model.inputs]).float().mean().item()


def _draw(
    windows: Windows, normalizer: Normalizer, count: int, draw: torch.Generator
) -> tuple[Float[Tensor, "step transition"], np.ndarray]:
    """Steps anywhere in random windows, and the numbers of their episodes."""
    picks = windows.draw(count, draw)
    plans, mask = windows.batch(picks, normalizer)
    lengths = mask.sum(1).clamp(min=1).cpu()
    step = (torch.rand(count, generator=draw) * lengths).long()
    drawn = plans[torch.arange(count), step.to(plans.device)]
    return drawn, windows.episode[picks].numpy()
