"""Recipes of data by roll-outs of policies: a ladder of them, from untrained to good, or one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from trailward.acting.named_policy import named_policy
from trailward.acting.network_policy import NetworkPolicy, NoisyPolicy, describe_returns, ladder_of
from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.environments import Environment, Recipe
from trailward.errors import DataError, SettingsError, at_least

Told = Callable[[int], None]

BEST_FRACTION = 0.03
"""Environment steps of the best policy in a mixture, for each step of play data."""

_ENVS_AT_ONCE = 50
_STREAMS = ("play", "best", "medium", "expert", "order", "runner-up", "policy")


def silent(done: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, kw_only=True)
class Play(Recipe):
    """Play data: all policies of a ladder but the best, as many steps of each, with noise."""

    policies: Path | None = None
    """Folder 'ladder' in one that 'trailward policies' made; the packaged ladder if not given."""
    num_steps: int = 300_000
    """Environment steps in all, rounded up to whole episodes."""
    episode_steps: int | None = None
    """Environment steps after which an episode is cut; as usual in the environment if not given."""
    action_noise: float = 0.15
    """Standard deviation of the noise on actions, where half their range is 1."""

    def __post_init__(self) -> None:
        at_least(1, self, "num_steps")

    def record(self, environment: Environment, *, seed: int, progress: Told = silent) -> Dataset:
        """Episodes of all policies but the best, shuffled."""
        recorder = Recorder(environment, seed, self.episode_steps, progress)
        policies = _ladder(environment, self.policies)
        found, facts = _play(recorder, policies, self.num_steps, self.action_noise)
        return recorder.dataset("play", found, **facts)


@dataclass(frozen=True, kw_only=True)
class Mixture(Play):
    """The play data of the same seed, and 3% as many steps of the best policy among them.

    Nothing tells which these are. They have no noise, and none is in the data of 'expert',
    whatever the seeds.
    """

    def record(self, environment: Environment, *, seed: int, progress: Told = silent) -> Dataset:
        """Episodes of all policies, shuffled."""
        recorder = Recorder(environment, seed, self.episode_steps, progress)
        policies = _ladder(environment, self.policies)
        found, facts = _play(recorder, policies, self.num_steps, self.action_noise)
        num_steps = sum(len(episode) for episode in found)
        count = max(1, round(BEST_FRACTION * num_steps / recorder.episode_steps))
        best = recorder.steps(policies[-1], count * recorder.episode_steps, "best")
        facts["best"] = _named(policies[-1], len(best))
        return recorder.dataset("mixture", found + best, **facts)


@dataclass(frozen=True, kw_only=True)
class Medium(Recipe):
    """Episodes, with noise, of the policy whose return is nearest to half of the best one's."""

    policies: Path | None = None
    """Folder 'ladder' in one that 'trailward policies' made; the packaged ladder if not given."""
    num_episodes: int = 9
    """Number of episodes."""
    episode_steps: int | None = None
    """Environment steps after which an episode is cut; as usual in the environment if not given."""
    action_noise: float = 0.15
    """Standard deviation of the noise on actions, where half their range is 1."""

    def __post_init__(self) -> None:
        at_least(1, self, "num_episodes")

    def record(self, environment: Environment, *, seed: int, progress: Told = silent) -> Dataset:
        """Noisy episodes of one policy."""
        policies = _ladder(environment, self.policies)
        half = policies[-1].mean_return / 2
        policy = min(policies[:-1], key=lambda each: abs(each.mean_return - half))
        recorder = Recorder(environment, seed, self.episode_steps, progress)
        found = recorder.episodes(policy, self.num_episodes, "medium", self.action_noise)
        named = [_named(policy, self.num_episodes)]
        return recorder.dataset("medium", found, action_noise=self.action_noise, policies=named)


