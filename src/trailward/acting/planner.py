"""The planner: observations to guided plans to actions, replanned as it goes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trailward.data.choices import decode
from trailward.data.episode import DataError, as_numbers, at_least
from trailward.data.plan import check_batch
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards.memory import Remembered, RemembersPast
from trailward.typing import Actions, Observations, PerPlan, Plans


@runtime_checkable
class Policy(Protocol):
    """Planner, expert or baseline: the same to a roll-out."""

    def reset(self) -> None:
        """Forget everything about the episodes before."""
        ...

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, all in environment units."""
        ...


@dataclass
class Planner:
    """Receding-horizon control with guided plans, for many environments side by side.

    Every ``replan_every`` environment steps it samples ``num_candidates`` plans from each
    observation and keeps the best. In between it follows that plan: the
    plan's own actions, or the inverse-dynamics model's towards the next planned observation.

    Args:
        diffuser: of the play data.
        sampling: how plans are sampled and guided.
        reward_model: guides and chooses plans, model space; None for unguided plans. One that
            remembers is told every observation since :meth:`reset`.
        num_candidates: plans sampled for each environment.
        choose: which of them is kept: the most ``plausible`` one
            (:meth:`~trailward.diffusion.diffuser.Diffuser.implausibility`; guidance has seen to
            the reward already), or the one of highest ``reward``.
        replan_every: environment steps between plans, 1 to the plan's reach; the plan's stride if
            None.
        seed: of the plans' noise.

    Raises:
        ValueError: if ``replan_every`` is longer than a plan reaches, there is no candidate, or
            ``choose`` is unknown.
    """

    diffuser: Diffuser
    sampling: SamplingConfig
    reward_model: Callable[[Plans], PerPlan] | None = None
    num_candidates: int = 1
    replan_every: int | None = None
    seed: int = 0
    choose: str = "plausible"
    _follower: "PlanFollower | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        at_least(1, self, "num_candidates")
        if self.choose not in ("plausible", "reward"):
            raise ValueError(f"choose is '{self.choose}'; it can be 'plausible' or 'reward'")
        spec = self.diffuser.spec
        reach = spec.num_observations - 1
        if reach < 1:
            raise ValueError("plans of one observation lead nowhere; use a horizon of at least 2")
        self._replan_every = spec.stride if self.replan_every is None else self.replan_every
        if not 1 <= self._replan_every <= reach:
            msg = (
                f"replan_every is {self._replan_every} environment steps; "
                f"a plan reaches over {reach}, so choose 1 to {reach}"
            )
            raise ValueError(msg)
        self.reset()

    @classmethod
    def for_reward(
        cls,
        learnt: LearntReward,
        diffuser: Diffuser,
        *,
        num_candidates: int = 1,
        replan_every: int | None = None,
        seed: int = 0,
        choose: str = "plausible",
    ) -> "Planner":
        """The planner of a learnt reward: guided by it, or with the diffuser tuned to it.

        Plans of a tuned diffuser are not guided, so there is one candidate of each.

        Args:
            learnt: with how to sample and guide plans.
            diffuser: that it was learnt with.
            num_candidates: as of a planner, and so are the others.
            replan_every: environment steps.
            seed: of the plans' noise.
            choose: ``plausible`` or ``reward``.

        Raises:
            ValueError: if the reward was learnt with another diffuser, or as of a planner.
        """
        if learnt.diffuser_fingerprint != diffuser.fingerprint:
            msg = (
                f"the reward was learnt with the diffuser {learnt.diffuser_fingerprint}, this is "
                f"{diffuser.fingerprint}; plan with that one"
            )
            raise ValueError(msg)
        if learnt.tuned is not None:
            return cls(learnt.tuned, learnt.sampling, None, 1, replan_every, seed)
        guide, sampling = learnt.guide_model, learnt.sampling
        return cls(diffuser, sampling, guide, num_candidates, replan_every, seed, choose)

    def reset(self) -> None:
        """Forget the plans and start the noise anew: the same seed gives the same plans."""
        self._generator = torch.Generator(self.diffuser.device).manual_seed(self.seed)
        self._follower = None
        self._remembered: Remembered | None = None

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, all in environment units.

        Raises:
            DataError: if a shape does not fit or a value is not finite; then all is planned anew.
        """
        try:
            self._remember(check_batch(self.diffuser.spec, observations))
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
        return follower(observations)

    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """As algorithms of Stable-Baselines3 predict, so that its ``evaluate_policy`` takes this.

        Args:
            observation: environment units, of one environment, (observation,), or of many; or a
                dictionary with an entry ``observation``, as environments with goals return.
            state: handed back as it is; the planner itself keeps its plans and what it remembers.
            episode_start: True where an episode begins: there the past is forgotten. All
                environments are then planned for anew, since their plans are of one age.
            deterministic: plays no part: the noise of the plans follows from ``seed``.

        Returns:
            Actions, environment units, not clipped to any bounds, or the numbers of discrete ones;
            and the state.

        Raises:
            ValueError: if the observation has another shape than the diffuser was trained on, or a
                dictionary no such entry.
        """
        if isinstance(observation, Mapping):
            if "observation" not in observation:
                found = ", ".join(f"'{entry}'" for entry in observation)
                raise ValueError(f"the observation has no entry 'observation', only {found}")
            observation = observation["observation"]
        values = as_numbers("observation", observation)
        expected = self.diffuser.spec.observation_dim
        if values.ndim not in (1, 2) or values.shape[-1] != expected:
            msg = (
                f"the observation has shape {values.shape}; the diffuser was trained on "
                f"{expected} entries: give ({expected},), or (environments, {expected})"
            )
            raise ValueError(msg)
        observations = np.atleast_2d(values)
        if episode_start is not None and np.any(episode_start):
            self._follower = None
            begins = torch.as_tensor(np.atleast_1d(episode_start), device=self.diffuser.device)
            if self._remembered is not None and len(self._remembered) == len(begins):
                self._remembered = self._remembered & ~begins.bool()
        actions = decode(self.diffuser.columns, self(observations))
        return (actions if values.ndim == 2 else actions[0]), state

    @torch.no_grad()
    def plan(self, observations: Observations) -> Plans:
        """The best of the sampled plans from each observation, model space.

        A reward model that remembers judges them by what it was told of as many environments, in
        the calls since :meth:`reset`; of others it knows these observations alone.

        Args:
            observations: environment units.
        """
        reward_model = self._reward_model(observations)
        count = self.num_candidates if reward_model is not None else 1
        first = _normalized(self.diffuser, observations).repeat_interleave(count, dim=0)
        plans = self.diffuser.sample_plans(
            first, self.sampling, generator=self._generator, reward_model=reward_model
        )
        if count == 1 or reward_model is None:
            return plans
        if self.choose == "reward":
            merit = reward_model(plans)
        else:
            merit = -self.diffuser.implausibility(plans, generator=self._generator)
        best = merit.reshape(len(observations), count).argmax(dim=1)
        chosen = best + count * torch.arange(len(observations), device=plans.device)
        return plans[chosen]

    def _remember(self, observations: Observations) -> None:
        """Tell a reward model that remembers what is observed now."""
        if isinstance(self.reward_model, RemembersPast):
            before = self._remembered
            if before is not None and len(before) != len(observations):
                before = None
            now = _normalized(self.diffuser, observations).unsqueeze(1)
            self._remembered = self.reward_model.remember(now, before)[:, -1]

    def _reward_model(self, observations: Observations) -> Callable[[Plans], PerPlan] | None:
        """The reward model of all candidates, given what is remembered of each environment."""
        if not isinstance(self.reward_model, RemembersPast):
            return self.reward_model
        remembered = self._remembered
        if remembered is None or len(remembered) != len(observations):
            now = _normalized(self.diffuser, observations).unsqueeze(1)
            remembered = self.reward_model.remember(now)[:, -1]
        return self.reward_model.given(remembered.repeat_interleave(self.num_candidates))


@dataclass
class PlanFollower:
    """A policy that follows given plans to their end and never replans.

    Args:
        diffuser: whose plans they are.
        plans: one for each environment, model space.
        age: environment steps since the plans were made; past their end the last step counts.
    """

    diffuser: Diffuser
    plans: Plans
    age: int = 0

    def reset(self) -> None:
        """Back to the plans' beginning."""
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
            msg = (
                "the diffuser was trained without actions, so its plans cannot be executed: look "
                "at them with plan(), or train it on data with actions"
            )
            raise ValueError(msg)
        target = observations[:, min(step + 1, spec.horizon - 1)]
        left = torch.full((len(now),), float(spec.stride - offset), device=now.device)
        return inverse_dynamics(now, target, left)


def _normalized(
    diffuser: Diffuser, observations: Observations
) -> Float[Tensor, "batch observation"]:
    values = check_batch(diffuser.spec, observations)
    return diffuser.observation_normalizer.normalize(torch.as_tensor(values))
