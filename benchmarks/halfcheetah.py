"""The figures on HalfCheetah: a table, then one JSON object as the last line.

Four regimes: ``mixture`` (the play data holds a few episodes of the demonstrator among worse
ones, unlabelled), ``in_support`` (demonstrations of the best policy that play has),
``out_of_support`` (of a policy better than all play data) and ``glued`` (the mixture in pieces of
100 to 300 steps that are glued at random into 20 recordings; fine-tuning judges windows by what
follows). For each, with five demonstrations and with one (``--demonstrations``), and for each seed:
a reward learnt from the packaged diffuser, judged by returns over 10 episodes and by ERC over whole
episodes of play data that the diffuser has not seen; beside it behavioural cloning by the imitation
library, and a plain clone of two layers of 256. Figures are means over seeds, with the 95%
bootstrap interval of the mean; ``return_fraction`` is 0 for the unguided planner and 1 for the
demonstrator.
``erc_by_starts`` tells what it matters where plans start while learning. Everything it reads it
made itself; a run that is interrupted goes on where it was (``--out``). With ``--policies`` (a
folder by ``trailward.acting.network_policy.save_ladder``) other policies are recorded, and
diffusers are trained on what they did.

    .venv/bin/python benchmarks/halfcheetah.py                # the full thing, about 90 minutes
    .venv/bin/python benchmarks/halfcheetah.py --only glued   # one regime
    .venv/bin/python benchmarks/halfcheetah.py --quick        # shows that it runs
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from trailward.acting.network_policy import ladder_of
from trailward.acting.rollout import rollout
from trailward.baselines.behavioural_cloning import clone
from trailward.cli.presets import PRESETS, Settings, train_command
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.episode import Episode
from trailward.environments.halfcheetah.environment import ENV_ID, make_env
from trailward.environments.recipes import ROLL_OUTS
from trailward.judging.erc import episode_return_correlation
from trailward.judging.statistics import bootstrap_mean
from trailward.learning.config import STARTS
from trailward_benchmark.jobs import Figures, Job, collected, kept, silent


@dataclass(frozen=True)
class Regime:
    """What the play data holds, what its diffuser is called, and who demonstrates."""

    play: str
    diffuser: str
    demonstrator: str
    glued: bool = False


REGIMES = {
    "mixture": Regime("mixture", "halfcheetah_mixture", "expert"),
    "in_support": Regime("play", "halfcheetah_play", "runner-up"),
    "out_of_support": Regime("play", "halfcheetah_play", "expert"),
    "glued": Regime("mixture", "halfcheetah_mixture", "expert", glued=True),
}
_SHORTEST, _LONGEST, _NUM_GLUED = 100, 300, 20
_OF_MIXED = {"discount": 0.95, "sharpness": 0.07}
"""How fine-tuning weighs recordings that mix behaviours."""


@dataclass(frozen=True)
class Benchmark:
    """HalfCheetah, over regimes, numbers of demonstrations and seeds."""

    out: Path = Path("runs/benchmark-halfcheetah")
    """Folder of everything made; finished parts are kept."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each of demonstrations, learning and evaluation."""
    only: tuple[str, ...] = ()
    """Regimes, such as glued; all, and erc_by_starts, if none is named."""
    demonstrations: tuple[int, ...] = (5, 1)
    """Numbers of demonstrations to learn from."""
    policies: Path | None = None
    """A ladder of policies in place of the packaged one."""
    fine_tuning_steps: int | None = None
    """Gradient steps of fine-tuning, in place of the preset's."""
    demonstration_share: float | None = None
    """Of demonstrations in fine-tuning, in place of the preset's."""
    quick: bool = False
    """One seed, few steps."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    console = Console(width=130)
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    if benchmark.policies is not None:  # data of each ladder has a folder of its own
        told = "".join(_fingerprints(benchmark.policies)).encode()
        out /= hashlib.sha256(told).hexdigest()[:8]
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
    seeds = (0,) if benchmark.quick else benchmark.seeds
    settings = PRESETS["halfcheetah"].quick() if benchmark.quick else PRESETS["halfcheetah"]
    given = {
        "num_steps": benchmark.fine_tuning_steps,
        "demonstration_share": benchmark.demonstration_share,
    }
    settings = _fine_tuned(settings, **{k: v for k, v in given.items() if v is not None})
    cells: dict[tuple[str, int], list[dict[str, float]]] = {}
    ercs: dict[str, list[float]] = {}
    names = benchmark.only or tuple(REGIMES)
    made = Made(settings, out, benchmark.policies)
    for seed in seeds:
        for count in benchmark.demonstrations:
            for name in names:
                cells.setdefault((name, count), []).append(_cell(made, name, count, seed))
        for starts in () if benchmark.only else STARTS:
            ercs.setdefault(starts, []).append(_erc(made, starts, seed))
    console.print(_table(cells))
    every = [cell for found in cells.values() for cell in found]
    if ercs:
        console.print("ERC distance in mixture by where plans start:", _intervals(ercs))
    by_count: dict[int, dict[str, Any]] = {count: {} for count in benchmark.demonstrations}
    for (name, count), cell in cells.items():
        by_count[count][name] = _summary(cell)
    result = {
        "by_demonstrations": by_count,
        "erc_by_starts": _intervals(ercs),
        "learn_seconds": float(np.mean([cell["learn_seconds"] for cell in every])),
        "decision_ms_10_envs": float(np.mean([cell["decision_ms"] for cell in every])),
    }
    print(json.dumps(result))


@dataclass(frozen=True)
class Made:
    """What is made once: data by recipes, and diffusers of data by policies that are given."""

    settings: Settings
    out: Path
    policies: Path | None

    def data(self, regime: Regime, count: int, seed: int) -> tuple[Path, Path]:
        """Play data that the diffuser has not seen, and demonstrations."""
        play = self._record(regime.play, 77, num_steps=min(200_000, self._num_steps))
        who = regime.demonstrator
        return play, self._record(who, 1 + seed, name=f"{who}-{count}-{seed}", num_episodes=count)

    def diffuser(self, regime: Regime) -> str:
        """The packaged one, or one that is trained on what the policies give."""
        if self.policies is None:
            return regime.diffuser
        seen = self._record(regime.play, 0, name=f"{regime.play}-seen", num_steps=self._num_steps)
        folder = self.out / f"{regime.play}-diffuser"
        train_command(self.settings, str(seen), folder, seed=0).run(silent)
        return str(folder)

    def depends_on(self) -> Figures:
        """The policies that data is recorded with."""
        return {"ladder": _fingerprints(self.policies)}

    @property
    def _num_steps(self) -> int:
        return vars(self.settings.play)["num_steps"]

    def _record(self, what: str, seed: int, *, name: str | None = None, **sizes: int) -> Path:
        recipe = ROLL_OUTS[what](**{"policies": self.policies, **sizes})
        return collected(self.out / f"{name or what}-v0", self.settings.environment, recipe, seed)


def _cell(made: Made, name: str, count: int, seed: int) -> Figures:
    """Learn and judge one reward, and clone; kept once done, anew if settings changed."""
    settings, regime = made.settings, REGIMES[name]
    if regime.glued:
        settings = _fine_tuned(settings, **_OF_MIXED)
    play, shown = made.data(regime, count, seed)
    learnt_from = _glued(play, made.out) if regime.glued else play
    folder = made.out / f"{name}-{count}-{seed}"
    job = Job(
        settings, made.diffuser(regime), learnt_from, shown, folder, seed, policies=made.policies
    )

    def figures() -> Figures:
        found = job.judge(play)
        return {
            "return": found["return"]["learnt"]["value"],
            "return_unguided": found["return"]["unguided"]["value"],
            "return_demonstrator": found["return"]["demonstrator"]["value"],
            "return_fraction": found["return_fraction"]["value"],
            "return_bc": _cloned(settings, shown, seed),
            "return_plain_clone": found["return"]["clone"]["value"],
            "erc": found["erc_episodes"]["distance"]["value"],
            "erc_windows": found["erc_windows"]["distance"]["value"],
            "learn_seconds": found["learnt"]["seconds"],
            "decision_ms": found["decision_ms_together"],
        }

    return kept(folder / "cell.json", figures, job.depends_on | made.depends_on())


def _fingerprints(policies: Path | None) -> list[str]:
    """Of a ladder; of the packaged one if None."""
    return [policy.fingerprint for policy in ladder_of(ENV_ID, policies)]


def _fine_tuned(settings: Settings, **changes: Any) -> Settings:
    """The same but for some settings of fine-tuning."""
    fine_tuning = replace(settings.learning.fine_tuning, **changes)
    return replace(settings, learning=replace(settings.learning, fine_tuning=fine_tuning))


def _cloned(settings: Settings, shown: Path, seed: int) -> float:
    """The return of the imitation library's clone from the same starts."""
    judged, demonstrations = settings.evaluation.with_seed(seed), read_dataset(shown)
    is_quick = settings.evaluation != PRESETS["halfcheetah"].evaluation
    cloned = clone(demonstrations, seed=seed, num_epochs=1 if is_quick else 50)
    steps = judged.steps_in(settings.environment)
    envs = [make_env(episode_steps=steps) for _ in range(judged.num_episodes)]
    episodes = rollout(envs, cloned, seeds=judged.starts, num_steps=steps)
    return float(Dataset(episodes).returns.mean())


