"""What is told of data is what was put into it."""

import contextlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from refusals import refused
from tiny import random_walks
from trailward.cli.inspect import as_text, writable
from trailward.cli.main import main
from trailward.data.dataset import Dataset, check_time_steps, write_dataset
from trailward.data.episode import Columns, Episode
from trailward.data.statistics import compare_support, describe, distances_to, inspect_data
from trailward.report.data_figures import entries_figure

NAMES = Columns(("x", "y"), ("push",), {"x": "m"})


def blobs(
    *centers: tuple[float, float], count: int = 20, length: int = 50, seed: int = 0
) -> Dataset:
    """Episodes of normal noise around centres, in turn."""
    generator = np.random.default_rng(seed)
    episodes = [
        Episode(
            centers[index % len(centers)] + generator.standard_normal((length + 1, 2)),
            generator.standard_normal((length, 1)),
        )
        for index in range(count)
    ]
    return Dataset(episodes, {}, NAMES)


def test_counts_and_lengths() -> None:
    facts = describe(random_walks((20, 14, 17)))
    assert (facts.num_episodes, facts.num_steps, facts.lengths) == (3, 51, (14, 17.0, 20))
    assert facts.has_rewards
    assert [len(facts.observations), len(facts.actions)] == [2, 2]
    assert facts.actions[1].name == "action 1"
    assert not describe(blobs((0, 0))).has_rewards


def test_the_nearest_is_what_a_tree_finds() -> None:
    generator = np.random.default_rng(0)
    queries, references = generator.standard_normal((1200, 3)), generator.standard_normal((700, 3))
    found, _ = cKDTree(references).query(queries)
    np.testing.assert_allclose(distances_to(queries, references), found, atol=1e-6)


def test_rows_of_the_same_episode_are_no_neighbours() -> None:
    rows, episode = np.array([[0.0], [0.1], [5.0]]), np.array([0, 0, 1])
    found = distances_to(rows, rows, apart=(episode, episode))
    np.testing.assert_allclose(found, [5.0, 4.9, 4.9])


def test_demonstrations_like_the_play_data_lie_within_it() -> None:
    inspection = inspect_data(blobs((0, 0)), blobs((0, 0), count=8, seed=1))
    assert inspection.support is not None
    assert inspection.support.far is not None
    assert inspection.support.far < 0.03
    assert max(inspection.support.outside.values()) < 0.02
    assert min(inspection.support.covered.values()) > 0.7
    assert inspection.findings == ("the demonstrations lie where the play data is",)


def test_the_entry_that_leaves_the_play_data_is_named_with_its_share() -> None:
    play, shown = blobs((0, 0)), blobs((0, 0), (0, 20), count=4, seed=1)
    support = compare_support(play, shown)
    assert support.outside["y"] == pytest.approx(0.5, abs=0.02)
    assert support.far == pytest.approx(0.5, abs=0.02)
    named = [finding for finding in support.findings() if "is outside" in finding]
    assert len(named) == 1
    assert "observations y is outside the play data's range" in named[0]


def test_a_place_inside_every_range_but_far_from_all_play_data_is_found() -> None:
    play, shown = blobs((0, 0), (9, 9)), blobs((0, 9), count=4, seed=1)
    support = compare_support(play, shown)
    assert max(support.outside.values()) < 0.02
    assert support.far is not None
    assert support.far > 0.9
    assert any("all entries together" in finding for finding in support.findings())


def test_with_one_play_episode_there_is_no_distance_to_compare_with() -> None:
    assert compare_support(blobs((0, 0), count=1), blobs((0, 0), count=2)).far is None


def test_data_of_other_entries_is_refused(without_type_checks: None) -> None:
    with refused(place="the demonstrations' observations", value=3, remedy="2 columns"):
        compare_support(blobs((0, 0)), random_walks(observation_dim=3))
    named = Dataset(random_walks().episodes, {}, Columns(("y", "x")))
    place = "the observations of the demonstrations"
    with refused(place=place, value=("y", "x"), remedy="x, y"):
        compare_support(blobs((0, 0)), named)


def test_leaps_are_told_by_episode_and_step() -> None:
    episodes = list(random_walks([60] * 5, observation_dim=2).episodes)
    torn = episodes[3].observations.copy()
    torn[41:, 1] += 500.0
    episodes[3] = Episode(torn, episodes[3].actions)
    facts = describe(Dataset(episodes, {}, Columns(("x", "y"))))
    (leap,) = facts.leaps
    assert (facts.num_leaps, leap.episode, leap.step, leap.entry) == (1, 3, 40, "y")
    assert leap.times > 100
    found = inspect_data(Dataset(episodes)).findings
    assert any("in step 40 of episode 3" in finding for finding in found)


def test_smooth_data_has_no_leaps() -> None:
    assert describe(random_walks([60] * 5)).num_leaps == 0


def test_what_the_file_told_of_gaps_is_passed_on() -> None:
    data = Dataset(random_walks().episodes, {"frame": {"step": 0.1, "gaps": 3}})
    assert describe(data).provenance == {"frame": {"step": 0.1, "gaps": 3}}
    told = "3 gaps in time, where 0.1 from row to row is usual: cut the episodes there"
    assert told in inspect_data(data).findings
    odd = Dataset(random_walks().episodes, {"frame": "odd", "cuts": 2, "left_out": ["z"]})
    assert {"not read: z"} < set(inspect_data(odd).findings)


