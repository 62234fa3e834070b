"""An expert denoiser: that of the play data, trained further on demonstrations."""

import copy

import torch
from torch import Tensor, nn

from trailward.data.dataset import Windows
from trailward.diffusion.conditioning import condition_on
from trailward.diffusion.denoiser import denoising_loss
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fitting import fit
from trailward.randomness import generator
from trailward.typing import Scalar


def train_expert(
    diffuser: Diffuser,
    windows: Windows,
    indices: Tensor,
    *,
    sampling: SamplingConfig,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> nn.Module:
    """An expert denoiser, which ``relative_reward`` needs; the same for the same arguments.

    Args:
        diffuser: of the play data; stays as it is.
        windows: of the demonstrations, environment units.
        indices: which windows it is trained on.
        sampling: it is trained at the diffusion steps of the moves that are guided.
        num_steps: gradient steps.
        batch_size: windows in a batch.
        learning_rate: of Adam, falling to 0 linearly.
        seed: of batches and noise.
    """
    expert = copy.deepcopy(diffuser.denoiser).requires_grad_().train()
    steps = torch.tensor([move.step for move in diffuser.guided_moves(sampling)])
    draw = generator(seed, "expert: batches")

    def loss(_: int) -> Scalar:
        picks = indices[torch.randint(len(indices), (batch_size,), generator=draw)]
        clean, mask = windows.batch(picks, diffuser.normalizer)
        drawn = torch.randint(len(steps), (batch_size,), generator=draw)
        return denoising_loss(
            expert,
            diffuser.schedule,
            clean,
            mask,
            step=steps[drawn].to(clean.device),
            noise=torch.randn(clean.shape, generator=draw).to(clean),
            condition=condition_on(diffuser.spec, diffuser.spec.split(clean)[0][:, 0]),
        )

    fit(expert.parameters(), loss, num_steps=num_steps, learning_rate=learning_rate)
    return expert.requires_grad_(requires_grad=False).eval()
