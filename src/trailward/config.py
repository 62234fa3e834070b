"""Configurations of the command line's verbs, and presets of them by name.

A field's text below is the text of ``--help``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trailward.diffuser import DenoiserConfig, SamplingConfig
from trailward.diffusion_training import TrainingConfig
from trailward.environments.halfcheetah_policies import PolicyTrainingConfig
from trailward.evaluation import EvaluationConfig
from trailward.reward import RewardConfig
from trailward.reward_learning import LearningConfig

Preset = Literal["umaze", "large", "halfcheetah", "thesis-umaze", "thesis-halfcheetah"]
"""Names of settings known to work; every flag can still be given."""

Environment = Annotated[Literal["maze", "halfcheetah"], tyro.conf.arg(aliases=["--env"])]

POSITION = (0, 1)


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
class Train:
    """Train a diffuser on play data; run again on the same folder, it resumes exactly."""

    play: str
    """Play data: a dataset folder or a local Minari id."""
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


@dataclass(frozen=True)
class Learn:
    """Learn a reward from demonstrations; run again on the same folder, it resumes exactly."""

    demonstrations: str
    """Demonstrations: a dataset folder or a local Minari id."""
    out: Path
    """Folder of the reward, its checkpoint and TensorBoard logs."""
    diffuser: str
    """A diffuser's folder, or the name of a packaged one; a preset may name it."""
    play: str | None = None
    """Play data: needed by a value, by a reward's local part and by starts elsewhere than at
    demonstrations."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of the flags below."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""


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
    """Judge a learnt reward and its planner by the true reward."""

    reward: Path
    """The learnt reward's folder."""
    play: str
    """Play data that ERC is measured over."""
    demonstrations: str
    """Demonstrations, for the pictures."""
    out: Path
    """Folder that gets evaluation.json and evaluation.npz."""
    diffuser: str = "umaze"
    """A diffuser's folder, or the name of a packaged one."""
    maze: str = "umaze"
    """umaze, medium, large, open, or rows of 0 and 1 joined by '/'."""
    task: str = "corner"
    """The true reward: corner, goal:ROW,COLUMN or ordered:ROW,COLUMN-ROW,COLUMN."""
    environment: Environment = "maze"
    """Where; --maze and --task are for mazes."""
    policies: Path | None = None
    """HalfCheetah's policies, to find the demonstrator among; the packaged ones if not given."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of environment, maze, diffuser and evaluation."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


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
    """mse, mmd_gaussian, mmd_matern, mmd_matern32, mmd_matern52 or energy."""
    from_scratch: bool = False
    """Train the diffuser too, rather than use the packaged one."""
    quick: bool = False
    """Next to no training: shows that everything runs, not how well."""
    seed: int = 0
    """Of everything random."""


@dataclass(frozen=True)
class Settings:
    """What a preset sets: the settings of every stage."""

    play: Collect
    demonstrations: Collect
    packaged: str | None
    horizon: int
    stride: int
    with_actions: bool
    denoiser: DenoiserConfig
    training: TrainingConfig
    reward: RewardConfig
    sampling: SamplingConfig
    learning: LearningConfig
    evaluation: EvaluationConfig

    def quick(self) -> "Settings":
        """The same stages with next to no work in each."""
        return replace(
            self,
            play=replace(self.play, num_steps=20_000),
            training=replace(
                self.training, num_steps=20, checkpoint_every=10, num_inverse_dynamics_steps=50
            ),
            learning=replace(self.learning, num_steps=4, evaluate_every=2),
            evaluation=replace(
                self.evaluation,
                num_episodes=4,
                episode_steps=min(300, self.evaluation.episode_steps),
                num_plans=20,
                num_windows=1000,
            ),
        )


_ANY = Path("runs/data")
"""Where data goes is for the job to say."""

PRESETS: Mapping[str, Settings] = {
    "umaze": Settings(
        play=Collect("play", _ANY, "umaze", num_steps=400_000),
        demonstrations=Collect("demonstrations", _ANY, "umaze", episode_steps=300),
        packaged="umaze",
        horizon=16,
        stride=8,
        with_actions=False,
        denoiser=DenoiserConfig(),
        training=TrainingConfig(optimizer="adam"),
        reward=RewardConfig(features=POSITION),
        sampling=SamplingConfig(),
        learning=LearningConfig(),
        evaluation=EvaluationConfig(),
    ),
    "large": Settings(
        play=Collect("play", _ANY, "large", num_steps=1_200_000),
        demonstrations=Collect("demonstrations", _ANY, "large", episode_steps=600),
        packaged="large",
        horizon=16,
        stride=15,
        with_actions=False,
        denoiser=DenoiserConfig(width=128),
        training=TrainingConfig(num_steps=40_000, learning_rate=1.5e-3),
        reward=RewardConfig("staged", features=POSITION, num_local=64),
        sampling=SamplingConfig(num_steps=12, stop_step=0),
        learning=LearningConfig(
            num_steps=240,
            num_rounds=2,
            scale_factors=(0.7, 1.0, 1.3, 1.7, 2.3),
            stop_steps=(0, 8, 16),
        ),
        evaluation=EvaluationConfig(episode_steps=600, num_candidates=12),
    ),
    "halfcheetah": Settings(
        play=Collect("mixture", _ANY, environment="halfcheetah", num_steps=300_000),
        demonstrations=Collect("expert", _ANY, environment="halfcheetah", num_episodes=5),
        packaged="halfcheetah_mixture",
        horizon=8,
        stride=1,
        with_actions=True,
        denoiser=DenoiserConfig(network="mlp", width=256, depth=4),
        training=TrainingConfig(
            num_steps=40_000,
            batch_size=256,
            optimizer="adam",
            normalizer="gaussian",
            action_weight=5.0,
        ),
        reward=RewardConfig(hidden=(128, 128)),
        sampling=SamplingConfig(num_steps=5, scale=1.0, temperature=0.5),
        learning=LearningConfig(
            starts="both",
            num_steps=400,
            batch_size=64,
            weight_decay=0.1,
            value_discount=0.95,
            num_held_out=0,
            evaluate_every=50,
        ),
        evaluation=EvaluationConfig(
            num_episodes=10,
            episode_steps=1000,
            num_candidates=8,
        ),
    ),
    "thesis-umaze": Settings(
        play=Collect("play", _ANY, "umaze", num_steps=400_000),
        demonstrations=Collect("demonstrations", _ANY, "umaze", episode_steps=300),
        packaged=None,
        horizon=128,
        stride=1,
        with_actions=True,
        denoiser=DenoiserConfig(network="unet", width=32, multipliers=(1, 4, 8)),
        training=TrainingConfig(
            num_steps=3000,
            batch_size=32,
            learning_rate=2e-4,
            num_warmup=1,
            optimizer="adam",
            weighted=False,
            average_decay=0.995,
        ),
        reward=RewardConfig(model="mlp", hidden=(384, 128, 64)),
        sampling=SamplingConfig("ddpm", 64, "noisy", 0.1, 2, 2, use_variance=True),
        learning=LearningConfig(
            objective="mmd_gaussian",
            num_steps=60,
            batch_size=16,
            learning_rate=2e-2,
            weight_decay=0.0,
            evaluate_every=10,
            patience=1000,
            num_held_out=0,
        ),
        evaluation=EvaluationConfig(num_episodes=10, num_plans=50, replan_every=32),
    ),
    "thesis-halfcheetah": Settings(
        play=Collect("mixture", _ANY, environment="halfcheetah", num_steps=300_000),
        demonstrations=Collect("expert", _ANY, environment="halfcheetah", num_episodes=10),
        packaged=None,
        horizon=4,
        stride=1,
        with_actions=True,
        denoiser=DenoiserConfig(
            network="unet", width=32, multipliers=(1, 4, 8), num_diffusion_steps=20
        ),
        training=TrainingConfig(
            num_steps=5000,
            batch_size=32,
            learning_rate=2e-4,
            num_warmup=1,
            optimizer="adam",
            weighted=False,
            average_decay=0.995,
            normalizer="gaussian",
        ),
        reward=RewardConfig("conv"),
        sampling=SamplingConfig("ddpm", 20, "noisy", 0.1, 0, 2, use_variance=True),
        learning=LearningConfig(
            num_steps=60,
            batch_size=256,
            learning_rate=2e-3,
            weight_decay=0.0,
            evaluate_every=10,
            patience=1000,
            num_held_out=0,
        ),
        evaluation=EvaluationConfig(num_episodes=10, episode_steps=1000, replan_every=1),
    ),
}
"""``umaze``, ``large`` and ``halfcheetah`` are ours; those of the thesis are the published ones, as
far as docs/thesis.md says."""
