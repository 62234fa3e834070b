"""Episodes as pictures: the limbs of a body of MuJoCo, or what any other environment renders."""

import base64
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from trailward.data.episode import Episode
from trailward.environments import Environment
from trailward.optional import import_extra

SIZE = (180, 320)
"""Height and width of a rendered picture."""

_CAPSULE, _FEWEST_LIMBS = 3, 3  # MuJoCo's number of that shape
_DEFAULT_STEP, _QUALITY = 0.05, 70


def filming_env(environment: Environment, *, episode_steps: int) -> gymnasium.Env:
    """A simulator that renders, if this machine can; one that does not, else.

    Bodies with limbs need not render: the page draws them, and follows them as they run.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    plain = environment.make(episode_steps=episode_steps)
    if _limbs_of(plain.unwrapped) is not None:
        return plain
    plain.close()
    try:
        env = environment.make(episode_steps=episode_steps, render_size=SIZE)
        env.reset(seed=0)
        env.render()
    except Exception:  # noqa: BLE001 - each way to render fails in its own way
        return environment.make(episode_steps=episode_steps)
    return env


def seconds_of_a_step(env: gymnasium.Env) -> float:
    """How long an environment step is."""
    simulator: Any = env.unwrapped
    rate = simulator.metadata.get("render_fps")
    return float(getattr(simulator, "dt", 1 / rate if rate else _DEFAULT_STEP))


@dataclass
class Film(gymnasium.Wrapper):
    """An environment that is filmed as somebody acts in it; the frames begin anew at a reset.

    A frame is ``{"picture": JPEG as a data URL}``, ``{"limbs": [x0, z0, x1, z1, ...], "x": x}``
    of a body of MuJoCo, metres, or empty if there is nothing to see.
    """

    env: gymnasium.Env
    frames: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.env)

    def reset(self, **given: Any) -> Any:
        """Start anew."""
        found = self.env.reset(**given)
        self.frames = [frame_of(self.env)]
        return found

    def step(self, action: Any) -> Any:
        """Act, and take a picture."""
        found = self.env.step(action)
        self.frames.append(frame_of(self.env))
        return found


def film_of(
    environment: Environment, env: gymnasium.Env, episode: Episode, num_steps: int
) -> list[dict[str, Any]]:
    """Frames of a recorded episode; none where a simulator cannot be put into a given state."""
    env.reset(seed=0)
    try:
        environment.set_state(env, episode.observations[0])
    except NotImplementedError:
        return []
    frames, gone, step = [], 0.0, seconds_of_a_step(env)
    for observation in episode.observations[: num_steps + 1]:
        environment.set_state(env, observation)
        frame = frame_of(env)
        if "x" in frame:  # observations do not tell it
            gone += step * float(env.unwrapped.data.qvel[0]) if frames else 0.0  # pyright: ignore
            frame["x"] = round(gone, 3)
        frames.append(frame)
    return frames


def frame_of(env: gymnasium.Env) -> dict[str, Any]:
    """What there is to see of an environment now."""
    simulator: Any = env.unwrapped
    limbs = _limbs_of(simulator)
    if limbs is None:
        if env.render_mode != "rgb_array":
            return {}
        return {"picture": _jpeg(np.asarray(env.render(), dtype=np.uint8))}
    data = simulator.data
    middles = data.geom_xpos[limbs][:, [0, 2]]
    axes = data.geom_xmat[limbs].reshape(-1, 3, 3)[:, [0, 2], 2]
    reach = axes * simulator.model.geom_size[limbs, 1:2]
    ends = np.concatenate([middles - reach, middles + reach], 1)
    x = float(data.qpos[0])
    ends[:, [0, 2]] -= x
    return {"x": round(x, 3), "limbs": ends.round(3).reshape(-1).tolist()}


def radii_of(env: gymnasium.Env) -> list[float]:
    """How thick the limbs of :func:`frame_of` are, metres."""
    simulator: Any = env.unwrapped
    limbs = _limbs_of(simulator)
    return [] if limbs is None else simulator.model.geom_size[limbs, 0].round(3).tolist()


def _limbs_of(simulator: Any) -> np.ndarray | None:
    """Numbers of the capsules that a body of MuJoCo is made of; None if it is no such body."""
    model: Any = getattr(simulator, "model", None)
    if not hasattr(model, "geom_type") or not hasattr(simulator, "data"):
        return None
    limbs = np.flatnonzero(np.asarray(model.geom_type) == _CAPSULE)
    return limbs if len(limbs) >= _FEWEST_LIMBS else None


def _jpeg(pixels: np.ndarray) -> str:
    images: Callable[..., Any] = import_extra("PIL.Image", "pictures need Pillow").fromarray
    made = io.BytesIO()
    images(pixels).save(made, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(made.getvalue()).decode()
