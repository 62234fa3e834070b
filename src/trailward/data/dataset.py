"""Read, check and write episodes; cut them into windows."""

import glob
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from trailward.data.choices import named_choices
from trailward.data.episode import Columns, Episode
from trailward.data.formats import Format, read_recording
from trailward.data.formats.minari_folder import check_minari_name, dataset_folder, write_minari
from trailward.data.formats.rows import Recording
from trailward.data.formats.table import TableLayout
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import DataError
from trailward.typing import PlanMask, Plans

_SAME_STEP = 0.05


@dataclass(frozen=True)
class Dataset:
    """Episodes of one environment, with where they come from.

    Attributes:
        episodes: at least one; all with the same observation and action entries.
        provenance: how the data was made (command, seed, versions), JSON values.
        columns: what the entries are called.
        attributes: what is known of each episode, such as its animal: by name, a text for each.

    Raises:
        DataError: if there is no episode, their entries differ, or there are not as many names as
            entries.
    """

    episodes: Sequence[Episode]
    provenance: dict[str, Any] = field(default_factory=dict)
    columns: Columns = Columns()
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.episodes:
            remedy = "record or collect at least one"
            raise DataError("the dataset has no episodes", place="episodes", value=0, remedy=remedy)
        first = self.episodes[0]
        for index, episode in enumerate(self.episodes):
            for name in ("observations", "actions"):
                entries, expected = getattr(episode, name).shape[1], getattr(first, name).shape[1]
                if entries != expected:
                    place = f"episode {index}: {name}"
                    msg = f"{place} have {entries} entries, those of episode 0 have {expected}"
                    remedy = "split it, for a dataset holds one environment"
                    raise DataError(msg, place=place, value=entries, remedy=remedy)
        for name in ("observations", "actions"):
            names, entries = getattr(self.columns, name), getattr(first, name).shape[1]
            if names and len(names) != entries:
                msg = f"{name} have {entries} entries and {len(names)} names: {', '.join(names)}"
                remedy = "give every entry one, or none"
                raise DataError(msg, place=name, value=names, remedy=remedy)
        for name, values in self.attributes.items():
            if len(values) != len(self.episodes):
                remedy = f"give one for each of the {len(self.episodes)} episodes"
                place = f"attribute '{name}'"
                msg = f"{place} has {len(values)} values"
                raise DataError(msg, place=place, value=len(values), remedy=remedy)

    @property
    def observation_dim(self) -> int:
        """Entries of an observation."""
        return self.episodes[0].observations.shape[1]

    @property
    def action_dim(self) -> int:
        """Entries of an action; 0 where none were recorded."""
        return self.episodes[0].actions.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all observations and actions: the same data, the same fingerprint."""
        digest = hashlib.sha256()
        for episode in self.episodes:
            digest.update(np.ascontiguousarray(episode.observations, np.float64).tobytes())
            digest.update(np.ascontiguousarray(episode.actions, np.float64).tobytes())
        return digest.hexdigest()[:16]

    def pick(self, numbers: Sequence[int]) -> "Dataset":
        """The same recording with these of its episodes only, and what is known of them.

        Args:
            numbers: of episodes, in the order wanted.
        """
        attributes = {name: [of[n] for n in numbers] for name, of in self.attributes.items()}
        episodes = [self.episodes[number] for number in numbers]
        return replace(self, episodes=episodes, attributes=attributes)

    def without(self, *others: "Dataset") -> list[Episode]:
        """The tracks that others do not hold too, told by fingerprint; there may be none."""
        known = {episode.fingerprint for other in others for episode in other.episodes}
        return [episode for episode in self.episodes if episode.fingerprint not in known]

    @property
    def time_step(self) -> float | None:
        """Seconds from one observation to the next, if the recording tells."""
        told = self.provenance.get("time_step")
        return float(told) if isinstance(told, int | float) and told > 0 else None

    @property
    def num_steps(self) -> int:
        """Environment steps in all episodes together."""
        return sum(len(episode) for episode in self.episodes)

    @property
    def returns(self) -> np.ndarray:
        """The recorded true return of each episode, shape (episodes,).

        Raises:
            DataError: if an episode has no recorded rewards.
        """
        rewards = [episode.rewards for episode in self.episodes]
        missing = [index for index, reward in enumerate(rewards) if reward is None]
        if missing:
            place = f"episode {missing[0]}"
            raise DataError(f"{place} has no recorded rewards", place=f"{place}: rewards")
        return np.array([reward.sum() for reward in rewards if reward is not None])


class Windows:
    """Every window of a dataset that a plan could be compared with, ready to be drawn in batches.

    A window takes every ``stride``-th observation (and the actions between, if plans have them).
    An episode of n observations gives ``n - spec.num_observations + 1`` windows, the last one
    included. An episode too short for a window gives one: padded by its last observation and
    zero actions, and masked from there on.

    Args:
        dataset: the episodes, environment units.
        spec: what a window holds.

    Attributes:
        episode: the number of the episode that each window is cut from.
        first: the environment step at which each window begins.

    Raises:
        DataError: if the dataset's entries are not those of ``spec``; where plans are over states
            only, its actions do not matter.
    """

    def __init__(self, dataset: Dataset, spec: PlanSpec) -> None:
        check_entries(dataset, spec)
        self.spec = spec
        episodes = dataset.episodes
        lengths = np.array([len(episode) + 1 for episode in episodes])
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        counts = np.maximum(lengths - spec.num_observations + 1, 1)
        self._observations = torch.from_numpy(
            np.concatenate([episode.observations for episode in episodes])
        )
        no_action = np.zeros((1, dataset.action_dim))
        self._actions = torch.from_numpy(
            np.concatenate([part for episode in episodes for part in (episode.actions, no_action)])
        )
        self.episode = torch.from_numpy(np.repeat(np.arange(len(episodes)), counts))
        before = np.repeat(np.cumsum(counts) - counts, counts)
        self.first = torch.from_numpy(np.arange(counts.sum()) - before)
        self._start = self.first + torch.from_numpy(np.repeat(offsets, counts))
        self._last = torch.from_numpy(np.repeat(offsets + lengths - 1, counts))

    def __len__(self) -> int:
        return len(self._start)

    def gather(self, indices: torch.Tensor) -> tuple[Plans, PlanMask]:
        """Windows in environment units, and where they are real.

        Args:
            indices: shape (batch,), each below ``len(self)``.
        """
        spec = self.spec
        start, last = self._start[indices, None], self._last[indices, None]
        wanted = start + torch.arange(spec.horizon) * spec.stride
        needed = wanted + spec.stride if spec.with_actions else wanted
        between = wanted.unsqueeze(-1) + torch.arange(spec.stride)
        windows = spec.join(
            self._observations[torch.minimum(wanted, last)],
            self._actions[torch.minimum(between, last.unsqueeze(-1))],
        )
        return windows, needed <= last

    def history(self, indices: torch.Tensor) -> Float[torch.Tensor, "batch time observation"]:
        """Every observation of each window's episode, from its first to the window's last.

        Environment units. ``history[:, -1]`` is the last of the window, ``[:, -1 - stride]`` the
        one before. Shorter histories are padded in front by the episode's first observation,
        episodes shorter than a window behind by their last.
        """
        reach = (self.spec.horizon - 1) * self.spec.stride
        start, first = self._start[indices, None], self.first[indices, None]
        back = torch.arange(int(first.max()), -reach - 1, -1)
        wanted = start - torch.minimum(back, first)
        return self._observations[torch.minimum(wanted, self._last[indices, None])]

    def steps(self) -> list[Float[torch.Tensor, "time transition"]]:
        """Every plan step of each episode by environment step, environment units.

        Where plans carry actions, the last observations, with too few after them, are left out.
        """
        reach = self.spec.stride if self.spec.with_actions else 0
        last = torch.unique(self._last)
        begin = torch.cat([last.new_zeros(1), last[:-1] + 1])
        found = []
        for first, end in zip(begin.tolist(), last.tolist(), strict=True):
            times = torch.arange(first, max(first, end + 1 - reach))
            between = times.unsqueeze(-1) + torch.arange(self.spec.stride)
            between = between.clamp(max=end)
            found.append(self.spec.join(self._observations[times], self._actions[between]))
        return found

    def subset(self, keep: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Indices of the windows whose episode number satisfies ``keep``."""
        return torch.nonzero(keep(self.episode)).squeeze(-1)

    def draw(
        self,
        count: int,
        generator: torch.Generator,
        weights: Float[torch.Tensor, "window"] | None = None,
    ) -> torch.Tensor:
        """``count`` window indices with replacement, in proportion to weights; alike if None."""
        if weights is None:
            return torch.randint(len(self), (count,), generator=generator)
        return torch.multinomial(weights, count, replacement=True, generator=generator)

    def batch(self, indices: torch.Tensor, normalizer: Normalizer) -> tuple[Plans, PlanMask]:
        """Windows in model space, on the normalizer's device, and where they are real."""
        windows, mask = self.gather(indices)
        return normalizer.normalize(windows), mask.to(normalizer.shift.device)


