"""From recordings with actions to a planner that acts: a point on a line, with weather."""

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from refusals import refused
from trailward import Dataset, Episode, LearntReward
from trailward.acting.named_policy import FunctionPolicy
from trailward.acting.planner import Planner, Policy
from trailward.baselines.plain_clone import plain_clone
from trailward.data.episode import Columns
from trailward.environments import Environment, Task
from trailward.environments.gymnasium_env import OwnReward
from trailward.fitting import acting, roll_outs
from trailward.fitting.acting import ALIKE, WAYS, fine_tuned
from trailward.fitting.choices import choose
from trailward.fitting.fit import Fitted, fit
from trailward.fitting.outputs import results
from trailward.fitting.roll_outs import RollOuts
from trailward.learning.config import PlanningConfig

GOAL, NUM_STEPS = 1.0, 24
COLUMNS = Columns(("place", "weather"), ("push",))
QUICK = {"most_steps": 120, "num_plans": 1, "num_directions": 24, "num_resamples": 2, "width": 48,
         "depth": 2, "most_rows": 300}  # fmt: skip


def lines(num: int, *, goal: float | None = None, seed: int = 0) -> Dataset:
    """To the goal, or to anywhere and elsewhere after a while, with noise; 0.3 a step at most."""
    draw = np.random.default_rng([seed, num])
    found = []
    for _ in range(num):
        place, weather, rows, actions = draw.uniform(-3, 3), draw.normal(), [], []
        wanted = draw.uniform(-3, 3) if goal is None else goal
        for step in range(NUM_STEPS + 1):
            rows.append([place, weather])
            if goal is None and draw.uniform() < 0.1:
                wanted = draw.uniform(-3, 3)
            push = np.clip((wanted - place) / 0.3 + 0.3 * draw.normal() * (goal is None), -1, 1)
            if step < NUM_STEPS:
                actions.append([push])
            place, weather = place + 0.3 * push, 0.95 * weather + 0.3 * draw.normal()
        found.append(Episode(np.array(rows), np.array(actions)))
    return Dataset(found, {}, COLUMNS)


