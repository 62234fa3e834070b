"""What a reward is learnt by: how far the plans it guides are from demonstrations."""

from collections.abc import Callable

import torch

from trailward.adjoint import Adjoint, full
from trailward.dataset import Windows
from trailward.diffuser import Diffuser, SamplingConfig
from trailward.memory import RemembersPast
from trailward.objective import Objective
from trailward.typing import PerPlan, Plans, Scalar


def matching_loss(
    diffuser: Diffuser,
    reward_model: Callable[[Plans], PerPlan],
    windows: Windows,
    indices: torch.Tensor,
    *,
    objective: Objective,
    sampling: SamplingConfig,
    generator: torch.Generator,
    adjoint: Adjoint = full,
) -> Scalar:
    """The objective between demonstrations and guided plans from where they start.

    Args:
        diffuser: frozen.
        reward_model: guides; the loss is differentiable in its weights. One that remembers is
            told what came before each window, and windows are compared for as long as what is
            remembered stays the same.
        windows: of the demonstrations, environment units.
        indices: which windows make up the batch.
        objective: how plans and demonstrations are compared, model space.
        sampling: how plans are sampled and guided.
        generator: of the plans' noise.
        adjoint: how gradients go back through sampling.

    Raises:
        ValueError: if no differentiated step is guided, so that nothing could be learnt.
    """
    demonstrations, mask = windows.batch(indices, diffuser.normalizer)
    if isinstance(reward_model, RemembersPast):
        history = windows.history(indices).to(diffuser.device)
        known = reward_model.remember(diffuser.observation_normalizer.normalize(history))
        known = known.flip(1)[:, :: diffuser.spec.stride][:, : diffuser.spec.horizon].flip(1)
        reward_model = reward_model.given(known[:, 0])
        mask[:, 1:] &= known[:, :-1] == known[:, :1]
    plans = diffuser.sample_plans(
        diffuser.spec.split(demonstrations)[0][:, 0],
        sampling,
        generator=generator,
        reward_model=reward_model,
        adjoint=adjoint,
    )
    if torch.is_grad_enabled() and not plans.requires_grad:
        msg = (
            "the plans do not depend on the reward's weights: no differentiated step is guided; "
            "give adjoint 'last:K' a larger K, or lower the guide's stop_step"
        )
        raise ValueError(msg)
    return objective(plans, demonstrations, None if bool(mask.all()) else mask)
