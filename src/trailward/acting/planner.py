"""The planner: observations to guided plans to actions, replanned as it goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trailward.data.angles import lift
from trailward.data.choices import decode
from trailward.data.episode import as_numbers
from trailward.data.plan import check_batch
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.errors import DataError, SettingsError
from trailward.learning.config import PlanningConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.validation import check_guided
from trailward.randomness import generator
from trailward.rewards.contract import RewardModel
from trailward.rewards.pace import Pace
from trailward.typing import Actions, Observations, Past, Plans, Taken

_STRICTNESS = 10.0
"""What a candidate that does what nobody did loses, times the largest merit of all."""


@runtime_checkable
class Policy(Protocol):
    """What acts in environments: a planner, an expert or a baseline."""

    def reset(self) -> None:
        """Forget everything about the episodes before."""
        ...

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, all in environment units."""
        ...


@dataclass
class Planner:
    """Receding-horizon control with guided plans, for many environments side by side.

    Every ``planning.replan_every`` environment steps it samples ``planning.num_candidates`` plans
    from each observation and keeps the best. In between it follows that plan: the plan's own
    actions, or the inverse-dynamics model's towards the next planned observation.

    Args:
        diffuser: of the play data.
        sampling: how plans are sampled and guided.
        reward_model: guides and chooses plans, model space; None for unguided plans. One that
            remembers is told every observation since :meth:`reset`.
        planning: how many candidates there are, which is kept, and how often plans are made.
        seed: for the plans' noise.
        pace: faster plans are slowed to it; None for any pace.

    Raises:
        SettingsError: if ``replan_every`` is longer than a plan reaches.
    """

    diffuser: Diffuser
    sampling: SamplingConfig
    reward_model: RewardModel | None = None
    planning: PlanningConfig = PlanningConfig()
    seed: int = 0
    pace: Pace | None = None
    _follower: "PlanFollower | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        spec, every = self.diffuser.spec, self.planning.replan_every
        reach = spec.num_observations - 1
        if reach < 1:
            msg, remedy = "plans of one observation lead nowhere", "use a horizon of at least 2"
            raise SettingsError(msg, place="horizon", value=spec.horizon, remedy=remedy)
        self._replan_every = spec.stride if every is None else every
        if not 1 <= self._replan_every <= reach:
            remedy = f"choose 1 to {reach} environment steps, as far as a plan reaches"
            raise SettingsError(place="replan_every", value=self._replan_every, remedy=remedy)
        self.reset()

    @classmethod
    def for_reward(
        cls,
        learnt: LearntReward,
        diffuser: Diffuser,
        *,
        planning: PlanningConfig | None = None,
        seed: int = 0,
    ) -> "Planner":
        """The planner of a learnt reward: guided by it, or with the diffuser fine-tuned to it.

        Plans of a fine-tuned diffuser are not guided. There is one candidate of each, unless the
        reward is to choose among several.

        Args:
            learnt: the reward, with its settings of sampling and planning.
            diffuser: the diffuser that it was learnt with.
            planning: settings used instead of those saved with the reward.
            seed: for the plans' noise.

        Raises:
            DataError: if the reward was learnt with another diffuser.
            SettingsError: if ``replan_every`` is longer than a plan reaches.
        """
        check_guided(diffuser, learnt.diffuser_fingerprint)
        planning = learnt.planning if planning is None else planning
        if learnt.fine_tuned is not None:
            if planning.choose == "reward" and planning.num_candidates > 1:
                bare = replace(learnt.sampling, scale=0.0)
                return cls(learnt.fine_tuned, bare, learnt.guide_model, planning, seed)
            alone = replace(planning, num_candidates=1)
            return cls(learnt.fine_tuned, learnt.sampling, None, alone, seed)
        return cls(diffuser, learnt.sampling, learnt.guide_model, planning, seed, learnt.pace)

    def reset(self) -> None:
        """Forget the plans and start the noise anew: the same seed gives the same plans."""
        self._generator = generator(self.seed, "planner: noise", device=self.diffuser.device)
        self._follower = None
        self._stage: Past | None = None

    def __call__(self, observations: Observations) -> Taken:
        """One action for each environment, all in environment units; of choices, their numbers.

        Raises:
            DataError: if a shape does not fit or a value is not finite; then all is planned anew.
        """
        observations = lift(self.diffuser.columns, observations)
        try:
            self._observe(check_batch(self.diffuser.spec, observations))
        except DataError:
            self._follower = None
            raise
        follower = self._follower
        if (
            follower is None
            or follower.age >= self._replan_every
            or len(follower.plans) != len(observations)
        ):
            follower = self._follower = PlanFollower(self.diffuser, self.plan(observations))
        return decode(self.diffuser.columns, follower(observations))

    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Predict as Stable-Baselines3's algorithms do; its ``evaluate_policy`` takes this.

        Args:
            observation: environment units, of one environment, (observation,), or of many; or a
                dictionary with an entry ``observation``, as environments with goals return.
            state: handed back as it is; the planner itself keeps its plans and what it remembers.
            episode_start: True where an episode begins: there the past is forgotten. All
                environments are then planned for anew, since their plans are of one age.
            deterministic: ignored; the noise of the plans follows from ``seed``.

        Returns:
            Actions, environment units, not clipped to any bounds, or the numbers of discrete ones;
            and the state.

        Raises:
            DataError: if the observation has another shape than the diffuser was trained on, or a
                dictionary no such entry.
        """
        if isinstance(observation, Mapping):
            if "observation" not in observation:
                found = ", ".join(f"'{entry}'" for entry in observation)
                msg = f"the observation has no entry 'observation', only {found}"
                raise DataError(msg, place="observation", value=list(observation))
            observation = observation["observation"]
        values = lift(self.diffuser.columns, as_numbers("observation", observation))
        expected = self.diffuser.spec.observation_dim
        if values.ndim not in (1, 2) or values.shape[-1] != expected:
            msg = f"the observation has shape {values.shape}"
            remedy = (
                f"the diffuser was trained on {expected} entries: give ({expected},), or "
                f"(environments, {expected})"
            )
            raise DataError(msg, place="observation", value=values.shape, remedy=remedy)
        observations = np.atleast_2d(values)
        if episode_start is not None and np.any(episode_start):
            self._follower = None
            begins = torch.as_tensor(np.atleast_1d(episode_start), device=self.diffuser.device)
            if self._stage is not None and len(self._stage) == len(begins):
                self._stage = self._stage * ~begins.bool()
        actions = self(observations)
        return (actions if values.ndim == 2 else actions.squeeze(axis=0)), state

    @torch.no_grad()
    def plan(self, observations: Observations) -> Plans:
        """The best of the sampled plans from each observation, model space.

        A reward model that remembers judges them by what it was told of as many environments, in
        the calls since :meth:`reset`; of others it knows these observations alone.

        Args:
            observations: environment units.
        """
        observations = lift(self.diffuser.columns, observations)
        reward_model, count = self.reward_model, self.planning.num_candidates
        if reward_model is None:
            first = _normalized(self.diffuser, observations)
            return self.diffuser.sample_plans(first, self.sampling, generator=self._generator)
        first = _normalized(self.diffuser, observations).repeat_interleave(count, dim=0)
        past = self._past(reward_model, observations).repeat_interleave(count).unsqueeze(1)
        guide = lambda plan: reward_model(plan, past)
        way = reward_model.reference(first.unsqueeze(1), self.diffuser.spec.horizon + 1)
        near = None if way is None else way[:, :-1]
        plans = self.diffuser.sample_plans(
            first, self.sampling, generator=self._generator, reward_model=guide, near=near
        )
        if way is not None:  # where all that is left is to stay, the denoiser would stay elsewhere
            stays = (way[:, 1:] == way[:, -1:]).flatten(1).all(1)
            plans = torch.where(stays[:, None, None], way[:, :-1], plans)
        if count == 1:
            return self._slowed(plans)
        if self.planning.choose == "reward" or near is not None:
            merit = guide(plans)
        else:
            merit = -self.diffuser.implausibility(plans, generator=self._generator)
        merit = merit - _STRICTNESS * merit.abs().amax() * reward_model.violation(plans)
        best = merit.reshape(len(observations), count).argmax(dim=1)
        chosen = best + count * torch.arange(len(observations), device=plans.device)
        return self._slowed(plans[chosen])

    def _slowed(self, plans: Plans) -> Plans:
        """The same plans at the pace that demonstrators keep, if they keep one."""
        if self.pace is None:
            return plans
        normalizer = self.diffuser.observation_normalizer
        return normalizer.normalize(self.pace.slowed(normalizer.unnormalize(plans)))

    def _observe(self, observations: Observations) -> None:
        """Tell the reward model what is observed now."""
        if self.reward_model is not None:
            before = self._stage
            if before is not None and len(before) != len(observations):
                before = None
            now = _normalized(self.diffuser, observations).unsqueeze(1)
            self._stage = self.reward_model.observe(now, before)[:, -1]

    def _past(self, reward_model: RewardModel, observations: Observations) -> Past:
        """The stage of each environment: as it was told, or of these observations alone."""
        if self._stage is None or len(self._stage) != len(observations):
            now = _normalized(self.diffuser, observations).unsqueeze(1)
            return reward_model.observe(now)[:, -1]
        return self._stage


@dataclass
class PlanFollower:
    """A policy that follows given plans to their end and never replans.

    Args:
        diffuser: the diffuser that made the plans.
        plans: one for each environment, model space.
        age: environment steps since the plans were made; past their end the last step counts.
    """

    diffuser: Diffuser
    plans: Plans
    age: int = 0

    def reset(self) -> None:
        """Go back to the plans' beginning."""
        self.age = 0

    @torch.no_grad()
    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, all in environment units."""
        actions = self._actions(_normalized(self.diffuser, observations))
        self.age += 1
        units = self.diffuser.action_normalizer.unnormalize(actions)
        return units.cpu().numpy().astype(np.float64)

    def _actions(self, now: Float[Tensor, "batch observation"]) -> Float[Tensor, "batch action"]:
        spec, inverse_dynamics = self.diffuser.spec, self.diffuser.inverse_dynamics
        observations, chunks = spec.split(self.plans)
        step, offset = divmod(self.age, spec.stride)
        if chunks is not None:
            return chunks[:, min(step, spec.horizon - 1), offset]
        if inverse_dynamics is None:
            msg = "the diffuser was trained without actions, so its plans cannot be executed"
            remedy = "look at them with plan(), or train it on data with actions"
            raise DataError(msg, place="actions", remedy=remedy)
        target = observations[:, min(step + 1, spec.horizon - 1)]
        left = torch.full((len(now),), float(spec.stride - offset), device=now.device)
        return inverse_dynamics(now, target, left)


def _normalized(
    diffuser: Diffuser, observations: Observations
) -> Float[Tensor, "batch observation"]:
    values = check_batch(diffuser.spec, observations)
    return diffuser.observation_normalizer.normalize(torch.as_tensor(values))
