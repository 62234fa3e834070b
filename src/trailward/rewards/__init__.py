"""Rewards: the contract of reward models, and the kinds there are.

:class:`~trailward.rewards.contract.RewardModel` is the contract. A kind of your own is a subclass;
learn it by handing its class or an instance to ``learn_reward``, or register it in ``REWARDS``.
"""

from trailward.rewards.additive import AdditiveReward, AdditiveSettings
from trailward.rewards.contract import REWARDS, RewardModel, RewardSettings, build_reward
from trailward.rewards.ensemble import EnsembleReward, EnsembleSettings
from trailward.rewards.readings import Readings, ReadingsSettings
from trailward.rewards.staged import StagedReward, StagedSettings
from trailward.rewards.true_reward import TrueReward
from trailward.rewards.whole_plan import (
    ConvReward,
    ConvSettings,
    LinearReward,
    LinearSettings,
    MLPReward,
    MLPSettings,
)

__all__ = [
    "REWARDS",
    "AdditiveReward",
    "AdditiveSettings",
    "ConvReward",
    "ConvSettings",
    "EnsembleReward",
    "EnsembleSettings",
    "LinearReward",
    "LinearSettings",
    "MLPReward",
    "MLPSettings",
    "Readings",
    "ReadingsSettings",
    "RewardModel",
    "RewardSettings",
    "StagedReward",
    "StagedSettings",
    "TrueReward",
    "build_reward",
]
