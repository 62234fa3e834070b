"""What a reward is learnt by: how far the plans it guides are from demonstrations.

:mod:`trailward.objectives.matching` has what compares sampled plans,
:mod:`trailward.objectives.direct` what samples none; :meth:`MatchingProblem.loss` is where they
part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.dataset import Windows
from trailward.diffusion.adjoint import Adjoint, full, parse_adjoint
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.errors import SettingsError
from trailward.learning.config import LearningConfig
from trailward.objectives import describe_objective
from trailward.objectives.direct import DirectObjective, GuidedDenoiser, direct_loss
from trailward.objectives.expert import train_expert
from trailward.objectives.matching import Apart, EnergyDistance, Objective
from trailward.randomness import generator
from trailward.rewards.avoided import Avoided
from trailward.rewards.contract import RewardModel
from trailward.rewards.ensemble import member_seeds
from trailward.rewards.value import DISCOUNTED, Value, ValueConfig, fit_discounted_value, fit_value
from trailward.typing import PerPlan, Plans, Scalar

_NUM_JUDGED = 64
_NUM_RANKED = 512
_NUM_PENALIZED = 64


def matching_loss(
    diffuser: Diffuser,
    reward_model: RewardModel,
    windows: Windows,
    indices: torch.Tensor,
    *,
    objective: Objective,
    sampling: SamplingConfig,
    noise: torch.Generator | Sequence[torch.Generator],
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
        noise: of the plans; several for as many equal parts of the batch.
        starts: where the plans start, model space; where the demonstrations do if None.
        adjoint: how gradients go back through sampling.

    Raises:
        SettingsError: if no differentiated step is guided, so that nothing could be learnt, or
            ``starts`` are given to a reward model that remembers.
    """
    demonstrations, mask = windows.batch(indices, diffuser.normalizer)
    guide: Callable[[Plans], PerPlan] = reward_model
    if reward_model.num_stages > 1:
        if starts is not None:
            msg = "a reward that remembers needs plans to start as demonstrations do"
            raise SettingsError(msg, place="starts", value=tuple(starts.shape))
        history = windows.history(indices)
        stages = reward_model.observe(diffuser.observation_normalizer.normalize(history))
        stages = stages.flip(1)[:, :: diffuser.spec.stride][:, : diffuser.spec.horizon].flip(1)
        mask[:, 1:] &= stages[:, :-1] == stages[:, :1]
        guide = lambda plan: reward_model(plan, stages[:, :1])
    if starts is None:
        starts = diffuser.spec.split(demonstrations)[0][:, 0]
    plans = diffuser.sample_plans(
        starts,
        sampling,
        generator=noise,
        reward_model=guide,
        adjoint=adjoint,
    )
    if torch.is_grad_enabled() and not plans.requires_grad:
        msg = "the plans do not depend on the reward's weights: no differentiated step is guided"
        remedy = "give adjoint 'last:K' a larger K, or lower the guide's stop_step"
        raise SettingsError(msg, place="stop_step", value=sampling.stop_step, remedy=remedy)
    return objective(plans, demonstrations, None if bool(mask.all()) else mask)


