"""Presets: settings of every stage that are known to work together, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trailward.cli.evaluate import Evaluate
from trailward.cli.learn import Learn
from trailward.cli.train import Train
from trailward.diffusion.diffuser import DenoiserConfig, SamplingConfig
from trailward.diffusion.fine_tuning import FineTuningConfig
from trailward.diffusion.training import TrainingConfig
from trailward.environments import Environment, Recipe
from trailward.environments.halfcheetah.environment import HalfCheetah
from trailward.environments.pointmaze import recipes as maze
from trailward.environments.pointmaze.environment import PointMaze
from trailward.environments.recipes import Expert, Mixture
from trailward.judging.config import EvaluationConfig
from trailward.learning import places
from trailward.learning.config import LearningConfig, PlanningConfig, SelectionConfig
from trailward.rewards import (
    AdditiveSettings,
    ConvSettings,
    MLPSettings,
    RewardSettings,
    StagedSettings,
)

POSITION = (0, 1)


@dataclass(frozen=True)
class Settings:
    """What a preset sets: the settings of every stage."""

    environment: Environment
    play: Recipe
    demonstrations: Recipe
    packaged: str | None
    horizon: int
    stride: int
    with_actions: bool
    denoiser: DenoiserConfig
    training: TrainingConfig
    reward: RewardSettings
    sampling: SamplingConfig
    learning: LearningConfig
    evaluation: EvaluationConfig
    objective: str = "mmd_gaussian"

    def quick(self) -> "Settings":
        """The same stages with next to no work in each."""
        return replace(
            self,
            play=replace(self.play, **_QUICK_PLAY),
            training=replace(
                self.training, num_steps=20, checkpoint_every=10, num_inverse_dynamics_steps=50
            ),
            learning=replace(
                self.learning,
                num_steps=2,
                selection=replace(
                    self.learning.selection,
                    evaluate_every=1,
                    scale_factors=self.learning.selection.scale_factors[:2],
                    stop_steps=self.learning.selection.stop_steps[:1],
                ),
                expert=replace(self.learning.expert, num_steps=2),
                fine_tuning=replace(
                    self.learning.fine_tuning,
                    num_steps=min(4, self.learning.fine_tuning.num_steps),
                ),
            ),
            evaluation=replace(
                self.evaluation,
                num_episodes=2,
                episode_steps=min(300, self.evaluation.steps_in(self.environment)),
                num_plans=8,
                num_windows=1000,
                clone_steps=10,
            ),
        )


_QUICK_PLAY: Mapping[str, Any] = {"num_steps": 20_000}
_THESIS_TRAINING = TrainingConfig(
    batch_size=32,
    learning_rate=2e-4,
    num_warmup=1,
    optimizer="adam",
    weighted=False,
    average_decay=0.995,
)
_THESIS_LEARNING = LearningConfig(
    num_steps=60,
    weight_decay=0.0,
    selection=SelectionConfig(num_held_out=0, evaluate_every=10, patience=1000),
)

PRESETS: dict[str, Settings] = {
    "umaze": Settings(
        environment=PointMaze("umaze"),
        play=maze.Play(num_steps=400_000),
        demonstrations=maze.Demonstrations(episode_steps=300),
        packaged="umaze",
        horizon=16,
        stride=8,
        with_actions=False,
        denoiser=DenoiserConfig(),
        training=TrainingConfig(optimizer="adam"),
        reward=AdditiveSettings(features=POSITION),
        sampling=SamplingConfig(),
        learning=LearningConfig(),
        evaluation=EvaluationConfig(),
    ),
    "large": Settings(
        environment=PointMaze("large"),
        play=maze.Play(num_steps=1_200_000),
        demonstrations=maze.Demonstrations(episode_steps=600),
        packaged="large",
        horizon=16,
        stride=15,
        with_actions=False,
        denoiser=DenoiserConfig(width=128),
        training=TrainingConfig(num_steps=40_000, learning_rate=1.5e-3),
        reward=StagedSettings(features=POSITION, num_local=64),
        sampling=places.SAMPLING,
        learning=places.LEARNING,
        evaluation=EvaluationConfig(episode_steps=600),
    ),
    "halfcheetah": Settings(
        environment=HalfCheetah(),
        play=Mixture(num_steps=300_000),
        demonstrations=Expert(num_episodes=5),
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
        reward=AdditiveSettings(hidden=(128, 128)),
        sampling=SamplingConfig(num_steps=5, scale=1.0, temperature=0.5),
        learning=LearningConfig(
            starts="both",
            num_steps=400,
            batch_size=64,
            selection=SelectionConfig(num_held_out=0, evaluate_every=50, least_auc=0.9),
            fine_tuning=FineTuningConfig(num_steps=2000, action_weight=5.0),
        ),
        evaluation=EvaluationConfig(num_episodes=10),
    ),
    "thesis-umaze": Settings(
        environment=PointMaze("umaze"),
        play=maze.Play(num_steps=400_000),
        demonstrations=maze.Demonstrations(episode_steps=300),
        packaged=None,
        horizon=128,
        stride=1,
        with_actions=True,
        denoiser=DenoiserConfig(network="unet", width=32, multipliers=(1, 4, 8)),
        training=replace(_THESIS_TRAINING, num_steps=3000),
        reward=MLPSettings(hidden=(384, 128, 64)),
        sampling=SamplingConfig("ddpm", 64, "noisy", 0.1, 2, 2, use_variance=True),
        learning=replace(
            _THESIS_LEARNING,
            batch_size=16,
            learning_rate=2e-2,
            planning=PlanningConfig(replan_every=32),
        ),
        evaluation=EvaluationConfig(num_episodes=10, num_plans=50),
    ),
    "thesis-halfcheetah": Settings(
        environment=HalfCheetah(),
        play=Mixture(num_steps=300_000),
        demonstrations=Expert(num_episodes=10),
        packaged=None,
        horizon=4,
        stride=1,
        with_actions=True,
        denoiser=DenoiserConfig(
            network="unet", width=32, multipliers=(1, 4, 8), num_diffusion_steps=20
        ),
        training=replace(_THESIS_TRAINING, num_steps=5000, normalizer="gaussian"),
        reward=ConvSettings(),
        sampling=SamplingConfig("ddpm", 20, "noisy", 0.1, 0, 2, use_variance=True),
        learning=replace(
            _THESIS_LEARNING,
            batch_size=256,
            learning_rate=2e-3,
            planning=PlanningConfig(replan_every=1),
        ),
        evaluation=EvaluationConfig(num_episodes=10),
    ),
}
"""``umaze``, ``large`` and ``halfcheetah`` are ours; those of the thesis are the published ones, as
far as docs/thesis.md says."""


_DEFAULTS = {
    "train": ("horizon", "stride", "with_actions", "denoiser", "training"),
    "learn": ("objective", "reward", "sampling", "learning"),
    "evaluate": ("evaluation",),
}
"""Which settings of a preset a verb's flags have as defaults."""