class Line(gymnasium.Env):
    """The same line; a step is worth how near the goal it ends."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-3, 3), self.np_random.normal()])
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.state[0] += 0.3 * action[0]
        return self.state.copy(), -abs(self.state[0] - GOAL), False, False, {}


class ToTheGoal(OwnReward):
    """Whose demonstrator goes there straight."""

    def demonstrator(self) -> Policy:
        return FunctionPolicy(lambda seen: np.clip((GOAL - seen[:, :1]) / 0.3, -1, 1))


class LineEnvironment(Environment):
    name = "line"

    def make(self, **options: Any) -> gymnasium.Env:
        return Line()

    def task(self, name: str | None = None) -> Task:
        return ToTheGoal()


PLAY, SHOWN = lines(60), lines(4, goal=GOAL)


@cache
def fitted_in(folder: Path) -> tuple[Fitted, list[str]]:
    told: list[str] = []
    torch.set_num_threads(1)
    where = RollOuts(LineEnvironment(), num_episodes=6)
    given = {"minutes": 1, "overrides": QUICK, "roll_outs": where}
    brief = partial(plain_clone, num_steps=300)
    with pytest.MonkeyPatch.context() as patched:
        for module in (acting, roll_outs):
            patched.setattr(module, "plain_clone", brief)
        return fit(PLAY, SHOWN, folder, **given, say=told.append), told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit") / "out"


def test_plans_hold_actions_and_the_weather_is_seen_but_not_rewarded() -> None:
    choices, told = choose(PLAY, SHOWN)
    assert (choices.with_actions, choices.stride, choices.unmoved) == (True, 1, (1,))
    assert "Nobody moves these entries: weather." in " ".join(told)
    assert choose(PLAY, SHOWN, {"unmoved": ()})[0].unmoved == ()


def test_the_planner_goes_to_the_goal_from_anywhere(folder: Path) -> None:
    fitted, told = fitted_in(folder)
    planner = Planner.for_reward(fitted.reward, fitted.prepared.diffuser)
    state = np.stack([np.linspace(-3, 3, 9), np.zeros(9)], 1)
    for _ in range(NUM_STEPS):
        state[:, :1] += 0.3 * np.clip(planner(state), -1, 1)
    assert np.abs(state[:, 0] - GOAL).mean() < 0.3
    assert any("the diffuser is fine-tuned" in text for text in told)


def test_the_reward_is_of_the_place_and_no_guide_moves_the_weather(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    places, weathers = np.meshgrid(np.linspace(-3, 3, 25), np.linspace(-1, 1, 5))
    states = np.stack([places.ravel(), weathers.ravel()], 1)
    rewards = fitted.reward.step_rewards(states).reshape(5, 25)
    assert abs(places[0, rewards.mean(0).argmax()] - GOAL) < 0.4
    assert rewards.mean(1).std() < 0.2 * rewards.mean(0).std()
    plans = torch.zeros(3, fitted.reward.spec.horizon, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(fitted.reward.model(plans).sum(), plans)
    assert (slope[..., 0] != 0).all()
    assert (slope[..., 1] == 0).all()


def test_what_was_saved_plans_alike(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    loaded = LearntReward.load(folder / "reward")
    starts = np.array([[0.0, 0.0], [2.0, 1.0]])
    planners = [Planner.for_reward(r, fitted.prepared.diffuser) for r in (fitted.reward, loaded)]
    np.testing.assert_array_equal(*(planner(starts) for planner in planners))


def test_roll_outs_are_in_figures_and_words(folder: Path) -> None:
    fitted, told = fitted_in(folder)
    assert fitted.roll_outs is not None
    returns = fitted.roll_outs["return"]
    assert returns["learnt"]["value"] > returns["unguided"]["value"] + 5
    assert returns["learnt"]["count"] == returns["clone"]["count"] == 6
    assert abs(returns["clone"]["value"] - returns["learnt"]["value"]) < 10  # both near the goal
    assert returns["demonstrator"]["value"] >= returns["learnt"]["value"]
    assert any("a demonstrator from the same starts" in text for text in told)
    assert "demonstrations" not in returns  # whose rewards were not recorded
    saved = json.loads((folder / "fit.json").read_text())
    assert saved["roll_outs"] == fitted.roll_outs
    assert saved["planning"]["way"] in WAYS
    assert any(text.startswith("In line the planner returns") for text in told)


def test_without_actions_nothing_is_rolled_out(tmp_path: Path) -> None:
    bare = Dataset([Episode(each.observations) for each in PLAY.episodes])
    with refused(place="play", value="no actions", remedy="leave environment 'line' out (--env)"):
        fit(bare, bare, tmp_path, roll_outs=RollOuts(LineEnvironment()))


def test_every_way_is_tried_and_the_best_is_kept(folder: Path) -> None:
    fitted, told = fitted_in(folder)
    found = fitted.planning
    assert found is not None
    assert set(found["errors"]) == {*WAYS, "clone"}
    judged = {name: way.leeway * found["errors"][name] for name, way in WAYS.items()}
    assert judged[found["way"]] == min(judged.values()) < 0.5
    assert any(WAYS[found["way"]].words in text for text in told)


@pytest.mark.parametrize("error", [0.0, 10.0])
def test_a_clone_that_is_nearer_is_named(folder: Path, error: float) -> None:
    fitted, _ = fitted_in(folder)
    planning = dict(fitted.planning or {})
    planning["errors"] = {**planning["errors"], "clone": error}
    told = " ".join(results(replace(fitted, planning=planning), None))
    assert ("try it too (trailward.baselines.plain_clone)" in told) == (error == 0)


@pytest.mark.parametrize("least_rank", [0.9, 1.0])
def test_who_is_like_nobody_is_not_compared_with_those_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch, least_rank: float
) -> None:
    fitted, _ = fitted_in(folder)
    assert fitted.validation is not None
    ranks = {fitted.learnt: np.array([1.0, 1.0, least_rank, 1.0])}
    judged = replace(fitted, validation=replace(fitted.validation, ranks=ranks))
    tried: list[set[str]] = []
    monkeypatch.setattr(acting, "try_ways", lambda fitted, ways, **_: tried.append(set(ways)) or {})
    monkeypatch.setattr(acting, "tuned_reward", lambda fitted, *_: fitted.reward)
    fine_tuned(judged, None, seconds=1)
    assert tried == [set(WAYS) if least_rank < 1 else set(WAYS) - {ALIKE}]


def test_of_several_plans_the_one_of_highest_reward_is_followed(folder: Path) -> None:
    fitted, _ = fitted_in(folder)
    planning = PlanningConfig(num_candidates=16, choose="reward", replan_every=1)
    wide = replace(fitted.reward.sampling, temperature=1.0)
    starts = np.array([[0.0, 0.0], [2.0, 1.0]])
    means = []
    for one in (planning, replace(planning, num_candidates=1)):
        reward = replace(fitted.reward, planning=one, sampling=wide)
        planner = Planner.for_reward(reward, fitted.prepared.diffuser)
        plans = torch.cat([planner.plan(starts) for _ in range(8)])
        means.append(float(reward.model(plans).mean()))
    assert means[0] > means[1]


def test_choices_never_demonstrated_have_an_entry_and_angles_are_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)

    def turns(num: int, choices: int) -> Dataset:
        found = []
        for _ in range(num):
            chosen = draw.integers(0, choices, 60)
            angle = np.cumsum([draw.uniform(0, 6), *(0.5 * (chosen - 0.4))])
            found.append(Episode((angle % (2 * np.pi))[:, None], np.eye(choices)[chosen]))
        names = tuple(f"turn={each}" for each in range(choices))
        return Dataset(found, {}, Columns(("heading",), names, choices=tuple(range(choices))))

    torch.set_num_threads(1)
    quick = QUICK | {"most_steps": 20, "num_resamples": 1, "way": "imitate"}
    told: list[str] = []
    fitted = fit(turns(12, 3), turns(2, 2), tmp_path, overrides=quick, say=told.append)
    assert fitted.reward.columns.observations == ("sin heading", "cos heading")
    assert fitted.prepared.diffuser.spec.action_dim == 3
    assert "These entries are angles that wrap: heading. Inside they are sine and cosine." in told
    assert "Actions are 3 choices: one-hot inside, whole numbers when the planner acts." in told
    planner = Planner.for_reward(fitted.reward, fitted.prepared.diffuser)
    assert planner(np.array([[0.1], [3.0]])).dtype.kind == "i"
    cloned = plain_clone(fitted.prepared.recordings.dataset.pick(fitted.shown), num_steps=20)
    assert set(cloned(np.array([[0.1], [3.0]]))) <= {0, 1, 2}
    assert fitted.reward.step_rewards(np.array([[0.1]])).shape == (1,)
