"""What an ensemble costs, and what it is worth: one reward and five side by side on U-Maze.

The preset ``umaze`` on task ``corner``, from the packaged diffuser, for each seed of demonstrations
and of learning once as one reward and once as an ensemble. Seconds are of one processor core, so
that other work on the machine does not count. Printed is one JSON object: the medians and their
ratio, the ERC distance over whole play episodes (0 is best) of one reward, of the ensemble and of
its members by themselves, how much the members agree, and how far they are apart over the play
data and where it never went.

    .venv/bin/python benchmarks/ensemble.py            # about six minutes
    .venv/bin/python benchmarks/ensemble.py --quick    # shows that it runs
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from trailward import Dataset, Diffuser, LearntReward, learn_reward, model_folder
from trailward.cli.presets import PRESETS
from trailward.environments.pointmaze.environment import standing_states
from trailward.environments.pointmaze.maze import parse_maze
from trailward.environments.pointmaze.recipes import collect_demonstrations, collect_play
from trailward.environments.pointmaze.tasks import CornerTask
from trailward.judging.erc import episode_return_correlation
from trailward.learning.disagreement import agreement, disagreement, members
from trailward.rewards import EnsembleSettings

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Benchmark:
    """One reward and an ensemble, side by side."""

    out: Path = Path("runs/benchmark-ensemble")
    """Folder of the rewards; begun anew each time."""
    members: int = 5
    """Of the ensemble."""
    num_seeds: int = 3
    """How many seeds, each of demonstrations and learning."""
    quick: bool = False
    """One seed, few steps."""


def main(benchmark: Benchmark) -> None:
    """Learn both with every seed, judge them, print what came of it."""
    torch.set_num_threads(1)
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    shutil.rmtree(out, ignore_errors=True)
    task = CornerTask(parse_maze("umaze"))
    num_steps = 20_000 if benchmark.quick else 200_000
    play = Dataset(collect_play(task.maze, num_steps=num_steps, seed=77))
    found: list[Figures] = []
    for seed in range(1 if benchmark.quick else benchmark.num_seeds):
        shown = Dataset(collect_demonstrations(task, num_episodes=9, seed=1 + seed))
        one, seconds_one = learn(benchmark, shown, out / f"one-{seed}", 1, seed)
        folder = out / f"ensemble-{seed}"
        ensemble, seconds = learn(benchmark, shown, folder, benchmark.members, seed)
        found.append(
            {
                "seconds_one": seconds_one,
                "seconds_ensemble": seconds,
                "erc_one": erc(one, task, play),
                "erc_ensemble": erc(ensemble, task, play),
                "erc_members": float(np.mean([erc(m, task, play) for m in members(ensemble)])),
                **sureness(ensemble, task, play),
            }
        )
    print(json.dumps(result(benchmark, found)))


def learn(
    benchmark: Benchmark, shown: Dataset, folder: Path, num_members: int, seed: int
) -> tuple[LearntReward, float]:
    """A reward, and the seconds of a processor core that learning it took."""
    settings = PRESETS["umaze"].quick() if benchmark.quick else PRESETS["umaze"]
    began = time.process_time()
    learnt = learn_reward(
        Diffuser.load(model_folder("umaze")),
        shown,
        folder,
        reward=(
            settings.reward
            if num_members == 1
            else EnsembleSettings(member=settings.reward, num_members=num_members)
        ),
        sampling=settings.sampling,
        config=replace(
            settings.learning,
            seed=seed,
            selection=replace(settings.learning.selection, patience=settings.learning.num_steps),
        ),
    )
    return learnt, time.process_time() - began


def erc(learnt: LearntReward, task: CornerTask, play: Dataset) -> float:
    """ERC distance over whole episodes of play data."""
    ours = np.array([learnt.mean_reward(episode) for episode in play.episodes])
    true = np.array([task.observation_rewards(e.observations).mean() for e in play.episodes])
    return episode_return_correlation(ours, true).distance.value


def sureness(ensemble: LearntReward, task: CornerTask, play: Dataset) -> Figures:
    """Agreement over play data; disagreement there and at rest in the maze's walls."""
    seen = np.concatenate([episode.observations for episode in play.episodes])
    states, wall = standing_states(task.maze, 4)
    there, beyond = (
        float(disagreement(ensemble, where, reference=seen).mean())
        for where in (seen, states[wall])
    )
    return {
        "agreement": agreement(ensemble, seen),
        "disagreement_on_play": there,
        "disagreement_in_walls": beyond,
    }


def result(benchmark: Benchmark, found: Sequence[Figures]) -> dict[str, float]:
    """Medians of seconds and their ratio, means of all else."""
    shown = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    for key in ("seconds_one", "seconds_ensemble"):
        shown[key] = float(np.median([each[key] for each in found]))
    ratio = shown["seconds_ensemble"] / shown["seconds_one"]
    return {"cost_ratio": ratio, "members": benchmark.members, **shown}


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
