"""What Minari itself records is read as the same windows; what is only remote is fetched."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer
from rows import WALKS, assert_same, assert_same_rewards

from refusals import refused
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.formats import minari_folder

pytestmark = pytest.mark.filterwarnings("ignore:.*is (set to )?None:UserWarning")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_what_minari_writes_gives_the_same_windows(home: Path) -> None:
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=episode.observations,
            actions=episode.actions,
            rewards=episode.rewards,
            terminations=np.zeros(len(episode), bool),
            truncations=np.arange(len(episode)) == len(episode) - 1,
        )
        for number, episode in enumerate(WALKS.episodes)
    ]
    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    minari.create_dataset_from_buffers(
        "birds/walks-v0", buffers, observation_space=box, action_space=box
    )
    for source in ("birds/walks-v0", home / "birds/walks-v0"):
        found = read_dataset(source)
        assert_same(found, WALKS)
        assert_same_rewards(found, WALKS)


def test_how_episodes_ended_is_written_and_read(tmp_path: Path) -> None:
    first, second, third = WALKS.episodes[:3]
    ends = [
        replace(first, terminated=True),
        replace(second, truncated=True),
        replace(third, terminated=False, truncated=False),
    ]
    back = read_dataset(write_dataset(Dataset(ends), tmp_path / "ends")).episodes
    assert [episode.terminated for episode in back] == [True, False, False]
    assert [episode.truncated for episode in back] == [False, True, False]


def test_an_id_that_is_not_local_is_downloaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str) -> None:
        assert name == "birds/remote-v2"
        write_dataset(WALKS, Path(os.environ["MINARI_DATASETS_PATH"]) / name)

    monkeypatch.setattr(minari.storage.hosting, "download_dataset", download)
    monkeypatch.setattr(minari_folder, "_is_online", lambda: True)
    (home / "birds").mkdir()
    with refused(place="birds/remote-v2", value=None, remedy="'minari:ID'"):
        read_dataset("birds/remote-v2")  # as a mistyped path would be
    assert_same(read_dataset("minari:birds/remote-v2"), WALKS)
    assert_same(read_dataset("birds/remote-v2"), WALKS)


def test_a_download_that_fails_says_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str) -> None:
        raise ValueError(f"Couldn't find {name}")

    monkeypatch.setattr(minari.storage.hosting, "download_dataset", download)
    monkeypatch.setattr(minari_folder, "_is_online", lambda: True)
    value = "Couldn't find birds/remote-v2"
    with refused(place="birds/remote-v2", value=value, remedy="'minari download'"):
        read_dataset("minari:birds/remote-v2")


def test_without_a_network_nothing_is_downloaded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(minari_folder.urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", refuse)
    value = "there is no network here"
    with refused(place="birds/remote-v2", value=value, remedy="'minari download'"):
        read_dataset("minari:birds/remote-v2")
