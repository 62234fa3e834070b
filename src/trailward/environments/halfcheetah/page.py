"""HalfCheetah on the page: an expert's runs, and recordings of other policies."""

from trailward.diffusion.diffuser import SamplingConfig
from trailward.environments.page import Exhibit
from trailward.environments.recipes import Expert, Mixture
from trailward.learning.config import LearningConfig, PlanningConfig, SelectionConfig
from trailward.rewards import AdditiveSettings

EXHIBIT = Exhibit(
    model="halfcheetah_mixture",
    play=Mixture(num_steps=20_000, episode_steps=500),
    shown=Expert(num_episodes=3, episode_steps=300),
    reward=AdditiveSettings(hidden=(128, 128)),
    sampling=SamplingConfig(num_steps=5, scale=1.0, temperature=0.5),
    learning=LearningConfig(
        num_steps=80,
        starts="both",
        weight_decay=0.1,
        selection=SelectionConfig(num_held_out=0, patience=1000),
        planning=PlanningConfig(num_candidates=8, choose="reward"),
    ),
)
"""Three short demonstrations, of which a reward is learnt in less than a minute."""
