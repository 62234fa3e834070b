"""The packaged diffusers: small, whole, and good enough to plan with."""

from dataclasses import asdict

import numpy as np
import pytest

from refusals import refused
from trailward.acting.network_policy import ladder_of
from trailward.acting.planner import Planner
from trailward.checkpoint import WEIGHTS, CheckpointError
from trailward.cli.presets import PRESETS
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.pointmaze.maze import Maze, make_env, parse_maze
from trailward.environments.pointmaze.recipes import collect_demonstrations, guided_expert, run_from
from trailward.environments.pointmaze.tasks import CornerTask, parse_task
from trailward.environments.recipes import Mixture
from trailward.judging.dynamics import DynamicsError, dynamics_error
from trailward.pretrained import model_folder, packaged

CORNER = parse_task("corner", parse_maze("umaze"))


@pytest.fixture(scope="module")
def diffuser() -> Diffuser:
    return Diffuser.load(model_folder("umaze"))


def executed(diffuser: Diffuser, maze: Maze, sampling: SamplingConfig) -> DynamicsError:
    """Unguided plans from random starts, and how far off it ends who follows them."""
    starts = collect_demonstrations(CornerTask(maze), num_episodes=20, seed=5, episode_steps=1)
    envs = [make_env(maze) for _ in starts]
    return dynamics_error(
        Planner(diffuser, sampling),
        np.stack([episode.observations[0] for episode in starts]),
        lambda policy, where, count: run_from(envs, policy, where, count),
        entries=(0, 1),
    )


OWN = {
    "umaze": "umaze",
    "large": "large",
    "halfcheetah": "halfcheetah_mixture",
}
"""The diffuser of each preset of ours."""


def test_there_is_one_for_each_environment_with_settings_of_our_own() -> None:
    assert packaged() == ["halfcheetah_mixture", "halfcheetah_play", "large", "umaze"]
    expected = OWN | {"thesis-umaze": None, "thesis-halfcheetah": None}
    assert {name: settings.packaged for name, settings in PRESETS.items()} == expected


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("umaze", 4_000_000),
        ("large", 6_000_000),
        ("halfcheetah_mixture", 6_000_000),
        ("halfcheetah_play", 6_000_000),
    ],
)
def test_it_is_small_and_says_where_it_comes_from(name: str, size: int) -> None:
    assert (model_folder(name) / WEIGHTS).stat().st_size <= size
    provenance = Diffuser.load(model_folder(name)).provenance
    assert provenance["command"].startswith("trailward train ")
    assert provenance["play"]["command"].startswith("trailward collect ")


@pytest.mark.parametrize(("preset", "name"), [*OWN.items(), ("halfcheetah", "halfcheetah_play")])
def test_it_was_trained_with_the_settings_of_its_preset(preset: str, name: str) -> None:
    diffuser, settings = Diffuser.load(model_folder(name)), PRESETS[preset]
    spec = (diffuser.spec.horizon, diffuser.spec.stride, diffuser.spec.with_actions)
    assert spec == (settings.horizon, settings.stride, settings.with_actions)
    assert diffuser.config == settings.denoiser
    trained = diffuser.provenance.get("training", {})
    assert trained == {k: v for k, v in asdict(settings.training).items() if k in trained}


@pytest.mark.parametrize("what", ["mixture", "play"])
def test_those_of_halfcheetah_know_what_they_are_of(what: str) -> None:
    made, asked = (
        Diffuser.load(model_folder(f"halfcheetah_{what}")).provenance,
        PRESETS["halfcheetah"],
    )
    assert made["training"] == asdict(asked.training)
    assert (made["play"]["what"], made["play"]["environment"]) == (what, "HalfCheetah-v5")
    assert isinstance(asked.play, Mixture)
    steps = [policy["step"] for policy in made["play"]["policies"]]
    assert steps == [policy.facts["step"] for policy in ladder_of("HalfCheetah-v5")[:-1]]
    best = made["play"].get("best", {}).get("step")
    assert best == (ladder_of("HalfCheetah-v5")[-1].facts["step"] if what == "mixture" else None)
    assert made["play"]["returns"]["count"] == (309 if what == "mixture" else 300)


def test_its_plans_can_be_executed(diffuser: Diffuser) -> None:
    found = executed(diffuser, CORNER.maze, SamplingConfig())
    assert found.errors.mean() < 0.05  # metres
    assert CORNER.maze.in_wall(found.planned[..., :2]).mean() < 0.02


def test_plans_in_the_large_maze_can_be_executed() -> None:
    large, maze = Diffuser.load(model_folder("large")), parse_maze("large")
    found = executed(large, maze, PRESETS["large"].sampling)
    assert large.spec.stride == 15  # so that the plan step after the first is judged
    assert found.errors[:, 1].mean() < 0.1  # metres
    assert maze.in_wall(found.planned[..., :2]).mean() < 0.03
    lengths = np.linalg.norm(np.diff(found.planned[..., :2], axis=1), axis=-1).sum(1)
    assert lengths.mean() > 3  # they go somewhere


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
    with refused(
        CheckpointError, place="atlantis", value=None, remedy="halfcheetah_mixture, "
    ) as told:
        model_folder("atlantis")
    assert told.value.remedy.endswith("umaze")
