"""Whether `gymnasium.vector` makes roll-outs faster than stepping one simulator after the other.

Eight simulators of HalfCheetah-v5, whose episodes do not end by themselves, take random actions, by
each way in turns. Printed is how many times as long as ours the others take (median of five
rounds), then the same as one JSON object.

    .venv/bin/python benchmarks/vectorised.py
"""

import json
import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np

from trailward.acting.named_policy import FunctionPolicy
from trailward.acting.rollout import rollout

ID = "HalfCheetah-v5"
NUM_ENVS, NUM_STEPS, NUM_ROUNDS = 8, 200, 5


def seconds(run: Callable[[], object]) -> float:
    """What a run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Measure the three ways in turns."""
    make = lambda: gymnasium.make(ID)
    envs = [make() for _ in range(NUM_ENVS)]
    vectors = {
        "sync": gymnasium.vector.SyncVectorEnv([make] * NUM_ENVS),
        "async": gymnasium.vector.AsyncVectorEnv([make] * NUM_ENVS),
    }
    low, high = envs[0].action_space.low, envs[0].action_space.high
    draw = np.random.default_rng(0)
    act = lambda seen: draw.uniform(low, high, (len(seen), len(low)))

    def step(vector: gymnasium.vector.VectorEnv) -> None:
        seen, _ = vector.reset(seed=0)
        for _ in range(NUM_STEPS):
            seen = vector.step(act(seen))[0]

    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: rollout(
            envs, FunctionPolicy(act), seeds=range(NUM_ENVS), num_steps=NUM_STEPS
        ),
        **{way: lambda vector=vector: step(vector) for way, vector in vectors.items()},
    }
    found = {way: [] for way in ways}
    for _ in range(NUM_ROUNDS):
        for way, run in ways.items():
            found[way].append(seconds(run))
    pairs = {
        way: [a / b for a, b in zip(found[way], found["ours"], strict=True)] for way in vectors
    }
    ratios = {f"{way}_over_ours": statistics.median(each) for way, each in pairs.items()}
    for way, ratio in ratios.items():
        print(f"{way}: {ratio:.2f}")
    for vector in vectors.values():
        vector.close()
    print(json.dumps({"environment": ID, **ratios}))


if __name__ == "__main__":
    main()