def check_entries(dataset: Dataset, spec: PlanSpec) -> None:
    """Check that plans can be made of a dataset; where they are over states, actions may differ.

    Raises:
        DataError: if it has other entries than the plans.
    """
    got = (dataset.observation_dim, dataset.action_dim)
    expected = (spec.observation_dim, spec.action_dim)
    if got[: 1 + spec.with_actions] != expected[: 1 + spec.with_actions]:
        place, remedy = "observations and actions", "use data of the same environment"
        msg = f"{place} have {got} entries, the plans {expected}"
        raise DataError(msg, place=place, value=got, remedy=remedy)


def agreed_columns(given: Mapping[str, Columns]) -> Columns:
    """What all data calls its entries, where it has names for them.

    Args:
        given: by what it is, such as "the demonstrations", for the error.

    Returns:
        Of observations and of actions the names of the first that has any, with the units of all.

    Raises:
        DataError: if names of observations, their order or units differ. Actions may: not every
            plan or reward has them.
    """
    named = {what: columns for what, columns in given.items() if columns.observations}
    first, known = next(iter(named.items()), ("", Columns()))
    for what, columns in named.items():
        if columns.observations != known.observations:
            place, names = f"the observations of {what}", columns.observations
            remedy = f"use the names and the order of {first}: {', '.join(known.observations)}"
            msg = f"{place} are {', '.join(names)}"
            raise DataError(msg, place=place, value=names, remedy=remedy)
    actions = next((columns.actions for columns in given.values() if columns.actions), ())
    units: dict[str, str] = {}
    told_by: dict[str, str] = {}
    for what, columns in given.items():
        for name, unit in columns.units.items():
            if name in known.observations and units.get(name, unit) != unit:
                place = f"{name} of {what}"
                remedy = f"convert it to {units[name]}, the unit of {told_by[name]}"
                raise DataError(f"{place} is in {unit}", place=place, value=unit, remedy=remedy)
            if name in known.observations or name in actions:
                units.setdefault(name, unit)
                told_by.setdefault(name, what)
    choices = next((columns.choices for columns in given.values() if columns.actions), ())
    return Columns(known.observations, actions, units, choices, known.angles)


