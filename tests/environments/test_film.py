"""Episodes as pictures: of anything that renders, or of the limbs of a body."""

import base64
from typing import Any

import gymnasium
import numpy as np

from trailward.data.episode import Episode
from trailward.environments import find_environment
from trailward.environments.film import (
    SIZE,
    Film,
    film_of,
    filming_env,
    frame_of,
    radii_of,
    seconds_of_a_step,
)
from trailward.environments.gymnasium_env import GymnasiumEnvironment


class Lamp(gymnasium.Env):
    """Renders how bright it is."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, render_mode: str | None = None, height: int = 1, width: int = 1) -> None:
        self.render_mode, self.size, self.light = render_mode, (height, width), 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.light = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.light = float(action[0])
        return np.array([self.light], np.float32), self.light, False, False, {}

    def render(self) -> Any:
        return np.full((*self.size, 3), int(255 * abs(self.light)), np.uint8)


gymnasium.register("FilmedLamp-v0", lambda **given: Lamp(**given))
LAMP = GymnasiumEnvironment("FilmedLamp-v0")


def test_what_renders_is_filmed_as_it_acts() -> None:
    env = Film(filming_env(LAMP, episode_steps=5))
    env.reset(seed=0)
    env.step(np.ones(1))
    dark, light = (base64.b64decode(frame["picture"].partition(",")[2]) for frame in env.frames)
    assert dark[:3] == b"\xff\xd8\xff"
    assert dark != light
    assert seconds_of_a_step(env) == 0.1
    assert radii_of(env) == []
    assert (SIZE[0] > 100, len(light) < 5000) == (True, True)
    env.reset(seed=0)
    assert len(env.frames) == 1


def test_a_recording_is_not_filmed_where_a_state_cannot_be_set() -> None:
    episode = Episode(np.zeros((3, 1)), np.zeros((2, 1)))
    assert film_of(LAMP, filming_env(LAMP, episode_steps=5), episode, 2) == []


def test_the_limbs_of_a_body_are_drawn_where_it_is() -> None:
    cheetah = find_environment("HalfCheetah-v5")
    env = cheetah.make(episode_steps=5)
    observations = np.zeros((3, 17))
    observations[:, 8] = 2.0  # m/s
    frames = film_of(cheetah, env, Episode(observations, np.zeros((2, 6))), 2)
    assert [frame["x"] for frame in frames] == [0, 0.1, 0.2]
    assert len(frames[0]["limbs"]) == 4 * len(radii_of(env)) == 32
    assert frames[0]["limbs"] == frames[2]["limbs"]
    assert seconds_of_a_step(env) == 0.05
    assert min(frame_of(env)["limbs"][1::2]) > -0.2