def defaults(verb: str, preset: str) -> dict[str, Any]:
    """What the flags of a verb are by default under a preset; nothing if there is no such preset.

    Args:
        verb: its name.
        preset: its name.
    """
    settings = PRESETS.get(preset)
    if settings is None or verb not in _DEFAULTS:
        return {}
    given = {name: getattr(settings, name) for name in _DEFAULTS[verb]}
    if verb == "evaluate":
        given["environment"] = settings.environment
    if verb in ("learn", "evaluate") and settings.packaged is not None:
        given["diffuser"] = settings.packaged
    return given


def train_command(settings: Settings, play: str, out: Path, *, seed: int) -> Train:
    """The training that a preset stands for."""
    return Train(
        play,
        out,
        horizon=settings.horizon,
        stride=settings.stride,
        with_actions=settings.with_actions,
        denoiser=settings.denoiser,
        training=replace(settings.training, seed=seed),
    )


def learn_command(
    settings: Settings,
    demonstrations: str,
    diffuser: str,
    out: Path,
    *,
    play: str,
    objective: str,
    seed: int,
) -> Learn:
    """The learning that a preset stands for."""
    return Learn(
        demonstrations,
        out,
        diffuser=diffuser,
        play=play,
        reward=settings.reward,
        sampling=settings.sampling,
        objective=objective,
        learning=replace(settings.learning, seed=seed),
    )


def evaluate_command(
    settings: Settings, reward: Path, out: Path, diffuser: str, *, play: str, demonstrations: str
) -> Evaluate:
    """The evaluation that a preset stands for, of the task that was demonstrated."""
    return Evaluate(
        reward,
        play,
        demonstrations,
        out,
        settings.environment,
        diffuser,
        evaluation=settings.evaluation,
    )
