"""Read and write the folders of Minari; fetch those that are only remote."""

import json
import os
import re
import socket
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id

from trailward.data.choices import named_choices
from trailward.data.episode import Columns, Episode
from trailward.data.formats.guard import check_hdf5, readable
from trailward.data.formats.rows import Recording, as_numbers, check_values
from trailward.errors import DataError
from trailward.running.files import new_folder

_HUB = ("huggingface.co", 443)
_PATIENCE = 3.0
_REMOTE = "minari:"
_WHERE_FROM = (
    "check the path; list local ids with 'minari list local', get a dataset with 'minari download' "
    f"or as '{_REMOTE}ID', or make one with 'trailward collect'"
)
_DAMAGED = (KeyError, OSError, AttributeError, ValueError, TypeError, RuntimeError, AssertionError)


def recognises(path: Path) -> bool:
    """Whether it is a folder of Minari; ``-v0`` may be left out of its name."""
    return _data_folder(path) is not None


def read_minari(source: str | os.PathLike[str]) -> Recording:
    """The episodes of a Minari dataset in a folder.

    Discrete actions become one-hot entries.

    Raises:
        DataError: names the dataset, the episode and the field that is wrong, and the remedy.
    """
    data = _data_folder(Path(source).expanduser())
    if data is None:
        msg = f"{source} holds no Minari dataset"
        raise DataError(msg, place=str(source), remedy=_WHERE_FROM)
    remedy = "record or fetch it again"
    with readable(data.parent, "a readable Minari dataset", remedy):
        recorded = minari.MinariDataset(data)
    return _read(source, recorded)


def read_minari_id(source: str) -> Recording:
    """The episodes of a Minari dataset by its id, such as ``mujoco/hopper/expert-v0``.

    The id alone is looked for among those that ``minari list local`` tells; only with ``minari:``
    before it is it downloaded, so that a mistyped path never goes to the network.

    Raises:
        DataError: as :func:`read_minari`, or if there is none.
    """
    name = source.removeprefix(_REMOTE)
    try:
        parse_dataset_id(name)
    except (TypeError, ValueError):  # without a version it is a TypeError
        raise _unknown(source) from None
    try:
        recorded = minari.load_dataset(name)
    except FileNotFoundError:
        if source == name:
            raise _unknown(source) from None
        recorded = _download(name)
    except _DAMAGED as error:
        raise _unknown(source) from error
    return _read(source, recorded)


def _read(source: str | os.PathLike[str], recorded: minari.MinariDataset) -> Recording:
    file = Path(recorded.storage.data_path) / "main_data.hdf5"
    if file.exists():
        with readable(file, "a whole HDF5 file", "record or download the dataset again"):
            _check_file(file)
    episodes = []
    try:
        metadata = recorded.storage.metadata
        made = json.loads(metadata.get("provenance", "{}"))
        columns = Columns.from_config(json.loads(metadata.get("columns", "null")))
        attributes = json.loads(metadata.get("attributes", "{}"))
        for item in recorded.iterate_episodes():
            place = f"{source}, episode {len(episodes)}"
            has_rewards = bool(metadata.get("has_rewards", True))
            episodes.append(_read_episode(place, item, recorded, has_rewards=has_rewards))
    except DataError:
        raise
    except Exception as error:
        place, remedy = f"{source}, episode {len(episodes)}", "record or download the dataset again"
        msg = f"{place}: a field is missing or unreadable: {error}"
        raise DataError(msg, place=place, value=str(error), remedy=remedy) from error
    if isinstance(recorded.action_space, gymnasium.spaces.Discrete) and not columns.choices:
        first, count = int(recorded.action_space.start), int(recorded.action_space.n)
        columns = named_choices(columns, tuple(range(first, first + count)))
    made = made if isinstance(made, dict) else {"provenance": made}
    return Recording(episodes, columns, made, attributes if isinstance(attributes, dict) else {})


def _check_file(file: Path) -> None:
    with h5py.File(file, "r") as opened:
        check_hdf5(file, opened)


def _data_folder(path: Path) -> Path | None:
    for folder in (path, dataset_folder(path)):
        data = folder / "data"
        if any((data / name).exists() for name in ("main_data.hdf5", "metadata.json")):
            return data
    return None


def check_minari_name(name: str) -> None:
    """Check that a folder can be called so.

    Raises:
        DataError: if it is not a Minari name.
    """
    try:
        parse_dataset_id(name)
    except (TypeError, ValueError):
        msg = f"'{name}' is not a name that Minari knows datasets by"
        remedy = "choose letters, digits, '_' and '-'; it may end in a version such as -v0"
        raise DataError(msg, place="name", value=name, remedy=remedy) from None


