"""The packaged diffuser: small, whole, and good enough to plan with."""

import numpy as np
import pytest

from trailward.checkpoint import WEIGHTS, CheckpointError
from trailward.diffuser import Diffuser, SamplingConfig
from trailward.environments.maze import make_env, parse_maze, parse_task
from trailward.environments.maze_data import collect_demonstrations, guided_expert, run_from
from trailward.evaluation import dynamics_error
from trailward.planner import Planner
from trailward.pretrained import model_folder, packaged

CORNER = parse_task("corner", parse_maze("umaze"))


@pytest.fixture(scope="module")
def diffuser() -> Diffuser:
    return Diffuser.load(model_folder("umaze"))


def test_it_is_small_and_says_where_it_comes_from(diffuser: Diffuser) -> None:
    assert packaged() == ["umaze"]
    assert (model_folder("umaze") / WEIGHTS).stat().st_size <= 4_000_000
    assert diffuser.provenance["command"].startswith("trailward train ")
    assert diffuser.provenance["play"]["command"].startswith("trailward collect ")


def test_its_plans_can_be_executed(diffuser: Diffuser) -> None:
    starts = collect_demonstrations(CORNER, num_episodes=20, seed=5, episode_steps=1)
    envs = [make_env(CORNER.maze) for _ in starts]
    found = dynamics_error(
        Planner(diffuser, SamplingConfig()),
        np.stack([episode.observations[0] for episode in starts]),
        lambda policy, where, count: run_from(envs, policy, where, count),
        entries=(0, 1),
    )
    assert found.errors.mean() < 0.05  # metres
    assert CORNER.maze.in_wall(found.planned[..., :2]).mean() < 0.02


def test_guided_by_the_true_reward_it_demonstrates_as_well_as_the_waypoint_expert(
    diffuser: Diffuser,
) -> None:
    guided, waypoint = (
        collect_demonstrations(CORNER, num_episodes=9, seed=1, expert=expert)
        for expert in (guided_expert(CORNER, diffuser), None)
    )
    returns = [np.mean([e.rewards.sum() for e in episodes]) for episodes in (guided, waypoint)]
    assert returns[0] > 0.9 * returns[1]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"neither a model folder nor packaged \(umaze\)"):
        model_folder("atlantis")
