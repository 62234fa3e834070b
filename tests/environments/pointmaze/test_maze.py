"""Geometry and tasks of mazes, held against the simulator itself."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from refusals import refused
from trailward.environments.pointmaze.maze import Maze, make_env, parse_maze, set_state
from trailward.environments.pointmaze.tasks import (
    CornerTask,
    GoalTask,
    OrderedTask,
    best_position,
    parse_task,
)

UMAZE = parse_maze("umaze")


@pytest.mark.parametrize("name", ["umaze", "medium", "large", "open"])
def test_cells_lie_where_the_simulator_puts_them(name: str) -> None:
    maze = parse_maze(name)
    simulated = make_env(maze).unwrapped.maze
    for cell in maze.free_cells:
        expected = simulated.cell_rowcol_to_xy(np.array(cell))
        np.testing.assert_allclose(maze.center(cell), expected)
        assert tuple(maze.cell(maze.center(cell))) == cell


def test_the_way_is_a_shortest_one() -> None:
    way = [(1, 1)]
    while way[-1] != (3, 1):
        way.append(UMAZE.next_cell(way[-1], (3, 1)))
    assert way == [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
    assert UMAZE.next_cell((3, 1), (3, 1)) == (3, 1)


def test_walls_are_where_the_grid_has_ones() -> None:
    assert not UMAZE.in_wall(UMAZE.center(UMAZE.free_cells)).any()
    assert UMAZE.in_wall(np.array([[0.0, 0.0], [-1.0, 0.0], [9.0, 9.0]])).all()


def test_a_grid_can_be_given_by_its_rows() -> None:
    maze = parse_maze("11111/10001/11111")
    assert maze.free_cells == [(1, 1), (1, 2), (1, 3)]
    np.testing.assert_allclose(maze.center((1, 1)), [-1.0, 0.0])
    assert make_env(maze).reset(seed=0)[0].shape == (4,)


@pytest.mark.parametrize(
    ("grid", "place", "value", "remedy"),
    [
        ("nowhere", "maze", "nowhere", "umaze"),
        ("111/101/11", "maze 'custom'", [3, 3, 2], ""),
        ("1111/1000/1111", "maze 'custom'", [[1, 3]], "wall it"),
        ("111/101/111", "maze 'custom'", [(1, 1)], ""),
        ("11111/10101/11111", "maze 'custom'", (1, 3), ""),
    ],
)
def test_unusable_mazes_are_refused(grid: str, place: str, value: object, remedy: str) -> None:
    with refused(place=place, value=value, remedy=remedy):
        parse_maze(grid)


def test_the_corner_task_is_the_sum_of_normalised_coordinates() -> None:
    task = CornerTask(UMAZE)
    observations = np.array([[2.5, 2.5, 0, 0], [1.25, -1.25, 3, 3], [-2.5, -2.5, 0, 0]])
    np.testing.assert_allclose(task.observation_rewards(observations), [2.0, 0.0, -2.0])
    tensor = torch.tensor(observations, requires_grad=True)
    task.observation_rewards(tensor).sum().backward()
    np.testing.assert_allclose(tensor.grad, np.tile([0.4, 0.4, 0, 0], (3, 1)))
    np.testing.assert_allclose(best_position(task), [1.25, 1.25])


def test_the_goal_task_rewards_its_cell_within_the_simulators_radius() -> None:
    task = GoalTask(UMAZE, (3, 1))
    observations = np.array([[-1.0, -1.0, 0, 0], [-1.44, -1.0, 5, 5], [-1.46, -1.0, 0, 0]])
    np.testing.assert_allclose(task.observation_rewards(observations), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(best_position(task), [-1.0, -1.0], atol=1e-9)


def walk(*cells: tuple[int, int]) -> np.ndarray:
    """Observations at the centres of cells, one after another."""
    positions = UMAZE.center(cells)
    return np.concatenate([positions, np.zeros_like(positions)], -1)


FIRST, THEN, ELSEWHERE = (1, 1), (3, 1), (1, 3)
ORDERED = OrderedTask(UMAZE, FIRST, THEN)


@pytest.mark.parametrize(
    ("cells", "rewards"),
    [
        ([FIRST, ELSEWHERE, THEN, THEN, ELSEWHERE, THEN], [0, 0, 1, 1, 0, 1]),
        ([ELSEWHERE, FIRST, THEN, FIRST, THEN], [0, 0, 1, 0, 1]),
        ([THEN, FIRST, THEN], [0, 0, 0]),
        ([THEN, ELSEWHERE, THEN], [0, 0, 0]),
        ([FIRST, ELSEWHERE, FIRST], [0, 0, 0]),
    ],
    ids=["in order", "again", "the other way round", "never at the first", "never at the other"],
)
def test_the_ordered_task_rewards_the_second_cell_after_the_first(
    cells: list[tuple[int, int]], rewards: list[int]
) -> None:
    observations = walk(*cells)
    np.testing.assert_array_equal(ORDERED.observation_rewards(observations), rewards)
    assert ORDERED.success(observations) == (1 in rewards)


def test_the_ordered_task_counts_cells_within_the_simulators_radius() -> None:
    near, far = walk(FIRST, THEN), walk(FIRST, THEN)
    near[:, 0] += 0.44
    far[0, 0] += 0.46
    assert ORDERED.success(near)
    assert not ORDERED.success(far)


def test_the_ordered_task_judges_trajectories_of_a_batch_by_themselves() -> None:
    ways = [(FIRST, ELSEWHERE, THEN), (THEN, FIRST, THEN), (FIRST, THEN, THEN)]
    observations = np.stack([walk(*way) for way in ways])
    expected = [[0, 0, 1], [0, 0, 0], [0, 1, 1]]
    np.testing.assert_array_equal(ORDERED.observation_rewards(observations), expected)
    np.testing.assert_array_equal(ORDERED.observation_rewards(observations[None]), [expected])
    np.testing.assert_array_equal(ORDERED.success(observations), [True, False, True])
    np.testing.assert_array_equal(ORDERED.success(observations[:, None]), [[True], [False], [True]])


def test_the_best_position_of_an_ordered_task_is_where_it_ends() -> None:
    np.testing.assert_allclose(best_position(ORDERED), UMAZE.center(THEN), atol=1e-9)


@pytest.mark.parametrize("name", ["corner", "goal:3,1", "ordered:1,1-3,1", "ordered:3,2-1,3"])
def test_a_task_is_found_again_by_its_name(name: str) -> None:
    assert parse_task(name, UMAZE).name == name


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("walk", "task", "walk"),
        ("goal:1", "task", "goal:1"),
        ("goal:2,1", "goal", (2, 1)),
        ("ordered:1,1", "task", "ordered:1,1"),
        ("ordered:1,1-3,1-1,1", "task", "ordered:1,1-3,1-1,1"),
        ("ordered:1,1-2,1", "goal", (2, 1)),
        ("ordered:0,0-3,1", "goal", (0, 0)),
        ("ordered:1,1-1,1", "then", (1, 1)),
    ],
)
def test_unknown_tasks_are_refused(name: str, place: str, value: object) -> None:
    with refused(place=place, value=value):
        parse_task(name, UMAZE)


def test_the_simulator_can_be_put_into_a_state() -> None:
    env = make_env(UMAZE)
    env.reset(seed=0)
    set_state(env, np.array([1.0, -1.0, 2.0, 0.0]))
    reached, *_ = env.step(np.zeros(2, np.float32))
    np.testing.assert_allclose(reached, [1.02, -1.0, 2.0, 0.0], atol=0.02)


def test_mazes_with_the_same_walls_are_equal() -> None:
    assert Maze("umaze", UMAZE.grid) == UMAZE


def test_making_a_simulator_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    env = make_env(UMAZE)
    env.reset(seed=0)
    env.step(np.zeros(2))
    assert list(tmp_path.iterdir()) == []