def write_minari(recording: Recording, target: Path, *, env_id: str | None = None) -> Path:
    """Write a Minari dataset that Minari itself lists and loads.

    Args:
        recording: what to write.
        target: a folder that does not exist yet, with a Minari name.
        env_id: the environment, kept in the description.

    Raises:
        DataError: if the folder's name is not a Minari name.
    """
    check_minari_name(target.name)
    buffers = [
        EpisodeBuffer(
            id=index,
            observations=episode.observations,  # pyright: ignore[reportArgumentType]
            actions=episode.actions,  # pyright: ignore[reportArgumentType]
            rewards=_rewards_or_zeros(episode),  # pyright: ignore[reportArgumentType]
            terminations=_only_at_the_end(len(episode), episode.terminated),  # pyright: ignore[reportArgumentType]
            truncations=_only_at_the_end(len(episode), episode.truncated),  # pyright: ignore[reportArgumentType]
        )
        for index, episode in enumerate(recording.episodes)
    ]
    first = recording.episodes[0]
    with (
        new_folder(target, _space(recording)) as staging,
        _minari_root(staging),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", ".* is (set to )?None", UserWarning)  # no author given
        written = minari.create_dataset_from_buffers(
            target.name,
            buffers,
            observation_space=_box(first.observations.shape[1]),
            action_space=_box(first.actions.shape[1]),
            description=f"trailward data of {env_id}" if env_id else "trailward data",
        )
        written.storage.update_metadata(
            {
                "provenance": json.dumps(recording.provenance),
                "columns": json.dumps(recording.columns.to_config()),
                "attributes": json.dumps({n: list(v) for n, v in recording.attributes.items()}),
                "has_rewards": all(e.rewards is not None for e in recording.episodes),
            }
        )
    return target


def _space(recording: Recording) -> int:
    """Bytes on the disk that a recording takes at most."""
    steps = sum(len(episode) + 1 for episode in recording.episodes)
    first = recording.episodes[0]
    entries = first.observations.shape[1] + first.actions.shape[1] + 2
    return 1_000_000 + 20_000 * len(recording.episodes) + 9 * steps * entries


def dataset_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder that a dataset is written to: the name always ends in a version."""
    path = Path(folder).expanduser().resolve()
    versioned = re.search(r"-v\d+$", path.name)
    return path if versioned else path.with_name(f"{path.name}-v0")


def _download(name: str) -> minari.MinariDataset:
    """A dataset that is not there, from where Minari keeps its own."""
    if not _is_online():
        raise _unknown(name, "there is no network here")
    try:
        return minari.load_dataset(name, download=True)
    except Exception as error:  # each of Minari's remotes fails in its own way
        raise _unknown(name, str(error)) from error


def _is_online() -> bool:
    """Whether the hub can be reached: without a network its library tries for half a minute."""
    if urllib.request.getproxies():
        return True
    try:
        socket.create_connection(_HUB, timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


def _unknown(source: str, failure: str | None = None) -> DataError:
    msg = f"'{source}' is neither a folder or file of a known format nor a local Minari id"
    msg += "" if failure is None else f"; downloading it failed: {failure}"
    return DataError(msg, place=source, value=failure, remedy=_WHERE_FROM)


def _read_episode(
    place: str, item: minari.EpisodeData, recorded: minari.MinariDataset, *, has_rewards: bool
) -> Episode:
    fields = {"observations": item.observations, "actions": item.actions}
    space = recorded.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        chosen = np.asarray(item.actions).reshape(len(item.rewards)) - int(space.start)
        wrong = chosen[(chosen < 0) | (chosen >= space.n)] + int(space.start)
        if len(wrong):
            remedy = f"there are {space.n} choices, from {space.start}"
            raise DataError(place=f"{place}: actions", value=wrong[0].item(), remedy=remedy)
        fields["actions"] = np.eye(int(space.n))[chosen]
    if isinstance(item.observations, dict):
        if "observation" not in item.observations:
            where, keys = f"{place}: observations", sorted(item.observations)
            remedy = "none is 'observation': rename the one to learn from"
            msg = f"{where} are a dictionary of {keys}"
            raise DataError(msg, place=where, value=keys, remedy=remedy)
        fields["observations"] = item.observations["observation"]
    if has_rewards:
        fields["rewards"] = item.rewards
    found: dict[str, np.ndarray] = {}
    for name, values in fields.items():
        where, kind = f"{place}: {name}", type(values).__name__
        if not isinstance(values, np.ndarray | list):
            msg = f"{where} must be arrays, not {kind}"
            raise DataError(msg, place=where, value=kind, remedy="flatten them first")
        found[name] = as_numbers(where, values)
        check_values(where, found[name])
    ends = [bool(flags[-1]) if len(flags) else False for flags in _ends(item)]
    try:
        return Episode(found["observations"], found["actions"], found.get("rewards"), *ends)
    except DataError as error:
        raise error.within(place) from None


def _ends(item: minari.EpisodeData) -> tuple[np.ndarray, np.ndarray]:
    return np.atleast_1d(item.terminations), np.atleast_1d(item.truncations)


def _only_at_the_end(length: int, flag: bool) -> np.ndarray:  # noqa: FBT001
    """A flag a step, as Minari keeps them."""
    return (np.arange(length) == length - 1) & flag


def _box(entries: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-np.inf, np.inf, (entries,), np.float64)


def _rewards_or_zeros(episode: Episode) -> np.ndarray:
    return np.zeros(len(episode)) if episode.rewards is None else episode.rewards


@contextmanager
def _minari_root(root: Path) -> Iterator[None]:
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
