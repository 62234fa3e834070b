"""Any reward of recorded steps as a reward that plans can be guided by: regression on play data.

SEABO and OTR give play data labels, for offline reinforcement learning to use. Here a reward model
of our own learns the labels, and the planner that our own rewards have uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import DataError, at_least
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import LearningConfig, MatchingProblem
from trailward.rewards.models import AdditiveReward, RewardConfig
from trailward.rewards.value import Value

SCALE_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""What the guide's scale is multiplied by, the best on a held-out demonstration being kept: the
unit of a label says nothing of how strongly it should guide."""


@dataclass(frozen=True)
class RegressionConfig:
    """How labels are learnt.

    Attributes:
        num_steps: gradient steps.
        batch_size: play steps in a batch.
        learning_rate: of Adam, falling to 0 linearly.
        seed: of weights and batches.
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
    reward_config: RewardConfig = RewardConfig(),
    sampling: SamplingConfig = SamplingConfig(),
    learning: LearningConfig = LearningConfig(),
    config: RegressionConfig = RegressionConfig(),
) -> LearntReward:
    """An additive reward whose reward of an observation is the label of the step that led there.

    Labels are scaled to mean 0 and deviation 1. A value is fitted to the reward if ``learning``
    has one (more than one round, or a ``value_discount``). The guide's scale is multiplied by the
    one of :data:`SCALE_FACTORS`, and its stop step is the one of ``learning.stop_steps``, that do
    best on the last demonstration; not where ``learning`` tunes a diffuser, whose plans are not
    guided.

    Args:
        labels: a reward for each environment step of each play episode, any unit.
        play: the episodes, environment units.
        diffuser: of play data; gives the normalizers, and the plans that scale is chosen by.
        demonstrations: environment units.
        reward_config: the reward model; anything but ``additive`` becomes that.
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
        built = replace(reward_config, model="additive", sees_actions=False)
        model = built.build(diffuser.spec).to(diffuser.device)
        if not isinstance(model, AdditiveReward):
            raise TypeError("an additive reward was asked for")
        _fit(model, diffuser.observation_normalizer.normalize(observations), targets, config)
        value = Value(diffuser.spec).to(diffuser.device) if learning.num_rounds > 1 else None
    model.requires_grad_(requires_grad=False)
    problem = MatchingProblem(
        diffuser,
        Windows(demonstrations, diffuser.spec),
        Windows(play, diffuser.spec),
        len(demonstrations.episodes) - 1,
        sampling,
        replace(learning, num_held_out=1, scale_factors=SCALE_FACTORS),
    )
    if value is not None:
        problem.fit_value(model, value.requires_grad_(requires_grad=False))
    elif learning.value_discount:
        value = problem.discounted_value(model)
    learnt = LearntReward(
        model,
        diffuser.spec,
        diffuser.observation_normalizer,
        diffuser.action_normalizer,
        built,
        sampling,
        diffuser.fingerprint,
        {"objective": "regression"},
        value,
        columns=diffuser.columns,
    )
    if len(demonstrations.episodes) < 2 or learning.tuning.num_steps:
        return learnt
    return replace(learnt, sampling=problem.best_sampling(learnt.guide_model))


def _standardised(labels: Sequence[np.ndarray], play: Dataset) -> Tensor:
    lengths = [len(episode) for episode in play.episodes]
    if [len(each) for each in labels] != lengths:
        msg = (
            f"labels have lengths {[len(each) for each in labels][:5]}..., the play episodes "
            f"{lengths[:5]}... environment steps; give one label a step"
        )
        raise DataError(msg)
    flat = np.concatenate(labels)
    if not np.isfinite(flat).all() or flat.std() == 0:
        raise DataError(
            f"labels range from {flat.min()} to {flat.max()}; there is nothing to learn from them"
        )
    return torch.as_tensor((flat - flat.mean()) / flat.std(), dtype=torch.float32)


def _fit(
    model: AdditiveReward, observations: Tensor, targets: Tensor, config: RegressionConfig
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    targets = targets.to(observations.device)
    for step in range(config.num_steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.num_steps)
        picks = torch.randint(len(targets), (config.batch_size,), generator=generator)
        found = model.step_rewards(observations[picks].unsqueeze(1)).squeeze(1)
        loss = nn.functional.mse_loss(found, targets[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
