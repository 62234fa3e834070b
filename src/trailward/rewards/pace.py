"""The pace that demonstrators keep: plans that are faster are walked more slowly, the same way.

How fast to move is no matter of where one is, and a reward of places cannot say it. But where play
data is often faster than the fastest step of all demonstrations, they kept a limit. A plan is then
gone through more slowly, so that no step of it is longer; where it leads stays the same.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trailward.data.dataset import Dataset
from trailward.data.entries import rates_of_change

_OFTEN, _FEWEST, _MOVING, _BELOW = 0.1, 50, 0.05, 0.9


class Pace(nn.Module):
    """The longest plan step of all demonstrations.

    Args:
        most: its length, environment units.
        place: entries of the observation that make up a place.
        rates: entries that are rates of change of these.
    """

    most: Tensor
    place: Tensor
    rates: Tensor

    def __init__(
        self, most: Float[Tensor, ""], place: Int[Tensor, "entry"], rates: Int[Tensor, "rate"]
    ) -> None:
        super().__init__()
        self.register_buffer("most", most)
        self.register_buffer("place", place)
        self.register_buffer("rates", rates)

    def lengths(
        self, paths: Float[Tensor, "batch horizon observation"]
    ) -> Float[Tensor, "batch horizon-1"]:
        """How long each plan step is, environment units in."""
        return paths[..., self.place].diff(dim=1).norm(dim=-1)

    def slowed(
        self, paths: Float[Tensor, "batch horizon observation"]
    ) -> Float[Tensor, "batch horizon observation"]:
        """The same ways, gone through a tenth below the limit; environment units.

        Rates of change are lowered alike. What is slow enough stays as it is.
        """
        lengths, rows = self.lengths(paths), torch.arange(len(paths), device=paths.device)
        if not bool((lengths > self.most).any()):
            return paths
        last, most = paths.shape[1] - 1, _BELOW * self.most.to(paths)
        gone = torch.nn.functional.pad(lengths.cumsum(1), (1, 0))
        time, found = paths.new_zeros(len(paths)), [paths[:, 0]]

        def at(curve: Tensor, time: Tensor) -> Tensor:
            step = time.long().clamp(max=last - 1)
            part = (time - step).reshape(-1, *(1,) * (curve.ndim - 2))
            return (1 - part) * curve[rows, step] + part * curve[rows, step + 1]

        for _ in range(last):
            aim = at(gone, time) + most
            step = (torch.searchsorted(gone, aim.unsqueeze(1))[:, 0] - 1).clamp(0, last - 1)
            longest = lengths[rows, step].clamp(min=1e-12)
            slow = step + ((aim - gone[rows, step]) / longest).clamp(0, 1)
            time = torch.minimum((time + 1).clamp(max=last), slow)
            row = at(paths, time)
            pace = lengths[rows, time.long().clamp(max=last - 1)].clamp(min=1e-12)
            row[:, self.rates] *= (most / pace).clamp(max=1).unsqueeze(-1)
            found.append(row)
        return torch.stack(found, 1)


def find_pace(
    play: Dataset, demonstrations: Dataset, *, stride: int, seen: Sequence[int]
) -> Pace | None:
    """The pace that demonstrators keep; None if play data is seldom faster, or they hardly move.

    Args:
        play: environment units.
        demonstrations: environment units.
        stride: environment steps of a plan step.
        seen: entries of the observation that the reward sees; those that are not rates of change
            of others make up a place.
    """
    rates = rates_of_change(play)
    place = [entry for entry in seen if rates[entry] not in seen]
    shown, played = (_steps(data, place, stride) for data in (demonstrations, play))
    moving = shown > _MOVING * np.quantile(played, 0.9) if len(played) else shown > 0
    if moving.sum() < _FEWEST * stride or (played > shown.max()).mean() < _OFTEN:
        return None
    own = [entry for entry, of in enumerate(rates) if of in place]
    return Pace(
        torch.tensor(shown.max()),
        torch.tensor(place, dtype=torch.long),
        torch.tensor(own, dtype=torch.long),
    )


def _steps(data: Dataset, place: Sequence[int], stride: int) -> Float[np.ndarray, "step"]:
    """The lengths of all plan steps of a dataset, environment units."""
    paths = [episode.observations[:, list(place)] for episode in data.episodes]
    moved = [path[stride:] - path[:-stride] for path in paths if len(path) > stride]
    return np.linalg.norm(np.concatenate([*moved, np.zeros((0, len(place)))]), axis=-1)