def test_steps_that_differ_are_told() -> None:
    play = Dataset(random_walks((20, 20)).episodes, {"time_step": 0.4})
    shown = Dataset(random_walks((20,)).episodes, {"time_step": 0.1})
    findings = inspect_data(play, shown).findings
    assert any(
        "0.1 s from row to row in the demonstrations, 0.4 s in the play data; read it with "
        "--resample 0.4" in finding
        for finding in findings
    )
    steps = {"frame": {"steps": {"0.1": [0, 1, 2], "1": [3]}}}
    (told, *_) = (
        finding
        for finding in inspect_data(Dataset(random_walks().episodes, steps)).findings
        if "different steps" in finding
    )
    assert "0.1 in episodes 0 to 2, 1 in episode 3" in told


def test_data_at_another_rate_is_refused_by_name() -> None:
    frame = {"frame": {"column": "frame", "step": 1}}
    slower = {"frame": {"column": "frame", "step": 4}}
    for fast, slow in (({"time_step": 1}, {"time_step": 4}), (frame, slower)):
        check_time_steps({"play": fast, "shown": fast, "unknown": {}})
        with refused(place="shown", value=4, remedy="--resample"):
            check_time_steps({"play": fast, "shown": slow})


def test_what_tells_nothing_is_named_once() -> None:
    def with_extra(data: Dataset) -> Dataset:
        entries = [
            (e.observations, np.ones((len(e) + 1, 1)), -e.observations[:, :1])
            for e in data.episodes
        ]
        episodes = [
            Episode(np.concatenate(each, 1), np.zeros((len(each[0]) - 1, 0))) for each in entries
        ]
        return Dataset(episodes, {}, Columns(("x", "y", "one", "back")))

    inspection = inspect_data(with_extra(blobs((0, 0))), with_extra(blobs((0, 0), seed=1)))
    assert inspection.findings[:3] == (
        "one never changes; it tells nothing and may be left out",
        "back is the same as x, but for scale and shift; one of them may be left out",
        "no actions were recorded; plans will be over states only",
    )
    assert len(inspection.findings) == 4


def test_the_picture_has_a_panel_for_paths_and_one_for_each_entry() -> None:
    play, shown = blobs((0, 0)), blobs((0, 20), count=3, seed=1)
    drawn = entries_figure(play, shown, compare_support(play, shown))
    axes = [ax for ax in drawn.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in axes] == ["x (m)", "x (m)", "y", "push"]
    assert [ax.get_title(loc="left") for ax in axes] == [
        "",
        "",
        "100% of demonstrations outside",
        "",
    ]
    assert len(axes[0].lines) == 23


def test_many_entries_are_cut_to_a_page() -> None:
    drawn = entries_figure(random_walks(observation_dim=40, action_dim=1))
    assert len(drawn.axes) == 24
    assert drawn.get_suptitle() == "the first 24 of 41 entries"


def test_the_command_tells_it_in_words_and_writes_it_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, shown = blobs((0, 0)), blobs((0, 20), count=3, seed=1)
    write_dataset(play, tmp_path / "play")
    write_dataset(shown, tmp_path / "shown")
    arguments = ["inspect", f"{tmp_path}/play", f"--demonstrations={tmp_path}/shown"]
    assert main([*arguments, f"--out={tmp_path}/out"]) == 0
    told = capsys.readouterr().out
    assert "Play data: 20 episodes, 1,000 environment steps (50 to 50 an episode" in told
    assert "\n x (m) " in told
    assert (
        "- in 100% of the demonstrations' observations y is outside the play data's range" in told
    )
    written = json.loads((tmp_path / "out/inspection.json").read_text())
    assert "versions" in written.pop("provenance")
    assert written == json.loads(json.dumps(asdict(inspect_data(play, shown))))
    assert (tmp_path / "out/inspection.png").stat().st_size > 10_000


def test_a_table_is_inspected_with_its_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [0.0, 0.1, 0.2, 3.0, 3.1]
    rows = [f"{bird},{t},{t * bird},{t - bird}" for bird in (1, 2) for t in times]
    file = tmp_path / "birds.csv"
    file.write_text("\n".join(["bird,time,x (m),y (m)", *rows]) + "\n")
    assert main(["inspect", str(file), "--table.episode=bird"]) == 0
    told = capsys.readouterr().out
    assert "Play data: 4 episodes, 6 environment steps (1 to 2 an episode" in told
    assert "2 gaps in time, where 0.1 from row to row is usual: episodes are cut there" in told
    assert main(["inspect", str(file), "--table.episode=bird", "--gaps=keep"]) == 0
    told = capsys.readouterr().out
    assert "Play data: 2 episodes, 8 environment steps (4 to 4 an episode" in told
    assert "2 gaps in time, where 0.1 from row to row is usual: the rows are joined" in told
    assert "no actions were recorded" in told


def test_data_that_cannot_be_read_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", f"{tmp_path}/nothing", f"--out={tmp_path}/out"]) == 2
    assert "neither a folder" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "latin-1"])
def test_an_inspection_can_be_written_in_any_encoding(encoding: str) -> None:
    found = inspect_data(Dataset(random_walks().episodes, {}, Columns(("x", "höhe"))))
    told = writable(as_text(found), encoding)
    assert told.encode(encoding).decode(encoding) == told
    assert ("---" in told) == (encoding != "utf-8")
    assert ("höhe" in told) == (encoding != "ascii")


def test_a_redirected_inspection_is_written(tmp_path: Path) -> None:
    (tmp_path / "asc.csv").write_text("id,time,x,y\n0,0,0.5,0\n0,1,1.5,1\n0,2,2.5,4\n0,3,3.5,9\n")
    page = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    with contextlib.redirect_stdout(page):
        assert main(["inspect", str(tmp_path / "asc.csv"), f"--out={tmp_path}/o"]) == 0
    page.flush()
    told = page.buffer.getvalue().decode("cp1252")
    assert "Play data: 1 episodes, 3 environment steps" in told
    assert "\x1b" not in told
    assert (tmp_path / "o/inspection.json").exists()
