"""What held-out demonstrations say of the guide's scale: a table, then one JSON object.

For every reward that ``benchmarks/large_maze.py`` has learnt: the energy distance between the
demonstration that was held out and plans from its observations, for several scales of the guide.
No true reward is read. ``best`` is the scale of the lowest mean distance. The rewards were learnt
at one scale, the preset's, and suit it: this tells whether another would plan better with them,
not which one to learn with.

    .venv/bin/python benchmarks/large_maze.py && .venv/bin/python benchmarks/guide_scale.py
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from trailward import Dataset, Diffuser, LearntReward, Windows, model_folder, read_dataset
from trailward.matching import matching_loss
from trailward.objective import EnergyDistance

SCALES = (0.0, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
_NUM_PLANS = 128


@dataclass(frozen=True)
class Benchmark:
    """Scales of the guide, judged by held-out demonstrations."""

    rewards: Path = Path("runs/benchmark-large/full")
    """Where ``benchmarks/large_maze.py`` left its rewards."""


def main(benchmark: Benchmark) -> None:
    """Judge every scale for every reward."""
    diffuser = Diffuser.load(model_folder("large"))
    folders = sorted(benchmark.rewards.glob("*/reward"))
    if not folders:
        raise SystemExit(f"{benchmark.rewards} holds no rewards; run benchmarks/large_maze.py")
    distances = np.array([_distances(diffuser, folder) for folder in folders])
    table = Table("reward", *map(str, SCALES), title="held-out energy distance by guide scale")
    for folder, row in zip(folders, distances, strict=True):
        table.add_row(folder.parent.name, *(f"{value:.3f}" for value in row))
    mean = distances.mean(0)
    table.add_row("mean", *(f"{value:.3f}" for value in mean))
    Console(width=110).print(table)
    by_scale = {str(scale): float(value) for scale, value in zip(SCALES, mean, strict=True)}
    print(json.dumps({"best": SCALES[int(mean.argmin())], "mean_distance": by_scale}))


def _distances(diffuser: Diffuser, folder: Path) -> list[float]:
    learnt = LearntReward.load(folder)
    demonstrations = read_dataset(folder.parents[1] / f"demonstrations-{folder.parent.name}-v0")
    windows = Windows(Dataset(demonstrations.episodes[-1:]), diffuser.spec)
    picks = windows.draw(_NUM_PLANS, torch.Generator().manual_seed(0))
    with torch.no_grad():
        return [
            matching_loss(
                diffuser,
                learnt.guide_model,
                windows,
                picks,
                objective=EnergyDistance(),
                sampling=replace(learnt.sampling, scale=scale),
                generator=torch.Generator().manual_seed(1),
            ).item()
            for scale in SCALES
        ]


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
