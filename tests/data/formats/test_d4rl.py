"""D4RL files: where episodes are cut, and what bad files get."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from refusals import refused
from trailward.data.dataset import read_dataset

ENDS = {"terminals": [3], "timeouts": [8]}
"""Of eleven rows: an episode of four, one of five, and two rows that the file's end cuts off."""


def fields(*, with_next: bool) -> dict[str, np.ndarray]:
    """As D4RL writes HalfCheetah: 32 bits, a row a step; every number is different."""
    rows = 11
    observations = np.arange(rows * 17, dtype=np.float32).reshape(rows, 17)
    found = {
        "observations": observations,
        "actions": -np.arange(rows * 6, dtype=np.float32).reshape(rows, 6) / 100,
        "rewards": np.arange(rows, dtype=np.float32) / 10,
        **{name: np.isin(np.arange(rows), ends) for name, ends in ENDS.items()},
    }
    return found | ({"next_observations": observations + 17} if with_next else {})


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["infos/qpos"] = np.zeros((11, 9))
    return path


@pytest.mark.parametrize("suffix", [".hdf5", ".h5"])
def test_episodes_end_where_the_flags_say_with_the_observation_reached(
    suffix: str, tmp_path: Path
) -> None:
    arrays = fields(with_next=True)
    data = read_dataset(write(tmp_path / f"halfcheetah-medium-v2{suffix}", arrays))
    assert [len(episode) for episode in data.episodes] == [4, 5, 2]
    for episode, (first, end) in zip(data.episodes, [(0, 4), (4, 9), (9, 11)], strict=True):
        np.testing.assert_array_equal(episode.observations[:-1], arrays["observations"][first:end])
        np.testing.assert_array_equal(
            episode.observations[-1], arrays["observations"][end - 1] + 17
        )
        np.testing.assert_array_equal(episode.actions, arrays["actions"][first:end].astype(float))
        np.testing.assert_array_equal(episode.rewards, arrays["rewards"][first:end].astype(float))
    assert data.provenance == {"file": f"halfcheetah-medium-v2{suffix}"}
    assert (data.observation_dim, data.action_dim) == (17, 6)


def test_without_the_observations_reached_the_last_action_is_dropped(tmp_path: Path) -> None:
    arrays = fields(with_next=False)
    data = read_dataset(write(tmp_path / "old.hdf5", arrays))
    assert [len(episode) for episode in data.episodes] == [3, 4, 1]
    np.testing.assert_array_equal(data.episodes[1].observations, arrays["observations"][4:9])
    np.testing.assert_array_equal(data.episodes[1].rewards, arrays["rewards"][4:8].astype(float))


@pytest.mark.parametrize(
    ("with_next", "terminated", "truncated"),
    [
        (True, [True, False, False], [False, True, False]),
        (False, [False, False, False], [True, True, False]),
    ],
    ids=["observations reached", "last action dropped"],
)
def test_terminals_and_timeouts_are_kept_apart(
    with_next: bool, terminated: list[bool], truncated: list[bool], tmp_path: Path
) -> None:
    """What is left of an episode whose last action is dropped was cut short."""
    data = read_dataset(write(tmp_path / "ends.hdf5", fields(with_next=with_next)))
    assert [episode.terminated for episode in data.episodes] == terminated
    assert [episode.truncated for episode in data.episodes] == truncated


def test_an_end_that_both_flags_mark_and_an_end_of_the_file_cut_once(tmp_path: Path) -> None:
    arrays = fields(with_next=True)
    arrays["terminals"][:] = arrays["timeouts"][:] = np.isin(np.arange(11), [4, 10])
    data = read_dataset(write(tmp_path / "both.hdf5", arrays))
    assert [len(episode) for episode in data.episodes] == [5, 6]


def test_one_row_without_the_observation_reached_is_no_episode(tmp_path: Path) -> None:
    arrays = fields(with_next=False)
    arrays["timeouts"][0] = True
    data = read_dataset(write(tmp_path / "short.hdf5", arrays))
    assert [len(episode) for episode in data.episodes] == [2, 4, 1]


def without(name: str) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.pop(name)


def with_value(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.__setitem__(name, value)


def not_finite(arrays: dict[str, np.ndarray]) -> None:
    arrays["actions"][6, 2] = np.nan


def others(missing: str) -> list[str]:
    """All names that stand in the file without this one."""
    return sorted({*fields(with_next=True), "infos"} - {missing})


def empty(arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        arrays[name] = array[:0]


@pytest.mark.parametrize(
    ("damage", "field", "value", "remedy"),
    [
        (without("timeouts"), ": 'timeouts'", others("timeouts"), "a later version"),
        (without("rewards"), ": 'rewards'", others("rewards"), "add the field"),
        (with_value("actions", np.zeros((10, 6))), ": 'actions'", 10, "'observations' have 11"),
        (with_value("rewards", np.zeros((11, 1))), ": 'rewards'", (11, 1), "the axes (step)"),
        (with_value("observations", np.zeros(11)), ": 'observations'", (11,), "(step, entry)"),
        (
            with_value("next_observations", np.zeros((11, 5))),
            ": 'next_observations'",
            (11, 5),
            "'observations' have (11, 17)",
        ),
        (with_value("actions", np.full(11, b"left")), ": 'actions'", "|S4", "real numbers"),
        (not_finite, ": 'actions', row 6, entry 2", "nan", "drop the episode"),
        (empty, "", 0, "two rows"),
    ],
)
def test_a_bad_file_is_named_with_field_value_and_remedy(
    damage: Callable[[dict[str, np.ndarray]], object],
    field: str,
    value: object,
    remedy: str,
    tmp_path: Path,
) -> None:
    arrays = fields(with_next=True)
    damage(arrays)
    path = write(tmp_path / "bad.hdf5", arrays)
    with refused(place=f"{path}{field}", value=value, remedy=remedy):
        read_dataset(path)


def test_a_file_that_is_cut_short_or_missing_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.hdf5", fields(with_next=True))
    path.write_bytes(path.read_bytes()[:2000])
    with refused(place=str(path), remedy="fetch it again") as found:
        read_dataset(path)
    assert "truncated file" in found.value.value
    with refused(place=str(tmp_path / "none.hdf5"), value=None, remedy="check the name"):
        read_dataset(tmp_path / "none.hdf5")
