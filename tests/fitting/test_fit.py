"""From recordings to a judged reward, in a hall with two doors."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from refusals import refused
from trailward import Dataset, Episode, LearntReward
from trailward.checkpoint import CheckpointError
from trailward.data.episode import Columns
from trailward.data.tracks import TrackRows
from trailward.errors import SettingsError
from trailward.fitting.choices import choose
from trailward.fitting.fit import (
    STAGES,
    Fitted,
    Recordings,
    _stages,
    fit,
    judge_demonstrations,
    prepare,
)
from trailward.fitting.groups import differences, fit_groups, share_of_pairs, write_groups
from trailward.fitting.map import draw_map
from trailward.fitting.plausibility import compare_movement, crossing_share, warnings_of
from trailward.judging.forecast import FORECAST, RewardJudge
from trailward.learning.log_ratio import RandomFeatures

DOORS = np.array([[10.0, 1.0], [10.0, 5.0]])
QUICK = {"most_steps": 200, "num_plans": 2, "num_directions": 32, "num_resamples": 3, "width": 32}


def walks(num: int, door: int, seed: int = 0) -> list[Episode]:
    """From the middle of the left to a door, with a bend halfway."""
    generator = np.random.default_rng([seed, door])
    found = []
    for _ in range(num):
        start = generator.normal([0, 3], 0.3)
        bend = generator.normal([5, 3], 0.2)
        share = np.linspace(0, 1, 8)[:, None]
        path = [start + share * (bend - start), bend + share[1:] * (DOORS[door] - bend)]
        found.append(Episode(np.concatenate(path) + generator.normal(0, 0.03, (15, 2))))
    return found


def recordings(*episodes: Episode, step: float = 0.4) -> Dataset:
    return Dataset(
        list(episodes), {"time_step": step}, Columns(("x", "y"), (), {"x": "m", "y": "m"})
    )


PLAY, SHOWN, TEST = (
    recordings(*walks(24, 0), *walks(4, 1)),
    recordings(*walks(3, 1, seed=1)),
    recordings(*walks(6, 1, seed=2)),
)


@cache
def fitted_in(folder: Path) -> tuple[Fitted, list[str]]:
    told: list[str] = []
    torch.set_num_threads(1)
    given = {"minutes": 1, "test": TEST, "overrides": QUICK, "pixels": 40}
    return fit(PLAY, SHOWN, folder, **given, say=told.append), told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit") / "out"


def test_what_is_chosen_is_said_in_seconds() -> None:
    choices, told = choose(PLAY, SHOWN)
    assert (choices.time_step, choices.time_unit) == (0.4, "s")
    assert choices.reach == pytest.approx(0.4 * 9 * choices.stride)
    assert "reaches 3.6 s" in " ".join(told)
    assert choose(PLAY, SHOWN, {"horizon": 5, "stride": None})[0].horizon == 5


def test_animals_are_found_by_their_column_and_said() -> None:
    known = replace(SHOWN, attributes={"animal": ["a", "a", "b"]})
    choices, told = choose(PLAY, known)
    assert choices.animal == "animal"
    assert "all of one are left out together" in " ".join(told)
    found = Recordings.of(PLAY, known, None, choices)
    assert found.animals_of([29, 30, 3]) == ["a", "b", "track 3"]
    assert found.described(30) == "2 (animal b)"
    assert choose(PLAY, SHOWN)[0].animal is None


def test_actions_make_plans_short_and_leave_rates_out() -> None:
    acted = Dataset([Episode(np.zeros((9, 2)), np.zeros((8, 1)))])
    choices, _ = choose(acted, acted)
    assert (choices.stride, choices.add_rates, choices.hold_ends) == (1, False, False)
    assert choices.time_unit == "steps"


def test_an_unknown_choice_and_another_rate_are_refused() -> None:
    with refused(SettingsError, place="overrides", value="colour"):
        choose(PLAY, SHOWN, {"colour": 1})
    with refused(place="the play data", value=0.4, remedy="--resample 0.1"):
        choose(PLAY, recordings(*SHOWN.episodes, step=0.1))


def test_the_reward_knows_where_to_and_is_judged_on_unseen_tracks(folder: Path) -> None:
    fitted, told = fitted_in(folder)
    assert fitted.learnt == FORECAST
    for reading in (None, FORECAST):
        assert fitted.test_auc(reading) > 0.85  # a seventh of the play tracks have the same aim
    at_doors = fitted.reward.step_rewards(np.concatenate([DOORS, np.zeros((2, 2))], 1))
    assert at_doors[1] > at_doors[0] + 0.5
    assert any("The reward is highest at x = " in sentence for sentence in told)


def test_the_saved_reward_is_the_one_that_was_judged(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    loaded = LearntReward.load(folder / "reward")
    rows = fitted.prepared.rows.values[:50]
    expected = fitted.prepared.features(rows) @ fitted.weights
    np.testing.assert_allclose(loaded.step_rewards(rows), expected, atol=1e-4)


def test_everything_is_written(folder: Path) -> None:
    fitted_in(folder)
    names = {path.name for path in folder.iterdir()}
    assert names >= {"map.csv", "map.npz", "map.png", "map.svg", "map.pdf", "readings.png",
                     "report.html", "methods.txt", "fit.json", "reward", "diffuser"}  # fmt: skip
    figures = json.loads((folder / "fit.json").read_text())
    assert figures["left_out"]["whole"][FORECAST]["count"] == 3
    assert set(figures["test"][FORECAST]) == {"whole", "first half"}
    tested = figures["test"][FORECAST]["whole"]
    fitted, told = fitted_in(folder)
    assert tested["rank"] == pytest.approx(fitted.test_auc(FORECAST))
    assert (tested["count"], tested["low"] < tested["value"] <= tested["high"]) == (6, True)
    assert any("The 6 tracks to judge by rank above" in sentence for sentence in told)
    with np.load(folder / "map.npz") as arrays:
        inside = np.isfinite(arrays["reward"])
        left, right, bottom, top = arrays["extent"]
        assert left <= arrays["peak"][0] <= right
        assert bottom <= arrays["peak"][1] <= top
        assert 0.02 < inside.mean() < 0.9
    head, *rows = (folder / "map.csv").read_text().splitlines()
    assert head == "x,y,reward,deviation,forecast"
    assert len(rows) == inside.sum()
    methods = (folder / "methods.txt").read_text()
    assert "3 demonstrations" in methods
    assert f"PyTorch {torch.__version__}" in methods


def test_run_again_it_does_not_train_again(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    told: list[str] = []
    found = Recordings.of(PLAY, SHOWN, TEST, fitted.prepared.choices)
    again = prepare(found, fitted.prepared.choices, folder / "diffuser", say=told.append)
    np.testing.assert_array_equal(again.forecasts, fitted.prepared.forecasts)
    assert any("was trained before" in sentence for sentence in told)


def test_what_was_learnt_from_is_not_called_held_out() -> None:
    choices, _ = choose(PLAY, SHOWN)
    with refused(place="test", value=1, remedy="leave it out"):
        Recordings.of(PLAY, SHOWN, recordings(TEST.episodes[0], SHOWN.episodes[2]), choices)
    with refused(place="play", value=0, remedy="others"):
        Recordings.of(SHOWN, SHOWN, None, choices)


def test_play_tracks_that_are_demonstrations_or_judged_count_once() -> None:
    choices, _ = choose(PLAY, SHOWN)
    everybody = replace(PLAY, episodes=[*TEST.episodes, *PLAY.episodes, *SHOWN.episodes])
    found = Recordings.of(everybody, SHOWN, TEST, choices)
    assert found.num_known == 31
    assert found.demonstrations == (28, 29, 30)
    assert len(found.judged) == 6


def test_of_one_demonstration_there_is_no_interval(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    alone = judge_demonstrations(fitted.prepared, [30])
    assert alone.validation is None
    assert alone.kept == FORECAST


def test_plans_that_leap_race_or_cross_walls_are_said() -> None:
    recorded = np.stack([np.linspace(0, 5, 6), np.zeros(6)], 1)[None].repeat(50, 0)
    fine = compare_movement(recorded, recorded)
    assert (fine["leaps"], fine["speed"]["planned"]) == (0, pytest.approx(1))
    assert warnings_of(fine) == []
    leaping = recorded.copy()
    leaping[:, 3:, 1] += 4
    wall = np.array([[[-1.0, 2.0], [9.0, 2.0]]])
    found = compare_movement(recorded, leaping, wall)
    assert found["leaps"] == pytest.approx(0.2)
    assert found["wall_crossings"] == {"recorded": 0, "planned": 1}
    assert [text.split()[0] for text in warnings_of(found)] == ["20%", "100%"]
    assert crossing_share(leaping, wall + 10) == 0
    through = compare_movement(recorded, recorded, np.array([[[2.5, -1.0], [2.5, 1.0]]]))
    assert through["wall_crossings"]["recorded"] == 1
    assert "100% of the recorded ways cross a wall" in warnings_of(through)[-1]
    assert "2 times as fast" in warnings_of(compare_movement(recorded, 2 * recorded))[-1]


def grouped(fitted: Fitted, tracks: list[int], animals: str, groups: str) -> Fitted:
    """The same fit with these demonstrations, made by these animals of these groups."""
    recordings = replace(
        fitted.prepared.recordings,
        demonstrations=tuple(tracks),
        animals=tuple(animals),
        groups=tuple(groups),
    )
    return replace(fitted, prepared=replace(fitted.prepared, recordings=recordings))


def test_groups_that_go_to_two_doors_differ_and_those_that_go_to_one_do_not(
    folder: Path, tmp_path: Path
) -> None:
    fitted, _ = fitted_in(folder)
    apart = grouped(fitted, [0, 1, 2, 3, 27, 28, 29, 30], "aabcddef", "nnnnssss")
    groups = fit_groups(apart)
    assert {name: each.shown for name, each in groups.items()} == {
        "n": (0, 1, 2, 3),
        "s": (27, 28, 29, 30),
    }
    chances = [each.validation.chances["whole"] for each in groups.values() if each.validation]
    assert [each[FORECAST].count for each in chances] == [3, 3]
    (found,) = differences(groups).values()
    assert found == share_of_pairs(1.0, (3, 3))
    alike = fit_groups(grouped(fitted, list(range(8)), "abcdefgh", "nsnsnsns"))
    (none,) = differences(alike).values()
    assert none.low < 0.5
    told: list[str] = []
    write_groups(groups, tmp_path, pixels=20, say=told.append)
    assert "tell 1.00 [0.44, 1.00] of pairs" in told[0]
    assert "no difference is shown: animals are few" in told[0]
    saved = json.loads((tmp_path / "groups.json").read_text())
    assert saved["differences"][0]["between"] == ["n", "s"]
    assert saved["groups"]["n"]["peak"][1] < saved["groups"]["s"]["peak"][1]
    assert LearntReward.load(tmp_path / saved["groups"]["s"]["folder"] / "reward")
    assert (tmp_path / "groups.png").exists()


def test_a_group_of_one_animal_is_refused_and_so_is_an_unknown_attribute(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    with refused(place="group_by", value="s", remedy="--group-by"):
        fit_groups(grouped(fitted, [0, 1, 2, 3], "abcc", "nnss"))
    assert fit_groups(grouped(fitted, [0, 1, 2], "abc", "nnn")) == {}
    with refused(place="attribute", value="sex", remedy="none"):
        Recordings.of(PLAY, SHOWN, None, replace(fitted.prepared.choices, group_by="sex"))


def test_a_difference_takes_five_animals_a_group_to_be_shown() -> None:
    assert share_of_pairs(1.0, (5, 9)).low == pytest.approx(0.5655, abs=1e-3)
    assert share_of_pairs(1.0, (3, 9)).low < 0.5
    assert share_of_pairs(0.5, (5, 5)).high > 0.8


def test_the_map_ends_at_walls_and_so_does_the_peak(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    free = draw_map(fitted, (0, 1), pixels=40, near=1.0, num_resamples=0)
    wall = np.array([[[-5.0, 2.5], [20.0, 2.5]]])
    points = fitted.prepared.rows.values[:, :2]
    below = points[points[:, 1] < 2.5][:, 1].max()
    cut = draw_map(fitted, (0, 1), pixels=40, near=1.0, walls=wall, num_resamples=0)
    known, less = np.isfinite(free.values), np.isfinite(cut.values)
    assert known.sum() > less.sum() > 0.5 * known.sum()
    assert not (less & ~known).any()
    assert below < 2.5
    left, width, _, top, _, height = cut.geotransform
    np.testing.assert_allclose([left + width / 2, top + height / 2], cut.centers[0, 0])
    assert np.isfinite(cut.values).any()


def test_rows_or_tracks_weigh_alike() -> None:
    step = np.array([[0.0], [1.0]])
    rows = TrackRows.of(Dataset([Episode(np.repeat(step[[n]], count, 0))
                                 for n, count in ((0, 30), (1, 3), (0, 3), (1, 3))]))  # fmt: skip
    drawn = RandomFeatures(np.array([[1.0]]), np.zeros(1), np.ones(1))
    seen = drawn(rows.values)
    by_track = RewardJudge(rows, drawn, seen, seen, num_steps=1, reach=0, ridge=1e-2)
    both = [0, 1]  # one stays long at 0, the other is briefly at 1; so are the others
    assert by_track.learn(both) == pytest.approx(np.zeros(2), abs=1e-3)
    by_time = replace(by_track, by_time=True).values(both)[FORECAST].values
    assert by_time[0] > by_time[-1] + 0.1
    with refused(SettingsError, place="weigh_by", value="mood", remedy="'track' or 'time'"):
        choose(PLAY, SHOWN, {"weigh_by": "mood"})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"losses": 3}',
        99_999 * "[",
        '{"losses": [[1]], "seconds": 1, "why": ""}',
        '{"losses": [], "seconds": 1, "why": "all steps are done"}',
    ],
)
def test_damaged_stages_are_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / STAGES
    file.write_text(content)
    with refused(CheckpointError, place=str(file), remedy="another --out"):
        _stages(file)
