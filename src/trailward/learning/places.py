"""Settings to learn a reward of places with, from far away: of preset ``large``, and of ``fit``."""

from trailward.diffusion.diffuser import SamplingConfig
from trailward.learning.config import (
    LearningConfig,
    PlanningConfig,
    SelectionConfig,
    ValueSchedule,
)

SAMPLING = SamplingConfig(num_steps=12, stop_step=0)
"""How plans are sampled."""

LEARNING = LearningConfig(
    num_steps=240,
    value=ValueSchedule(num_rounds=2),
    selection=SelectionConfig(scale_factors=(0.7, 1.0, 1.3, 1.7, 2.3), stop_steps=(0, 8, 16)),
    planning=PlanningConfig(num_candidates=12, choose="reward"),
)
"""How the reward is learnt."""