@dataclass(frozen=True, kw_only=True)
class MatchingProblem:
    """What is learnt from what: the loss of a gradient step and of the held-out demonstrations.

    An ensemble's members each have batches and noise of their own; the losses of a gradient step
    are summed over them. The held-out demonstrations judge what will be used: their mean.

    Attributes:
        diffuser: frozen.
        windows: of all demonstrations, environment units; those held out come last.
        num_learnt: how many demonstrations are learnt from.
        play: windows of play data, environment units; None if nothing needs them.
        objective: what is minimised.
        sampling: how plans are sampled and guided.
        config: how the reward is learnt.
        num_members: of the ensemble; 1 for any other reward.
    """

    diffuser: Diffuser
    windows: Windows
    num_learnt: int
    play: Windows | None = None
    objective: Objective | DirectObjective
    sampling: SamplingConfig
    config: LearningConfig
    num_members: int = 1

    def loss(self, model: RewardModel, step: int) -> Scalar:
        """The objective of one gradient step's batch, summed over members.

        Args:
            model: guides plans; of an ensemble, each part of the batch by its own member
                (:meth:`~trailward.rewards.contract.RewardModel.separately`). Of objectives that
                sample no plans, the reward itself.
            step: tells the batch and the noise.
        """
        if isinstance(self.objective, DirectObjective):
            each = zip(model.members(), self._seeds, strict=True)
            losses = [self._direct_loss(self.objective, m, step, seed) for m, seed in each]
            return torch.stack(losses).sum()
        objective = Apart(self.objective, self.num_members)
        size = self._batch_size
        return self._loss(model, self.learnt, objective, size, ("learning", step), self._seeds)

    def penalty(self, model: RewardModel, step: int) -> Scalar:
        """What the reward wants kept small on play data, weighted, summed over members."""
        total = torch.zeros((), device=self.diffuser.device)
        if self.play is None or not self.config.local_penalty:
            return total
        for member, seed in zip(model.members(), self._seeds, strict=True):
            picks = self.play.draw(_NUM_PENALIZED, generator(seed, "learning: penalty", step))
            plans, _ = self.play.batch(picks, self.diffuser.normalizer)
            total = total + self.config.local_penalty * member.penalty(plans)
        return total

    @cached_property
    def expert(self) -> nn.Module:
        """A denoiser of the demonstrations; the same whenever it is trained."""
        return train_expert(
            self.diffuser,
            self.windows,
            self.learnt,
            sampling=self.sampling,
            num_steps=self.config.expert.num_steps,
            batch_size=self.config.batch_size,
            learning_rate=self.config.expert.learning_rate,
            seed=self.config.seed,
        )

    @torch.no_grad()
    def held_out_loss(self, model: RewardModel, *, num_windows: int = _NUM_JUDGED) -> float:
        """Energy distance to the held-out demonstrations, with the same noise at each call."""
        kept = self.windows.subset(lambda episode: episode >= self.num_learnt)
        objective, seeds = EnergyDistance(), [self.config.seed]
        return self._loss(model, kept, objective, num_windows, ("judging", 0), seeds).item()

    @torch.no_grad()
    def auc(self, model: RewardModel) -> float:
        """How often a window that is learnt from is worth more than one of play data.

        Of all pairs of 512 windows each, the same at each call; ties count half, as in
        :func:`~trailward.judging.without_truth.separation`, which adds an interval.

        Raises:
            SettingsError: if there is no play data.
        """
        if self.play is None:
            raise SettingsError("an AUC needs play data", place="least_auc")
        kept, seed = self.learnt, self.config.seed
        shown = kept[_picks(len(kept), _NUM_RANKED, generator(seed, "AUC: windows"))]
        played = self.play.draw(_NUM_RANKED, generator(seed, "AUC: play"))
        normalizer = self.diffuser.normalizer
        ours = model(self.windows.batch(shown, normalizer)[0]).unsqueeze(1)
        theirs = model(self.play.batch(played, normalizer)[0])
        return 0.5 * (1 + (ours - theirs).sign().double().mean().item())

    def fitted_value(
        self,
        model: RewardModel,
        play: Windows | None = None,
        *,
        alone: bool = False,
        tolls: Avoided | None = None,
    ) -> Value:
        """A value fitted to the reward as it is now.

        Args:
            model: the reward.
            play: the problem's if None.
            alone: whether it is to guide plans in the reward's place.
            tolls: of what ways should not lead through.

        Raises:
            SettingsError: if there is no play data, or the reward is of whole plans.
        """
        play = play or self.play
        if play is None or not model.per_step:
            msg = "a value needs play data and a reward of single steps"
            raise SettingsError(msg, place="value")
        config = ValueConfig(seed=self.config.seed)
        return fit_value(
            model, play, self.diffuser.normalizer, alone=alone, tolls=tolls, config=config
        )

    def discounted_value(self, model: RewardModel) -> Value:
        """What follows each observation of the play data, under the reward.

        Raises:
            SettingsError: if there is no play data, or the reward is of whole plans.
        """
        if self.play is None or not model.per_step:
            msg = "a discounted value needs play data and an additive reward"
            raise SettingsError(msg, place="value")
        return fit_discounted_value(
            model,
            self.play,
            self.diffuser.normalizer,
            discount=self.config.value.discount,
            config=replace(DISCOUNTED, seed=self.config.seed),
        )

    @property
    def learnt(self) -> torch.Tensor:
        """The windows that may be learnt from."""
        return self.windows.subset(lambda episode: episode < self.num_learnt)

    @property
    def _seeds(self) -> list[int]:
        """The seed of each member's batches and noise."""
        return member_seeds(self.config.seed, self.num_members)

    @property
    def _batch_size(self) -> int:
        """The batch size of each member."""
        size = self.config.batch_size
        return size if self.num_members == 1 else -(-size // 2)

    def _direct_loss(
        self, objective: DirectObjective, model: RewardModel, step: int, seed: int
    ) -> Scalar:
        size, kept, normalizer = self._batch_size, self.learnt, self.diffuser.normalizer
        picks = _picks(len(kept), size, generator(seed, "learning: windows", step))
        batches = [self.windows.batch(kept[picks], normalizer)]
        if objective.needs_play:
            if self.play is None:
                name = describe_objective(objective)
                raise SettingsError(f"'{name}' needs play data", place="objective", value=name)
            drawn = self.play.draw(size, generator(seed, "learning: play", step))
            batches.append(self.play.batch(drawn, normalizer))
        expert = self.expert if objective.needs_expert else None
        guided = GuidedDenoiser(self.diffuser.denoiser, self.sampling, model, expert)
        noise = generator(seed, "learning: noise", step)
        return direct_loss(objective, guided, self.diffuser, batches, generator=noise)

    def _loss(
        self,
        model: RewardModel,
        kept: torch.Tensor,
        objective: Objective,
        size: int,
        draw: tuple[str, int],
        seeds: Sequence[int],
    ) -> Scalar:
        """The objective of as many batches as seeds, each of so many windows."""
        what, step = draw
        picks = [
            kept[_picks(len(kept), size, generator(seed, f"{what}: windows", step))]
            for seed in seeds
        ]
        starts = None
        if self.config.starts != "demonstrations" and self.play is not None:
            draws = [generator(seed, f"{what}: starts", step) for seed in seeds]
            pairs = zip(picks, draws, strict=True)
            starts = torch.cat([self._starts(own, self.play, draw) for own, draw in pairs])
        device = self.diffuser.device
        return matching_loss(
            self.diffuser,
            model,
            self.windows,
            torch.cat(picks),
            objective=objective,
            sampling=self.sampling,
            noise=[generator(seed, f"{what}: noise", step, device=device) for seed in seeds],
            starts=starts,
            adjoint=parse_adjoint(self.config.adjoint),
        )

    def _starts(
        self, picks: torch.Tensor, play: Windows, draw: torch.Generator
    ) -> Float[Tensor, "plan observation"]:
        """Where plans start that do not all start where the picked windows do, model space."""
        normalizer, split = self.diffuser.normalizer, self.diffuser.spec.split
        starts = split(play.batch(play.draw(len(picks), draw), normalizer)[0])[0][:, 0]
        if self.config.starts == "both":
            half = len(picks) // 2
            starts[:half] = split(self.windows.batch(picks[:half], normalizer)[0])[0][:, 0]
        return starts


def _picks(count: int, size: int, draw: torch.Generator) -> torch.Tensor:
    return torch.randint(count, (size,), generator=draw)
