"""`trailward fit` as it comes, in three worlds of other kinds than mazes and gaits.

A thermostat (weather and a clock that nobody moves, one setpoint by day and one by night), a store
that orders goods (discrete actions), and a car that overtakes by changing lanes. Play data is by
policies of all kinds with noise; 5 episodes of a good controller (of the car 10) are the
demonstrations. `fit` gets these two and nothing else: no flag, no preset. Then the planner acts in
the world, from starts that no recording has, beside the demonstrator and a clone: two layers of
256, by regression (for discrete actions by cross-entropy).

With `--strangers` it gets data of U-Maze, Large Maze and HalfCheetah instead, as a stranger would:
files of play data and demonstrations, without a preset. 0 is then the diffuser without the reward,
1 the demonstrator from the same starts (HalfCheetah: the demonstrations).

Printed are a table and then one JSON object. Keys of a world, means over seeds:
``return_fraction`` (1: as the demonstrator; 0: as the play data), ``bc_return_fraction``,
``minutes`` (of a fit), ``by_seed``.

    .venv/bin/python benchmarks/worlds.py            # three worlds, five seeds
    .venv/bin/python benchmarks/worlds.py --quick    # shows that it runs
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.spaces import Box, Discrete

import trailward as tw
from trailward.acting.named_policy import FunctionPolicy
from trailward.acting.planner import Planner, Policy
from trailward.acting.rollout import rollout
from trailward.baselines.plain_clone import plain_clone
from trailward.cli.presets import PRESETS
from trailward.data.choices import named_choices
from trailward.data.episode import Columns
from trailward.fitting.roll_outs import RollOuts
from trailward_benchmark.jobs import kept

NUM_PLAY, NUM_JUDGED = 150, 40


class Thermostat(gymnasium.Env):
    """A room to be kept at 21 degrees by day and 17 by night; a step is half an hour, two days.

    Observed: the air in the room, its walls, the air outside, the sun, and the time of day in
    radians. The action heats, or cools below 0.
    """

    columns = Columns(("room", "walls", "outside", "sun", "clock"), ("heating",))
    observation_space = Box(-np.inf, np.inf, (5,), np.float64)
    action_space = Box(-1.0, 1.0, (1,), np.float64)
    num_steps, num_shown = 96, 5

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Anything between a cold and a hot room, at any time of the day."""
        super().reset(seed=seed)
        draw = self.np_random
        self.age, self.hour = 0, draw.uniform(0, 24)
        self.mean, self.swing, self.cloud = draw.normal(9, 4), draw.uniform(3, 7), draw.uniform()
        self.drift = 0.0
        self.room = draw.uniform(12, 27)
        self.walls = self.room + draw.normal(0, 1)
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        day = np.cos((self.hour - 14) * np.pi / 12)
        self.outside = self.mean + self.swing * day + self.drift
        self.sun = max(0.0, np.cos((self.hour - 13) * np.pi / 12)) * self.cloud
        clock = (self.hour * np.pi / 12 + np.pi) % (2 * np.pi) - np.pi
        return np.array([self.room, self.walls, self.outside, self.sun, clock])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Half an hour; what it is worth is how near the room is to its setpoint."""
        draw, heat = self.np_random, float(np.clip(action[0], -1, 1))
        flow = 0.06 * (self.outside - self.room) + 0.25 * (self.walls - self.room)
        self.walls += 0.08 * (self.room - self.walls) + 0.01 * (self.outside - self.walls)
        self.room += flow + 3.0 * heat + 0.5 * self.sun + 0.05 * draw.standard_normal()
        self.hour = (self.hour + 0.5) % 24
        self.drift = 0.9 * self.drift + 0.4 * draw.standard_normal()
        self.cloud = np.clip(self.cloud + 0.1 * draw.standard_normal(), 0, 1)
        self.age += 1
        miss = abs(self.room - self.setpoint(self.hour))
        return self._seen(), -miss, False, self.age >= self.num_steps, {}

    @staticmethod
    def setpoint(hour: np.ndarray | float) -> np.ndarray:
        """21 degrees from 7 to 22, else 17."""
        return np.where((np.asarray(hour) >= 7) & (np.asarray(hour) < 22), 21.0, 17.0)

    @classmethod
    def towards(cls, seen: np.ndarray, wanted: np.ndarray, gain: float = 1.0) -> np.ndarray:
        """The heating that brings the room to a temperature in a step, or a share of the way."""
        room, walls, outside, sun, _ = seen.T
        flow = 0.06 * (outside - room) + 0.25 * (walls - room) + 0.5 * sun
        return np.clip((gain * (wanted - room) - flow) / 3.0, -1, 1)[:, None]

    @classmethod
    def demonstrate(cls, seen: np.ndarray) -> np.ndarray:
        """To the setpoint of the next step."""
        hour = (seen[:, 4] * 12 / np.pi + 0.5) % 24
        return cls.towards(seen, cls.setpoint(hour))

    @classmethod
    def play(cls, draw: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """Some temperature, changed now and then, by some gain, with noise."""
        wanted, gain, noise = (
            [draw.uniform(13, 26)],
            draw.uniform(0.2, 1.0),
            draw.uniform(0.05, 0.4),
        )

        def act(seen: np.ndarray) -> np.ndarray:
            if draw.uniform() < 0.06:
                wanted[0] = draw.uniform(13, 26)
            heat = cls.towards(seen, np.array(wanted), gain)
            return np.clip(heat + noise * draw.standard_normal(heat.shape), -1, 1)

        return act


class Store(gymnasium.Env):
    """Goods are ordered in lots of 10, up to 50, and arrive two days later; 60 days.

    Observed: what is in stock, what arrives tomorrow and the day after, what was asked for today,
    and how many people walk by, which nobody here can change and which tells the demand.
    """

    columns = named_choices(
        Columns(("stock", "tomorrow", "after", "demand", "passers"), ("order",)), tuple(range(6))
    )
    observation_space = Box(-np.inf, np.inf, (5,), np.float64)
    action_space = Discrete(6)
    num_steps, num_shown = 60, 5

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Any stock, any number of people."""
        super().reset(seed=seed)
        draw = self.np_random
        self.age, self.passers = 0, draw.uniform(20, 80)
        self.stock, self.demand = draw.uniform(0, 120), 0.25 * self.passers
        self.coming = [10.0 * draw.integers(0, 4), 10.0 * draw.integers(0, 4)]
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        return np.array([self.stock, *self.coming, self.demand, self.passers])

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """A day: 1 for each sold, -0.1 a night, -1 for each asked for in vain, -4 an order."""
        draw = self.np_random
        self.stock += self.coming[0]
        self.coming = [self.coming[1], 10.0 * int(action)]
        wanted = max(0.0, 0.25 * self.passers + 2.0 * draw.standard_normal())
        sold = min(self.stock, wanted)
        self.stock = min(self.stock - sold, 200.0)
        self.demand = wanted
        self.passers = float(
            np.clip(50 + 0.95 * (self.passers - 50) + 6 * draw.standard_normal(), 10, 110)
        )
        self.age += 1
        reward = sold - 0.1 * self.stock - (wanted - sold) - 4.0 * (action > 0)
        return self._seen(), reward, False, self.age >= self.num_steps, {}

    @staticmethod
    def up_to(seen: np.ndarray, level: np.ndarray | float) -> np.ndarray:
        """The lots that bring stock and what is on its way up to a level."""
        have = seen[:, :3].sum(1)
        return np.clip(np.round((level - have) / 10), 0, 5).astype(int)

    @classmethod
    def demonstrate(cls, seen: np.ndarray) -> np.ndarray:
        """When there is not enough for three days: for two days more than that, and a reserve."""
        days = 0.25 * seen[:, 4]
        orders = cls.up_to(seen, 5 * days + 5)
        return np.where(seen[:, :3].sum(1) < 3 * days + 5, orders, 0)

    @classmethod
    def play(cls, draw: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """Up to some level, whoever walks by, with errors."""
        level, errors = [draw.uniform(10, 140)], draw.uniform(0.05, 0.5)

        def act(seen: np.ndarray) -> np.ndarray:
            if draw.uniform() < 0.03:
                level[0] = draw.uniform(10, 140)
            orders = cls.up_to(seen, level[0])
            return np.where(draw.uniform(size=len(orders)) < errors, draw.integers(0, 6), orders)

        return act


class Car(gymnasium.Env):
    """Two lanes with slow cars; one who drives fast must change lanes; a step is 0.2 s, 40 s.

    Observed: where across (lanes are at 0 and 1), own speed, and for each lane the way to the next
    car ahead and its speed. Actions: moving across and accelerating.
    """

    columns = Columns(
        ("across", "speed", "gap left", "speed left", "gap right", "speed right"),
        ("across", "accelerate"),
    )
    observation_space = Box(-np.inf, np.inf, (6,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float64)
    num_steps, num_shown, wanted = 200, 10, 12.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Either lane, some speed, cars ahead on both."""
        super().reset(seed=seed)
        draw = self.np_random
        self.age, self.speed = 0, draw.uniform(6, 12)
        self.across = float(draw.integers(0, 2))
        self.gaps = np.array([draw.uniform(15, 60), draw.uniform(15, 60)])
        self.others = draw.uniform(4, 8, 2)
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        pairs = np.stack([np.minimum(self.gaps, 60.0), self.others], 1).ravel()
        return np.array([self.across, self.speed, *pairs])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """What it is worth: speed up to 12 m/s, less for being between lanes or too near."""
        draw, (sideways, push) = self.np_random, np.clip(np.asarray(action), -1, 1)
        self.across = float(np.clip(self.across + 0.15 * sideways, -0.3, 1.3))
        self.speed = float(np.clip(self.speed + 0.8 * push, 0.0, 16.0))
        self.gaps += 0.2 * (self.others - self.speed)
        for lane in range(2):
            if self.gaps[lane] < -8:  # overtaken: another one further ahead
                self.gaps[lane] = draw.uniform(45, 75)
                self.others[lane] = draw.uniform(4, 8)
        lane = int(self.across > 0.5)
        near = -2 < self.gaps[lane] < 4
        if near:
            self.speed = min(self.speed, 0.5 * float(self.others[lane]))
        off = min(abs(self.across), abs(self.across - 1))
        self.age += 1
        reward = 1 - abs(self.speed - self.wanted) / self.wanted - 0.5 * off - 1.0 * near
        return self._seen(), float(reward), False, self.age >= self.num_steps, {}

    @staticmethod
    def steer(seen: np.ndarray, lane: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """To a lane and a speed."""
        sideways = (lane - seen[:, 0]) / 0.3
        return np.clip(np.stack([sideways, (speed - seen[:, 1]) / 1.6], 1), -1, 1)

    @classmethod
    def demonstrate(cls, seen: np.ndarray) -> np.ndarray:
        """12 m/s; into the lane with more room if the next car is near; slower if both are."""
        gaps, here = seen[:, [2, 4]], (seen[:, 0] > 0.5).astype(int)
        rows = np.arange(len(seen))
        free = np.where((gaps > -8) & (gaps < 4), -10.0, gaps)
        gain = free[rows, 1 - here] > free[rows, here] + 4
        lane = np.where((free[rows, here] < 28) & gain, 1 - here, here)
        follow = seen[rows, 3 + 2 * lane] + 0.35 * (free[rows, lane] - 14)
        return cls.steer(seen, lane, np.clip(follow, 0, 12))

    @classmethod
    def play(cls, draw: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """Some lane and some speed, changed now and then, and a foot on the brake; with noise."""
        wanted = [float(draw.integers(0, 2)), draw.uniform(3, 14)]
        noise, careful = draw.uniform(0.05, 0.5), draw.uniform() < 0.7

        def act(seen: np.ndarray) -> np.ndarray:
            if draw.uniform() < 0.04:
                wanted[0] = float(draw.integers(0, 2))
            if draw.uniform() < 0.04:
                wanted[1] = draw.uniform(3, 14)
            speed = np.full(len(seen), wanted[1])
            if careful:
                lane = int(seen[0, 0] > 0.5)
                gap = seen[:, 2 + 2 * lane]
                follow = seen[:, 3 + 2 * lane] + 0.35 * (gap - 9)
                speed = np.where((gap < 20) & (gap > -2), np.minimum(speed, follow), speed)
            acts = cls.steer(seen, np.full(len(seen), wanted[0]), speed)
            return np.clip(acts + noise * draw.standard_normal(acts.shape), -1, 1)

        return act


STRANGERS = {
    "umaze": ("umaze", "corner"),
    "large": ("large", "goal:3,2"),
    "halfcheetah": ("halfcheetah", None),
}
"""A preset whose recipes record the data, and a task if it has several."""

WORLDS: Mapping[str, Any] = {"thermostat": Thermostat, "store": Store, "car": Car}


@dataclass(frozen=True)
class Benchmark:
    """Three worlds, by `fit` as it comes."""

    out: Path = Path("runs/benchmark-worlds")
    """Folder of everything made; finished seeds are kept."""
    only: tuple[str, ...] = ()
    """Worlds, such as thermostat; all if none is named."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the recordings, of fitting and of the clone."""
    minutes: float = 10.0
    """That a fit may take."""
    strangers: bool = False
    """Whether to fit data of mazes and HalfCheetah, without their presets; 15 minutes each."""
    quick: bool = False
    """One seed, next to no training."""


def main(benchmark: Benchmark) -> None:
    """Every world and seed, and what they show."""
    seeds = benchmark.seeds[:1] if benchmark.quick else benchmark.seeds
    found: dict[str, dict[str, Any]] = {}
    for name in benchmark.only or tuple(STRANGERS if benchmark.strangers else WORLDS):
        each = [judge(benchmark, name, seed) for seed in seeds]
        keys = [key for key, value in each[0].items() if isinstance(value, float)]
        found[name] = {key: float(np.mean([one[key] for one in each])) for key in keys}
        found[name]["by_seed"] = {key: [one[key] for one in each] for key in keys}
        told = "  ".join(f"{key} {found[name][key]:.2f}" for key in keys)
        print(f"{name:<12} {told}", flush=True)
    print(json.dumps(found | {"seeds": list(seeds)}))


def judge(benchmark: Benchmark, name: str, seed: int) -> dict[str, Any]:
    """One fit, and what it leads to in the world."""
    folder = benchmark.out / ("quick" if benchmark.quick else "full") / f"{name}-{seed}"
    judge = judge_stranger if name in STRANGERS else judge_world
    torch.set_num_threads(1)
    return kept(folder / "judged.json", lambda: judge(benchmark, name, seed, folder))


def judge_world(benchmark: Benchmark, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One fit to recordings of a world, and what it leads to there."""
    world = WORLDS[name]
    play, shown = record(world, seed, 20 if benchmark.quick else NUM_PLAY)
    quick = {"most_steps": 20, "num_plans": 1, "most_rows": 500} if benchmark.quick else {}
    began = time.monotonic()
    minutes = 0.2 if benchmark.quick else benchmark.minutes
    overrides = {"seed": seed} | quick
    fitted = tw.fit(play, shown, folder, minutes=minutes, overrides=overrides)
    spent = (time.monotonic() - began) / 60
    planner = Planner.for_reward(fitted.reward, fitted.prepared.diffuser, seed=seed)
    policies: dict[str, Policy] = {
        "demonstrator": FunctionPolicy(world.demonstrate),
        "learnt": planner,
        "bc": plain_clone(shown, seed=seed),
    }
    returns = {who: mean_return(world, policy, seed) for who, policy in policies.items()}
    floor = float(play.returns.mean())
    span = returns["demonstrator"] - floor
    return {
        "return_fraction": (returns["learnt"] - floor) / span,
        "bc_return_fraction": (returns["bc"] - floor) / span,
        "minutes": spent,
        "returns": returns | {"play": floor},
    }


def judge_stranger(benchmark: Benchmark, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One fit to data as a preset records it, but without the preset."""
    minutes = 0.2 if benchmark.quick else 15.0
    folder.mkdir(parents=True, exist_ok=True)
    preset, task = STRANGERS[name]
    settings = PRESETS[preset]
    recipe = (
        settings.demonstrations if task is None else replace(settings.demonstrations, task=task)
    )
    play, shown = folder / "play-v0", folder / "shown-v0"
    for path, what in ((play, settings.play), (shown, recipe)):
        if not path.exists():
            tw.write_dataset(what.record(settings.environment, seed=seed), path)
    began = time.monotonic()
    fitted = tw.fit(
        tw.read_dataset(play),
        tw.read_dataset(shown),
        folder / "fit",
        minutes=minutes,
        overrides={"seed": seed},
        roll_outs=RollOuts(settings.environment, task),
    )
    returns = {who: each["value"] for who, each in (fitted.roll_outs or {})["return"].items()}
    best = "demonstrator" if "demonstrator" in returns else "demonstrations"
    span = returns[best] - returns["unguided"]
    fraction = (returns["learnt"] - returns["unguided"]) / span
    spent = (time.monotonic() - began) / 60
    return {"return_fraction": fraction, "minutes": spent, "returns": returns}


def record(world: Any, seed: int, num_play: int) -> tuple[tw.Dataset, tw.Dataset]:
    """Play data, each episode by a policy of its own, and demonstrations."""
    found = []
    for run in range(num_play):
        policy = FunctionPolicy(world.play(np.random.default_rng([seed, run])))
        found += rollout([world()], policy, seeds=[100_000 + 1000 * seed + run])
    starts = [500_000 + 1000 * seed + run for run in range(world.num_shown)]
    shown = rollout([world() for _ in starts], FunctionPolicy(world.demonstrate), seeds=starts)
    return tw.Dataset(found, {}, world.columns), tw.Dataset(shown, {}, world.columns)


def mean_return(world: Any, policy: Policy, seed: int) -> float:
    """From starts that no recording has."""
    starts = [900_000 + 1000 * seed + run for run in range(NUM_JUDGED)]
    episodes = rollout([world() for _ in starts], policy, seeds=starts)
    return float(tw.Dataset(episodes).returns.mean())


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
