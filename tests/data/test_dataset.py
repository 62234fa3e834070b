import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pytest
import torch
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from refusals import refused
from tiny import random_walks, seeded
from trailward.data.dataset import (
    Dataset,
    Windows,
    agreed_columns,
    dataset_folder,
    read_dataset,
    write_dataset,
)
from trailward.data.episode import Columns, Episode
from trailward.data.formats import minari_folder
from trailward.data.normalizer import Normalizer, fit_limits
from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError

SPECS = [
    PlanSpec(horizon, stride, 2, 2, with_actions)
    for horizon, stride in [(1, 1), (4, 1), (3, 2), (4, 3), (2, 7)]
    for with_actions in (False, True)
]


@pytest.fixture
def written(dataset: Dataset, tmp_path: Path) -> Path:
    return write_dataset(dataset, tmp_path / "walks")


def windows_by_brute_force(dataset: Dataset, spec: PlanSpec) -> Iterator[list[list[float]]]:
    """Every window that fits into an episode, one plan step after the other."""
    for episode in dataset.episodes:
        start = 0
        while start + spec.num_observations <= len(episode.observations):
            window = []
            for step in range(spec.horizon):
                now = start + step * spec.stride
                entries = list(episode.observations[now])
                if spec.with_actions:
                    for action in episode.actions[now : now + spec.stride]:
                        entries += list(action)
                window.append(entries)
            yield window
            start += 1


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_windows_hold_what_brute_force_finds(spec: PlanSpec, dataset: Dataset) -> None:
    expected = np.array(list(windows_by_brute_force(dataset, spec)), dtype=np.float64)
    windows = Windows(dataset, spec)
    values, mask = windows.gather(torch.arange(len(windows)))
    np.testing.assert_array_equal(values.numpy(), expected)
    assert mask.all()


@pytest.mark.parametrize("with_actions", [False, True])
def test_the_last_window_is_included(with_actions: bool) -> None:
    dataset, spec = random_walks([10]), PlanSpec(3, 2, 2, 2, with_actions)
    windows = Windows(dataset, spec)
    assert len(windows) == 11 - spec.num_observations + 1
    last = windows.gather(torch.tensor([len(windows) - 1]))[0][0, -1].numpy()
    if with_actions:
        np.testing.assert_array_equal(last[2:4], dataset.episodes[0].actions[-2])
        np.testing.assert_array_equal(last[4:6], dataset.episodes[0].actions[-1])
    else:
        np.testing.assert_array_equal(last, dataset.episodes[0].observations[-1])


def test_an_episode_of_exactly_one_window_gives_one() -> None:
    windows = Windows(random_walks([6]), PlanSpec(4, 2, 2, 2))
    assert len(windows) == 1
    assert windows.gather(torch.tensor([0]))[1].all()


def test_a_short_episode_is_kept_and_masked_where_it_ends() -> None:
    dataset = random_walks([3, 20])
    windows = Windows(dataset, PlanSpec(4, 2, 2, 2))
    values, mask = windows.gather(torch.tensor([0]))
    observations = dataset.episodes[0].observations
    assert mask.tolist() == [[True, True, False, False]]
    np.testing.assert_array_equal(values[0].numpy(), observations[[0, 2, 3, 3]])
    assert len(windows) == 1 + 21 - 7 + 1


def test_a_short_episode_with_actions_is_real_where_all_its_actions_are() -> None:
    dataset = random_walks([3])
    windows = Windows(dataset, PlanSpec(3, 2, 2, 2, with_actions=True))
    values, mask = windows.gather(torch.tensor([0]))
    observations = dataset.episodes[0].observations
    actions = dataset.episodes[0].actions
    assert mask.tolist() == [[True, False, False]]
    np.testing.assert_array_equal(values[0, :, :2].numpy(), observations[[0, 2, 3]])
    np.testing.assert_array_equal(values[0, 0, 2:].numpy(), actions[:2].flatten())
    np.testing.assert_array_equal(values[0, 1, 2:].numpy(), [*actions[2], 0, 0])
    assert values[0, 2, 2:].abs().max() == 0


