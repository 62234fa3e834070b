"""OTR: a step is worth more the less it costs to carry the episode onto a demonstration.

Offline: it reads the demonstrations and the episodes that it is to judge. Luo et al. 2023, "Optimal
Transport for Offline Imitation Learning" (arXiv 2303.13971); checked against the authors' code,
https://github.com/ethanluoyc/optimal_transport_reward. The transport itself is POT's.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import DataError, above, at_least
from trailward.optional import import_extra

_MISSING = "OTR needs POT: pip install 'trailward[baselines]'"
_RIDGE = 1e-8


@dataclass
class TransportReward:
    """``scale * exp(-sharpness * T * cost / observation_dim)``, algorithm 1 of the paper.

    ``cost`` is what the entropic optimal transport plan between the episode's T observations and
    a demonstration's, both weighed uniformly, spends on the step: ``sum_j plan[t, j] (1 - cos)``,
    the cosine being that of the observations in environment units. Of several demonstrations, the
    one under which the episode's return is highest counts. The rewards are of a whole episode:
    where the order of observations changes, rewards move with them and none changes.

    Defaults are the paper's for MuJoCo tasks. Deviation: the authors weigh every step by 1/1000,
    their longest episode; an episode of T steps weighs each by 1/T here, so that all mass is
    carried when lengths differ.

    Args:
        demonstrations: environment units.
        scale: the paper's alpha: the reward of a step that costs nothing.
        sharpness: the paper's beta.
        entropy: the weight of the plan's entropy; costs are 0 to 2.
        num_iterations: of Sinkhorn's algorithm, at most.

    Raises:
        MissingExtraError: if POT is not installed.
        SettingsError: if a number is not positive.
    """

    demonstrations: Dataset
    scale: float = 5.0
    sharpness: float = 5.0
    entropy: float = 0.01
    num_iterations: int = 100
    _transport: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        at_least(1, self, "num_iterations")
        above(0, self, "scale", "sharpness", "entropy")
        self._transport = import_extra("ot", _MISSING)

    def __call__(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The reward of each of the episode's T environment steps, in 0 to ``scale``.

        Raises:
            DataError: if the entries are not those of the demonstrations.
        """
        entries = episode.observations.shape[1]
        if entries != self.demonstrations.observation_dim:
            msg = (
                f"observations have {entries} entries, those of the demonstrations "
                f"{self.demonstrations.observation_dim}"
            )
            remedy = "use data of the same environment"
            raise DataError(msg, place="observations", value=entries, remedy=remedy)
        candidates = [self._rewards(episode, each) for each in self.demonstrations.episodes]
        return max(candidates, key=np.sum)

    def _rewards(self, episode: Episode, demonstration: Episode) -> Float[np.ndarray, "time"]:
        costs = _cosine_distances(episode.observations[:-1], demonstration.observations[:-1])
        plan = self._transport.sinkhorn(
            np.full(len(episode), 1 / len(episode)),
            np.full(len(demonstration), 1 / len(demonstration)),
            costs,
            self.entropy,
            numItermax=self.num_iterations,
            stopThr=1e-9,
            warn=False,
        )
        spent = len(episode) * (plan * costs).sum(1)
        return self.scale * np.exp(-self.sharpness * spent / self.demonstrations.observation_dim)


def _cosine_distances(
    ours: Float[np.ndarray, "time observation"], theirs: Float[np.ndarray, "time2 observation"]
) -> Float[np.ndarray, "time time2"]:
    lengths = np.outer(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1))
    return np.clip(1 - ours @ theirs.T / (lengths + _RIDGE), 0.0, 2.0)
