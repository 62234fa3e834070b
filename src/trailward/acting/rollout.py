"""Any policy in any Gymnasium environments, side by side, to episodes."""

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np

from trailward.acting.planner import Policy
from trailward.data.episode import Episode


def rollout(
    envs: Sequence[gymnasium.Env],
    policy: Policy,
    *,
    seeds: Sequence[int],
    num_steps: int,
    start: Callable[[gymnasium.Env, int], np.ndarray] | None = None,
) -> list[Episode]:
    """One episode in each environment; rewards are those of the environments.

    Args:
        envs: with flat observations; none may end before ``num_steps``.
        policy: is reset first; actions are clipped to the environments' bounds.
        seeds: one an environment; they decide the starts.
        num_steps: environment steps of an episode.
        start: resets environment ``i`` some other way and returns its observation.

    Raises:
        RuntimeError: if an environment ends early.
    """
    policy.reset()
    reset = start or (lambda env, index: env.reset(seed=seeds[index])[0])
    now = np.stack([reset(env, index) for index, env in enumerate(envs)])
    space = envs[0].action_space
    if not isinstance(space, gymnasium.spaces.Box):
        raise TypeError(f"actions must be continuous; this environment's space is {space}")
    observations, actions, rewards = [now], [], []
    for step in range(num_steps):
        chosen = np.clip(policy(now), space.low, space.high)
        moved = [env.step(a) for env, a in zip(envs, chosen, strict=True)]
        ended = any(terminated or truncated for _, _, terminated, truncated, _ in moved)
        if ended and step + 1 < num_steps:
            raise RuntimeError(f"an environment ended after {step + 1} of {num_steps} steps")
        now = np.stack([observation for observation, *_ in moved])
        observations.append(now)
        actions.append(chosen)
        rewards.append([float(reward) for _, reward, *_ in moved])
    return [
        Episode(o, a, r)
        for o, a, r in zip(
            np.stack(observations, 1).astype(np.float64),
            np.stack(actions, 1).astype(np.float64),
            np.array(rewards).T,
            strict=True,
        )
    ]
