"""trailward: learn rewards from trails.

Inverse reinforcement learning in trajectory space, fully offline. The pipeline, in the order of
the modules::

    play data -> Windows -> Normalizer -> train_diffuser -> Diffuser
    demonstrations -> Windows -> the play data's Normalizer ----+
    Diffuser + reward model --guide--> plans --Objective--------+-> learn_reward -> LearntReward
    play data + reward model -> fit_value -> Value, which guides beside the reward
    observation -> Planner(Diffuser, reward model) -> action -> environment -> Episode
"""

from trailward.acting.planner import Planner
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset, Windows, read_dataset, write_dataset
from trailward.data.episode import DataError, Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.guide import CleanGuide, NoisyGuide
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.learning.learn_reward import LearningConfig, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.objectives.matching import MSE, MMDGaussian, MMDMatern
from trailward.pretrained import model_folder
from trailward.rewards.models import (
    AdditiveReward,
    LinearReward,
    MLPReward,
    RewardConfig,
    StagedReward,
)
from trailward.rewards.value import RewardToGo, Value, ValueConfig, fit_value

__all__ = [
    "MSE",
    "AdditiveReward",
    "CleanGuide",
    "DataError",
    "Dataset",
    "DenoiserConfig",
    "Diffuser",
    "Episode",
    "LearningConfig",
    "LearntReward",
    "LinearReward",
    "MLPReward",
    "MMDGaussian",
    "MMDMatern",
    "NoisyGuide",
    "PlanSpec",
    "Planner",
    "RewardConfig",
    "RewardToGo",
    "SamplingConfig",
    "StagedReward",
    "TrainingConfig",
    "Value",
    "ValueConfig",
    "Windows",
    "fit_value",
    "learn_reward",
    "model_folder",
    "read_dataset",
    "rollout",
    "train_diffuser",
    "write_dataset",
]
