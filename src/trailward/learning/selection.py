"""What held-out demonstrations decide: which weights are kept, when to stop, how to guide."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from trailward.diffusion.diffuser import SamplingConfig
from trailward.learning.config import LearningConfig
from trailward.learning.problem import MatchingProblem
from trailward.rewards.contract import RewardModel

_NUM_JUDGED = 256
_EASED_BY, _MOST_EASED = 5, 2


@dataclass
class Record:
    """How learning goes, in numbers; saved with the reward as ``learnt``.

    Attributes:
        step: gradient steps done.
        round: the round of the next one, from 0.
        best_loss: energy distance of the held-out demonstrations under the weights kept; minus
            the step where none are held out.
        best_step: the gradient step that these weights are of.
        best_round: its round; from the second on, the value belongs to the weights kept.
        round_losses: the best loss of each round so far. The weights kept are those of the last
            round, since planning needs its value; where its loss is above that of an earlier one,
            :attr:`worse_round` says so.
        round_step: the gradient step of the best loss of this round, or its first step.
        seconds: spent.
        times_eased: how often learning began anew with a fifth of the weight decay.
        auc: how often a demonstrated window is worth more than one of play data; below 0 where
            that was not asked.
        figures: what the reward model told of the demonstrations when it was prepared.
    """

    step: int = 0
    round: int = 0
    best_loss: float = float("inf")
    best_step: int = 0
    best_round: int = 0
    round_losses: list[float] = field(default_factory=lambda: [float("inf")])
    round_step: int = 0
    seconds: float = 0.0
    times_eased: int = 0
    auc: float = -1.0
    figures: dict[str, float] = field(default_factory=dict)

    def eased(self) -> "Record":
        """The record of learning that begins anew with a fifth of the weight decay."""
        kept = {"seconds": self.seconds, "figures": self.figures}
        return Record(times_eased=self.times_eased + 1, **kept)

    def weight_decay(self, config: LearningConfig) -> float:
        """That of the next gradient step."""
        return config.weight_decay / _EASED_BY**self.times_eased

    def begin_round(self, number: int) -> None:
        """Begin to count anew how long nothing has improved."""
        self.round, self.round_step = number, self.step
        self.round_losses.append(float("inf"))

    def is_best(self, loss: float) -> bool:
        """Note a look at the held-out demonstrations; whether it is the best of this round."""
        if loss >= self.round_losses[-1]:
            return False
        self.round_losses[-1], self.round_step = loss, self.step
        self.best_loss, self.best_step, self.best_round = loss, self.step, self.round
        return True

    def may_ease(self, config: LearningConfig) -> bool:
        """Whether the reward does not tell demonstrations apart, and less decay may help."""
        too_little = self.auc < config.selection.least_auc
        return too_little and self.times_eased < _MOST_EASED and config.weight_decay > 0

    @property
    def worse_round(self) -> str:
        """A warning if the last round did worse on held-out demonstrations; empty otherwise."""
        *before, last = self.round_losses
        if not before or last <= min(before):
            return ""
        return (
            f"the last round's plans are further from held-out demonstrations ({last:.3g}) than "
            f"those of an earlier one ({min(before):.3g}); look at the plans, or learn in one round"
        )

    def same_as_play(self, config: LearningConfig) -> str:
        """A warning if the reward does not tell demonstrations from play data; empty otherwise."""
        least = config.selection.least_auc
        if self.auc < 0 or self.auc >= least:
            return ""
        return (
            f"a demonstration's window is worth more than a play window in {self.auc:.0%} of pairs "
            f"only (asked for: {least:.0%}), with a weight decay of {self.weight_decay(config):g} "
            "too: either play data does what is demonstrated as often, or the reward was not learnt"
        )

    def is_out_of_patience(self, config: LearningConfig) -> bool:
        """Whether the last round has not improved for too long."""
        waited, chosen = self.step - self.round_step, config.selection
        patience = chosen.patience * chosen.evaluate_every
        return config.is_last_round(self.round) and self.step > 0 and waited >= patience

    def to_config(self, config: LearningConfig) -> dict[str, Any]:
        """JSON values."""
        told: dict[str, Any] = asdict(self)
        figures = told.pop("figures")
        told |= {
            "round_losses": tuple(self.round_losses),
            "auc": None if self.auc < 0 else self.auc,
            "weight_decay": self.weight_decay(config),
            "warning": "; ".join(filter(None, (self.worse_round, self.same_as_play(config)))),
        }
        return {**told, **figures}


def best_sampling(problem: MatchingProblem, model: RewardModel) -> SamplingConfig:
    """How plans are best guided, by the held-out demonstrations.

    Args:
        problem: with the scales and stop steps to try.
        model: guides plans.
    """
    chosen, sampling = problem.config.selection, problem.sampling
    tried = [
        replace(sampling, scale=factor * sampling.scale, stop_step=stop_step)
        for stop_step in chosen.stop_steps or (sampling.stop_step,)
        for factor in chosen.scale_factors
    ]
    if len(tried) == 1:
        return tried[0]
    if not chosen.num_held_out:
        return sampling
    losses = [
        replace(problem, sampling=each).held_out_loss(model, num_windows=_NUM_JUDGED)
        for each in tried
    ]
    return tried[losses.index(min(losses))]


def clip(model: RewardModel, max_norm: float) -> float:
    """Scale down the gradient of each member by itself; the largest norm there was."""
    norms = [
        torch.nn.utils.clip_grad_norm_(member.parameters(), max_norm) for member in model.members()
    ]
    return torch.stack(norms).max().item()
