"""Configurations of the command line's verbs.

A field's text below is the text of ``--help``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trailward.data.formats.table import TableLayout
from trailward.diffusion.diffuser import DenoiserConfig, SamplingConfig
from trailward.diffusion.training import TrainingConfig
from trailward.judging.evaluation import EvaluationConfig
from trailward.learning.learn_reward import LearningConfig
from trailward.rewards.models import RewardConfig
from trailward_benchmark.policies import PolicyTrainingConfig

Preset = Literal[
    "umaze", "umaze-goal", "large", "halfcheetah", "thesis-umaze", "thesis-halfcheetah"
]
"""Names of settings known to work; every flag can still be given."""

Environment = Annotated[Literal["maze", "halfcheetah"], tyro.conf.arg(aliases=["--env"])]
Judge = Annotated[Literal["maze", "halfcheetah", "none"], tyro.conf.arg(aliases=["--env"])]


@dataclass(frozen=True)
class Collect:
    """Record episodes in a maze or of HalfCheetah and write them as a Minari dataset."""

    what: Literal["play", "demonstrations", "mixture", "medium", "expert", "runner-up"]
    """In a maze: play (aimless wandering) or demonstrations (a demonstrator at a task). Of
    HalfCheetah: play (all policies but the best, with noise), mixture (play and 3% as many
    episodes of the best), medium (a policy half as good, with noise), expert (the best) or
    runner-up (the best one that play has, without noise)."""
    out: Path
    """Folder of the dataset; '-v0' is appended if the name has no version."""
    maze: str = "umaze"
    """umaze, medium, large, open, or rows of 0 and 1 joined by '/'."""
    task: str = "corner"
    """What is demonstrated: corner, goal:ROW,COLUMN or ordered:ROW,COLUMN-ROW,COLUMN."""
    num_steps: int | None = None
    """Environment steps of play or mixture; in mazes 200000, else 300000 if not given."""
    num_episodes: int | None = None
    """Episodes of anything else; 9 if not given."""
    episode_steps: int | None = None
    """Environment steps of an episode; 1000, but 300 for a maze's demonstrations if not given."""
    action_noise: float | None = None
    """Standard deviation of the noise on actions of play, mixture and medium; in mazes 0.5, else
    0.15 if not given."""
    demonstrator: Literal["waypoint", "guided"] = "waypoint"
    """The shortest way, or the thesis's: plans guided by the true reward."""
    diffuser: str = "umaze"
    """Whose plans the guided demonstrator follows: a folder, or a packaged one's name."""
    environment: Environment = "maze"
    """Where; --maze, --task, --demonstrator and --diffuser are for mazes."""
    policies: Path | None = None
    """HalfCheetah's policies: the folder 'ladder' in one that 'trailward policies' made; the
    packaged ones if not given."""
    seed: int = 0
    """Of starts, goals and noise."""


@dataclass(frozen=True)
class Policies:
    """Train a ladder of HalfCheetah policies; run again on the same folder, it resumes exactly."""

    out: Path
    """Folder of the snapshots, the checkpoint and, in 'ladder', the policies chosen."""
    training: Annotated[PolicyTrainingConfig, tyro.conf.arg(name="")] = field(
        default_factory=PolicyTrainingConfig
    )
    num_policies: int = 10
    """Snapshots chosen, evenly spread in return from the untrained policy to the best."""


@dataclass(frozen=True)
class Inspect:
    """Tell what is in data: entries, ranges, leaps, and whether demonstrations lie within play."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Play data: a file or folder of a known format, or a Minari id."""
    demonstrations: str | None = None
    """Demonstrations, to compare with it."""
    out: Path | None = None
    """Folder that gets inspection.json and inspection.png."""
    table: TableLayout = field(default_factory=TableLayout)


@dataclass(frozen=True)
class Train:
    """Train a diffuser on play data; run again on the same folder, it resumes exactly."""

    play: str
    """Play data: a file or folder of a known format, or a Minari id."""
    out: Path
    """Folder of the model, its checkpoint and TensorBoard logs."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of the flags below."""
    horizon: int = 16
    """Plan steps."""
    stride: int = 8
    """Environment steps from one plan step to the next."""
    with_actions: bool = False
    """Plans carry the actions between; if not, an inverse-dynamics model is trained too."""
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""
    table: TableLayout = field(default_factory=TableLayout)


