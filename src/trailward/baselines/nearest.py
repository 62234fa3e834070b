"""SEABO: a transition is worth more the closer its nearest demonstrated transition is.

Offline: it reads the demonstrations and the episodes that it is to judge. Lyu et al. 2024, "SEABO:
A Simple Search-Based Method for Offline Imitation Learning" (arXiv 2402.03807); checked against
the authors' code, https://github.com/dmksjfl/SEABO.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import DataError, above, at_least
from trailward.optional import import_extra

_MISSING = "SEABO needs scipy: pip install 'trailward[baselines]'"


@dataclass
class NearestReward:
    """``scale * exp(-sharpness * d / action_dim)``.

    ``d`` is the Euclidean distance of ``(observation, action, next observation)``, in environment
    units as in the authors' code, to the ``num_neighbours``-th nearest demonstrated one. Defaults
    are the paper's for MuJoCo tasks; for Ant's navigation the authors' sharpness is 5.

    Args:
        demonstrations: environment units.
        scale: the paper's alpha: the reward of a demonstrated transition.
        sharpness: the paper's beta.
        num_neighbours: the paper's N.
        with_actions: whether distances see the actions; without, it is the paper's variant for
            demonstrations of observations only.

    Raises:
        MissingExtraError: if scipy is not installed.
        DataError: if the demonstrations have fewer transitions than neighbours are asked for.
        SettingsError: if a number is not positive.
    """

    demonstrations: Dataset
    scale: float = 1.0
    sharpness: float = 0.5
    num_neighbours: int = 1
    with_actions: bool = True
    _tree: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        at_least(1, self, "num_neighbours")
        above(0, self, "scale", "sharpness")
        most = self.demonstrations.num_steps
        if self.num_neighbours > most:
            remedy = f"choose at most {most}, as many transitions as the demonstrations have"
            raise DataError(place="num_neighbours", value=self.num_neighbours, remedy=remedy)
        points = [self._points(*e.transitions) for e in self.demonstrations.episodes]
        self._tree = import_extra("scipy.spatial", _MISSING).KDTree(np.concatenate(points))

    def step_rewards(
        self,
        observations: Float[np.ndarray, "time observation"],
        actions: Float[np.ndarray, "time action"],
        next_observations: Float[np.ndarray, "time observation"],
    ) -> Float[np.ndarray, "time"]:
        """The reward of each transition, in 0 to ``scale``.

        Raises:
            DataError: if the entries are not those of the demonstrations.
        """
        got = observations.shape[1], actions.shape[1]
        expected = self.demonstrations.observation_dim, self.demonstrations.action_dim
        if got != expected:
            msg = (
                f"observations and actions have {got} entries, those of the demonstrations "
                f"{expected}"
            )
            remedy = "use data of the same environment"
            raise DataError(msg, place="observations and actions", value=got, remedy=remedy)
        points = self._points(observations, actions, next_observations)
        distances, _ = self._tree.query(points, k=[self.num_neighbours])
        return self.scale * np.exp(-self.sharpness * distances[:, 0] / actions.shape[1])

    def __call__(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The reward of each of the episode's T environment steps."""
        return self.step_rewards(*episode.transitions)

    def _points(self, now: np.ndarray, actions: np.ndarray, then: np.ndarray) -> np.ndarray:
        return np.concatenate([now, actions, then] if self.with_actions else [now, then], axis=1)