@dataclass(frozen=True, kw_only=True)
class Expert(Recipe):
    """Demonstrations: episodes of the best policy of a ladder, without noise."""

    policies: Path | None = None
    """Folder 'ladder' in one that 'trailward policies' made; the packaged ladder if not given."""
    num_episodes: int = 9
    """Number of episodes."""
    episode_steps: int | None = None
    """Environment steps after which an episode is cut; as usual in the environment if not given."""

    def __post_init__(self) -> None:
        at_least(1, self, "num_episodes")

    def record(self, environment: Environment, *, seed: int, progress: Told = silent) -> Dataset:
        """Episodes of the best policy."""
        recorder = Recorder(environment, seed, self.episode_steps, progress)
        return self._demonstrated(recorder, "expert", _ladder(environment, self.policies)[-1])

    def _demonstrated(self, recorder: "Recorder", what: str, policy: NetworkPolicy) -> Dataset:
        found = recorder.episodes(policy, self.num_episodes, what)
        return recorder.dataset(what, found, policies=[_named(policy, self.num_episodes)])


@dataclass(frozen=True, kw_only=True)
class RunnerUp(Expert):
    """Demonstrations of the best policy that is in the play data too, without noise."""

    def record(self, environment: Environment, *, seed: int, progress: Told = silent) -> Dataset:
        """Episodes of the best policy but one."""
        recorder = Recorder(environment, seed, self.episode_steps, progress)
        return self._demonstrated(recorder, "runner-up", _ladder(environment, self.policies)[-2])


@dataclass(frozen=True, kw_only=True)
class OnePolicy(Recipe):
    """Episodes of one policy: random actions, a model of Stable-Baselines3, or code of yours."""

    policy: str = "random"
    """random, a .zip file of Stable-Baselines3, or module:name of a function from observations to
    actions."""
    num_episodes: int = 9
    """Number of episodes."""
    episode_steps: int | None = None
    """Environment steps after which an episode is cut; as usual in the environment if not given."""
    action_noise: float = 0.0
    """Standard deviation of the noise on actions, where half their range is 1."""

    def __post_init__(self) -> None:
        at_least(1, self, "num_episodes")

    def record(self, environment: Environment, *, seed: int, progress: Told = silent) -> Dataset:
        """Episodes of the policy."""
        recorder = Recorder(environment, seed, self.episode_steps, progress)
        policy = named_policy(self.policy, recorder.space, seed=seed)
        found = recorder.episodes(policy, self.num_episodes, "policy", self.action_noise)
        facts = {"policy": self.policy, "action_noise": self.action_noise}
        return recorder.dataset("policy", found, **facts)


ROLL_OUTS: Mapping[str, type[Recipe]] = {
    "play": Play,
    "mixture": Mixture,
    "medium": Medium,
    "expert": Expert,
    "runner-up": RunnerUp,
    "policy": OnePolicy,
}
"""Recipes for any environment in which a policy can act, by name."""