def test_windows_do_not_reach_into_the_next_episode() -> None:
    windows = Windows(random_walks([8, 8, 8]), PlanSpec(3, 2, 2, 2))
    assert windows.episode.tolist() == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_windows_say_where_in_their_episode_they_begin(spec: PlanSpec, dataset: Dataset) -> None:
    windows = Windows(dataset, spec)
    values, _ = windows.gather(torch.arange(len(windows)))
    begins = zip(windows.episode.tolist(), windows.first.tolist(), strict=True)
    expected = [dataset.episodes[episode].observations[first] for episode, first in begins]
    np.testing.assert_array_equal(values[:, 0, :2].numpy(), np.array(expected, "f8"))


def test_a_history_is_all_that_was_observed_up_to_the_end_of_a_window() -> None:
    """The second episode has 4 observations, the windows reach over 5."""
    dataset = random_walks([8, 3, 8])
    windows, indices = Windows(dataset, PlanSpec(3, 2, 2, 2)), torch.tensor([5, 9, 0, 3])
    assert windows.episode[indices].tolist() == [1, 2, 0, 0]
    assert windows.first[indices].tolist() == [0, 3, 0, 3]
    history = windows.history(indices).numpy()
    assert history.shape == (4, 3 + 5, 2)
    for found, episode, first in zip(history, (1, 2, 0, 0), (0, 3, 0, 3), strict=True):
        observations = dataset.episodes[episode].observations[: first + 5]
        front = np.repeat(observations[:1], 3 - first, axis=0)
        behind = np.repeat(observations[-1:], first + 5 - len(observations), axis=0)
        np.testing.assert_array_equal(found, np.concatenate([front, observations, behind]))
        assert len(behind) == (episode == 1)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_history_ends_with_the_window_itself(spec: PlanSpec) -> None:
    """At every environment step; short episodes are padded as their windows are."""
    windows = Windows(random_walks([20, 3, 17]), spec)
    every = torch.arange(len(windows))
    history, expected = windows.history(every), spec.split(windows.gather(every)[0])[0]
    backwards = history.flip(1)[:, :: spec.stride][:, : spec.horizon]
    assert torch.equal(backwards.flip(1), expected)


def test_the_history_of_a_first_window_has_nothing_before_it(dataset: Dataset) -> None:
    windows = Windows(dataset, PlanSpec(3, 2, 2, 2))
    history = windows.history(torch.tensor([0]))[0]
    np.testing.assert_array_equal(history, dataset.episodes[0].observations[:5])


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_steps_are_all_plan_steps_of_each_episode(spec: PlanSpec) -> None:
    """By environment step, joined by hand; the fourth episode is shorter than a plan step."""
    dataset = random_walks([8, 20, 3, 1, 7])
    found = Windows(dataset, spec).steps()
    assert len(found) == 5
    for steps, episode in zip(found, dataset.episodes, strict=True):
        reach = spec.stride if spec.with_actions else 0
        expected = []
        for time in range(len(episode) + 1 - reach):
            entries = [episode.observations[time]]
            if spec.with_actions:
                entries += [episode.actions[time + later] for later in range(spec.stride)]
            expected.append(np.concatenate(entries))
        wanted = np.array(expected, "f8").reshape(-1, spec.transition_dim)
        np.testing.assert_array_equal(steps.numpy(), wanted)


def test_a_subset_holds_the_windows_of_the_chosen_episodes() -> None:
    windows = Windows(random_walks([8, 8, 8]), PlanSpec(3, 2, 2, 2))
    assert windows.subset(lambda episode: episode >= 1).tolist() == list(range(5, 15))


def test_draws_reach_every_window_and_repeat_with_the_seed() -> None:
    windows = Windows(random_walks([8, 3]), PlanSpec(3, 2, 2, 2))
    drawn = windows.draw(200, seeded())
    assert set(drawn.tolist()) == set(range(len(windows)))
    assert torch.equal(drawn, windows.draw(200, seeded()))