def read_dataset(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    layout: TableLayout = TableLayout(),
    *,
    format: str | Format | None = None,  # noqa: A002
) -> Dataset:
    """Read recorded data of any known format.

    Args:
        source: an HDF5 file of D4RL (``.hdf5``, ``.h5``), an ``.npz`` file, a table (``.parquet``,
            ``.csv``), a folder of LeRobot or of Minari, or a Minari id such as
            ``mujoco/hopper/expert-v0``, downloaded if ``minari:`` stands before it; or several of
            these, or a pattern such as ``birds/*.csv``.
        layout: which columns of a table are what.
        format: a format, its name, or ``module:Name``; recognised by the path if None.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
        MissingExtraError: if it takes a package that is not installed; names the command.
    """
    sources = _sources(source)
    if len(sources) > 1:
        return joined({str(each): read_dataset(each, layout, format=format) for each in sources})
    found = read_recording(sources[0], layout, format=format)
    try:
        return Dataset(found.episodes, found.provenance, found.columns, found.attributes)
    except DataError as error:
        raise error.within(source) from None


def _sources(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[str | os.PathLike[str]]:
    """What is to be read, one after the other; at least one."""
    if not isinstance(source, str | os.PathLike):
        if not source:
            remedy = "name at least one file"
            raise DataError("there is nothing to read", place="source", value=source, remedy=remedy)
        return list(source)
    pattern = os.path.expanduser(source)
    if not os.path.exists(pattern) and glob.has_magic(pattern):
        found = sorted(glob.glob(pattern))
        if not found:
            msg = f"no file is called like '{source}'"
            raise DataError(msg, place="source", value=source, remedy="check the pattern")
        return list(found)
    return [source]


def joined(given: Mapping[str, Dataset]) -> Dataset:
    """One dataset of the episodes of several; attributes that all have are kept.

    Args:
        given: by where each comes from, for errors.

    Raises:
        DataError: if their entries, names, units or time steps differ.
    """
    first = next(iter(given.values()))
    columns = agreed_columns({what: data.columns for what, data in given.items()})
    for what, data in given.items():
        if data.columns.choices != first.columns.choices:
            remedy = "read them with the same choices of actions"
            raise DataError(place=f"{what}: choices", value=data.columns.choices, remedy=remedy)
    check_time_steps({what: data.provenance for what, data in given.items()})
    shared = [n for n in first.attributes if all(n in data.attributes for data in given.values())]
    attributes = {n: [v for data in given.values() for v in data.attributes[n]] for n in shared}
    attributes["file"] = [Path(w).name for w, data in given.items() for _ in data.episodes]
    provenance: dict[str, Any] = {"files": [data.provenance for data in given.values()]}
    if first.time_step is not None:
        provenance["time_step"] = first.time_step
    episodes = [episode for data in given.values() for episode in data.episodes]
    return Dataset(episodes, provenance, columns, attributes)


def with_choices(dataset: Dataset, count: int) -> Dataset:
    """Discrete actions with an entry for each of ``count`` choices, not for those made alone.

    Data in which the last choices were never made has fewer; other data is given back as it is.
    """
    choices, missing = dataset.columns.choices, count - dataset.action_dim
    if not choices or missing <= 0:
        return dataset
    every = (*choices, *range(choices[-1] + 1, choices[-1] + 1 + missing))
    episodes = [
        replace(e, actions=np.pad(e.actions, ((0, 0), (0, missing)))) for e in dataset.episodes
    ]
    return replace(dataset, episodes=episodes, columns=named_choices(dataset.columns, every))


def check_time_steps(given: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that data that is used together has the same time from row to row, where it is known.

    Args:
        given: provenance, by what it is of, such as "the demonstrations".

    Raises:
        DataError: if two differ by more than 5%.
    """
    known: dict[tuple[str, str], tuple[str, float]] = {}
    for what, facts in given.items():
        frame = facts.get("frame")
        steps = {("", " s"): facts.get("time_step")}
        if isinstance(frame, Mapping) and facts.get("time_step") is None:
            steps = {(str(frame.get("column")), ""): frame.get("step")}
        for (column, unit), step in steps.items():
            if not isinstance(step, int | float) or step <= 0:
                continue
            other, before = known.setdefault((column, unit), (what, float(step)))
            if abs(step - before) > _SAME_STEP * max(step, before):
                counted = f" of '{column}'" if column else ""
                remedy = f"read it with --resample {before:g}, or resample the other"
                msg = (
                    f"{step:g}{unit}{counted} from row to row in {what}, {before:g}{unit} in "
                    f"{other}"
                )
                raise DataError(msg, place=what, value=step, remedy=remedy)


def write_dataset(
    dataset: Dataset, folder: str | os.PathLike[str], *, env_id: str | None = None
) -> Path:
    """Write a Minari dataset that Minari itself lists and loads.

    The folder's name becomes the Minari id (``-v0`` is appended if it has no version), its parent
    the ``MINARI_DATASETS_PATH`` to list it under.

    Args:
        dataset: what to write.
        folder: the folder to write; it must not exist yet.
        env_id: the environment, kept in the description.

    Returns:
        The folder written.

    Raises:
        DataError: if the folder exists or its name is not a Minari name.
    """
    found = Recording(dataset.episodes, dataset.columns, dataset.provenance, dataset.attributes)
    return write_minari(found, free_folder(folder), env_id=env_id)


def free_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder of a dataset that is yet to be written, as :func:`dataset_folder` finds it.

    Raises:
        DataError: if the folder exists or its name is not a Minari name.
    """
    target = dataset_folder(folder)
    check_minari_name(target.name)
    if target.exists():
        remedy = "remove it or choose another name"
        raise DataError(f"{target} exists", place=str(target), remedy=remedy)
    return target