class Recorder:
    """Records episodes of policies in one environment, with the true rewards of its usual task.

    What is drawn follows from the seed.

    Args:
        environment: where policies act.
        seed: of starts, noise and order.
        episode_steps: environment steps after which an episode is cut; as usual if None.
        progress: told the environment steps done so far.

    Raises:
        SettingsError: if episodes of the environment have no usual end, and none is given.
    """

    def __init__(
        self, environment: Environment, seed: int, episode_steps: int | None, progress: Told
    ) -> None:
        self.environment, self.seed, self.progress = environment, seed, progress
        first = environment.make()
        usual = first.spec.max_episode_steps if first.spec else None
        limit = usual if episode_steps is None else episode_steps
        if limit is None or limit < 1:
            remedy = "it must be at least 1"
            if usual is None:
                remedy = f"give at least 1, as episodes of '{environment.name}' have no usual end"
            raise SettingsError(place="episode_steps", value=limit, remedy=remedy)
        self.episode_steps, self.is_usual = limit, limit == usual
        self._envs = [first] if self.is_usual else []
        self._actions = first.action_space
        self.steps_done = 0

    @property
    def space(self) -> gymnasium.spaces.Box:
        """The environment's actions."""
        if not isinstance(self._actions, gymnasium.spaces.Box):
            place, given = f"the actions of '{self.environment.name}'", self._actions
            msg = f"{place} are {given}; collect records continuous ones"
            remedy = "record these in Python, with trailward.acting.rollout.rollout"
            raise DataError(msg, place=place, value=given, remedy=remedy)
        return self._actions

    @property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return self.space.low.astype(np.float64), self.space.high.astype(np.float64)

    def episodes(
        self, policy: Policy, count: int, stream: str, noise: float = 0.0
    ) -> list[Episode]:
        """So many episodes of one policy; each stream has starts and noise of its own."""
        found: list[Episode] = []
        while len(found) < count:
            found += self._batch(policy, count - len(found), (stream, 0, len(found)), noise)
        return found

    def steps(
        self, policy: Policy, num_steps: int, stream: str, noise: float = 0.0, place: int = 0
    ) -> list[Episode]:
        """Whole episodes of one policy until they have so many steps together.

        Each stream and place has starts and noise of its own.
        """
        found: list[Episode] = []
        done = 0
        while done < num_steps:
            usual = done / len(found) if found else self.episode_steps
            count = int(np.ceil((num_steps - done) / usual))
            for episode in self._batch(policy, count, (stream, place, len(found)), noise):
                if done < num_steps:
                    found.append(episode)
                    done += len(episode)
        return found

    def _batch(
        self, policy: Policy, count: int, place: tuple[str, int, int], noise: float
    ) -> list[Episode]:
        now = min(count, _ENVS_AT_ONCE)
        stream, *where = place
        key = (self.seed, _STREAMS.index(stream), *where)
        self._envs += [
            self.environment.make(episode_steps=self.episode_steps)
            for _ in range(len(self._envs), now)
        ]
        found = rollout(
            self._envs[:now],
            NoisyPolicy(policy, noise, key, self._bounds),
            seeds=np.random.SeedSequence(key).generate_state(now).tolist(),
            num_steps=self.episode_steps,
        )
        self.steps_done += sum(len(episode) for episode in found)
        self.progress(self.steps_done)
        task = self.environment.task()
        return [replace(episode, rewards=task.step_rewards(episode)) for episode in found]

    def dataset(self, what: str, episodes: list[Episode], **facts: Any) -> Dataset:
        """The episodes shuffled, with what is known of them."""
        key = (self.seed, _STREAMS.index("order"))
        order = np.random.default_rng(key).permutation(len(episodes))
        shuffled = Dataset([episodes[index] for index in order])
        reference = self.environment.reference_returns
        returns = describe_returns(shuffled.returns, reference if self.is_usual else None)
        about = {"environment": self.environment.name, "what": what, "returns": returns}
        if reference is not None:
            about |= {"score_0": reference[0], "score_100": reference[1]}
        return Dataset(shuffled.episodes, about | facts, self.environment.columns)


def _play(
    recorder: Recorder, policies: Sequence[NetworkPolicy], num_steps: int, noise: float
) -> tuple[list[Episode], dict[str, Any]]:
    """Noisy episodes of all policies but the best: as many whole episodes' steps of each."""
    total, num = -(-num_steps // recorder.episode_steps), len(policies) - 1
    found, named = [], []
    for place, policy in enumerate(policies[:-1]):
        count = total * (place + 1) // num - total * place // num
        recorded = recorder.steps(policy, count * recorder.episode_steps, "play", noise, place)
        named.append(_named(policy, len(recorded)))
        found += recorded
    return found, {"action_noise": noise, "policies": named}


def _ladder(environment: Environment, folder: Path | None) -> list[NetworkPolicy]:
    policies = ladder_of(environment.name, folder)
    if len(policies) < 2:
        msg, remedy = f"the ladder has {len(policies)} policies", "it needs at least two"
        raise DataError(msg, place="policies", value=len(policies), remedy=remedy)
    return policies


def _named(policy: NetworkPolicy, count: int) -> dict[str, Any]:
    return {"step": policy.facts["step"], "return": policy.mean_return, "episodes": count}
