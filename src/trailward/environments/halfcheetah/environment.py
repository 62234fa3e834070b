"""HalfCheetah-v5 of Gymnasium: what is known of it beyond what any environment tells.

Observations are the 17 entries of :data:`COLUMNS`; actions are six torques in [-1, 1],
relative to the strongest that each joint's motor can give.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Columns, Episode
from trailward.environments import Caption, Environment, Evaluation, Recipe, Task, Trial
from trailward.environments.gymnasium_env import own_reward
from trailward.environments.recipes import ROLL_OUTS
from trailward.learning.learnt_reward import LearntReward
from trailward.optional import import_extra
from trailward.typing import Actions, Observations

if TYPE_CHECKING:
    from trailward.environments.page import Exhibit

ENV_ID = "HalfCheetah-v5"

EPISODE_STEPS = 1000
"""Environment steps of an episode whose return the scores are about."""

REFERENCE_RETURNS = (-280.179, 12135.0)
"""The returns of a random policy and of an expert that D4RL calls 0 and 100 (arXiv 2004.07219)."""

_UNITS = {
    "height of the front tip": "m",
    "pitch of the front tip": "rad",
    "back thigh": "rad",
    "back shin": "rad",
    "back foot": "rad",
    "front thigh": "rad",
    "front shin": "rad",
    "front foot": "rad",
    "forward velocity": "m/s",
    "upward velocity": "m/s",
    "pitch velocity": "rad/s",
    "back thigh velocity": "rad/s",
    "back shin velocity": "rad/s",
    "back foot velocity": "rad/s",
    "front thigh velocity": "rad/s",
    "front shin velocity": "rad/s",
    "front foot velocity": "rad/s",
}
_JOINTS = ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")

COLUMNS = Columns(tuple(_UNITS), tuple(f"{joint} torque" for joint in _JOINTS), _UNITS)
"""What the entries of observations and actions are."""

FORWARD_VELOCITY = 8
"""The entry of an observation that the environment's reward is made of, but for 0.1 of the squared
action."""

CONTROL_COST = 0.1
"""What the environment takes off the reward for each unit of squared action."""

_FRAMES, _EVERY = 8, 4
_SIZE, _CROP = (320, 480), (slice(90, 250), slice(130, 370))


@dataclass(frozen=True)
class HalfCheetah(Environment):
    """HalfCheetah-v5; its own reward is the task. Episodes never end by themselves."""

    columns = COLUMNS
    reference_returns = REFERENCE_RETURNS
    recipes: ClassVar[Mapping[str, type[Recipe]]] = ROLL_OUTS

    @property
    def name(self) -> str:
        """Gymnasium's id."""
        return ENV_ID

    def make(
        self, *, episode_steps: int | None = None, render_size: tuple[int, int] | None = None
    ) -> gymnasium.Env:
        """A new simulator."""
        options: dict[str, Any] = {}
        if render_size is not None:
            height, width = render_size
            options = {"render_mode": "rgb_array", "height": height, "width": width}
        return make_env(episode_steps=episode_steps or EPISODE_STEPS, **options)

    @cached_property
    def episode_steps(self) -> int:
        """As registered."""
        return EPISODE_STEPS

    def task(self, name: str | None = None) -> Task:
        """The environment's own reward."""
        return own_reward(self, name, transition_rewards)

    def set_state(self, env: gymnasium.Env, observation: np.ndarray) -> None:
        """Put a simulator in the state that an observation shows, at the origin of the track."""
        set_state(env, observation)

    def measure(self, trial: Trial) -> Evaluation:
        """Forward velocities, the learnt reward against them, and frames of roll-outs.

        Arrays: ``velocities_POLICY``, m/s, (episode, time), of the demonstrations if it is not
        known who demonstrated; ``reward_by_velocity``, velocity and learnt reward of random play
        steps, or of windows for rewards of whole plans, (2, step); ``frames_POLICY`` of the first
        roll-out, absent where MuJoCo cannot render.
        """
        speeds = {name: velocities(found) for name, found in trial.episodes.items()}
        speeds.setdefault("demonstrator", velocities(trial.demonstrations.episodes))
        arrays = {f"velocities_{name}": found for name, found in speeds.items()}
        arrays["reward_by_velocity"] = reward_by_velocity(
            trial.learnt, trial.play, count=trial.num_samples, seed=trial.seed
        )
        for name, found in trial.episodes.items():
            frames = film(found[0], trial.tell)
            if frames is not None:
                arrays[f"frames_{name}"] = frames
        return Evaluation(arrays=arrays)

    def panels(self, evaluation: Evaluation) -> Mapping[str, tuple[Caption, Figure]]:
        """Frames, forward velocities, and the learnt reward against them."""
        from trailward.environments.halfcheetah import pictures

        return pictures.panels(evaluation.arrays)

    def exhibit(self) -> "Exhibit":
        """Runs without a reward, with a learnt one, and of an expert."""
        from trailward.environments.halfcheetah.page import EXHIBIT

        return EXHIBIT


