"""What an environment may bring to the page of ``trailward serve``.

The page knows no environment. One that has a :class:`Ground` can be drawn on; one that has an
:class:`Exhibit` offers runs to look at without anybody giving data.
"""

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from trailward.acting.planner import Policy
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import SamplingConfig
from trailward.environments import Recipe
from trailward.learning.config import LearningConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import RewardSettings

Places = Float[np.ndarray, "*batch 2"]
"""x and y of the page's ground, in the environment's units."""


@dataclass(frozen=True)
class Followed:
    """What became of a drawn line.

    Attributes:
        episode: recorded while the line was followed.
        why: it was not followed to its end, in words; None if it was.
        at: the place where that shows; None if there is none.
    """

    episode: Episode
    why: str | None = None
    at: Sequence[float] | None = None


class Ground(ABC):
    """A ground to draw demonstrations on, over which rewards are seen.

    Attributes:
        name: what boards on it are called, of small letters and digits.
        model: the packaged diffuser for it; None if one must be trained.
        episode_steps: environment steps of a demonstration and of a roll-out.
        facts: JSON values that the page draws it from.
        figures: those of an evaluation that only this environment has and the page shows.
    """

    name: str
    model: str | None
    episode_steps: int
    facts: Mapping[str, Any]
    figures: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def follow(self, line: Places) -> Followed:
        """Turn a drawn line into a recording.

        Raises:
            DataError: if the line cannot be followed at all.
        """

    @abstractmethod
    def start(self, place: Places) -> Float[np.ndarray, "observation"]:
        """The observation at rest at a place.

        Raises:
            DataError: if nothing can be there.
        """

    @abstractmethod
    def say_where(self, place: Places) -> str:
        """A place in words."""

    @abstractmethod
    def touches(self, paths: Float[np.ndarray, "path time 2"]) -> Bool[np.ndarray, "path"]:
        """Which paths touch what cannot be passed."""

    @abstractmethod
    def picture(self, learnt: LearntReward) -> dict[str, Any]:
        """The map of a reward: :func:`levels_of`, and what else the page marks."""

    @abstractmethod
    def play(self, progress: Callable[[int], None], *, num_steps: int) -> Dataset:
        """Record aimless play; ``progress`` is told the environment steps done so far."""

    @abstractmethod
    def expert(self, task: str, *, num_episodes: int, seed: int) -> Dataset:
        """Record somebody who does the task.

        Raises:
            DataError: if there is no such task.
        """

    @abstractmethod
    def run(self, policy: Policy, start: Float[np.ndarray, "observation"]) -> Episode:
        """Let a policy act in the simulator."""


@dataclass(frozen=True)
class Exhibit:
    """Runs that the page offers to show of an environment, with what is known to work there.

    Attributes:
        model: the packaged diffuser.
        play: how play data is recorded.
        shown: how demonstrations are recorded.
        reward: the kind of reward.
        sampling: how plans are sampled.
        learning: settings of learning.
        episode_steps: environment steps of each run.
    """

    model: str
    play: Recipe
    shown: Recipe
    reward: RewardSettings
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    episode_steps: int = 200


def levels_of(values: Float[np.ndarray, "row column"], extent: Sequence[float]) -> dict[str, Any]:
    """A map as the page draws it: bytes from 1, lowest, to 255; 0 where it is blank (NaN).

    Args:
        values: rows from the top.
        extent: left, right, bottom, top.
    """
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    share = (np.where(known, values, low) - low) / max(high - low, 1e-9)
    levels = np.where(known, 1 + 254 * share, 0).astype(np.uint8)
    return {
        "levels": b64encode(levels.tobytes()).decode(),
        "width": values.shape[1],
        "height": values.shape[0],
        "low": float(low),
        "high": float(high),
        "extent": [float(each) for each in extent],
    }
