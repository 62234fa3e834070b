"""A package that others install adds parts, and the command line uses each of them by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trailward.cli.main import main

PACKAGE = '''
"""Parts for trailward, as somebody else would write them."""

import json
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces
from torch import nn

from trailward.data.dataset import Dataset
from trailward.data.episode import Columns, Episode
from trailward.data.formats import Format
from trailward.data.formats.rows import Recording
from trailward.diffusion.guide import CleanGuide
from trailward.environments import Environment, Recipe, Task
from trailward.rewards import RewardModel, RewardSettings
from trailward_benchmark.methods import Method, Outcome


class Slope(RewardModel):
    """A reward that is linear in each observation."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(RewardSettings):
        """Of a slope."""

        shift: float = 0.0
        """Added to every step's reward."""

    def __init__(self, spec, settings):
        super().__init__(spec, settings, inputs=range(spec.observation_dim))
        self.slope = nn.Linear(spec.observation_dim, 1)

    def step_rewards(self, plan, past=None):
        seen = plan[..., : self.spec.observation_dim]
        return self.slope(seen).squeeze(-1) + self.settings.shift


class Gap:
    """The squared distance between the mean plan and the mean demonstration."""

    def __call__(self, plans, demonstrations, mask=None):
        return (plans.mean(0) - demonstrations.mean(0)).square().mean()


class Line(gymnasium.Env):
    """A point that is pushed along a line; being far to the right pays."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, num_steps):
        self.num_steps = num_steps

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.uniform(-1, 1, 1), 0
        return self.place.copy(), {}

    def step(self, action):
        self.place = self.place + 0.1 * np.asarray(action, np.float64)
        self.time += 1
        return self.place.copy(), float(self.place[0]), False, self.time == self.num_steps, {}


class FarRight(Task):
    """The place itself."""

    name = "right"
    transition_rewards = staticmethod(lambda now, actions, then: then[:, 0])

    def step_rewards(self, episode):
        return episode.observations[1:, 0]


@dataclass(frozen=True, kw_only=True)
class Pushes(Recipe):
    """Pushes at random, drawn one way."""

    num_episodes: int = 20
    """Number of episodes."""
    drift: float = 0.0
    """Mean of the pushes."""

    def record(self, environment, *, seed, progress=lambda done: None):
        generator = np.random.default_rng(seed)
        episodes = []
        for _ in range(self.num_episodes):
            pushes = np.clip(generator.normal(self.drift, 0.3, (20, 1)), -1, 1)
            path = generator.uniform(-1, 1) + np.concatenate([[[0.0]], 0.1 * pushes.cumsum(0)])
            episodes.append(Episode(path, pushes, path[1:, 0]))
        facts = {"environment": environment.name, "task": "right"}
        return Dataset(episodes, facts, environment.columns)


class Corridor(Environment):
    """A line to be pushed along."""

    columns = Columns(("x",), ("push",), {"x": "m"})
    recipes = {"pushes": Pushes}
    name = "corridor"

    def make(self, *, episode_steps=None, render_size=None):
        return Line(episode_steps or 20)

    def task(self, name=None):
        return FarRight()


def read(path, layout):
    tracks = [np.array(track, float) for track in json.loads(path.read_text())]
    return Recording([Episode(track[:, :1], track[:-1, 1:]) for track in tracks])


class Half(CleanGuide):
    """Half as strong as the guide that it is made from."""

    def on_clean(self, clean_estimate, move):
        return 0.5 * super().on_clean(clean_estimate, move)


PAIRS = Format("pairs", lambda path: path.suffix == ".pairs", read)
IDLE = Method("does nothing", lambda world, folder: Outcome(world.demonstrator))
'''
MODULE = '''
"""Parts that are no package: a file in the folder where commands are run."""

import foreign
from torch import nn


class Net(nn.Module):
    """A plan to a plan, whatever the noise."""

    def __init__(self, transition_dim, horizon, width):
        super().__init__()
        layers = nn.Linear(transition_dim, width), nn.SiLU(), nn.Linear(width, transition_dim)
        self.layers = nn.Sequential(*layers)

    def forward(self, noisy, step):
        return self.layers(noisy)


class Line(foreign.Slope):
    """A reward."""

    class Settings(foreign.Slope.Settings):
        """Of it."""


class Guide(foreign.Half):
    """A guide."""


def gap(plans, demonstrations, mask=None):
    return (plans - demonstrations).square().mean()


Corridor, PAIRS = foreign.Corridor, foreign.PAIRS
'''
ENTRY_POINTS = """
[trailward.rewards]
slope = foreign:Slope
[trailward.objectives]
gap = foreign:Gap
[trailward.environments]
corridor = foreign:Corridor
[trailward.guides]
half = foreign:Half
[trailward.formats]
pairs = foreign:PAIRS
[trailward.methods]
idle = foreign:IDLE
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages as an installer leaves it."""
    site = tmp_path_factory.mktemp("site-packages")
    (site / "foreign.py").write_text(PACKAGE)
    facts = site / "foreign-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    return site


def run(site: Path, folder: Path, *commands: str) -> str:
    """Commands one after another in a fresh process; what they said and printed."""
    code = """
