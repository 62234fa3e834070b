"""What NumPy writes is read as the same windows, whatever tells where episodes end."""

from pathlib import Path

import numpy as np
import pytest
from rows import (
    ACTIONS,
    EPISODE,
    FRAME,
    LENGTHS,
    OBSERVATIONS,
    REWARDS,
    WALKS,
    assert_same,
    assert_same_rewards,
)

from trailward.data.dataset import Dataset, read_dataset
from trailward.data.episode import Columns, Episode

IS_LAST = np.append(FRAME[1:] == 0, True)
MARKS = {
    "episode_ends": np.cumsum(LENGTHS),
    "episode": EPISODE * 7 + 3,
    "episode_id": np.array(["dawn", "noon", "dusk", "night"])[EPISODE],
    "episode_starts": FRAME == 0,
    "terminals": IS_LAST,
    "dones": IS_LAST.astype(np.float32),
}


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("mark", MARKS)
def test_every_way_to_tell_episodes_apart_gives_the_same_windows(mark: str, tmp_path: Path) -> None:
    found = read_dataset(
        save(
            tmp_path / "walks.npz",
            observations=OBSERVATIONS,
            actions=ACTIONS,
            rewards=REWARDS,
            **{mark: MARKS[mark]},
        )
    )
    assert_same(found, WALKS)
    assert_same_rewards(found, WALKS)
    assert found.provenance == {"file": "walks.npz"}


def test_flags_of_two_kinds_end_episodes_together(tmp_path: Path) -> None:
    half = IS_LAST & (EPISODE < 2)
    path = save(
        tmp_path / "walks.npz",
        observations=OBSERVATIONS,
        actions=ACTIONS,
        terminals=half,
        timeouts=IS_LAST & ~half,
    )
    assert_same(read_dataset(path), WALKS)


def test_observations_reached_keep_the_last_action(tmp_path: Path) -> None:
    """As imitation keeps transitions: obs, acts, next_obs and dones."""
    steps = [len(episode) for episode in WALKS.episodes]
    path = save(
        tmp_path / "transitions.npz",
        obs=np.concatenate([episode.observations[:-1] for episode in WALKS.episodes]),
        next_obs=np.concatenate([episode.observations[1:] for episode in WALKS.episodes]),
        acts=np.concatenate([episode.actions for episode in WALKS.episodes]),
        dones=np.isin(np.arange(sum(steps)), np.cumsum(steps) - 1),
    )
    assert_same(read_dataset(path), WALKS)


@pytest.mark.parametrize(
    ("ended", "cut"), [("terminals", "timeouts"), ("terminations", "truncations")]
)
def test_episodes_that_end_and_that_are_cut_are_kept_apart(
    ended: str, cut: str, tmp_path: Path
) -> None:
    rows = np.arange(20.0).reshape(10, 2)
    path = save(
        tmp_path / "ends.npz",
        observations=rows,
        next_observations=rows + 2,
        **{ended: np.isin(np.arange(10), [3]), cut: np.isin(np.arange(10), [7])},
    )
    episodes = read_dataset(path).episodes
    assert [len(episode) for episode in episodes] == [4, 4, 2]
    assert [episode.terminated for episode in episodes] == [True, False, False]
    assert [episode.truncated for episode in episodes] == [False, True, False]


def test_observations_alone_are_enough(tmp_path: Path) -> None:
    path = save(tmp_path / "watched.npz", observations=OBSERVATIONS, episode=EPISODE)
    found = read_dataset(path)
    assert found.episodes[0].rewards is None
    assert_same(found, WALKS, with_actions=False)


@pytest.mark.parametrize("num_actions", [5, 6])
def test_three_axes_are_episodes(num_actions: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    observations = generator.standard_normal((3, 6, 2))
    actions = generator.standard_normal((3, num_actions, 4))
    rewards = generator.standard_normal((3, num_actions))
    path = save(tmp_path / "grid.npz", observations=observations, actions=actions, rewards=rewards)
    expected = Dataset([Episode(observations[i], actions[i, :5], rewards[i, :5]) for i in range(3)])
    found = read_dataset(path)
    assert_same(found, expected)
    assert_same_rewards(found, expected)


def test_names_and_units_are_kept(tmp_path: Path) -> None:
    path = save(
        tmp_path / "named.npz",
        observations=OBSERVATIONS,
        actions=ACTIONS,
        episode=EPISODE,
        observation_names=np.array(["x (m)", "heading [rad]"]),
        action_names=np.array(["motor [0]", "motor [1]"]),
    )
    units = {"x": "m", "heading": "rad"}
    expected = Columns(("x", "heading"), ("motor [0]", "motor [1]"), units)
    assert read_dataset(path).columns == expected


def test_an_episode_of_one_row_is_left_out(tmp_path: Path) -> None:
    ends = np.append(np.cumsum(LENGTHS), len(OBSERVATIONS) + 1)
    path = save(
        tmp_path / "walks.npz",
        observations=np.concatenate([OBSERVATIONS, [[5.0, 5.0]]]),
        actions=np.concatenate([ACTIONS, [[5.0, 5.0]]]),
        episode_ends=ends,
    )
    assert_same(read_dataset(path), WALKS)
