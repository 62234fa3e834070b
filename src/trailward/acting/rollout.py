"""Roll-outs: run a policy in environments side by side, and record the episodes."""

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from trailward.acting.planner import Policy
from trailward.data.episode import Episode


def rollout(
    envs: Sequence[gymnasium.Env],
    policy: Policy,
    *,
    seeds: Sequence[int],
    num_steps: int | None = None,
    start: Callable[[gymnasium.Env, int], np.ndarray] | None = None,
) -> list[Episode]:
    """One whole episode in each environment; rewards are those of the environments.

    Each environment runs until it ends by itself, so lengths may differ. The policy always acts
    for all of them: of those that have ended it is shown the last observation, and what it does
    there is not used.

    Args:
        envs: with flat observations. They are stepped one after the other, since neither kind of
            ``gymnasium.vector`` is faster for those of MuJoCo (``benchmarks/vectorised.py``).
        policy: is reset first; actions are clipped to the environments' bounds. Of discrete actions
            it gives whole numbers, or an entry for each, of which the largest counts; episodes
            hold them one-hot.
        seeds: one an environment; they decide the starts.
        num_steps: environment steps after which an episode is cut (*truncated*); None to wait for
            its end, in environments that have one.
        start: resets environment ``i`` some other way and returns its observation.

    Raises:
        TypeError: if actions are neither continuous nor discrete.
    """
    space = envs[0].action_space
    if not isinstance(space, Box | Discrete):
        msg = f"actions must be continuous or discrete; this environment's space is {space}"
        raise TypeError(msg)
    policy.reset()
    reset = start or (lambda env, index: env.reset(seed=seeds[index])[0])
    now = np.stack([reset(env, index) for index, env in enumerate(envs)]).astype(np.float64)
    running = [_Recorded(observation.copy()) for observation in now]
    step = 0
    while any(not each.ended for each in running) and (num_steps is None or step < num_steps):
        chosen = _within(space, policy(now))
        for index, (env, recorded) in enumerate(zip(envs, running, strict=True)):
            if not recorded.ended:
                now[index] = recorded.step(env, chosen[index])
        step += 1
    return [recorded.episode(space) for recorded in running]


def _within(space: Box | Discrete, actions: np.ndarray) -> np.ndarray:
    """Actions as the environments take them: within bounds, or whole numbers."""
    if isinstance(space, Box):
        return np.clip(actions, space.low, space.high)
    if np.ndim(actions) == 2:
        return np.argmax(actions, axis=-1) + int(space.start)
    return np.asarray(actions).astype(np.int64)


class _Recorded:
    """What has happened in one environment so far."""

    def __init__(self, first: np.ndarray) -> None:
        self.observations, self.actions, self.rewards = [first], [], []
        self.terminated = self.truncated = False

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated

    def step(self, env: gymnasium.Env, action: np.ndarray) -> np.ndarray:
        seen, reward, terminated, truncated, _ = env.step(action)
        observation = np.array(seen, dtype=np.float64)
        self.observations.append(observation)
        self.actions.append(action)
        self.rewards.append(float(reward))
        self.terminated, self.truncated = bool(terminated), bool(truncated)
        return observation

    def episode(self, space: Box | Discrete) -> Episode:
        """The episode; whatever did not end by itself was cut."""
        if isinstance(space, Box):
            actions = np.array(self.actions, dtype=np.float64).reshape(-1, space.shape[0])
        else:
            chosen = np.array(self.actions, dtype=np.int64)
            actions = np.eye(int(space.n))[chosen - int(space.start)]
        return Episode(
            np.stack(self.observations),
            actions,
            np.array(self.rewards),
            self.terminated,
            not self.terminated,
        )