def make_env(*, episode_steps: int = EPISODE_STEPS, **options: Any) -> gymnasium.Env:
    """HalfCheetah-v5; it never ends by itself, only after ``episode_steps``.

    Args:
        episode_steps: environment steps.
        options: further arguments of ``gymnasium.make``, such as ``render_mode``.

    Raises:
        MissingExtraError: if MuJoCo is not installed.
    """
    mujoco = import_extra(
        "mujoco", "HalfCheetah needs MuJoCo: pip install 'trailward[halfcheetah]'"
    )
    mujoco.set_mju_user_warning(lambda message: None)  # Gymnasium's model has an old attribute
    try:
        return gymnasium.make(ENV_ID, max_episode_steps=episode_steps, **options)
    finally:
        mujoco.set_mju_user_warning(None)


def set_state(env: gymnasium.Env, observation: np.ndarray) -> None:
    """Put an environment in the state that an observation shows, at the origin of the track."""
    simulator: Any = env.unwrapped
    positions = simulator.init_qpos.copy()
    positions[0], positions[1:] = 0.0, observation[: len(positions) - 1]
    simulator.set_state(positions, observation[len(positions) - 1 :])


def transition_rewards(
    observations: Observations, actions: Actions, next_observations: Observations
) -> Float[np.ndarray, "batch"]:
    """True reward of each transition, as far as observations tell.

    The forward velocity on arrival less 0.1 of the squared action. The environment rewards the
    mean velocity over the step instead, which no observation holds.

    Args:
        observations: where each begins; plays no part.
        actions: torques in [-1, 1].
        next_observations: where each arrives.
    """
    cost = CONTROL_COST * np.square(actions).sum(-1)
    return next_observations[:, FORWARD_VELOCITY] - cost


def film(
    episode: Episode, tell: Callable[[str], None] = lambda line: None
) -> UInt8[np.ndarray, "frame height width 3"] | None:
    """Some frames from the middle of an episode, four environment steps apart.

    Args:
        episode: of HalfCheetah.
        tell: told why there are none.

    Returns:
        None if MuJoCo cannot render on this machine.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    middle = max(0, len(episode) // 2 - _FRAMES * _EVERY // 2)
    shown = episode.observations[middle : middle + _FRAMES * _EVERY : _EVERY]
    height, width = _SIZE
    env = make_env(render_mode="rgb_array", height=height, width=width)
    try:
        env.reset(seed=0)
        frames = []
        for observation in shown:
            set_state(env, observation)
            frames.append(np.asarray(env.render(), dtype=np.uint8)[_CROP])
    except Exception as error:  # noqa: BLE001 - each backend of OpenGL fails in its own way
        tell(f"no frames, as MuJoCo cannot render here: {error}")
        return None
    finally:
        env.close()
    return np.stack(frames)


def velocities(episodes: Sequence[Episode]) -> np.ndarray:
    """Forward velocity, m/s, shape (episode, time); the shortest episode sets the time."""
    length = min(len(episode) for episode in episodes)
    return np.stack([e.observations[: length + 1, FORWARD_VELOCITY] for e in episodes])


def reward_by_velocity(learnt: LearntReward, play: Dataset, *, count: int, seed: int) -> np.ndarray:
    """Forward velocity and learnt reward of play steps (of windows, if it is of whole plans)."""
    if not learnt.is_additive:
        windows = Windows(play, learnt.spec)
        picks = windows.draw(count, torch.Generator().manual_seed(seed))
        drawn, _ = windows.gather(picks)
        speeds = learnt.spec.split(drawn)[0][..., FORWARD_VELOCITY].mean(1)
        return np.stack([speeds.numpy(), learnt.plan_rewards(drawn)])
    found = [
        np.stack([episode.observations[: len(rewards), FORWARD_VELOCITY], rewards])
        for episode in play.episodes
        for rewards in [learnt.episode_rewards(episode)]
    ]
    both = np.concatenate(found, axis=1)
    generator = np.random.default_rng(seed)
    return both[:, generator.permutation(both.shape[1])[:count]]