def test_batches_are_normalized(dataset: Dataset, spec: PlanSpec) -> None:
    windows, indices = Windows(dataset, spec), torch.tensor([0, 3])
    normalizer = Normalizer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    values, mask = windows.batch(indices, normalizer)
    raw, raw_mask = windows.gather(indices)
    expected = (raw - torch.tensor([1.0, 2.0])) / torch.tensor([3.0, 4.0])
    torch.testing.assert_close(values, expected.float())
    assert torch.equal(mask, raw_mask)


def test_windows_of_metres_far_from_their_origin_keep_their_differences() -> None:
    """As UTM does: tracks of 2 m at 5,334,000 m, where 32-bit floats are half a metre apart."""
    near = random_walks([30, 20])
    offset = np.array([691_000.0, 5_334_000.0])
    far = Dataset([Episode(e.observations + offset, e.actions) for e in near.episodes])
    spec = PlanSpec(3, 2, 2, 2)
    batches = []
    for data in (near, far):
        rows = torch.as_tensor(np.concatenate([e.observations for e in data.episodes]))
        windows = Windows(data, spec)
        batches.append(windows.batch(torch.arange(len(windows)), fit_limits(rows))[0])
    torch.testing.assert_close(*batches, atol=1e-6, rtol=0)
    assert len(batches[1][..., 1].unique()) > 40


def test_windows_of_other_data_are_refused(dataset: Dataset) -> None:
    with refused(place="observations and actions", value=(2, 2), remedy="environment") as caught:
        Windows(dataset, PlanSpec(3, 1, 3, 2))
    assert "(3, 2)" in str(caught.value)


def test_a_dataset_counts_its_entries_steps_and_returns(dataset: Dataset) -> None:
    assert (dataset.observation_dim, dataset.action_dim, dataset.num_steps) == (2, 2, 51)
    assert dataset.returns[1] == pytest.approx(dataset.episodes[1].rewards.sum())


def test_the_fingerprint_tells_data_apart(dataset: Dataset) -> None:
    assert dataset.fingerprint == random_walks().fingerprint
    changed = random_walks().episodes[0].actions.copy()
    changed[3, 1] += 1e-9
    other = Episode(dataset.episodes[0].observations, changed)
    assert Dataset([other, *dataset.episodes[1:]]).fingerprint != dataset.fingerprint
    assert Dataset(dataset.episodes[:2]).fingerprint != dataset.fingerprint


def test_returns_without_rewards_name_the_episode(dataset: Dataset) -> None:
    bare = Episode(dataset.episodes[0].observations, dataset.episodes[0].actions)
    with refused(place="episode 1: rewards", value=None):
        _ = Dataset([dataset.episodes[0], bare]).returns


def test_an_empty_dataset_is_refused() -> None:
    with refused(place="episodes", value=0):
        Dataset([])


@pytest.mark.parametrize("name", ["observation", "action"])
def test_episodes_of_different_environments_are_refused(name: str, dataset: Dataset) -> None:
    other = random_walks([5], **{f"{name}_dim": 3}).episodes[0]
    with refused(place=f"episode 3: {name}s", value=3, remedy="split"):
        Dataset([*dataset.episodes, other])


def test_what_is_written_comes_back_with_its_provenance(dataset: Dataset, written: Path) -> None:
    back = read_dataset(written)
    assert back.provenance == dataset.provenance
    for ours, theirs in zip(back.episodes, dataset.episodes, strict=True):
        np.testing.assert_array_equal(ours.observations, theirs.observations)
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.rewards, theirs.rewards)


def test_episodes_without_rewards_come_back_without(dataset: Dataset, tmp_path: Path) -> None:
    bare = [Episode(e.observations, e.actions) for e in dataset.episodes]
    back = read_dataset(write_dataset(Dataset(bare), tmp_path / "bare"))
    assert all(episode.rewards is None for episode in back.episodes)


def test_minari_itself_lists_and_loads_what_was_written(
    dataset: Dataset, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(written.parent))
    assert list(minari.list_local_datasets()) == ["walks-v0"]
    theirs = minari.load_dataset("walks-v0")
    assert (theirs.total_episodes, theirs.total_steps) == (3, 51)
    assert theirs.observation_space.contains(theirs[0].observations[0])
    assert theirs.action_space.contains(theirs[0].actions[0])
    assert read_dataset("walks-v0").num_steps == dataset.num_steps


