"""Ten million environment steps: how soon training starts, and how much memory all of it takes.

Random walks in two dimensions, with actions, are written as one ``.npz`` file. A process of its own
reads it, trains a small diffuser on it, and learns a reward and a value of the play data, for a few
gradient steps each: what is measured does not grow with their number. The last line is one JSON
object: ``seconds_to_first_step`` is from before that process exists to the end of the first
gradient step, ``peak_memory_gb`` the most that it held.

    .venv/bin/python benchmarks/large_data.py            # ten million steps
    .venv/bin/python benchmarks/large_data.py --quick    # shows that it runs
"""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tyro

EPISODE_STEPS = 500


@dataclass(frozen=True)
class Benchmark:
    """Train and learn on much data."""

    num_steps: int = 10_000_000
    """Environment steps."""
    quick: bool = False
    """A hundred thousand."""


def main(benchmark: Benchmark) -> None:
    """Write the data, run the process, print what it says."""
    num_steps = 100_000 if benchmark.quick else benchmark.num_steps
    spawn = multiprocessing.get_context("spawn")
    told, tell = spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "play.npz", num_steps, seed=0)
        write(Path(name) / "demonstrations.npz", 5 * EPISODE_STEPS, seed=1)
        process = spawn.Process(target=measure, args=(Path(name), time.time(), tell))
        process.start()
        tell.close()
        found = told.recv()
        process.join()
    print(json.dumps({"num_steps": num_steps} | found))


def write(path: Path, num_steps: int, *, seed: int) -> None:
    """Random walks of ``EPISODE_STEPS`` steps, 32 bits."""
    generator = np.random.default_rng(seed)
    count = num_steps // EPISODE_STEPS
    actions = generator.standard_normal((count, EPISODE_STEPS, 2), dtype=np.float32)
    observations = 0.05 * (np.cumsum(actions, axis=1) - actions)
    np.savez(
        path,
        observations=observations.reshape(-1, 2),
        actions=actions.reshape(-1, 2),
        episode_ends=EPISODE_STEPS * np.arange(1, count + 1),
    )


def measure(folder: Path, began: float, tell: Connection) -> None:
    """Train and learn, and tell what it took."""
    from trailward import (
        AdditiveSettings,
        DenoiserConfig,
        LearningConfig,
        PlanSpec,
        SelectionConfig,
        TrainingConfig,
        ValueSchedule,
        learn_reward,
        read_dataset,
        train_diffuser,
    )

    started: list[float] = []
    play = read_dataset(folder / "play.npz")
    diffuser = train_diffuser(
        play,
        PlanSpec(8, 4, play.observation_dim, play.action_dim),
        folder / "diffuser",
        denoiser_config=DenoiserConfig(width=32, depth=1),
        config=TrainingConfig(num_steps=20, num_inverse_dynamics_steps=20),
        report=lambda done, **figures: started.append(time.time()),
    )
    trained = time.time()
    learn_reward(
        diffuser,
        read_dataset(folder / "demonstrations.npz"),
        folder / "reward",
        play=play,
        reward=AdditiveSettings(hidden=(32,)),
        config=LearningConfig(
            num_steps=4,
            selection=SelectionConfig(evaluate_every=2),
            value=ValueSchedule(num_rounds=2),
        ),
    )
    unit = 1 if sys.platform == "darwin" else 1024
    tell.send(
        {
            "seconds_to_first_step": started[0] - began,
            "seconds_to_train": trained - began,
            "seconds_to_learn": time.time() - trained,
            "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9,
        }
    )


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
