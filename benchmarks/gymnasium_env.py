"""Hopper-v5 and Walker2d-v5 by the command line alone: a table, then one JSON object as last line.

No code of ours knows these environments. For each: a ladder of policies is trained with
``trailward policies`` (or taken from ``--policies``), a diffuser is trained on a mixture of theirs,
and for each seed a reward is learnt from demonstrations of the best policy, judged on play data
that the diffuser has not seen, and reported. The settings are those of the preset ``halfcheetah``
unless a flag says otherwise; nothing is chosen by the true reward. Beside it stands behavioural
cloning of the same demonstrations. With ``--out-of-support`` the best policy demonstrates, but
play data has nothing of it (key ``hopper_out_of_support``); ``best_play_return`` is then that of
the second best. Finished parts are kept (``--out``).

    .venv/bin/python benchmarks/gymnasium_env.py                     # the full thing: hours
    .venv/bin/python benchmarks/gymnasium_env.py --out-of-support    # the same for that
    .venv/bin/python benchmarks/gymnasium_env.py --quick             # shows that it runs
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from trailward.acting.rollout import rollout
from trailward.baselines.behavioural_cloning import clone
from trailward.cli.main import main as trailward
from trailward.cli.presets import PRESETS
from trailward.data.dataset import read_dataset
from trailward.environments import find_environment
from trailward_benchmark.jobs import kept, mean, spread

ENVIRONMENTS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
PRESET = "halfcheetah"
KEYS = ("return_fraction", "erc_episodes", "bc_return", "return", "demonstrator_return")


@dataclass(frozen=True)
class Benchmark:
    """Hopper-v5 and Walker2d-v5, over seeds."""

    out: Path = Path("runs/benchmark-gymnasium")
    """Folder of everything made; finished parts are kept."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of demonstrations, learning and evaluation."""
    policies: Path | None = None
    """Folder with a ladder for each environment, such as hopper/ladder; trained if not given."""
    demonstrations: int = 1
    """Number of demonstrations."""
    training_steps: int | None = None
    """Gradient steps of the diffuser, in place of the preset's."""
    weight_decay: float | None = None
    """Of the reward, in place of the preset's."""
    demonstration_share: float | None = None
    """Of demonstrations in fine-tuning, in place of the preset's."""
    environments: tuple[str, ...] = tuple(ENVIRONMENTS)
    """Which of them."""
    out_of_support: bool = False
    """Whether play data has nothing of the best policy."""
    quick: bool = False
    """One seed, next to no training."""


def main(benchmark: Benchmark) -> None:
    """Run every environment and seed, and print what they show."""
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
    seeds = benchmark.seeds[:1] if benchmark.quick else benchmark.seeds
    result: dict[str, Any] = {}
    table = Table("mean over seeds (lowest to highest)", *benchmark.environments)
    found: dict[str, list[dict[str, float]]] = {}
    for name in benchmark.environments:
        key = f"{name}_out_of_support" if benchmark.out_of_support else name
        place = _prepare(benchmark, name, out / key)
        cells = found[key] = [_cell(benchmark, place, seed) for seed in seeds]
        more = sorted(set(cells[0]) - set(KEYS))
        result[key] = {each: mean(cells, each) for each in (*KEYS, *more)}
        result[key]["by_seed"] = {each: [cell[each] for cell in cells] for each in KEYS}
    for key in KEYS:
        table.add_row(key, *(spread([cell[key] for cell in cells]) for cells in found.values()))
    Console(width=110).print(table)
    facts = {
        "num_demonstrations": benchmark.demonstrations,
        "seeds": list(seeds),
        "training_steps": benchmark.training_steps,
        "weight_decay": benchmark.weight_decay,
        "demonstration_share": benchmark.demonstration_share,
    }
    print(json.dumps(result | facts))


@dataclass(frozen=True)
class Place:
    """An environment with what all seeds share."""

    id: str
    folder: Path
    ladder: Path

    @property
    def diffuser(self) -> Path:
        """Trained on the play data."""
        return self.folder / "diffuser"

    @property
    def runner_up(self) -> Path:
        """Episodes of the second best policy, where the best is not in the play data."""
        return self.folder / "runner-up-v0"

    @property
    def judged(self) -> Path:
        """Play data that the diffuser has not seen."""
        return self.folder / "judged-v0"


def _prepare(benchmark: Benchmark, name: str, folder: Path) -> Place:
    """The ladder, play data and the diffuser."""
    what = "play" if benchmark.out_of_support else "mixture"
    env_id = ENVIRONMENTS[name]
    if benchmark.policies is None:
        ladder = folder / "policies" / "ladder"
        sizes = _QUICK_POLICIES if benchmark.quick else ("--num-policies=8",)
        if not ladder.exists():
            _run("policies", f"--env={env_id}", f"--out={folder}/policies", *sizes)
    else:
        ladder = benchmark.policies / name / "ladder"
    place = Place(env_id, folder, ladder)
    steps = (2_000, 1_000) if benchmark.quick else (300_000, 200_000)
    for data, num_steps, seed in (("play-v0", steps[0], 0), ("judged-v0", steps[1], 77)):
        _collect(place, what, folder / data, f"--num-steps={num_steps}", f"--seed={seed}")
    if benchmark.out_of_support:
        _collect(place, "runner-up", place.runner_up, "--num-episodes=20", "--seed=78")
    train = ["--training.num-steps=20", "--training.num-warmup=1"] if benchmark.quick else []
    if benchmark.training_steps is not None:
        train = [f"--training.num-steps={benchmark.training_steps}"]
    _run(
        "train", f"--preset={PRESET}", f"--play={folder}/play-v0", f"--out={place.diffuser}", *train
    )  # fmt: skip
    return place


