"""A learnt reward with what it takes to use it: in environment units, or to plan with it."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trailward.data.angles import lift
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Columns, Episode, check_alike, check_array
from trailward.data.normalizer import Normalizer, join_normalizers
from trailward.data.plan import PlanSpec, action_chunks
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.errors import DataError, SettingsError
from trailward.learning.answers import WRONG_SHARE, Answer, weigh
from trailward.learning.config import PlanningConfig
from trailward.rewards.avoided import Avoided, TollReward, WayRound
from trailward.rewards.contract import RewardModel
from trailward.rewards.known_region import KnownRegion, PessimisticReward
from trailward.rewards.pace import Pace
from trailward.rewards.readings import AS_IS, Readings
from trailward.rewards.value import RewardToGo, Value, fit_value
from trailward.typing import Actions, Observations, Plans


@dataclass(frozen=True, kw_only=True)
class LearntReward:
    """A reward model with what it takes to use it: in environment units, or to plan with it.

    Attributes:
        model: the reward model, model space.
        observation_normalizer: the play data's, from environment units to model space.
        action_normalizer: the same for actions.
        sampling: how to sample and guide plans with it: as when it was learnt, but for a scale
            and a stop step that may have been chosen on held-out demonstrations since.
        planning: how agents plan with it.
        diffuser_fingerprint: fingerprint of the diffuser it was learnt with; plan with the same.
        provenance: command, seed, versions, objective and data.
        value: where plans should lead, fitted to the reward; None if none was.
        fine_tuned: a diffuser fine-tuned to the reward, to plan with in place of the one it was
            learnt with, unguided (:mod:`trailward.diffusion.fine_tuning`); None if none was.
        columns: what the play data's entries are called.
        known_region: where the data is that it was learnt from; None if there was no play data, or
            the reward is of whole plans.
        family: all readings of the reward; None if it can be read in one way only.
        avoided: what demonstrators avoid on their way; None if nothing is.
        pace: that demonstrators keep; None if they keep none.
        is_pessimistic: whether this is the form that :meth:`pessimistic` makes.
    """

    model: RewardModel
    observation_normalizer: Normalizer
    action_normalizer: Normalizer
    sampling: SamplingConfig
    diffuser_fingerprint: str
    planning: PlanningConfig = PlanningConfig()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    value: Value | None = None
    fine_tuned: Diffuser | None = None
    columns: Columns = Columns()
    known_region: KnownRegion | None = None
    family: Readings | None = None
    avoided: Avoided | None = None
    pace: Pace | None = None
    is_pessimistic: bool = False

    @property
    def spec(self) -> PlanSpec:
        """The plans it was learnt on."""
        return self.model.spec

    @property
    def guide_model(self) -> RewardModel:
        """What guides plans: the learnt reward, with the value added if there is one.

        Where demonstrators avoid something, the best way round it guides. A value that holds the
        reward already takes its place: a discounted one, and that of a reading. Of a reading
        without a value of its own, the reward as it is guides: it was learnt to be a guide.
        """
        if self.avoided is not None and len(self.avoided.ahead):
            return WayRound(self.spec, self.avoided)
        learnt = self.model if self.family is None else self.family.base
        if self.value is None:
            return learnt
        return self.value if self.value.alone else RewardToGo(learnt, self.value)

    @property
    def reading(self) -> str:
        """How the reward is read (:mod:`trailward.rewards.readings`)."""
        return AS_IS if self.family is None else self.family.chosen

    @property
    def readings(self) -> Readings:
        """The ways in which the reward can be read.

        Raises:
            DataError: if there is but one.
        """
        if self.family is None:
            msg = (
                "this reward can be read in one way only: it was learnt without play data, is of "
                "whole plans, or is pessimistic"
            )
            remedy = "learn it with play data and an additive reward"
            raise DataError(msg, place="readings", remedy=remedy)
        return self.family

    def with_reading(self, name: str, *, play: Dataset | None = None) -> "LearntReward":
        """The same reward, read otherwise.

        Args:
            name: one of ``readings.names``, ``answers`` or ``default``.
            play: environment units. Given, a value is fitted to the reading, which takes seconds
                and makes plans follow it; if not, plans are guided as before.

        Raises:
            SettingsError: if there is no such reading.
            DataError: if the reward can be read in one way only.
        """
        return self.read_as(self.readings.read(name), play=play)

    def with_answers(
        self,
        answers: Sequence[Answer],
        *,
        wrong_share: float = WRONG_SHARE,
        play: Dataset | None = None,
    ) -> "LearntReward":
        """The same reward, read as answers say; the default reading if there is no answer.

        Nothing is learnt anew (:mod:`trailward.learning.answers`).

        Args:
            answers: to questions about this reward.
            wrong_share: the share of answers that may be wrong.
            play: as of :meth:`with_reading`.

        Raises:
            DataError: if the answers are about other plans, or the reward can be read in one way
                only.
            SettingsError: if the share is not at least 0 and below 1.
        """
        if not answers:
            return self.with_reading("default", play=play)
        weights = weigh(self.readings, self.normalizer, answers, wrong_share=wrong_share)
        return self.read_as(self.readings.weighed(weights), play=play)

    def read_as(self, readings: Readings, *, play: Dataset | None = None) -> "LearntReward":
        """The same reward with these readings, of which the one that is chosen is used.

        Args:
            readings: of this reward.
            play: as of :meth:`with_reading`.
        """
        region, value = self.known_region, self.value
        model: RewardModel = readings.base if readings.chosen == AS_IS else readings
        if play is not None:
            windows, alone = Windows(play, self.spec), self.guides_alone(readings)
            value = fit_value(model, windows, self.normalizer, alone=alone, tolls=self.avoided)
        if self.avoided is not None:
            model = TollReward(model, self.avoided)
        if region is not None:
            region = region.with_floor(model)
        return replace(self, model=model, family=readings, value=value, known_region=region)

    def guides_alone(self, readings: Readings) -> bool:
        """Whether a value of these readings guides plans in the reward's place.

        It does not where plans are guided as the reward was learnt: as it is, nothing avoided.
        """
        return readings.chosen != AS_IS or self.avoided is not None

    @property
    def is_additive(self) -> bool:
        """Whether the reward of a plan is the mean of rewards of its steps."""
        return self.model.per_step

    @property
    def num_stages(self) -> int:
        """How many stages the reward tells apart; 1 if what came before does not count."""
        return self.model.num_stages

    @property
    def sees_actions(self) -> bool:
        """Whether the reward depends on actions too."""
        return self.model.sees_actions

    @property
    def is_of_transitions(self) -> bool:
        """Whether :meth:`transition_rewards` can tell what a transition is worth by itself."""
        acts_at_once = self.sees_actions and self.spec.stride > 1
        return self.is_additive and self.num_stages == 1 and not acts_at_once

    def check_of_transitions(self, *, remembering: bool = False) -> None:
        """Refuse rewards that :meth:`transition_rewards` cannot tell.

        Args:
            remembering: whether what came before each transition is known.

        Raises:
            TypeError: if the reward model rewards whole plans only, remembers what came before
                (unless that is known), or sees the actions of several environment steps.
        """
        self._check_of_steps()
        if self.num_stages > 1 and not remembering:
            raise TypeError(
                "a staged reward remembers what came before; judge episodes, by episode_rewards"
            )
        if self.sees_actions and self.spec.stride > 1:
            raise TypeError(
                f"this reward sees the actions of {self.spec.stride} environment steps; judge "
                "episodes, by episode_rewards, or learn one on plans of stride 1"
            )

    def pessimistic(self) -> "LearntReward":
        """The same reward near the data that it was learnt from, and the least of it elsewhere.

        Train agents on this one (:mod:`trailward.rewards.known_region`). Save the reward it is
        made of.

        Raises:
            TypeError: if the reward model rewards whole plans only.
            DataError: if there was no play data to tell where the reward is known.
        """
        self._check_of_steps()
        if self.known_region is None:
            msg = "this reward was learnt without play data, so it does not know where it holds"
            remedy = "give play data to learn_reward (or --play), or do without pessimism"
            raise DataError(msg, place="known_region", remedy=remedy)
        model = PessimisticReward(self.model, self.known_region)
        return replace(self, model=model, family=None, is_pessimistic=True)

    def __call__(
        self,
        observations: Float[np.ndarray, "*axes observation"],
        actions: Float[np.ndarray, "*acts action"] | None = None,
    ) -> Float[np.ndarray, "*rewards"]:
        """Learnt reward of one step, a batch of them, an episode or a batch of those; learnt units.

        Args:
            observations: environment units. For a reward with stages, the axis before the last is
                time, and nothing came before it.
            actions: environment units; needed by a reward that sees them, else not looked at. What
                is done at each observation: as many as those, or one fewer along the axis before
                the last, as in an :class:`~trailward.data.episode.Episode`.

        Returns:
            A reward for each observation, float64. If the reward sees actions: for each that is
            followed by as many actions as a plan step holds (``spec.stride``).

        Raises:
            TypeError: if the reward model rewards whole plans only, or sees actions and there are
                none.
            DataError: if a shape does not fit, or a value is not finite.
        """
        if not self.sees_actions:
            return self.step_rewards(observations)
        self._check_of_steps()
        observations = self._observed("observations", observations)
        if actions is None:
            raise TypeError("this reward sees actions too; give both observations and actions")
        actions = check_array("actions", actions, self.spec.action_dim)
        if observations.ndim == actions.ndim == 1:
            return self(observations[None], actions[None]).reshape(())
        chunks = action_chunks(observations, actions, self.spec.stride)
        with_actions = observations[..., : chunks.shape[-3], :]
        return self._judge(self._model_space(with_actions, chunks))

    def step_rewards(
        self, observations: Float[np.ndarray, "*axes observation"], *, stage: int | None = None
    ) -> Float[np.ndarray, "*axes"]:
        """Learnt reward of each observation (environment units), in learnt units.

        Args:
            observations: for a reward with stages, the axis before the last is time, and nothing
                came before it.
            stage: of a reward with stages: the reward in this one, whatever came before.

        Raises:
            TypeError: if the reward model rewards whole plans only, or sees actions too.
            SettingsError: if there is no such stage.
            DataError: if a shape does not fit or a value is not finite.
        """
        if self.sees_actions:
            raise TypeError("this reward sees actions too; judge episodes, by episode_rewards")
        self._check_of_steps()
        if stage is not None and not 0 <= stage < self.num_stages:
            remedy = f"it must be at least 0 and below {self.num_stages}"
            raise SettingsError(place="stage", value=stage, remedy=remedy)
        observations = self._observed("observations", observations)
        stages = None if stage is None else np.full(observations.shape[:-1], stage)
        return self._judge(self._model_space(observations), stages)

    def episode_rewards(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """Learnt reward of each step of an episode (environment units), in learnt units.

        The last observation counts too, unless the reward sees actions: then those observations
        do that are followed by as many actions as a plan step holds.

        Raises:
            TypeError: if the reward model rewards whole plans only.
            DataError: if the reward sees actions and there are fewer.
        """
        return self(episode.observations, episode.actions)

    def transition_rewards(
        self,
        observations: Observations,
        actions: Actions,
        next_observations: Observations,
        *,
        past: Int[np.ndarray, "batch"] | None = None,
    ) -> Float[np.ndarray, "batch"]:
        """Learnt reward of each transition (environment units), in learnt units.

        A reward of single observations gives a transition the reward of the observation that it
        arrives at; one that sees actions gives it that of where it begins and what is done there.

        Args:
            observations: where each begins.
            actions: what is done there.
            next_observations: where each arrives, one environment step later.
            past: of a reward with stages: what :meth:`observe` says of the first.

        Raises:
            TypeError: as :meth:`check_of_transitions`.
            DataError: if a shape does not fit, or a value that is looked at is not finite.
        """
        self.check_of_transitions(remembering=past is not None)
        check_alike(
            observations=observations,
            actions=actions if self.sees_actions else None,
            next_observations=next_observations,
            past=None if past is None else np.asarray(past)[..., None],
        )
        if self.num_stages > 1 or self.sees_actions:
            observations = self._observed("observations", observations)
        if self.sees_actions:
            actions = check_array("actions", actions, self.spec.action_dim)
        next_observations = self._observed("next_observations", next_observations)
        stages = None
        if self.num_stages > 1:
            path = np.stack([observations, next_observations], 1)
            at = 0 if self.sees_actions else 1
            stages = self.observe(path, past)[:, at]
        if self.sees_actions:
            return self._judge(self._model_space(observations, actions[:, None]), stages)
        return self._judge(self._model_space(next_observations), stages)

    @torch.no_grad()
    def observe(
        self,
        observations: Float[np.ndarray, "batch time observation"],
        past: Int[np.ndarray, "batch"] | None = None,
    ) -> Int[np.ndarray, "batch time"]:
        """The stage that the reward is in at each observation; 0 if it has only one.

        Args:
            observations: environment units.
            past: the stage before the first of them; 0 if None.
        """
        if self.num_stages == 1:
            return np.zeros(observations.shape[:-1], dtype=np.int64)
        before = None if past is None else torch.as_tensor(np.array(past), device=self.device)
        steps = self._model_space(observations)
        return self.model.observe(steps, None if before is None else before.long()).cpu().numpy()

    @torch.no_grad()
    def plan_rewards(self, windows: Plans) -> Float[np.ndarray, "batch"]:
        """Learnt reward of whole windows (environment units), in learnt units."""
        rewards = self.model(self.normalizer.normalize(windows))
        return rewards.cpu().numpy().astype(np.float64)

    def mean_reward(self, episode: Episode) -> float:
        """Mean learnt reward of an episode; a reward of whole plans judges windows end to end."""
        if self.is_additive:
            return float(self.episode_rewards(episode).mean())
        windows = Windows(Dataset([episode]), self.spec)
        drawn, _ = windows.gather(torch.arange(0, len(windows), self.spec.num_observations))
        return float(self.plan_rewards(drawn).mean())

    def rewards_along(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """Learnt reward of each step of an episode; of whole plans its mean at every step."""
        if self.is_additive:
            return self.episode_rewards(episode)
        return np.full(len(episode), self.mean_reward(episode))

    def _model_space(
        self,
        observations: Float[np.ndarray, "*axes observation"],
        actions: Float[np.ndarray, "*axes stride action"] | None = None,
    ) -> Float[Tensor, "*axes entry"]:
        """Plan steps, or without actions their observations, of environment units."""
        seen = torch.as_tensor(observations)
        if actions is None:
            return self.observation_normalizer.normalize(seen)
        acts = torch.tensor(actions)
        return self.normalizer.normalize(self.spec.join(seen, acts))

    @torch.no_grad()
    def _judge(
        self, steps: Float[Tensor, "*axes entry"], stages: Int[np.ndarray, "*axes"] | None = None
    ) -> Float[np.ndarray, "*axes"]:
        """Learnt reward of each step (model space), in these stages or those that time leads to."""
        axes = steps.shape[:-1]
        if stages is not None:
            past = torch.as_tensor(stages, device=self.device).reshape(-1, 1)
            rewards = self.model.step_rewards(steps.reshape(-1, 1, steps.shape[-1]), past)
        else:
            paths = steps.reshape(math.prod(axes[:-1]), *axes[-1:] or (1,), steps.shape[-1])
            rewards = self.model.step_rewards(paths)
        return rewards.reshape(axes).cpu().numpy().astype(np.float64)

    @property
    def normalizer(self) -> Normalizer:
        """The normalizer of whole transitions, from environment units to model space."""
        return join_normalizers(self.observation_normalizer, self.action_normalizer, self.spec)

    def _observed(self, what: str, given: np.ndarray) -> np.ndarray:
        """Observations as the reward sees them: checked, with sine and cosine of angles."""
        seen = lift(self.columns, given) if self.columns.angles else given
        return check_array(what, seen, self.spec.observation_dim)

    def _check_of_steps(self) -> None:
        if not self.model.per_step:
            msg = f"a '{self.model.name}' reward is of whole plans; learn an 'additive' one"
            raise TypeError(msg)

    @property
    def device(self) -> torch.device:
        """Where it is evaluated."""
        return self.observation_normalizer.shift.device

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a folder that :meth:`load` reads without data, denoiser or environment.

        Raises:
            TypeError: if this is the pessimistic form of a reward.
        """
        from trailward.learning.files import save

        return save(self, Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        allow_import: bool = False,
    ) -> "LearntReward":
        """Read what :meth:`save` wrote.

        Args:
            folder: of the reward; one of version 0.1 will do.
            device: where it will be evaluated.
            allow_import: whether a part named ``module:Name`` may import its module, which
                executes it; if not, the module must have been imported before.

        Raises:
            CheckpointError: if it is missing, damaged, of another kind or does not fit its
                configuration.
        """
        from trailward.learning.files import load

        return load(Path(folder), device=device, allow_import=allow_import)