def test_writing_leaves_the_environment_and_folder_clean(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", "/before")
    write_dataset(dataset, tmp_path / "walks", env_id="Walk-v1")
    assert os.environ["MINARI_DATASETS_PATH"] == "/before"
    assert [path.name for path in tmp_path.iterdir()] == ["walks-v0"]
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    write_dataset(dataset, tmp_path / "more")
    assert "MINARI_DATASETS_PATH" not in os.environ


def test_an_existing_folder_is_refused_and_left_alone(dataset: Dataset, written: Path) -> None:
    before = (written / "data" / "main_data.hdf5").read_bytes()
    with refused(place=str(written), value=None, remedy="remove it"):
        write_dataset(dataset, written)
    assert (written / "data" / "main_data.hdf5").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("walks", "walks-v0"),
        ("walks-v3", "walks-v3"),
        ("my-video", "my-video-v0"),
        ("fast-v", "fast-v-v0"),
    ],
)
def test_the_folder_of_a_dataset_ends_in_a_version(
    name: str, expected: str, dataset: Dataset, tmp_path: Path
) -> None:
    assert dataset_folder(tmp_path / name) == tmp_path / expected
    assert write_dataset(dataset, tmp_path / name) == tmp_path / expected
    assert read_dataset(tmp_path / name).num_steps == 51


def test_a_name_that_minari_does_not_allow_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with refused(place="name", value="two words-v0"):
        write_dataset(dataset, tmp_path / "two words")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["nothing-here", "nothing-here-v0", "/no/such/folder", "a b"])
def test_a_missing_dataset_is_named_with_the_remedy(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr(minari_folder, "_is_online", lambda: False)
    with refused(place=source, value=None, remedy="'trailward collect'"):
        read_dataset(source)


@pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
def test_a_missing_field_is_named_with_its_episode(field: str, written: Path) -> None:
    with h5py.File(written / "data" / "main_data.hdf5", "r+") as file:
        del file[f"episode_1/{field}"]
    with refused(place=f"{written}, episode 1") as caught:
        read_dataset(written)
    assert field in caught.value.value


def test_a_value_that_is_not_finite_is_named_with_its_episode(written: Path) -> None:
    with h5py.File(written / "data" / "main_data.hdf5", "r+") as file:
        file["episode_2/observations"][4, 1] = np.nan
    with refused(place=f"{written}, episode 2: observations, row 4, entry 1") as caught:
        read_dataset(written)
    assert np.isnan(float(caught.value.value))


def test_a_damaged_file_is_named(written: Path) -> None:
    path = written / "data" / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[:500])
    with refused(place=str(path), remedy="download the dataset again"):
        read_dataset(written)
    (written / "data" / "metadata.json").write_text("{")
    with refused(place=str(written), remedy="record or fetch it again"):
        read_dataset(written)


def write_with_dictionaries(folder: Path, key: str) -> Path:
    """A dataset as gymnasium-robotics records it: observations with goals beside them."""
    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    fields = {key: np.arange(8.0).reshape(4, 2), "desired_goal": np.zeros((4, 2))}
    flags = np.zeros(3, bool)
    buffer = EpisodeBuffer(
        id=0,
        observations=fields,
        actions=np.ones((3, 2)),
        rewards=np.zeros(3),
        terminations=flags,
        truncations=flags,
    )
    folder.mkdir()
    space = gymnasium.spaces.Dict(dict.fromkeys(fields, box))
    storage = MinariStorage.new(folder / "data", observation_space=space, action_space=box)
    storage.update_metadata({"dataset_id": folder.name, "minari_version": minari.__version__})
    storage.update_episodes([buffer])
    return folder


def test_observations_in_a_dictionary_are_found(tmp_path: Path) -> None:
    back = read_dataset(write_with_dictionaries(tmp_path / "robot-v0", "observation"))
    np.testing.assert_array_equal(back.episodes[0].observations, np.arange(8.0).reshape(4, 2))