import shlex, sys
from trailward.cli.main import main
for command in sys.argv[1:]:
    if main(shlex.split(command)) != 0:
        sys.exit(command)
"""
    paths = [str(site), str(Path(__file__).parents[1] / "src")]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *commands],  # the folder is not on the path
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_pairs(path: Path) -> None:
    """Demonstrations that lead to the right, in the package's format."""
    tracks = [[[0.05 * t + 0.1 * start, 0.5] for t in range(21)] for start in range(4)]
    path.write_text(json.dumps(tracks))


def test_a_package_adds_parts_that_the_command_line_uses(installed: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "shown.pairs")
    run(
        installed,
        tmp_path,
        "collect --env corridor --what pushes --out play",
        "train --play play --out diffuser --horizon 5 --stride 2 --training.num-steps 20 "
        "--training.num-inverse-dynamics-steps 20 --denoiser.width 16 --denoiser.depth 1",
        "learn --demonstrations shown.pairs --diffuser diffuser --out reward --objective gap "
        "--reward.model slope --reward.shift 0.5 --sampling.guide half "
        "--learning.num-steps 4 --learning.batch-size 4 "
        "--learning.selection.evaluate-every 2",
    )
    learnt = json.loads((tmp_path / "reward/config.json").read_text())
    assert "slope" in json.dumps(learnt)
    assert learnt["provenance"]["objective"] == "gap"
    assert learnt["sampling"]["guide"] == "half"
    printed = run(
        installed,
        tmp_path,
        "evaluate --env corridor --reward reward --diffuser diffuser --play play "
        "--demonstrations shown.pairs --out evaluation --evaluation.num-episodes 2 "
        "--evaluation.episode-steps 10 --evaluation.num-windows 50",
        "report --evaluation evaluation --reward reward --out report",
        "export --reward reward --out reward.pt2",
        "plan --start 0.2 --reward reward --diffuser diffuser --num-plans 2",
    )
    assert len(json.loads(printed)["plans"]) == 2
    figures = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert figures["environment"] == "corridor"
    assert figures["return"]["learnt"]["count"] == 2
    assert "corridor" in (tmp_path / "report/index.html").read_text()
    assert (tmp_path / "reward.pt2").stat().st_size > 0


@pytest.mark.slow
def test_a_module_in_the_working_folder_has_parts_for_every_verb(
    installed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_pairs(tmp_path / "shown.pairs")
    (tmp_path / "mine.py").write_text(MODULE)
    run(
        installed,
        tmp_path,
        "collect --env mine:Corridor --what pushes --out play",
        "train --play play --out diffuser --horizon 5 --stride 2 --training.num-steps 20 "
        "--training.num-inverse-dynamics-steps 20 --denoiser.network mine:Net --denoiser.width 8",
    )
    of_rewards = "--reward reward --diffuser diffuser"
    run(
        installed,
        tmp_path,
        "learn --demonstrations shown.pairs --play play-v0 --format mine:PAIRS "
        "--diffuser diffuser --out reward --objective mine:gap --reward.model mine:Line "
        "--sampling.guide mine:Guide --learning.num-steps 4 --learning.batch-size 4 "
        "--learning.selection.evaluate-every 2 --allow-import",
        f"evaluate --env mine:Corridor {of_rewards} --play play-v0 --demonstrations shown.pairs "
        "--format mine:PAIRS --out evaluation --evaluation.num-episodes 2 "
        "--evaluation.episode-steps 10 --evaluation.num-windows 50 --allow-import",
        "export --reward reward --out reward.pt2 --allow-import",
        "plan --start 0.2 --diffuser diffuser --allow-import",
    )
    figures = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert figures["return"]["learnt"]["count"] == 2
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["plan", "--start", "0.2", *of_rewards.split()]) == 2
    assert "import mine first, or allow it, by --allow-import" in capsys.readouterr().err
    assert "mine" not in sys.modules
    assert sys.path == before


@pytest.mark.slow
def test_a_package_adds_a_method_that_the_benchmark_compares(
    installed: Path, tmp_path: Path
) -> None:
    run(
        installed,
        tmp_path,
        "benchmark --quick --out grid --problems umaze/corner --methods idle --seeds 0",
    )
    (line,) = (tmp_path / "grid/results.jsonl").read_text().splitlines()
    assert json.loads(line)["method"] == "idle"
    assert json.loads(line)["figures"]["return"] > 200
