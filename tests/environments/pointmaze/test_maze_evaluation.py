"""Judging rewards in a maze: the true reward itself must come out perfect, its negative worst."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from refusals import refused
from tiny import STAGED, shake, tiny_diffuser, tiny_reward, tiny_staged_reward
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import SamplingConfig
from trailward.environments import Evaluation
from trailward.environments.pointmaze.environment import (
    PointMaze,
    disagreement_map,
    reward_map,
    true_reward_map,
    value_map,
)
from trailward.environments.pointmaze.pictures import error_map, reward_figure
from trailward.environments.pointmaze.recipes import collect_demonstrations, collect_play
from trailward.environments.pointmaze.tasks import parse_task
from trailward.errors import SettingsError
from trailward.judging.config import EvaluationConfig
from trailward.judging.evaluate import evaluate
from trailward.learning.config import PlanningConfig
from trailward.learning.disagreement import agreement, disagreement
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.standing import standing_rewards
from trailward.report.page import table
from trailward.rewards import AdditiveSettings, EnsembleSettings, TrueReward
from trailward.rewards.value import Value

UMAZE = PointMaze("umaze")
CORNER = UMAZE.task()
DIFFUSER = tiny_diffuser(PlanSpec(6, 4, 4, 2))
BRIEF = EvaluationConfig(
    num_episodes=2, episode_steps=10, num_windows=300, num_transitions=300, num_plans=6
)


@functools.cache
def play() -> Dataset:
    return Dataset(collect_play(CORNER.maze, num_steps=2000, seed=0, episode_steps=200))


@functools.cache
def demonstrations() -> Dataset:
    return Dataset(collect_demonstrations(CORNER, num_episodes=2, seed=1))


def as_learnt(sign: float) -> LearntReward:
    return LearntReward(
        model=TrueReward(
            lambda seen: sign * CORNER.observation_rewards(seen), DIFFUSER.normalizer, DIFFUSER.spec
        ),
        observation_normalizer=DIFFUSER.observation_normalizer,
        action_normalizer=DIFFUSER.action_normalizer,
        sampling=SamplingConfig(num_steps=4, stop_step=0),
        diffuser_fingerprint=DIFFUSER.fingerprint,
    )


def with_value() -> LearntReward:
    value = shake(Value(DIFFUSER.spec, width=8)).requires_grad_(False)
    assert isinstance(value, Value)
    return replace(as_learnt(1.0), value=value)


def staged() -> LearntReward:
    """A reward of two stages and a value of each, all of whose weights are noise."""
    value = shake(Value(DIFFUSER.spec, width=8, num_stages=2)).requires_grad_(False)
    assert isinstance(value, Value)
    reward = tiny_staged_reward(DIFFUSER, STAGED)
    return replace(reward, sampling=SamplingConfig(num_steps=4, stop_step=0), value=value)


@pytest.fixture(scope="module")
def perfect() -> Evaluation:
    return evaluate(as_learnt(1.0), DIFFUSER, UMAZE, CORNER, play(), demonstrations(), BRIEF)


@pytest.fixture(scope="module")
def judged_in_stages() -> Evaluation:
    return evaluate(staged(), DIFFUSER, UMAZE, CORNER, play(), demonstrations(), BRIEF)


def test_the_true_reward_correlates_perfectly_with_itself(perfect: Evaluation) -> None:
    for pieces in ("windows", "episodes"):
        erc = perfect.figures[f"erc_{pieces}"]
        assert erc["distance"]["value"] == pytest.approx(0.0, abs=1e-2)
        assert erc["spearman"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert perfect.figures["best_cell"] == {"learnt": (1, 3), "true": (1, 3), "hit": True}


def test_single_transitions_are_judged_by_where_they_arrive(perfect: Evaluation) -> None:
    assert perfect.figures["epic"]["value"] == pytest.approx(0, abs=1e-2)
    assert perfect.figures["step_pearson"]["value"] == pytest.approx(1, abs=1e-3)
    assert perfect.figures["epic"]["count"] == len(play().episodes)
    rows = {what: meaning for what, _, meaning in table(perfect.figures, UMAZE)}
    assert (
        rows["EPIC distance"] == f"transitions of {len(play().episodes)} play episodes; 0 is best"
    )


def test_its_negative_is_the_worst_reward() -> None:
    worst = evaluate(as_learnt(-1.0), DIFFUSER, UMAZE, CORNER, play(), demonstrations(), BRIEF)
    assert worst.figures["erc_windows"]["distance"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert worst.figures["epic"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert worst.figures["best_cell"]["learnt"] == (3, 1)
    assert not worst.figures["best_cell"]["hit"]


def test_the_map_has_its_maximum_at_the_top_right_and_nothing_in_walls() -> None:
    learnt = reward_map(as_learnt(1.0), CORNER.maze, cells=4)
    true = true_reward_map(CORNER, cells=4)
    np.testing.assert_allclose(learnt, true, atol=1e-5)
    assert learnt.shape == (20, 20)
    assert np.unravel_index(np.nanargmax(learnt), learnt.shape) == (4, 15)
    assert np.isnan(learnt[:4]).all()
    assert np.isnan(learnt[9:11, 4:12]).all()


def test_the_map_of_values_is_of_standing_still_and_has_nothing_in_walls() -> None:
    learnt = with_value()
    assert learnt.value is not None
    drawn = value_map(learnt, CORNER.maze, cells=1)
    assert drawn.shape == (5, 5)
    np.testing.assert_array_equal(np.isnan(drawn), np.array(CORNER.maze.grid) == 1)
    centers = CORNER.maze.center(CORNER.maze.free_cells)
    states = torch.tensor(np.concatenate([centers, np.zeros_like(centers)], -1)).float()
    values = learnt.value.step_rewards(DIFFUSER.observation_normalizer.normalize(states[None]))
    expected = [drawn[cell] for cell in CORNER.maze.free_cells]
    np.testing.assert_allclose(values[0], expected, rtol=1e-4, atol=1e-5)
    assert np.nanstd(drawn) > 1e-3


def test_a_reward_without_a_value_has_no_map_of_it(perfect: Evaluation) -> None:
    with refused(place="value", value=None, remedy="2 rounds"):
        value_map(as_learnt(1.0), CORNER.maze)
    assert "value_map" not in perfect.arrays
    assert perfect.figures["success"] is None


@pytest.mark.parametrize("stage", [0, 1])
def test_each_stage_has_maps_of_standing_still(stage: int) -> None:
    learnt = staged()
    centers = CORNER.maze.center(CORNER.maze.free_cells)
    states = np.concatenate([centers, np.zeros_like(centers)], -1)
    normalized = DIFFUSER.observation_normalizer.normalize(torch.tensor(states[None]).float())
    assert learnt.value is not None
    rewards = learnt.model.stage_rewards(normalized)[0, :, stage].detach()
    np.testing.assert_allclose(standing_rewards(learnt, states, stage=stage), rewards, rtol=1e-4)
    values = learnt.value.stage_rewards(normalized)[0, :, stage]
    for draw, expected in ((reward_map, rewards), (value_map, values)):
        drawn = draw(learnt, CORNER.maze, cells=1, stage=stage)
        found = [drawn[cell] for cell in CORNER.maze.free_cells]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.isnan(drawn), np.array(CORNER.maze.grid) == 1)


def test_maps_are_of_the_last_stage_unless_told_otherwise() -> None:
    learnt = staged()
    for draw in (reward_map, value_map):
        usual, first, last = (
            draw(learnt, CORNER.maze, cells=1, **stage)
            for stage in ({}, {"stage": 0}, {"stage": 1})
        )
        np.testing.assert_array_equal(usual, last)
        assert np.nanmin(abs(first - last)) > 1e-4


def test_the_evaluation_of_a_staged_reward_has_maps_of_both_stages(
    perfect: Evaluation, judged_in_stages: Evaluation
) -> None:
    learnt, found = staged(), judged_in_stages
    expected = {
        "first_reward_map": reward_map(learnt, CORNER.maze, stage=0),
        "reward_map": reward_map(learnt, CORNER.maze, stage=1),
        "first_value_map": value_map(learnt, CORNER.maze, stage=0),
        "value_map": value_map(learnt, CORNER.maze, stage=1),
    }
    for name, drawn in expected.items():
        np.testing.assert_array_equal(found.arrays[name], drawn)
    assert not {"first_reward_map", "first_value_map"} & set(perfect.arrays)
    titles = [ax.get_title() for ax in reward_figure(found.arrays).axes if ax.get_title()]
    assert titles == [
        "learnt reward, first stage",
        "value, first stage",
        "learnt reward, last stage",
        "value, last stage",
        "true reward",
    ]
    titles = [ax.get_title() for ax in reward_figure(perfect.arrays).axes if ax.get_title()]
    assert titles == ["learnt reward", "true reward"]


def test_an_ensemble_is_evaluated_with_a_map_of_where_it_disagrees(perfect: Evaluation) -> None:
    learnt = tiny_reward(
        DIFFUSER, EnsembleSettings(member=AdditiveSettings(hidden=(8,)), num_members=3)
    )
    sampling = SamplingConfig(num_steps=4, stop_step=0)
    learnt = replace(learnt, sampling=sampling)
    found = evaluate(learnt, DIFFUSER, UMAZE, CORNER, play(), demonstrations(), BRIEF)
    seen = np.concatenate([episode.observations for episode in play().episodes])
    assert found.figures["ensemble_agreement"] == agreement(learnt, seen)
    drawn = disagreement_map(learnt, CORNER.maze, play(), cells=1)
    for cell in CORNER.maze.free_cells:
        standing = np.array([[*CORNER.maze.center(cell), 0.0, 0.0]])
        expected = disagreement(learnt, standing, reference=seen)
        np.testing.assert_allclose(drawn[cell], expected[0], rtol=1e-5)
    np.testing.assert_array_equal(
        np.isnan(found.arrays["disagreement_map"]), np.isnan(found.arrays["reward_map"])
    )
    titles = [ax.get_title() for ax in reward_figure(found.arrays).axes if ax.get_title()]
    assert titles == ["learnt reward", "disagreement of the ensemble", "true reward"]
    rows = {name: value for name, value, _ in table(found.figures, UMAZE)}
    assert float(rows["Agreement of the ensemble"]) < 1
    assert "disagreement_map" not in perfect.arrays
    assert "Agreement of the ensemble" not in {name for name, *_ in table(perfect.figures, UMAZE)}


def test_whole_episodes_are_correlated_with_the_past_in_mind(judged_in_stages: Evaluation) -> None:
    """The reward of an episode is not the mean of those of its observations one by one."""
    learnt, returns = staged(), judged_in_stages.arrays["erc_episodes"][0]
    normalize = DIFFUSER.observation_normalizer.normalize
    paths = torch.stack([torch.from_numpy(e.observations).float() for e in play().episodes])
    expected = learnt.model(normalize(paths)).detach()
    np.testing.assert_allclose(returns, expected, rtol=1e-4)
    seen = learnt.model.memory.visited(normalize(paths))
    assert seen.any()
    assert not seen.all()


def test_a_reward_that_remembers_is_not_judged_by_single_transitions(
    judged_in_stages: Evaluation,
) -> None:
    assert judged_in_stages.figures["epic"] is judged_in_stages.figures["step_pearson"] is None
    assert "EPIC distance" not in [what for what, *_ in table(judged_in_stages.figures, UMAZE)]


def test_planners_are_guided_by_a_reward_that_remembers() -> None:
    planner = BRIEF.planner(DIFFUSER, staged(), guided=True)
    assert planner.reward_model is not None
    assert planner.reward_model.num_stages == 2
    assert BRIEF.planner(DIFFUSER, staged(), guided=False).reward_model is None


def test_an_ordered_task_is_judged_by_whole_episodes() -> None:
    """These starts are not at the second cell, so that the demonstrator does it."""
    task = parse_task("ordered:1,3-3,1", CORNER.maze)
    config = replace(BRIEF, episode_steps=350, seed=1002)
    found = evaluate(with_value(), DIFFUSER, UMAZE, task, play(), demonstrations(), config)
    success = found.figures["success"]
    assert set(success) == {"unguided", "learnt", "demonstrator"}
    assert success["demonstrator"] == 1
    assert found.figures["return"]["demonstrator"]["value"] > 0
    assert found.figures["best_cell"] == {"learnt": (1, 3), "true": (3, 1), "hit": False}
    goal = parse_task("goal:3,1", CORNER.maze)
    np.testing.assert_array_equal(found.arrays["true_reward_map"], true_reward_map(goal))
    assert found.arrays["value_map"].shape == found.arrays["reward_map"].shape
    assert json.loads(json.dumps(found.figures))["task"] == task.name
    assert found.figures["epic"] is None
    assert -1 <= found.figures["step_pearson"]["value"] <= 1


def test_planners_choose_as_the_reward_says() -> None:
    for choose in ("plausible", "reward"):
        planning = PlanningConfig(choose=choose, num_candidates=3)
        learnt = replace(with_value(), planning=planning)
        assert BRIEF.planner(DIFFUSER, learnt, guided=True).planning == planning


def test_pictures_of_errors_are_the_right_way_up(perfect: Evaluation) -> None:
    planned = np.zeros((1, 2, 4))
    planned[0, 1, :2] = CORNER.maze.center((1, 1))
    arrays = {
        "maze": perfect.arrays["maze"],
        "dynamics_planned_learnt": planned,
        "dynamics_errors_learnt": np.array([[0.0, 0.7]]),
    }
    drawn = error_map(arrays, "learnt", bins_per_cell=1)
    assert drawn[1, 1] == pytest.approx(0.7)
    assert np.isnan(drawn).sum() == drawn.size - 1


def test_data_of_another_environment_is_refused_before_anything_runs() -> None:
    other = Dataset([Episode(np.zeros((50, 3)), np.zeros((49, 2)))])
    with refused(place="observations and actions", value=(3, 2), remedy="the same environment"):
        evaluate(as_learnt(1.0), DIFFUSER, UMAZE, CORNER, other, demonstrations(), BRIEF)


def test_evaluations_of_nothing_are_refused() -> None:
    with refused(SettingsError, place="num_plans", value=0, remedy="at least 1"):
        EvaluationConfig(num_plans=0)
