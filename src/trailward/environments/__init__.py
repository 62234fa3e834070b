"""Environments: where episodes are recorded, and where rewards and planners are judged.

What only one environment knows stands in its folder here and nowhere else. Any environment of
Gymnasium works without a line of code, by its id
(:class:`~trailward.environments.gymnasium_env.GymnasiumEnvironment`). One of your own is a class
that implements :class:`Environment`: only ``name``, ``make`` and ``task`` have no default.
"""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from trailward.acting.planner import Policy
from trailward.data.dataset import Dataset
from trailward.data.episode import Columns, Episode
from trailward.errors import DataError
from trailward.learning.learnt_reward import LearntReward
from trailward.registry import Registry, UnknownPartError
from trailward.typing import Actions, Observations

if TYPE_CHECKING:
    from trailward.environments.page import Exhibit, Ground

_MOST_STEPS = 1000

RewardFunction = Callable[[Observations, Actions, Observations], Float[np.ndarray, "batch"]]
"""Observations, actions and next observations (environment units) to the reward of each transition.

:meth:`trailward.learning.learnt_reward.LearntReward.transition_rewards` is one.
"""


class Task(ABC):
    """A true reward: to demonstrate and to judge by, never to learn from.

    Attributes:
        name: how :meth:`Environment.task` spells it.
        transition_rewards: the true reward as a function of single transitions; None if it depends
            on what came before, or is not known but for recorded steps.
    """

    name: str
    transition_rewards: RewardFunction | None = None

    @abstractmethod
    def step_rewards(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The true reward of each of the episode's T environment steps.

        Raises:
            DataError: if they were not recorded and cannot be told from observations.
        """

    def demonstrator(self) -> Policy | None:
        """A policy that does the task; None if there is none."""
        return None

    def succeeded(self, episode: Episode) -> bool | None:
        """Whether the episode did the task; None if the task is not a matter of yes or no."""
        return None


@dataclass(frozen=True)
class Evaluation:
    """Figures (JSON values) and the arrays that pictures are drawn from."""

    figures: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """What an environment may measure more of: a reward that is being judged, and what it led to.

    Attributes:
        learnt: the reward judged.
        task: the true reward.
        play: play data, environment units.
        demonstrations: what the reward was learnt from, environment units.
        episodes: roll-outs from the same starts of the policies ``unguided``, ``learnt`` and, if
            there is one, ``demonstrator``.
        plans: planned observations from these starts of the first two, environment units.
        followed: planned observations from random play observations, whose dynamics error was
            measured; empty if it was not.
        num_samples: number of windows or steps of play data to draw, where all are too many.
        seed: for such a draw.
        tell: says in a line what is being done.
    """

    learnt: LearntReward
    task: Task
    play: Dataset
    demonstrations: Dataset
    episodes: Mapping[str, Sequence[Episode]]
    plans: Mapping[str, Float[np.ndarray, "plan horizon observation"]]
    followed: Mapping[str, Float[np.ndarray, "plan horizon observation"]]
    num_samples: int
    seed: int
    tell: Callable[[str], None] = lambda line: None


class Caption(NamedTuple):
    """What stands over a picture in the report."""

    title: str
    text: str


class Row(NamedTuple):
    """A row of the report's table."""

    what: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Recipe(ABC):
    """One kind of data that ``trailward collect --what`` offers; its fields are the settings."""

    @abstractmethod
    def record(
        self,
        environment: "Environment",
        *,
        seed: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Dataset:
        """Record episodes; the same seed records the same.

        Args:
            environment: where episodes are recorded.
            seed: for all randomness.
            progress: told the environment steps done so far.
        """


class Environment(ABC):
    """Where policies act, with what only it knows; defaults say that it knows nothing special.

    Attributes:
        columns: what the entries of observations and actions are called.
        recipes: what ``trailward collect --what`` offers, by name.
        reference_returns: the returns of whole episodes that a normalised score calls 0 and 100;
            None if there is no such scale.
        position: the entries of an observation that are a place. Dynamics errors are measured in
            them, so :meth:`set_state` must work; none are measured if it is empty.
    """

    columns: Columns = Columns()
    recipes: ClassVar[Mapping[str, type[Recipe]]] = {}
    reference_returns: tuple[float, float] | None = None
    position: tuple[int, ...] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """What :func:`find_environment` finds it by."""

    @abstractmethod
    def make(
        self, *, episode_steps: int | None = None, render_size: tuple[int, int] | None = None
    ) -> gymnasium.Env:
        """A new simulator, with flat observations and continuous actions.

        Args:
            episode_steps: environment steps after which an episode is cut; as usual there if None.
            render_size: height and width of the pictures that ``render`` returns; none if None.
        """

    @abstractmethod
    def task(self, name: str | None = None) -> Task:
        """A task by name; the usual one if None.

        Raises:
            DataError: if there is none of that name.
        """

    @cached_property
    def episode_steps(self) -> int:
        """Environment steps after which episodes are cut; 1,000 if its simulators tell no limit."""
        with contextlib.closing(self.make()) as env:
            limit = None if env.spec is None else env.spec.max_episode_steps
            with contextlib.suppress(AttributeError):
                limit = limit or env.get_wrapper_attr("_max_episode_steps")
        return limit or _MOST_STEPS

    def set_state(self, env: gymnasium.Env, observation: np.ndarray) -> None:
        """Put a simulator, which has been reset, into the state that an observation shows.

        Raises:
            NotImplementedError: if that is not possible.
        """
        raise NotImplementedError(f"'{self.name}' cannot be put into a given state")

    def measure(self, trial: Trial) -> Evaluation:
        """Figures and arrays that other environments do not have."""
        return Evaluation()

    def rows(self, figures: Mapping[str, Any]) -> Sequence[Row]:
        """The report's rows about figures that :meth:`measure` made."""
        return ()

    def panels(self, evaluation: Evaluation) -> Mapping[str, tuple[Caption, Figure]]:
        """The report's pictures of this environment, by the name of their file."""
        return {}

    def ground(self) -> "Ground | None":
        """What people draw demonstrations on in the page; None if there is no such thing.

        Raises:
            DataError: if the environment, as it is set, does not suit the page.
        """
        return None

    def exhibit(self) -> "Exhibit | None":
        """Runs that the page offers to show; None if it has none to offer."""
        return None


ENVIRONMENTS: Registry[Callable[..., Environment]] = Registry(
    "environments",
    {
        "maze": "trailward.environments.pointmaze.environment:PointMaze",
        "halfcheetah": "trailward.environments.halfcheetah.environment:HalfCheetah",
        "HalfCheetah-v5": "trailward.environments.halfcheetah.environment:HalfCheetah",
    },
)
"""Environments with more than Gymnasium knows of them, by name."""

DEFAULT_ENVIRONMENT = "maze"
"""Where, if nothing else is asked for."""


def find_environment(name: str, *, may_import: bool = True) -> Environment:
    """An environment by name, with its usual settings.

    Args:
        name: of :data:`ENVIRONMENTS`, an id of Gymnasium (``Hopper-v5``, ``module:Env-v0``), or
            ``module:Name`` of a class of your own.
        may_import: whether ``module:Name`` may import its module; not if the name is from a file.

    Raises:
        DataError: if there is none.
    """
    if name not in list(ENVIRONMENTS) and re.search(r"-v\d+$", name):
        from trailward.environments.gymnasium_env import GymnasiumEnvironment

        return GymnasiumEnvironment(name)
    try:
        return ENVIRONMENTS.find(name, may_import=may_import)()
    except UnknownPartError as error:
        more = "; an id of Gymnasium ends in a version, such as Hopper-v5"
        remedy = f"{error.remedy}{more}"
        raise DataError(f"{error}{more}", place="environment", value=name, remedy=remedy) from None