_QUICK_POLICIES = (
    "--num-steps=2000", "--snapshot-every=1000", "--num-random-steps=500", "--num-updates=1",
    "--num-evaluated=2", "--num-policies=3", "--num-replay=5000", "--width=32",
)  # fmt: skip
_QUICK_LEARN = (
    "--learning.num-steps=4", "--learning.selection.evaluate-every=2",
    "--learning.fine-tuning.num-steps=4",
)  # fmt: skip
_QUICK_EVALUATE = ("--evaluation.num-episodes=3", "--evaluation.num-windows=300")


def _cell(benchmark: Benchmark, place: Place, seed: int) -> dict[str, float]:
    """Learn, judge and report one reward."""
    count = benchmark.demonstrations
    folder, shown = place.folder / f"{count}-{seed}", place.folder / f"expert-{count}-{seed}-v0"
    figures = lambda: _judged(benchmark, place, seed, folder, shown)
    return kept(folder / "cell.json", figures, {"changes": _changes(benchmark)})


def _judged(
    benchmark: Benchmark, place: Place, seed: int, folder: Path, shown: Path
) -> dict[str, float]:
    count = benchmark.demonstrations
    _collect(place, "expert", shown, f"--num-episodes={count}", f"--seed={1 + seed}")
    given = [f"--demonstrations={shown}", f"--play={place.judged}", f"--diffuser={place.diffuser}"]
    reward, evaluation = f"--reward={folder}/reward", f"{folder}/evaluation"
    _run(
        "learn", f"--preset={PRESET}", *given, f"--out={folder}/reward",
        f"--learning.seed={seed}", *_changes(benchmark), *(_QUICK_LEARN if benchmark.quick else ()),
    )  # fmt: skip
    starts = PRESETS[PRESET].evaluation.with_seed(seed)
    _run(
        "evaluate", f"--preset={PRESET}", f"--env={place.id}", *given, reward,
        f"--policies={place.ladder}", f"--out={evaluation}", f"--evaluation.seed={starts.seed}",
        *(_QUICK_EVALUATE if benchmark.quick else ()),
    )  # fmt: skip
    _run("report", f"--evaluation={evaluation}", reward, f"--out={folder}/report")
    found = json.loads(Path(evaluation, "evaluation.json").read_text(encoding="utf-8"))
    figures = _figures(found) | {"bc_return": _cloned(place, shown, found, seed)}
    if benchmark.out_of_support:
        figures["best_play_return"] = float(read_dataset(place.runner_up).returns.mean())
    return figures


def _changes(benchmark: Benchmark) -> list[str]:
    """Flags of ``trailward learn`` for settings that are not the preset's."""
    given = {
        "learning.weight-decay": benchmark.weight_decay,
        "learning.fine-tuning.demonstration-share": benchmark.demonstration_share,
    }
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def _figures(found: dict[str, Any]) -> dict[str, float]:
    returns, fraction = found["return"], found["return_fraction"]
    by_return = found.get("erc_by_return", {})
    return {
        "return_fraction": float("nan") if fraction is None else fraction["value"],
        "erc_episodes": found["erc_episodes"]["distance"]["value"],
        "return": returns["learnt"]["value"],
        "unguided_return": returns["unguided"]["value"],
        "demonstrator_return": returns["demonstrator"]["value"],
        **{f"erc_{name}": erc["distance"]["value"] for name, erc in by_return.items()},
        "erc_windows": found["erc_windows"]["distance"]["value"],
        "step_pearson": (found["step_pearson"] or {"value": float("nan")})["value"],
    }


def _cloned(place: Place, shown: Path, found: dict[str, Any], seed: int) -> float:
    """The return of behavioural cloning from the same starts, until each episode ends."""
    policy = clone(read_dataset(shown), seed=seed, num_epochs=50)
    environment, judged = find_environment(place.id), found["evaluation"]
    starts = range(judged["seed"], judged["seed"] + judged["num_episodes"])
    envs = [environment.make(episode_steps=judged["episode_steps"]) for _ in starts]
    task = environment.task()
    episodes = rollout(envs, policy, seeds=starts)
    return float(np.mean([task.step_rewards(episode).sum() for episode in episodes]))


def _collect(place: Place, what: str, out: Path, *flags: str) -> None:
    if not out.exists():
        ladder = f"--policies={place.ladder}"
        _run("collect", f"--env={place.id}", f"--what={what}", ladder, f"--out={out}", *flags)


def _run(*arguments: str) -> None:
    if trailward(arguments) != 0:
        raise SystemExit(f"trailward {' '.join(arguments)} failed; see above")


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
