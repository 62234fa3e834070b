"""Any reward of recorded steps as a reward that plans can be guided by: regression on play data.

SEABO and OTR give play data labels, for offline reinforcement learning to use. Here a reward model
of our own learns the labels, and the planner that our own rewards have uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.dataset import Dataset, Windows
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fitting import fit
from trailward.errors import DataError, at_least
from trailward.learning.config import LearningConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.learning.selection import best_sampling
from trailward.objectives.matching import EnergyDistance
from trailward.randomness import generator
from trailward.rewards.additive import AdditiveReward, AdditiveSettings
from trailward.rewards.contract import RewardSettings
from trailward.typing import Scalar

SCALE_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""What the guide's scale is multiplied by, the best on a held-out demonstration being kept: the
unit of a label says nothing of how strongly it should guide."""


@dataclass(frozen=True)
class RegressionConfig:
    """How labels are learnt.

    Attributes:
        num_steps: number of gradient steps.
        batch_size: play steps in a batch.
        learning_rate: Adam's, falling to 0 linearly.
        seed: for weights and batches.
    """

    num_steps: int = 2000
    batch_size: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "num_steps", "batch_size")
        at_least(0, self, "learning_rate")


def regress_reward(
    labels: Sequence[Float[np.ndarray, "_time"]],
    play: Dataset,
    diffuser: Diffuser,
    demonstrations: Dataset,
    *,
    reward: RewardSettings = AdditiveSettings(),
    sampling: SamplingConfig = SamplingConfig(),
    learning: LearningConfig = LearningConfig(),
    config: RegressionConfig = RegressionConfig(),
) -> LearntReward:
    """An additive reward whose reward of an observation is the label of the step that led there.

    Labels are scaled to mean 0 and deviation 1. A value is fitted to the reward if ``learning``
    has one (more than one round, or a discount). The guide's scale is multiplied by the one of
    :data:`SCALE_FACTORS`, and its stop step is the one of ``learning.selection.stop_steps``, that
    do best on the last demonstration; not where ``learning`` fine-tunes a diffuser, whose plans
    are not guided.

    Args:
        labels: a reward for each environment step of each play episode, any unit.
        play: the episodes, environment units.
        diffuser: of play data; gives the normalizers, and the plans that scale is chosen by.
        demonstrations: environment units.
        reward: settings of the additive reward; of those of another kind, the ones that an
            additive reward has too.
        sampling: how plans are sampled and guided, but for the scale.
        learning: whether a value is fitted, and how.
        config: how the labels are learnt.

    Raises:
        DataError: if the labels are not one a step of each episode, or all the same.
    """
    targets = _standardised(labels, play)
    reached = np.concatenate([episode.observations[1:] for episode in play.episodes])
    observations = torch.as_tensor(reached)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = AdditiveReward(diffuser.spec, _additive(reward)).to(diffuser.device)
    _fit(model, diffuser.observation_normalizer.normalize(observations), targets, config)
    selection = replace(learning.selection, num_held_out=1, scale_factors=SCALE_FACTORS)
    problem = MatchingProblem(
        diffuser=diffuser,
        windows=Windows(demonstrations, diffuser.spec),
        num_learnt=len(demonstrations.episodes) - 1,
        play=Windows(play, diffuser.spec),
        objective=EnergyDistance(),
        sampling=sampling,
        config=replace(learning, selection=selection),
    )
    value = None
    if learning.value.num_rounds > 1:
        value = problem.fitted_value(model)
    elif learning.value.discount:
        value = problem.discounted_value(model)
    learnt = LearntReward(
        model=model,
        observation_normalizer=diffuser.observation_normalizer,
        action_normalizer=diffuser.action_normalizer,
        sampling=sampling,
        planning=learning.planning,
        diffuser_fingerprint=diffuser.fingerprint,
        provenance={"objective": "regression"},
        value=value,
        columns=diffuser.columns,
    )
    if len(demonstrations.episodes) < 2 or learning.fine_tuning.num_steps:
        return learnt
    return replace(learnt, sampling=best_sampling(problem, learnt.guide_model))


def _additive(settings: RewardSettings) -> AdditiveSettings:
    names = [each.name for each in fields(AdditiveSettings) if hasattr(settings, each.name)]
    own: dict[str, Any] = {name: getattr(settings, name) for name in names}
    return AdditiveSettings(**{**own, "sees_actions": False})


def _standardised(labels: Sequence[np.ndarray], play: Dataset) -> Tensor:
    lengths = [len(episode) for episode in play.episodes]
    given = [len(each) for each in labels]
    if given != lengths:
        msg = f"labels have lengths {given[:5]}..."
        remedy = f"give one a step of the play episodes, whose lengths are {lengths[:5]}..."
        raise DataError(msg, place="labels", value=given, remedy=remedy)
    flat = np.concatenate(labels)
    if not np.isfinite(flat).all() or flat.std() == 0:
        low, high = float(flat.min()), float(flat.max())
        msg = f"labels range from {low} to {high}; there is nothing to learn from them"
        raise DataError(msg, place="labels", value=(low, high))
    return torch.as_tensor((flat - flat.mean()) / flat.std(), dtype=torch.float32)


def _fit(
    model: AdditiveReward, observations: Tensor, targets: Tensor, config: RegressionConfig
) -> None:
    draw = generator(config.seed, "regression: batches")
    targets = targets.to(observations.device)

    def loss(_: int) -> Scalar:
        picks = torch.randint(len(targets), (config.batch_size,), generator=draw)
        found = model.step_rewards(observations[picks].unsqueeze(1)).squeeze(1)
        return nn.functional.mse_loss(found, targets[picks])

    fit(model.parameters(), loss, num_steps=config.num_steps, learning_rate=config.learning_rate)
    model.requires_grad_(requires_grad=False)
