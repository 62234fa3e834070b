"""`trailward fit` on recordings that others made: does the learnt reward know the unseen ones?

Five public scenes of people walking: for each exit by which at least 15 people leave, 5 of them are
demonstrations, everybody is play data, and the others who leave by it are ranked against those who
do not. Flights: 5 that land at an airport against the rest. HalfCheetah: 5 episodes of one policy
of others against those of 31 more. Each several times, with other demonstrations.

The folder holds ``pedestrians/{eth,hotel,zara01,zara02,zara03}.csv`` (columns id, time, x, y: the
scenes of ETH and UCY, as in StanfordASL/Trajectron-plus-plus), ``flights.csv`` with
``flights_landing.txt`` (samples of the package ``traffic``) and ``halfcheetah_policies.npz`` with
its ``.json`` (plain weights). What is missing is said, and a made-up hall stands in for it.

Printed are a table and then one JSON object. The keys of a data set: ``auc_learnt`` (the learnt
reward, by the reading that cross-validation chooses), ``auc_naive`` (the best naive map, chosen in
the same way), ``auc_regression`` (logistic regression with rates), ``auc_end_density`` (which of
the same plans end where demonstrations ended, without a reward), ``auc_kept`` (what ``fit`` keeps),
the same of first halves of tracks, ``difference`` (learnt minus naive: mean, low, high, paired by
draw), ``difference_end_density`` (learnt minus that), ``coverage`` (share of draws in which the
95% interval that ``fit`` tells holds ``auc_learnt``), ``interval_width`` (its mean), ``peak_off_m``
(median distance of the map's peak from the exit), ``minutes`` (of a fit).

What is done is kept in ``--out``: stopped and run again, it goes on with the next draw.

    .venv/bin/python benchmarks/real.py --data FOLDER            # about an hour on two cores
    .venv/bin/python benchmarks/real.py --data FOLDER --quick    # shows that it runs
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from scipy.cluster.hierarchy import fcluster, linkage

from trailward import Dataset, Episode, read_dataset
from trailward.data.episode import Columns
from trailward.data.tracks import with_rates
from trailward.fitting.choices import choose
from trailward.fitting.fit import Fitted, Prepared, Recordings, judge_demonstrations, prepare
from trailward.fitting.map import draw_map, find_place
from trailward.judging.cross_validation import auc
from trailward.judging.naive import REGRESSION
from trailward.judging.unnamed import above_unlike
from trailward.running.files import write_json

SCENES = ("zara01", "eth", "hotel", "zara02", "zara03")
LEAST_LEAVERS, EXIT_SIZE, NUM_SHOWN = 15, 3.0, 5
TARGETS = ("zoo_ppo", "zoo_sac", "trpo_iter0000040", "trpo_iter0000200", "trpo_iter0000500")
"""Policies that are demonstrated; all are play data."""
PARTS = {"": "whole", "_first_half": "first half"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Goal:
    """Tracks that have the same aim, and where it is if that is known."""

    members: np.ndarray
    place: np.ndarray | None = None


@dataclass(frozen=True)
class Benchmark:
    """Real recordings, by `fit` as it comes."""

    data: Path | None = None
    """Folder of the recordings; see above."""
    out: Path = Path("runs/benchmark-real")
    """Folder of the diffusers and of finished draws; run again, it goes on."""
    only: tuple[str, ...] = ()
    """Data sets, such as zara01, flights or halfcheetah; all if none is named."""
    num_draws: int = 5
    """Draws of demonstrations for each exit."""
    minutes: float = 10.0
    """That a fit may take."""
    apart: bool = False
    """Whether half of the tracks are kept out of the play data too, and the judging is on them."""
    quick: bool = False
    """One draw, next to no training, a made-up hall only unless --only says otherwise."""


def main(benchmark: Benchmark) -> None:
    """Run every data set and print what was found."""
    names = benchmark.only or (*SCENES, "flights", "halfcheetah")
    if benchmark.quick:
        names, draws, minutes = benchmark.only or ("hall",), 1, 0.1
        benchmark = replace(benchmark, num_draws=draws, minutes=minutes)
    found = {}
    for name in names:
        data, goals, is_real = load(benchmark.data, name)
        label = name if is_real else f"{name} (made up)"
        part = name + "-apart" * benchmark.apart
        done = benchmark.out / part / f"done-{benchmark.num_draws}-draws.json"
        if not done.exists():
            write_json(done, judge(benchmark, name, data, goals))
        found[label] = json.loads(done.read_text())
        print(row(label, found[label]), flush=True)
    print(json.dumps(found))


def load(folder: Path | None, name: str) -> tuple[Dataset, list[Goal], bool]:
    """A data set, what is aimed at in it, and whether it was recorded by others."""
    needed = {
        "flights": ("flights.csv", "flights_landing.txt"),
        "halfcheetah": ("halfcheetah_policies.npz", "halfcheetah_policies.json"),
    }.get(name, (f"pedestrians/{name}.csv",))
    missing = [file for file in needed if folder is None or not (folder / file).is_file()]
    if missing or folder is None:
        if name != "hall":
            print(f"{name}: {', '.join(missing)} not in --data {folder}; a made-up hall stands in")
        data = hall(seed=sum(map(ord, name)))
        return data, exits(data), False
    if name == "halfcheetah":
        return *cheetahs(folder), True
    data = without_blinks(read_dataset(folder / needed[0]))
    if name == "flights":
        return data, [Goal(landing(folder, data))], True
    return data, exits(data), True


def without_blinks(data: Dataset) -> Dataset:
    """Tracks of at least four rows: shorter ones have no halves."""
    kept = [episode for episode in data.episodes if len(episode) > 2]
    return replace(data, episodes=kept, attributes={})


def exits(data: Dataset) -> list[Goal]:
    """Clusters of the places where tracks end (average linkage), with enough who leave there."""
    ends = np.array([episode.observations[-1] for episode in data.episodes])
    cluster = fcluster(linkage(ends, "average"), EXIT_SIZE, "distance")
    found = [np.flatnonzero(cluster == number) for number in np.unique(cluster)]
    return [Goal(who, ends[who].mean(0)) for who in found if len(who) >= LEAST_LEAVERS]


def landing(folder: Path, data: Dataset) -> np.ndarray:
    """The numbers of the tracks of flights that land at the main airport."""
    rows = np.genfromtxt(folder / "flights.csv", delimiter=",", skip_header=1)
    ids, firsts, lengths = np.unique(rows[:, 0], return_index=True, return_counts=True)
    ids = ids[np.argsort(firsts)][lengths[np.argsort(firsts)] > 3]
    if len(ids) != len(data.episodes):
        raise ValueError(f"flights.csv has {len(ids)} ids, {len(data.episodes)} tracks were read")
    return np.flatnonzero(np.isin(ids, np.loadtxt(folder / "flights_landing.txt")))


def cheetahs(folder: Path, *, num_episodes: int = 12, num_steps: int = 150) -> tuple:
    """Episodes of every policy, and of each target those that it made."""
    weights = np.load(folder / "halfcheetah_policies.npz")
    facts = json.loads((folder / "halfcheetah_policies.json").read_text())
    environment = gymnasium.make("HalfCheetah-v5")
    episodes, makers = [], []
    for number, name in enumerate(facts):
        for run in range(num_episodes):
            seed = 1000 * number + run
            generator = np.random.default_rng(seed)
            observation, _ = environment.reset(seed=seed)
            observations, actions = [observation], []
            for _ in range(num_steps):
                action = act(weights, facts[name], name, observation)
                action = np.clip(action + 0.1 * generator.standard_normal(len(action)), -1, 1)
                observation = environment.step(action)[0]
                observations.append(observation)
                actions.append(action)
            episodes.append(Episode(np.array(observations), np.array(actions)))
            makers.append(name)
    found = [Goal(np.flatnonzero(np.array(makers) == target)) for target in TARGETS]
    return Dataset(episodes), found


def act(weights, facts: dict, name: str, observation: np.ndarray) -> np.ndarray:
    """The action of a policy that is a plain network."""
    hidden = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "none": lambda x: x}
    x = (observation - weights[f"{name}/obs_mean"]) / weights[f"{name}/obs_std"]
    if facts["obs_clip"]:
        x = np.clip(x, -facts["obs_clip"], facts["obs_clip"])
    for layer in range(facts["n_layers"]):
        x = weights[f"{name}/W{layer}"] @ x + weights[f"{name}/b{layer}"]
        if layer < facts["n_layers"] - 1:
            x = hidden[facts["hidden"]](x)
    return np.tanh(x) if facts["output"] == "tanh" else np.clip(x, -1, 1)


def hall(*, seed: int, num_tracks: int = 120) -> Dataset:
    """People who cross a hall of 15 by 10 m from one of four doors to another, by a bend."""
    generator = np.random.default_rng(seed)
    doors = np.array([[0.0, 2.0], [0.0, 7.5], [15.0, 3.0], [9.0, 10.0]])
    episodes = []
    for _ in range(num_tracks):
        start, end = generator.permutation(4)[:2]
        way = np.stack([doors[start], generator.normal([7.5, 5.0], 1), doors[end]])
        way = way + generator.normal(0, 0.4, way.shape)
        share = np.linspace(0, 1, int(generator.integers(18, 30)))[:, None]
        path = (1 - share) ** 2 * way[0] + 2 * share * (1 - share) * way[1] + share**2 * way[2]
        episodes.append(Episode(path + generator.normal(0, 0.03, path.shape)))
    return Dataset(episodes, {"time_step": 0.4}, Columns(("x", "y"), (), {"x": "m", "y": "m"}))


def judge(benchmark: Benchmark, name: str, data: Dataset, goals: Sequence[Goal]) -> dict:
    """Every goal with every draw of demonstrations."""
    began = time.monotonic()
    num_known = len(data.episodes)
    if benchmark.apart:
        data, goals, num_known = kept_apart(data, goals)
        name += "-apart"
    some = replace(data, episodes=[data.episodes[track] for track in goals[0].members[:NUM_SHOWN]])
    quick = {"most_steps": 100, "num_plans": 2, "most_rows": 2000} if benchmark.quick else None
    choices, _ = choose(data, some, quick)
    dataset = with_rates(data, choices.time_step) if choices.add_rates else data
    recordings = Recordings(dataset, num_known, (), data.observation_dim)
    folder = benchmark.out / name
    prepared = prepare(recordings, choices, folder, minutes=benchmark.minutes)
    shared, found = time.monotonic() - began, []
    for number, goal in enumerate(goals):
        for draw in range(benchmark.num_draws):
            generator = np.random.default_rng([number, draw])
            known = goal.members[goal.members < num_known]
            if len(known) < NUM_SHOWN:
                continue
            shown = generator.choice(known, NUM_SHOWN, replace=False)
            done = folder / f"goal{number}-draw{draw}-{prepared.diffuser.fingerprint}.json"
            if not done.exists():
                write_json(done, judge_draw(prepared, goal, shown, shared) | {"goal": number})
                print(f"{name}: goal {number}, draw {draw}", file=sys.stderr, flush=True)
            found.append(json.loads(done.read_text()))
    return summary(found)


def kept_apart(data: Dataset, goals: Sequence[Goal]) -> tuple[Dataset, list[Goal], int]:
    """The tracks in another order, and how many of them, the first half, may be learnt from."""
    order = np.random.default_rng(0).permutation(len(data.episodes))
    found = [Goal(np.flatnonzero(np.isin(order, goal.members)), goal.place) for goal in goals]
    return replace(data, episodes=[data.episodes[track] for track in order]), found, len(order) // 2


def judge_draw(prepared: Prepared, goal: Goal, shown: np.ndarray, shared: float) -> dict:
    """What a fit to these demonstrations says of those that it was not shown."""
    began = time.monotonic()
    fitted = judge_demonstrations(prepared, [int(track) for track in shown])
    recordings = prepared.recordings
    count, first = len(recordings.dataset.episodes), recordings.num_known
    judged = np.arange(first if first < count else 0, count)
    unseen = np.setdiff1d(np.intersect1d(goal.members, judged), shown)
    others = np.setdiff1d(judged, goal.members)
    found: dict = {"off": peak_off(fitted, goal), "reading": fitted.learnt, "kept": fitted.kept}
    readings = {"learnt": fitted.learnt, "naive": fitted.naive, "kept": fitted.kept}
    readings |= {"regression": REGRESSION}
    if fitted.ends is not None:
        readings["end_density"] = fitted.ends
    for key, reading in readings.items():
        for suffix, part in PARTS.items():
            scores = fitted.scores(reading, part)
            found[f"auc_{key}{suffix}"] = auc(scores[unseen], scores[others])
    if fitted.validation is not None:
        ranks = (fitted.validation.ranks, fitted.validation.half_ranks)
        for suffix, each in zip(PARTS, ranks, strict=True):
            found[f"ranks{suffix}"] = each[fitted.learnt].tolist()
    return found | {"seconds": time.monotonic() - began + shared}


def peak_off(fitted: Fitted, goal: Goal) -> float | None:
    """How far the peak of the map is from the exit."""
    place = find_place(fitted)
    if goal.place is None or place is None:
        return None
    return float(np.linalg.norm(draw_map(fitted, place, num_resamples=0).peak - goal.place))


def summary(found: Sequence[dict]) -> dict:
    """Means over draws; differences with the interval of a bootstrap over draws."""
    figures: dict[str, Any] = {
        key: float(np.mean([each[key] for each in found]))
        for key in found[0]
        if key.startswith("auc_")
    }
    for suffix in PARTS:
        for key, rival in (("difference", "naive"), ("difference_end_density", "end_density")):
            if f"auc_{rival}" in found[0]:
                gains = [
                    each[f"auc_learnt{suffix}"] - each[f"auc_{rival}{suffix}"] for each in found
                ]
                figures[f"{key}{suffix}"] = with_interval(np.array(gains))
        told = [above_unlike(np.array(each[f"ranks{suffix}"])) for each in found]
        held = [
            interval.low <= each[f"auc_learnt{suffix}"] <= interval.high
            for interval, each in zip(told, found, strict=True)
        ]
        figures[f"coverage{suffix}"] = float(np.mean(held))
        widths = [interval.high - interval.low for interval in told]
        figures[f"interval_width{suffix}"] = float(np.mean(widths))
    off = [each["off"] for each in found if each["off"] is not None]
    return figures | {
        "peak_off_m": float(np.median(off)) if off else None,
        "minutes": float(np.mean([each["seconds"] for each in found]) / 60),
        "draws": len(found),
        "kept_learnt": float(np.mean([each["kept"] == each["reading"] for each in found])),
    }


def with_interval(gains: np.ndarray) -> list[float]:
    """Mean, and the 95% interval of a bootstrap over draws."""
    picks = np.random.default_rng(0).integers(len(gains), size=(2000, len(gains)))
    low, high = np.quantile(gains[picks].mean(1), [0.025, 0.975])
    return [float(gains.mean()), float(low), float(high)]


def row(label: str, found: dict) -> str:
    """A line of the table."""
    aucs = "  ".join(
        f"{key} {found[f'auc_{key}']:.3f}/{found[f'auc_{key}_first_half']:.3f}"
        for key in ("learnt", "naive", "regression", "end_density", "kept")
        if f"auc_{key}" in found
    )
    off = "" if found["peak_off_m"] is None else f"  peak {found['peak_off_m']:.2f} m off"
    held = f"coverage {found['coverage']:.2f} width {found['interval_width']:.2f}"
    return f"{label:<12} {aucs}{off}  {held}  {found['minutes']:.1f} min"


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
