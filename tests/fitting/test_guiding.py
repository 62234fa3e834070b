"""Demonstrators who come to rest: the planner heads for that place, guided by a learnt reward."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trailward.fitting.guiding as guiding_module
from refusals import refused
from trailward import Dataset, Episode, LearntReward
from trailward.acting.planner import Planner
from trailward.data.entries import rates_of_change
from trailward.data.resting import resting_place, usual_changes
from trailward.fitting.choices import GUIDE, choose
from trailward.fitting.fit import Fitted, fit
from trailward.learning.config import LearningConfig
from trailward.rewards import value

GOAL, NUM_STEPS, FASTEST = np.array([1.0, -1.0]), 60, 0.25
QUICK = {"most_steps": 400, "num_plans": 1, "num_directions": 24, "num_resamples": 2, "width": 32,
         "depth": 2, "most_rows": 300, "horizon": 8}  # fmt: skip


def points(num: int, *, goal: np.ndarray | None = None, seed: int = 0) -> Dataset:
    """To the goal, where they stay; or to anywhere and elsewhere after a while, with noise."""
    draw = np.random.default_rng([seed, num])
    found = []
    for _ in range(num):
        place, wanted = draw.uniform(-3, 3, 2), draw.uniform(-3, 3, 2)
        rows, actions = [place], []
        for _ in range(NUM_STEPS):
            if draw.uniform() < 0.06:
                wanted = draw.uniform(-3, 3, 2)
            aim = wanted if goal is None else goal
            noise = 0.3 * draw.normal(size=2) * (goal is None)
            actions.append(np.clip((aim - place) / FASTEST + noise, -1, 1))
            place = place + FASTEST * actions[-1]
            rows.append(place)
        found.append(Episode(np.array(rows), np.array(actions)))
    return Dataset(found)


PLAY, SHOWN = points(80), points(4, goal=GOAL)


@cache
def fitted_in(folder: Path) -> tuple[Fitted, list[str]]:
    told: list[str] = []
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:  # the reading of a place needs no more
        patched.setattr(guiding_module, "LEARNING", replace(guiding_module.LEARNING, num_steps=20))
        patched.setattr(value, "_STEPS_ALONE", 600)
        return fit(PLAY, SHOWN, folder, minutes=2, overrides=QUICK, say=told.append), told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit") / "out"


def test_where_demonstrators_rest_plans_are_guided_and_the_way_can_be_another() -> None:
    choices, told = choose(PLAY, SHOWN)
    assert (choices.way, choices.with_actions, choices.features) == (GUIDE, False, (0, 1))
    assert choices.reach == pytest.approx(0.4 * (NUM_STEPS + 1), abs=choices.horizon)
    assert "Demonstrators come to rest at one place" in " ".join(told)
    assert choose(PLAY, SHOWN, {"way": "imitate"})[0].with_actions
    assert choose(PLAY, points(4))[0].way == ""
    forced, told = choose(PLAY, points(4), {"way": GUIDE})
    assert forced.way == GUIDE
    assert "come to rest" not in " ".join(told)


def test_a_way_to_plan_is_refused_without_actions() -> None:
    bare = Dataset([Episode(each.observations) for each in PLAY.episodes])
    with refused(place="play", value="no actions", remedy="way"):
        choose(bare, bare, {"way": GUIDE})


@pytest.mark.slow
def test_the_planner_goes_to_where_they_rest_and_stays(folder: Path) -> None:
    fitted, told = fitted_in(folder)
    planner = Planner.for_reward(fitted.reward, fitted.prepared.diffuser)
    sides = np.linspace(-2.5, 2.5, 4)
    state = np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2)
    started = np.linalg.norm(state - GOAL, axis=1).mean()
    for _ in range(NUM_STEPS):
        state = state + FASTEST * np.clip(planner(state), -1, 1)
    left = np.linalg.norm(state - GOAL, axis=1)
    assert np.median(left) < 0.8
    assert left.mean() < 0.5 * started
    assert any("a reward was learnt through guided plans" in text for text in told)


@pytest.mark.slow
def test_the_reward_that_is_saved_is_the_one_that_plans_and_agrees_with_the_map(
    folder: Path,
) -> None:
    fitted, told = fitted_in(folder)
    saved = json.loads((folder / "fit.json").read_text())["planning"]
    assert (saved["way"], saved["reading"]) == (GUIDE, fitted.reward.reading)
    assert saved["agreement"] > 0.5
    assert sum(f"it is read as '{saved['reading']}'" in text for text in told) == 2
    assert (folder / "ways-to-read.png").stat().st_size > 10_000
    assert "The reward that plans" in (folder / "report.html").read_text()
    loaded = LearntReward.load(folder / "reward")
    rows = np.concatenate([episode.observations for episode in PLAY.episodes])
    np.testing.assert_array_equal(loaded.step_rewards(rows), fitted.reward.step_rewards(rows))
    best = rows[loaded.step_rewards(rows).argmax()]
    assert np.linalg.norm(best - GOAL) < 0.6
    assert set(loaded.provenance["learnt_from"]) == {each.fingerprint for each in SHOWN.episodes}


@pytest.mark.slow
def test_where_nobody_ever_stays_it_learns_without_a_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, _ = fitted_in(folder)
    rounds: list[int] = []

    def learn(*_: Any, config: LearningConfig, **__: Any) -> LearntReward:
        rounds.append(config.value.num_rounds)
        if config.value.num_rounds > 1:
            raise value.NoValueError("nobody stays anywhere in the play data")
        return fitted.reward

    monkeypatch.setattr(guiding_module, "learn_reward", learn)
    told: list[str] = []
    again = guiding_module.guided(fitted, None, seconds=60, say=told.append)
    assert rounds == [2, 1]
    assert again.planning is not None
    assert (
        told[0] == "learning in one round, without a value: nobody stays anywhere in the play data"
    )


def test_entries_that_are_all_rates_of_others_are_places_too() -> None:
    time = np.linspace(-3, 3, 200)
    each_others = Episode(np.stack([np.cosh(time), np.sinh(time)], 1), np.zeros((199, 1)))
    play = Dataset([each_others] * 3)
    assert rates_of_change(play) == [1, 0]
    assert choose(play, play)[0].way == ""
    assert choose(play, play, {"way": GUIDE})[0].features == (0, 1)


@pytest.mark.parametrize(
    ("ends", "moves", "place"),
    [([2.0, 2.1, 1.9], 0.0, 2.0), ([2.0, 2.1, 1.9], 0.5, None), ([3.0, -3.0, 0.0], 0.0, None)],
)
def test_demonstrators_rest_if_most_stand_still_at_the_same_place(
    ends: list[float], moves: float, place: float | None
) -> None:
    ramp = np.linspace(-5, 0, 20)[:, None]
    paths = [end + np.concatenate([ramp, moves * np.arange(1, 9)[:, None]]) for end in ends]
    unit = usual_changes([np.arange(40.0)[:, None] * 0.5], 4)
    assert unit == pytest.approx(2.0)
    found, why = resting_place(paths, unit, 4)
    assert (found is None) == (place is None) == bool(why)
    assert found is None or found == pytest.approx(place)
