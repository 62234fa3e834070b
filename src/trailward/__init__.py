"""trailward: learn rewards from trails.

Inverse reinforcement learning in trajectory space, fully offline. The pipeline, in the order of
the modules::

    play data -> Windows -> Normalizer -> train_diffuser -> Diffuser
    demonstrations -> Windows -> the play data's Normalizer ----+
    Diffuser + reward model --guide--> plans --Objective--------+-> learn_reward -> LearntReward
    play data + reward model -> fit_value -> Value, which guides beside the reward
    observation -> Planner(Diffuser, reward model) -> action -> environment -> Episode
"""

from trailward.dataset import Dataset, Windows, read_dataset, write_dataset
from trailward.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion_training import TrainingConfig, train_diffuser
from trailward.guide import CleanGuide, NoisyGuide
from trailward.learnt_reward import LearntReward
from trailward.objective import MSE, MMDGaussian, MMDMatern
from trailward.planner import Planner
from trailward.pretrained import model_folder
from trailward.reward import AdditiveReward, LinearReward, MLPReward, RewardConfig, StagedReward
from trailward.reward_learning import LearningConfig, learn_reward
from trailward.rollout import rollout
from trailward.trajectory import DataError, Episode, PlanSpec
from trailward.value import RewardToGo, Value, ValueConfig, fit_value

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