def _erc(made: Made, starts: str, seed: int) -> float:
    """ERC distance over whole episodes in mixture, with plans that start there while learning."""
    settings, regime = made.settings, REGIMES["mixture"]
    folder = made.out / f"starts-{starts}-{seed}"
    settings = _fine_tuned(settings, num_steps=0)
    settings = replace(settings, learning=replace(settings.learning, starts=starts))
    play, shown = made.data(regime, 5, seed)
    job = Job(settings, made.diffuser(regime), play, shown, folder, seed)

    def figures() -> Figures:
        learnt, judged = job.learn(), read_dataset(play)
        found = np.array([learnt.mean_reward(episode) for episode in judged.episodes])
        true = judged.returns / [len(episode) for episode in judged.episodes]
        return {"erc": episode_return_correlation(found, true).distance.value}

    return kept(folder / "cell.json", figures, job.depends_on | made.depends_on())["erc"]


def _glued(play: Path, out: Path) -> Path:
    """The same steps as recordings that mix behaviours."""
    folder = out / "glued-v0"
    if folder.exists():
        return folder
    draw, pieces = np.random.default_rng(0), []
    for episode in read_dataset(play).episodes:
        first = 0
        while first < len(episode):
            last = min(first + int(draw.integers(_SHORTEST, _LONGEST + 1)), len(episode))
            pieces.append((episode.observations[first:last], episode.actions[first:last]))
            first = last
    order = draw.permutation(len(pieces))
    found = []
    for numbers in np.array_split(order, min(_NUM_GLUED, len(order))):
        observations, actions = (np.concatenate([pieces[n][k] for n in numbers]) for k in (0, 1))
        found.append(Episode(observations, actions[:-1]))
    write_dataset(Dataset(found), folder)
    return folder


