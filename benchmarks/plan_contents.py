"""Plans over states only, or with the actions between, in Large Maze: which are the better ones?

Two diffusers that differ in nothing else are trained for as many gradient steps on the same play
data, and their unguided plans are followed to the end. A table by plan contents is printed as one
JSON object: seconds of training, share of plan points in walls, and the distance between planned
and executed position after one plan step (15 environment steps), metres.

    .venv/bin/python benchmarks/plan_contents.py     # about two minutes
"""

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from trailward import Dataset, Planner, PlanSpec, train_diffuser
from trailward.cli.presets import PRESETS
from trailward.environments.pointmaze.maze import make_env, parse_maze
from trailward.environments.pointmaze.recipes import collect_play, run_from
from trailward.judging.dynamics import dynamics_error, windows_of
from trailward.learning.config import PlanningConfig


@dataclass(frozen=True)
class Benchmark:
    """What a plan holds, compared."""

    out: Path = Path("runs/benchmark-plan-contents")
    """Folder of the diffusers; begun anew each time."""
    num_steps: int = 700
    """Gradient steps of each."""
    num_play_steps: int = 200_000
    """Environment steps of play data."""


def main(benchmark: Benchmark) -> None:
    """Train both, follow their plans, print what came of it."""
    shutil.rmtree(benchmark.out, ignore_errors=True)
    settings, maze = PRESETS["large"], parse_maze("large")
    play = Dataset(collect_play(maze, num_steps=benchmark.num_play_steps, seed=77))
    envs = [make_env(maze) for _ in range(50)]
    starts = windows_of(play.episodes, length=1, count=100, seed=9)[:, 0]
    training = replace(settings.training, num_steps=benchmark.num_steps, num_warmup=100)
    found = {}
    for name, with_actions in (("states", False), ("states_and_actions", True)):
        began = time.perf_counter()
        diffuser = train_diffuser(
            play,
            PlanSpec(settings.horizon, settings.stride, 4, 2, with_actions),
            benchmark.out / name,
            denoiser_config=settings.denoiser,
            config=training,
        )
        seconds = time.perf_counter() - began
        followed = dynamics_error(
            Planner(diffuser, settings.sampling, planning=PlanningConfig(replan_every=1)),
            starts,
            lambda policy, where, count: run_from(envs, policy, where, count),
            entries=(0, 1),
        )
        found[name] = {
            "train_seconds": seconds,
            "wall_fraction": float(maze.in_wall(followed.planned[..., :2]).mean()),
            "dynamics_error_15": float(followed.errors[:, 1].mean()),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