@dataclass(frozen=True)
class Learn:
    """Learn a reward from demonstrations; run again on the same folder, it resumes exactly."""

    demonstrations: str
    """Demonstrations: a file or folder of a known format, or a Minari id."""
    out: Path
    """Folder of the reward, its checkpoint and TensorBoard logs."""
    diffuser: str
    """A diffuser's folder, or the name of a packaged one; a preset may name it."""
    play: str | None = None
    """Play data: needed by a value, by a reward's local part, by starts elsewhere than at
    demonstrations and by the objectives logit and relative_reward."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of the flags below."""
    ensemble: int | None = None
    """Rewards learnt side by side in one run, used as their mean: where they disagree, the reward
    is a guess. The same as --reward.num-members."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""
    table: TableLayout = field(default_factory=TableLayout)


@dataclass(frozen=True)
class Plan:
    """Sample guided plans from an observation and print them as JSON, in environment units."""

    start: tuple[float, ...]
    """The observation to plan from, environment units."""
    reward: Path | None = None
    """A learnt reward's folder; unguided plans without it."""
    diffuser: str = "umaze"
    """A diffuser's folder, or the name of a packaged one."""
    num_plans: int = 1
    """How many."""
    seed: int = 0
    """Of the plans' noise."""


@dataclass(frozen=True)
class Evaluate:
    """Judge a learnt reward and its planner, by the true reward where there is one."""

    reward: Path
    """The learnt reward's folder."""
    play: str
    """Play data that ERC is measured over, or that demonstrations are ranked among."""
    demonstrations: str
    """Demonstrations, for the pictures; without an environment those that were learnt from."""
    out: Path
    """Folder that gets evaluation.json and evaluation.npz."""
    diffuser: str = "umaze"
    """A diffuser's folder, or the name of a packaged one."""
    maze: str = "umaze"
    """umaze, medium, large, open, or rows of 0 and 1 joined by '/'."""
    task: str = "corner"
    """The true reward: corner, goal:ROW,COLUMN or ordered:ROW,COLUMN-ROW,COLUMN."""
    environment: Judge = "maze"
    """Where, or none: by data alone. --maze and --task are for mazes."""
    policies: Path | None = None
    """HalfCheetah's policies, to find the demonstrator among; the packaged ones if not given."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of environment, maze, diffuser and evaluation."""
    walls: Path | None = None
    """With environment none: a CSV file of walls to draw, a row x0,y0,x1,y1 each."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    table: TableLayout = field(default_factory=TableLayout)


@dataclass(frozen=True)
class Report:
    """Turn an evaluation into one HTML page and its pictures."""

    evaluation: Path
    """Folder with evaluation.json and evaluation.npz."""
    out: Path
    """Folder of index.html and the PNG files."""
    reward: Path | None = None
    """The learnt reward's folder, for the loss curve."""


@dataclass(frozen=True)
class Export:
    """Write a learnt reward as one file that PyTorch runs without trailward."""

    reward: Path
    """The learnt reward's folder."""
    out: Path
    """The file, ending in .pt2."""
    pessimistic: bool = False
    """Make it the least reward of the data wherever there was none: for training agents."""


@dataclass(frozen=True)
class Demo:
    """The whole job in one environment: data, diffuser, reward, evaluation, report."""

    out: Path = Path("runs/demo")
    """Folder of everything made; run again, it goes on where it was."""
    preset: Preset = "umaze"
    """Which settings are used."""
    task: str = "corner"
    """The true reward that is demonstrated and judged by: corner, goal:ROW,COLUMN, ordered:...;
    HalfCheetah has one of its own."""
    objective: str = "mmd_gaussian"
    """mse, mmd_gaussian, mmd_matern, mmd_matern32, mmd_matern52 or energy; or, without sampling
    plans, dlsm, logit or relative_reward."""
    from_scratch: bool = False
    """Train the diffuser too, rather than use the packaged one."""
    quick: bool = False
    """Next to no training: shows that everything runs, not how well."""
    seed: int = 0
    """Of everything random."""


@dataclass(frozen=True)
class Benchmark:
    """Every method on every problem, with every seed; run again, it goes on where it was."""

    out: Path = Path("runs/benchmark")
    """Folder of results.jsonl, the report, and everything made on the way."""
    problems: tuple[str, ...] = (
        "umaze/corner",
        "umaze/goal:3,1",
        "large/corner",
        "large/goal:3,2",
        "halfcheetah/mixture",
    )
    """PRESET/TASK: umaze or large with corner or goal:ROW,COLUMN, or halfcheetah/mixture."""
    methods: tuple[str, ...] = (
        "unguided",
        "demonstrator",
        "ours",
        "relative_reward",
        "logit",
        "dlsm",
        "bc",
        "bc_wide",
        "bc_denoiser",
        "gail",
        "airl",
        "seabo",
        "otr",
    )
    """unguided and demonstrator are the ends of the scale that returns are put on."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each of demonstrations, learning and evaluation."""
    num_jobs: int | None = None
    """Cells at a time on this machine, one a core if not given; not with a Ray cluster."""
    ray: str | None = None
    """Address of a Ray cluster to run on, such as auto or ray://host:10001."""
    cpus_per_cell: float = 1.0
    """Of a Ray cluster: cores that a cell takes up."""
    memory_per_cell_gb: float = 2.0
    """Of a Ray cluster: memory that a cell takes up."""
    quick: bool = False
    """Next to no training: shows that everything runs, not how well."""