def _summary(cells: Sequence[dict[str, float]]) -> dict[str, Any]:
    named = {
        "return": "return",
        "return_fraction": "return_fraction",
        "bc_return": "return_bc",
        "plain_clone_return": "return_plain_clone",
        "demonstrator_return": "return_demonstrator",
        "unguided_return": "return_unguided",
        "erc": "erc",
        "erc_windows": "erc_windows",
    }
    intervals = _intervals({name: [cell[key] for cell in cells] for name, key in named.items()})
    means = {name: interval[0] for name, interval in intervals.items()}
    return means | {"intervals": {name: interval[1:] for name, interval in intervals.items()}}


def _intervals(values: dict[str, list[float]]) -> dict[str, list[float]]:
    """Mean and 95% bootstrap interval over seeds of each."""
    found = {}
    for name, each in values.items():
        estimate = bootstrap_mean(np.array(each))
        found[name] = [estimate.value, estimate.low, estimate.high]
    return found


def _table(cells: dict[tuple[str, int], list[dict[str, float]]]) -> Table:
    columns = [f"{name}, {count} demo{'s' * (count > 1)}" for name, count in cells]
    table = Table("mean over seeds [95%]", *columns, title="HalfCheetah")
    for key in next(iter(cells.values()))[0]:
        rows = [_intervals({key: [cell[key] for cell in found]})[key] for found in cells.values()]
        digits = 0 if rows[0][0] > 20 else 3
        table.add_row(
            key, *(f"{m:.{digits}f} [{a:.{digits}f}, {b:.{digits}f}]" for m, a, b in rows)
        )
    return table


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
