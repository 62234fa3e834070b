"""Collectors: what they record, and that a seed decides it."""

from functools import cache

import numpy as np
import pytest

from refusals import refused
from tiny import tiny_diffuser
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.environments.pointmaze.controllers import TourController
from trailward.environments.pointmaze.maze import make_env, parse_maze
from trailward.environments.pointmaze.recipes import (
    collect_demonstrations,
    collect_play,
    guided_expert,
    run_from,
)
from trailward.environments.pointmaze.tasks import OrderedTask, parse_task

UMAZE = parse_maze("umaze")
CORNER = parse_task("corner", UMAZE)


@cache
def recorded() -> list[Episode]:
    return collect_play(UMAZE, num_steps=20_000, seed=0)


def test_play_visits_every_cell_and_never_leaves_the_corridors() -> None:
    play = recorded()
    assert len(play) == 20
    assert all(len(episode) == 1000 for episode in play)
    positions = np.concatenate([episode.observations for episode in play])[:, :2]
    assert not UMAZE.in_wall(positions).any()
    visited = {tuple(cell) for cell in UMAZE.cell(positions).tolist()}
    assert visited == set(UMAZE.free_cells)
    assert np.abs(np.concatenate([episode.actions for episode in play])).max() <= 1


def test_play_is_aimless() -> None:
    rewards = [CORNER.observation_rewards(each.observations).mean() for each in recorded()]
    demonstrations = collect_demonstrations(CORNER, num_episodes=3, seed=1)
    assert max(rewards) < min(episode.rewards.mean() for episode in demonstrations)


def test_the_same_seed_records_the_same_play_and_another_does_not() -> None:
    first, again, other = (
        collect_play(UMAZE, num_steps=300, seed=seed, episode_steps=300)[0] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.observations, again.observations)
    assert not np.allclose(first.observations, other.observations)


def test_play_goes_on_past_the_environments_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailward.environments.pointmaze.recipes._ENVS_AT_ONCE", 5)
    play = collect_play(UMAZE, num_steps=120, seed=0, episode_steps=10)
    assert len(play) == 12
    starts = np.stack([episode.observations[0] for episode in play])
    assert len(np.unique(starts, axis=0)) == 12


@pytest.mark.parametrize("name", ["corner", "goal:3,1", "goal:1,1"])
def test_the_expert_ends_where_the_task_is_worth_most(name: str) -> None:
    task = parse_task(name, UMAZE)
    for episode in collect_demonstrations(task, num_episodes=5, seed=2):
        assert episode.rewards is not None
        np.testing.assert_allclose(
            episode.rewards, task.observation_rewards(episode.observations[1:])
        )
        assert episode.rewards[-1] == pytest.approx(1.0)


def test_the_expert_does_an_ordered_task_from_every_other_cell() -> None:
    """The second cell is at one end of the corridor, so that the way to the first avoids it."""
    task = OrderedTask(UMAZE, (1, 3), (3, 1))
    cells = UMAZE.center([cell for cell in UMAZE.free_cells if cell != (3, 1)])
    starts = np.concatenate([cells, np.zeros_like(cells)], -1)
    envs = [make_env(UMAZE) for _ in starts]
    episodes = run_from(envs, task.demonstrator(), starts, 350)
    for episode in episodes:
        assert task.success(episode.observations)
        assert task.observation_rewards(episode.observations)[-1] == 1


def test_demonstrations_of_an_ordered_task_carry_its_rewards() -> None:
    task = parse_task("ordered:1,3-3,1", UMAZE)
    for episode in collect_demonstrations(task, num_episodes=3, seed=2, episode_steps=350):
        assert episode.rewards is not None
        np.testing.assert_array_equal(
            episode.rewards, task.observation_rewards(episode.observations[1:])
        )
        assert set(episode.rewards) == {0.0, 1.0}


def test_a_tour_goes_on_to_the_next_stop_where_the_one_before_is_reached() -> None:
    """Each environment by itself, forgetting it all after a reset."""
    stops = UMAZE.center([(1, 2), (1, 3)])
    tour = TourController(UMAZE, stops)
    at, away = np.array([*stops[0], 0, 0]), np.array([*UMAZE.center((1, 1)), 0, 0])
    between = np.array([*(0.6 * stops[0] + 0.4 * stops[1]), 0, 0])
    assert tour(np.stack([away, away]))[:, 0].tolist() == [1, 1]
    tour(np.stack([at, away]))
    assert np.sign(tour(np.stack([between, between]))[:, 0]).tolist() == [1, -1]
    tour.reset()
    assert np.sign(tour(np.stack([between, between]))[:, 0]).tolist() == [-1, -1]


def test_a_tour_stays_at_its_last_stop() -> None:
    stops = UMAZE.center([(1, 2), (1, 3)])
    tour = TourController(UMAZE, stops)
    start = np.array([[*UMAZE.center((1, 1)), 0, 0]])
    (episode,) = run_from([make_env(UMAZE)], tour, start, 200)
    far = np.linalg.norm(episode.observations[:, :2] - stops[1], axis=-1)
    assert far[-50:].max() < 0.1


def test_a_policy_runs_from_given_states() -> None:
    starts = np.array([[1.0, -1.0, 0, 0], [-1.0, 1.0, 0.5, 0]])
    envs = [make_env(UMAZE) for _ in range(3)]
    episodes = run_from(envs, CORNER.demonstrator(), starts, 5)
    np.testing.assert_array_equal([e.observations[0] for e in episodes], starts)
    assert [len(e) for e in episodes] == [5, 5]


def test_the_guided_expert_needs_a_slope() -> None:
    with refused(place="task", value="goal:3,1", remedy="waypoint"):
        guided_expert(parse_task("goal:3,1", UMAZE), tiny_diffuser(PlanSpec(4, 2, 4, 2)))
