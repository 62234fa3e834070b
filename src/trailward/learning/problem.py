"""What a reward is learnt by: how far the plans it guides are from demonstrations.

:mod:`trailward.objectives.matching` has what compares sampled plans,
:mod:`trailward.objectives.direct` what samples none; :meth:`MatchingProblem.loss` is where they
part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.dataset import Windows
from trailward.data.episode import MAX_SEED, at_least, at_most
from trailward.diffusion.adjoint import Adjoint, full, parse_adjoint
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fine_tuning import TuningConfig
from trailward.limits import check_memory
from trailward.objectives.direct import (
    DIRECT_OBJECTIVES,
    DirectObjective,
    GuidedDenoiser,
    direct_loss,
    fine_tune,
)
from trailward.objectives.matching import OBJECTIVES, EnergyDistance, Objective
from trailward.rewards.ensemble import Apart, EnsembleReward, member_seeds
from trailward.rewards.memory import RemembersPast
from trailward.rewards.models import AdditiveReward, StagedReward
from trailward.rewards.value import DISCOUNTED, Value, ValueConfig, fit_discounted_value, fit_value
from trailward.typing import PerPlan, Plans, Scalar

STARTS = ("demonstrations", "play", "both")
"""Where sampled plans start while a reward is learnt."""

_NUM_JUDGED, _JUDGED = 64, 999_999_937
_NUM_PENALIZED = 64


@dataclass(frozen=True)
class LearningConfig:
    """How a reward is learnt.

    Attributes:
        objective: ``mse``, ``mmd_gaussian``, ``mmd_matern``, ``mmd_matern32``, ``mmd_matern52`` or
            ``energy``, which compare sampled plans with demonstrations; or ``dlsm``, ``logit`` or
            ``relative_reward``, which sample none (:mod:`trailward.objectives.direct`).
        starts: where plans start: at the first observations of the ``demonstrations``' windows
            that they are compared with, at those of ``play`` windows, or half and half
            (``both``). From where demonstrations pass, play data may well continue like them by
            itself, and little is left to learn a reward from. Objectives that compare each plan
            with its own demonstration (``mse``) need ``demonstrations``. Where the objective
            samples no plans, those that judge the held-out demonstrations start there.
        num_steps: gradient steps at most.
        batch_size: demonstration windows in a batch, and as many plans or, where the objective
            needs them, play windows. Each member of an ensemble gets half as many (rounded up),
            so that five cost two and a half times what one does.
        learning_rate: of Adam, falling to a tenth linearly.
        weight_decay: decoupled (AdamW); keeps the reward smooth and its pull on plans moderate.
            Without it the reward grows for as long as it is learnt, and drives plans off the play
            data.
        adjoint: ``full``, ``checkpointed`` or ``last:K``; of no use where no plans are sampled.
        num_rounds: rounds of equal length; a value is fitted after each but the last.
        value_discount: above 0, a value is fitted to the reward when all is learnt, discounted by
            this much an environment step, and guides plans in its place
            (:func:`~trailward.rewards.value.fit_discounted_value`).
        local_penalty: weight of the mean square, over play data, of an additive reward's local
            part.
        num_held_out: demonstrations kept aside to judge the reward by; 0 keeps none.
        scale_factors: when all is learnt, the guide's scale is multiplied by one of these, ...
        stop_steps: ... and its ``stop_step`` becomes one of these (stays as it is, if there are
            none): the pair that does best on the held-out demonstrations.
        evaluate_every: gradient steps between looks at the held-out demonstrations.
        patience: looks without improvement after which learning stops.
        max_gradient_norm: gradients are scaled down to this norm.
        diverged_norm: a gradient larger than this, or not finite, stops learning with an error.
        tuning: how the diffuser is tuned to the reward when all is learnt.
        num_expert_steps: of ``relative_reward``: gradient steps of its expert denoiser, ...
        expert_learning_rate: ... and their learning rate, falling to 0 linearly.
        seed: of weights, batches and noise.
    """

    objective: str = "mmd_gaussian"
    starts: str = "demonstrations"
    num_steps: int = 200
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 5.0
    adjoint: str = "full"
    num_rounds: int = 1
    value_discount: float = 0.0
    local_penalty: float = 0.3
    num_held_out: int = 1
    scale_factors: tuple[float, ...] = (1.0,)
    stop_steps: tuple[int, ...] = ()
    evaluate_every: int = 20
    patience: int = 5
    max_gradient_norm: float = 1.0
    diverged_norm: float = 1e6
    num_expert_steps: int = 300
    expert_learning_rate: float = 3e-4
    tuning: TuningConfig = TuningConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES | DIRECT_OBJECTIVES:
            known = ", ".join(OBJECTIVES | DIRECT_OBJECTIVES)
            raise ValueError(f"objective '{self.objective}' is unknown; choose one of {known}")
        if self.starts not in STARTS:
            raise ValueError(f"starts is '{self.starts}'; choose {', '.join(STARTS)}")
        if self.objective == "mse" and self.starts != "demonstrations":
            msg = (
                f"starts is '{self.starts}', but 'mse' compares each plan with the demonstration "
                "it starts from: choose 'demonstrations', or another objective"
            )
            raise ValueError(msg)
        if not 0 <= self.value_discount < 1:
            msg = f"value_discount is {self.value_discount}; it must be at least 0 and below 1"
            raise ValueError(msg)
        if self.value_discount and self.num_rounds > 1:
            msg = (
                f"num_rounds is {self.num_rounds} and value_discount {self.value_discount}: the "
                "value of rounds is another one; set either to 1 round or to a discount of 0"
            )
            raise ValueError(msg)
        parse_adjoint(self.adjoint)
        at_least(1, self, "num_steps", "batch_size", "evaluate_every", "patience", "num_rounds")
        at_least(1, self, "num_expert_steps")
        at_most(MAX_SEED, self, "seed")
        at_least(0, self, "local_penalty", "expert_learning_rate")
        at_least(0, self, "num_held_out", "learning_rate", "weight_decay")
        if not self.scale_factors or not all(factor > 0 for factor in self.scale_factors):
            msg = f"scale_factors are {self.scale_factors}; give at least one, all above 0"
            raise ValueError(msg)
        if any(stop_step < 0 for stop_step in self.stop_steps):
            raise ValueError(f"stop_steps are {self.stop_steps}; none may be below 0")

    @property
    def direct(self) -> DirectObjective | None:
        """The objective, if it is one that samples no plans."""
        return DIRECT_OBJECTIVES.get(self.objective)


def matching_loss(
    diffuser: Diffuser,
    reward_model: Callable[[Plans], PerPlan],
    windows: Windows,
    indices: torch.Tensor,
    *,
    objective: Objective,
    sampling: SamplingConfig,
    generator: torch.Generator | Sequence[torch.Generator],
    starts: Float[Tensor, "plan observation"] | None = None,
    adjoint: Adjoint = full,
) -> Scalar:
    """The objective between demonstrations and guided plans.

    Args:
        diffuser: frozen.
        reward_model: guides; the loss is differentiable in its weights. One that remembers is
            told what came before each window, and windows are compared for as long as what is
            remembered stays the same.
        windows: of the demonstrations, environment units.
        indices: which windows make up the batch.
        objective: how plans and demonstrations are compared, model space.
        sampling: how plans are sampled and guided.
        generator: of the plans' noise; several for as many equal parts of the batch.
        starts: where the plans start, model space; where the demonstrations do if None.
        adjoint: how gradients go back through sampling.

    Raises:
        ValueError: if no differentiated step is guided, so that nothing could be learnt, or
            ``starts`` are given to a reward model that remembers.
    """
    demonstrations, mask = windows.batch(indices, diffuser.normalizer)
    if isinstance(reward_model, RemembersPast):
        if starts is not None:
            raise ValueError("a reward that remembers needs plans to start as demonstrations do")
        history = windows.history(indices)
        known = reward_model.remember(diffuser.observation_normalizer.normalize(history))
        known = known.flip(1)[:, :: diffuser.spec.stride][:, : diffuser.spec.horizon].flip(1)
        reward_model = reward_model.given(known[:, 0])
        mask[:, 1:] &= known[:, :-1] == known[:, :1]
    if starts is None:
        starts = diffuser.spec.split(demonstrations)[0][:, 0]
    plans = diffuser.sample_plans(
        starts,
        sampling,
        generator=generator,
        reward_model=reward_model,
        adjoint=adjoint,
    )
    if torch.is_grad_enabled() and not plans.requires_grad:
        msg = (
            "the plans do not depend on the reward's weights: no differentiated step is guided; "
            "give adjoint 'last:K' a larger K, or lower the guide's stop_step"
        )
        raise ValueError(msg)
    return objective(plans, demonstrations, None if bool(mask.all()) else mask)


def check_learning_memory(
    diffuser: Diffuser, sampling: SamplingConfig, config: LearningConfig, num_members: int = 1
) -> None:
    """Refuse settings that take more memory than there is, before any is taken.

    Gradients need what every guided move computed, unless plans are not sampled.

    Raises:
        ValueError: names them, with an estimate.
    """
    moves = 1 if config.direct else sampling.num_steps
    width, horizon = diffuser.config.width, diffuser.spec.horizon
    entries = config.batch_size * num_members * horizon * width * moves
    what = f"a batch of batch_size {config.batch_size} and {moves} sampling steps"
    check_memory(4 * entries, what, "lower one of them")


@dataclass(frozen=True)
class MatchingProblem:
    """What is learnt from what: the loss of a gradient step and of the held-out demonstrations.

    An ensemble's members each have batches and noise of their own; the losses of a gradient step
    are summed over them. The held-out demonstrations judge what will be used: their mean.
    """

    diffuser: Diffuser
    windows: Windows
    play: Windows | None
    num_learnt: int
    sampling: SamplingConfig
    config: LearningConfig
    num_members: int = 1

    def loss(self, model: Callable[[Plans], PerPlan], step: int) -> Scalar:
        """The objective of one gradient step's batch, summed over members.

        Args:
            model: guides plans; of an ensemble, each part of the batch by its own member. Of
                objectives that sample none, the reward itself.
            step: tells the batch and the noise.
        """
        if self.config.direct is not None:
            each = zip(_members(model), self._seeds, strict=True)
            losses = [self._direct_loss(self.config.direct, m, step, seed) for m, seed in each]
            return torch.stack(losses).sum()
        objective = Apart(OBJECTIVES[self.config.objective], self.num_members)
        size = self._batch_size
        return self._loss(model, self._learnt, objective, size, step, seeds=self._seeds)

    @cached_property
    def expert(self) -> nn.Module:
        """A denoiser of the demonstrations; the same whenever it is trained."""
        return fine_tune(
            self.diffuser,
            self.windows,
            self._learnt,
            sampling=self.sampling,
            num_steps=self.config.num_expert_steps,
            batch_size=self.config.batch_size,
            learning_rate=self.config.expert_learning_rate,
            seed=self.config.seed,
        )

    def penalty(self, model: nn.Module, step: int) -> Scalar:
        """How large the reward's local part is on play data, summed over members."""
        total = torch.zeros((), device=self.diffuser.device)
        for member, seed in zip(_members(model), self._seeds, strict=True):
            if self.play is None or not isinstance(member, AdditiveReward | StagedReward):
                continue
            picks = self.play.draw(_NUM_PENALIZED, _generator(seed, step))
            plans, _ = self.play.batch(picks, self.diffuser.normalizer)
            squares = member.local_rewards(plans).square().mean((0, 1))
            total = total + self.config.local_penalty * squares.sum()
        return total

    def fit_value(self, model: nn.Module, value: Value) -> None:
        """Fit the value, in place, to the reward as it is now."""
        if self.play is None or not isinstance(
            model, AdditiveReward | EnsembleReward | StagedReward
        ):
            raise ValueError("a value needs play data and an additive or staged reward")
        fitted = fit_value(
            model.stage_rewards,
            self.play,
            self.diffuser.normalizer,
            memory=model.memory if isinstance(model, StagedReward) else None,
            config=ValueConfig(seed=self.config.seed),
        )
        value.load_state_dict(fitted.state_dict())

    def discounted_value(self, model: nn.Module) -> Value:
        """What follows each observation of the play data, under the reward."""
        if self.play is None or not isinstance(model, AdditiveReward | EnsembleReward):
            raise ValueError("a discounted value needs play data and an additive reward")
        return fit_discounted_value(
            model.step_rewards,
            self.play,
            self.diffuser.normalizer,
            discount=self.config.value_discount,
            config=replace(DISCOUNTED, seed=self.config.seed),
        )

    @torch.no_grad()
    def held_out_loss(
        self, model: Callable[[Plans], PerPlan], *, num_windows: int = _NUM_JUDGED
    ) -> float:
        """Energy distance to the held-out demonstrations, with the same noise at each call."""
        kept = self.windows.subset(lambda episode: episode >= self.num_learnt)
        objective, seeds = EnergyDistance(), [self.config.seed]
        return self._loss(model, kept, objective, num_windows, _JUDGED, seeds=seeds).item()

    def best_sampling(self, model: Callable[[Plans], PerPlan]) -> SamplingConfig:
        """How plans are best guided, by the held-out demonstrations."""
        tried = [
            replace(self.sampling, scale=factor * self.sampling.scale, stop_step=stop_step)
            for stop_step in self.config.stop_steps or (self.sampling.stop_step,)
            for factor in self.config.scale_factors
        ]
        if len(tried) == 1:
            return tried[0]
        if not self.config.num_held_out:
            return self.sampling
        losses = [
            replace(self, sampling=sampling).held_out_loss(model, num_windows=4 * _NUM_JUDGED)
            for sampling in tried
        ]
        return tried[losses.index(min(losses))]

    @property
    def _seeds(self) -> list[int]:
        """Of each member's batches and noise."""
        return member_seeds(self.config.seed, self.num_members)

    @property
    def _batch_size(self) -> int:
        """Of each member."""
        size = self.config.batch_size
        return size if self.num_members == 1 else -(-size // 2)

    @property
    def _learnt(self) -> torch.Tensor:
        """The windows that may be learnt from."""
        return self.windows.subset(lambda episode: episode < self.num_learnt)

    def _direct_loss(
        self, objective: DirectObjective, model: Callable[[Plans], PerPlan], step: int, seed: int
    ) -> Scalar:
        size, kept = self._batch_size, self._learnt
        generator = _generator(seed, step)
        picks = kept[torch.randint(len(kept), (size,), generator=generator)]
        batches = [self.windows.batch(picks, self.diffuser.normalizer)]
        if objective.needs_play:
            if self.play is None:
                raise ValueError(f"'{self.config.objective}' needs play data")
            drawn = self.play.draw(size, generator)
            batches.append(self.play.batch(drawn, self.diffuser.normalizer))
        expert = self.expert if objective.needs_expert else None
        guided = GuidedDenoiser(self.diffuser.denoiser, self.sampling, model, expert)
        return direct_loss(objective, guided, self.diffuser, batches, generator=generator)

    def _loss(
        self,
        model: Callable[[Plans], PerPlan],
        kept: torch.Tensor,
        objective: Objective,
        size: int,
        draw: int,
        *,
        seeds: Sequence[int],
    ) -> Scalar:
        """The objective of as many batches as seeds, each of so many windows."""
        drawn = [torch.randint(len(kept), (size,), generator=_generator(s, draw)) for s in seeds]
        picks = [kept[each] for each in drawn]
        starts = None
        if self.config.starts != "demonstrations" and self.play is not None:
            pairs = zip(picks, seeds, strict=True)
            starts = torch.cat([self._starts(own, self.play, seed, draw) for own, seed in pairs])
        return matching_loss(
            self.diffuser,
            model,
            self.windows,
            torch.cat(picks),
            objective=objective,
            sampling=self.sampling,
            generator=[_generator(seed, draw, device=self.diffuser.device) for seed in seeds],
            starts=starts,
            adjoint=parse_adjoint(self.config.adjoint),
        )

    def _starts(
        self, picks: torch.Tensor, play: Windows, seed: int, draw: int
    ) -> Float[Tensor, "plan observation"]:
        """Where plans start that do not all start where the picked windows do, model space."""
        drawn = play.draw(len(picks), _generator(seed, draw + 1))
        normalizer, split = self.diffuser.normalizer, self.diffuser.spec.split
        starts = split(play.batch(drawn, normalizer)[0])[0][:, 0]
        if self.config.starts == "both":
            half = len(picks) // 2
            starts[:half] = split(self.windows.batch(picks[:half], normalizer)[0])[0][:, 0]
        return starts


def _members(model: object) -> list[Any]:
    """An ensemble's rewards; any other reward by itself."""
    return list(model.members) if isinstance(model, EnsembleReward) else [model]


def _generator(seed: int, draw: int, *, device: str | torch.device = "cpu") -> torch.Generator:
    """The same for a seed and a draw, whatever was drawn before."""
    return torch.Generator(device).manual_seed(seed * 1_000_000_007 + draw)