def test_a_dictionary_without_observations_names_what_it_has(tmp_path: Path) -> None:
    folder = write_with_dictionaries(tmp_path / "robot-v0", "achieved_goal")
    keys = ["achieved_goal", "desired_goal"]
    with refused(place=f"{folder}, episode 0: observations", value=keys):
        read_dataset(folder)


def test_provenance_is_plain_json(written: Path) -> None:
    metadata = json.loads((written / "data" / "metadata.json").read_text())
    assert json.loads(metadata["provenance"]) == {"seed": 0, "drift": 0.0}


def test_names_and_units_survive_writing_and_reading(dataset: Dataset, tmp_path: Path) -> None:
    columns = Columns(("x", "y"), ("east", "north"), {"x": "m"})
    named = Dataset(dataset.episodes, columns=columns)
    assert read_dataset(write_dataset(named, tmp_path / "named")).columns == columns
    assert columns.observation_labels(2) == ["x (m)", "y"]
    assert read_dataset(write_dataset(dataset, tmp_path / "bare")).columns == Columns()
    assert Columns().observation_labels(2) == ["observation 0", "observation 1"]


def test_names_that_do_not_fit_the_entries_or_each_other_are_refused(dataset: Dataset) -> None:
    with refused(place="observations", value=("x", "y", "z")) as caught:
        Dataset(dataset.episodes, columns=Columns(("x", "y", "z")))
    assert "2 entries" in str(caught.value)
    with refused(place="actions", value="east"):
        Columns(actions=("east", "east"))
    with refused(place="the observations of that", value=("y", "x"), remedy="this: x, y"):
        agreed_columns({"this": Columns(("x", "y")), "that": Columns(("y", "x"))})
    metres, inches = (Columns(("x",), units={"x": unit}) for unit in ("m", "in"))
    data = {"this": Columns(("x",)), "that": metres, "the other": inches}
    with refused(place="x of the other", value="in", remedy="convert it to m, the unit of that"):
        agreed_columns(data)


def test_names_and_units_that_agree_are_put_together() -> None:
    metres = Columns(("x", "y"), units={"x": "m"})
    found = agreed_columns({"this": Columns(), "that": Columns(("x", "y")), "the other": metres})
    assert found == metres
    assert agreed_columns({"this": Columns()}) == Columns()
    acting = Columns((), ("force",), {"force": "N"})
    assert agreed_columns({"this": Columns(), "that": acting}) == acting
    other = replace(metres, actions=("force",), units={"force": "kN"})
    together = Columns(("x", "y"), ("force",), {"x": "m", "force": "N"})
    assert agreed_columns({"this": metres, "that": acting, "the other": other}) == together


def test_data_without_actions_can_be_written_read_and_cut(tmp_path: Path) -> None:
    watched = Dataset([Episode(np.arange(10.0).reshape(5, 2), np.zeros((4, 0)))])
    back = read_dataset(write_dataset(watched, tmp_path / "watched"))
    assert (back.action_dim, len(back.episodes[0])) == (0, 4)
    assert len(Windows(back, PlanSpec(2, 1, 2, 0))) == 4
    assert len(Windows(back, PlanSpec(2, 1, 2, 3))) == 4  # over states only: play had actions
    with refused(place="observations and actions", value=(2, 0), remedy="environment") as caught:
        Windows(back, PlanSpec(2, 1, 2, 3, with_actions=True))
    assert "(2, 3)" in str(caught.value)
    with refused(SettingsError, place="with_actions", value=True, remedy="no actions"):
        PlanSpec(2, 1, 2, 0, with_actions=True)


def test_episodes_are_picked_with_what_is_known_of_them() -> None:
    episodes = [Episode(np.full((2, 1), float(n))) for n in range(4)]
    data = Dataset(episodes, {}, Columns(), {"animal": ["a", "b", "c", "d"]})
    found = data.pick([2, 0])
    assert [episode.observations[0, 0] for episode in found.episodes] == [2, 0]
    assert found.attributes == {"animal": ["c", "a"]}
