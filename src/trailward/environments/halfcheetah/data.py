"""Play data and demonstrations of HalfCheetah, by a ladder of policies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset
from trailward.data.episode import DataError, Episode
from trailward.environments.halfcheetah.environment import (
    ENV_ID,
    EPISODE_STEPS,
    EXPERT_RETURN,
    RANDOM_RETURN,
    NetworkPolicy,
    NoisyPolicy,
    describe_returns,
    make_env,
)

ACTION_NOISE = 0.15
"""Standard deviation of the noise on each action entry of play data."""

BEST_FRACTION = 0.03
"""Episodes of the best policy in a mixture, for each episode of play data."""

_ENVS_AT_ONCE = 50
_STREAMS = ("play", "best", "medium", "expert", "order", "runner-up")

Told = Callable[[int], None]


def _silent(done: int) -> None:
    """Tells nobody."""


def collect_play(
    policies: Sequence[NetworkPolicy],
    *,
    num_steps: int,
    seed: int,
    episode_steps: int = EPISODE_STEPS,
    action_noise: float = ACTION_NOISE,
    progress: Told = _silent,
) -> Dataset:
    """Episodes of all policies but the best, as many of each, with noisy actions, shuffled.

    Args:
        policies: in order of return, at least two.
        num_steps: environment steps in all, rounded up to whole episodes.
        seed: of starts, noise and order.
        episode_steps: environment steps of an episode.
        action_noise: standard deviation of the Gaussian noise on each action entry.
        progress: told the environment steps done so far.

    Raises:
        DataError: if there are fewer than two policies.
    """
    recorder = _Recorder(seed, episode_steps, progress)
    found, facts = _play(recorder, _checked(policies)[:-1], num_steps, action_noise)
    return recorder.dataset("play", found, **facts)


def collect_mixture(
    policies: Sequence[NetworkPolicy],
    *,
    num_steps: int,
    seed: int,
    episode_steps: int = EPISODE_STEPS,
    action_noise: float = ACTION_NOISE,
    progress: Told = _silent,
) -> Dataset:
    """The play data of the same seed, and 3% as many episodes of the best policy among them.

    Nothing tells which these are. They have no noise, and none is in :func:`collect_expert`'s
    data, whatever the seeds.

    Args:
        policies: as for :func:`collect_play`.
        num_steps: of the play data.
        seed: as for :func:`collect_play`.
        episode_steps: environment steps of an episode.
        action_noise: of the play data.
        progress: told the environment steps done so far.
    """
    recorder = _Recorder(seed, episode_steps, progress)
    found, facts = _play(recorder, _checked(policies)[:-1], num_steps, action_noise)
    count = max(1, round(BEST_FRACTION * len(found)))
    found += recorder.record(policies[-1], count, "best")
    return recorder.dataset("mixture", found, **facts, best=_named(policies[-1], count))


def collect_medium(
    policies: Sequence[NetworkPolicy],
    *,
    num_episodes: int,
    seed: int,
    episode_steps: int = EPISODE_STEPS,
    action_noise: float = ACTION_NOISE,
    progress: Told = _silent,
) -> Dataset:
    """Noisy episodes of the policy whose return is nearest to half of the best one's.

    Args:
        policies: as for :func:`collect_play`.
        num_episodes: how many.
        seed: of starts and noise.
        episode_steps: environment steps of an episode.
        action_noise: standard deviation of the Gaussian noise on each action entry.
        progress: told the environment steps done so far.
    """
    half = _checked(policies)[-1].mean_return / 2
    policy = min(policies[:-1], key=lambda each: abs(each.mean_return - half))
    recorder = _Recorder(seed, episode_steps, progress)
    found = recorder.record(policy, num_episodes, "medium", action_noise)
    facts = {"action_noise": action_noise, "policies": [_named(policy, num_episodes)]}
    return recorder.dataset("medium", found, **facts)


def collect_expert(
    policies: Sequence[NetworkPolicy],
    *,
    num_episodes: int,
    seed: int,
    episode_steps: int = EPISODE_STEPS,
    progress: Told = _silent,
) -> Dataset:
    """Demonstrations: episodes of the best policy without noise.

    Args:
        policies: as for :func:`collect_play`.
        num_episodes: how many.
        seed: of the starts.
        episode_steps: environment steps of an episode.
        progress: told the environment steps done so far.
    """
    return _demonstrations(
        "expert", _checked(policies)[-1], num_episodes, _Recorder(seed, episode_steps, progress)
    )


def collect_runner_up(
    policies: Sequence[NetworkPolicy],
    *,
    num_episodes: int,
    seed: int,
    episode_steps: int = EPISODE_STEPS,
    progress: Told = _silent,
) -> Dataset:
    """Demonstrations of the best policy that is in the play data too, without noise.

    Args:
        policies: as for :func:`collect_play`.
        num_episodes: how many.
        seed: of the starts.
        episode_steps: environment steps of an episode.
        progress: told the environment steps done so far.
    """
    return _demonstrations(
        "runner-up", _checked(policies)[-2], num_episodes, _Recorder(seed, episode_steps, progress)
    )


COLLECTORS: Mapping[str, Callable[..., Dataset]] = {
    "play": collect_play,
    "mixture": collect_mixture,
    "medium": collect_medium,
    "expert": collect_expert,
    "runner-up": collect_runner_up,
}
"""What can be collected, by the name that ``trailward collect --what`` knows it by."""


@dataclass
class _Recorder:
    seed: int
    episode_steps: int
    progress: Told
    steps_done: int = 0

    def __post_init__(self) -> None:
        self.envs: list[gymnasium.Env] = []

    def record(
        self, policy: NetworkPolicy, count: int, stream: str, noise: float = 0.0, place: int = 0
    ) -> list[Episode]:
        """Episodes of one policy; each stream and place has starts and noise of its own."""
        found: list[Episode] = []
        while len(found) < count:
            now = min(count - len(found), _ENVS_AT_ONCE)
            key = (self.seed, _STREAMS.index(stream), place, len(found))
            self.envs += [
                make_env(episode_steps=self.episode_steps) for _ in range(len(self.envs), now)
            ]
            found += rollout(
                self.envs[:now],
                NoisyPolicy(policy, noise, key),
                seeds=np.random.SeedSequence(key).generate_state(now).tolist(),
                num_steps=self.episode_steps,
            )
            self.steps_done += now * self.episode_steps
            self.progress(self.steps_done)
        return found

    def dataset(self, what: str, episodes: list[Episode], **facts: Any) -> Dataset:
        """The episodes shuffled, with what is known of them."""
        key = (self.seed, _STREAMS.index("order"))
        order = np.random.default_rng(key).permutation(len(episodes))
        shuffled = Dataset([episodes[index] for index in order])
        returns = describe_returns(shuffled.returns)
        if self.episode_steps != EPISODE_STEPS:
            del returns["score"]  # it is of 1000 steps
        about = {"environment": ENV_ID, "what": what, "returns": returns}
        scale = {"score_0": RANDOM_RETURN, "score_100": EXPERT_RETURN}
        return Dataset(shuffled.episodes, {**about, **scale, **facts})


def _demonstrations(
    what: str, policy: NetworkPolicy, num_episodes: int, recorder: _Recorder
) -> Dataset:
    found = recorder.record(policy, num_episodes, what)
    return recorder.dataset(what, found, policies=[_named(policy, num_episodes)])


def _play(
    recorder: _Recorder, policies: Sequence[NetworkPolicy], num_steps: int, noise: float
) -> tuple[list[Episode], dict[str, Any]]:
    total, num = -(-num_steps // recorder.episode_steps), len(policies)
    found, named = [], []
    for place, policy in enumerate(policies):
        count = total * (place + 1) // num - total * place // num
        found += recorder.record(policy, count, "play", noise, place)
        named.append(_named(policy, count))
    return found, {"action_noise": noise, "policies": named}


def _checked(policies: Sequence[NetworkPolicy]) -> Sequence[NetworkPolicy]:
    if len(policies) < 2:
        raise DataError(f"the ladder has {len(policies)} policies; it needs at least two")
    return policies


def _named(policy: NetworkPolicy, count: int) -> dict[str, Any]:
    return {"step": policy.facts["step"], "return": policy.mean_return, "episodes": count}
