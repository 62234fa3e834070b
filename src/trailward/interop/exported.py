"""The learnt reward as one file that PyTorch alone can run, also from C++ (``torch.export``)."""

import copy
import hashlib
import io
import json
import os
import zipfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.checkpoint import CheckpointError
from trailward.errors import SettingsError
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards.contract import RewardModel
from trailward.rewards.known_region import KnownRegion
from trailward.running.files import write_file
from trailward.running.folders import FolderError

TOLERANCE = 1e-5
"""How far the exported reward may be from the learnt one; times the largest reward if above 1."""

FACTS = "trailward.json"
"""The extra file inside the exported one: column names, units, layout, provenance."""

_BATCHES = (1, 64)
_LONGEST = 10_000_000


class StepReward(nn.Module):
    """The learnt reward of single steps as a module: tensors in environment units, gradients pass.

    Args:
        learnt: whose weights it shares.

    Raises:
        TypeError: if the reward is of whole plans, remembers what came before, or sees actions of
            several environment steps.
    """

    def __init__(self, learnt: LearntReward) -> None:
        super().__init__()
        learnt.check_of_transitions()
        self.spec, self.sees_actions = learnt.spec, learnt.sees_actions
        self.observation_normalizer = learnt.observation_normalizer
        self.action_normalizer = learnt.action_normalizer
        self.model: RewardModel = learnt.model

    def forward(
        self,
        observations: Float[Tensor, "batch observation"],
        actions: Float[Tensor, "batch action"] | None = None,
    ) -> Float[Tensor, "batch"]:
        """The reward of each observation, with what is done there if the reward sees actions."""
        steps = self.observation_normalizer.normalize(observations)
        if self.sees_actions and actions is not None:
            acts = self.action_normalizer.normalize(actions)
            steps = self.spec.join(steps, acts.unsqueeze(-2))
        return self.model.step_rewards(steps.unsqueeze(0)).squeeze(0)


def export_reward(learnt: LearntReward, path: str | os.PathLike[str]) -> Path:
    """Write a learnt reward as a PyTorch program that runs without trailward.

    It takes observations of shape (batch, observation), float32 in environment units, for any
    batch; and, if the reward sees actions, what is done there, shape (batch, action). It returns
    rewards of shape (batch,). Read it by ``torch.export.load(path).module()``.

    Before anything is written, the program is compared with the learnt reward on random inputs
    over the range of the play data, and a pessimistic one also where it is known. Only the same
    reward is written over.

    Args:
        learnt: the reward.
        path: of the file, ending in ``.pt2``.

    Raises:
        TypeError: as :class:`StepReward`.
        SettingsError: if the path has another ending.
        FolderError: if the file is there and is not this reward.
        CheckpointError: if the program and the learnt reward differ by more than
            :data:`TOLERANCE`.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        remedy = "end it in .pt2, as PyTorch wants of exported programs"
        raise SettingsError(place="path", value=str(path), remedy=remedy)
    fingerprint = _fingerprint(learnt)
    if path.exists() and _exported(path) != fingerprint:
        remedy = "give another --out, or remove it"
        raise FolderError(place=str(path), value="not of this reward", remedy=remedy)
    reward = copy.deepcopy(StepReward(learnt)).cpu().eval().requires_grad_(requires_grad=False)
    batch = torch.export.Dim("batch", min=0)
    inputs = _inputs(reward, 2)
    program = torch.export.export(reward, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names the folders of this machine
    _check(program.module(), reward, learnt)
    facts = {
        "columns": learnt.columns.to_config(),
        "spec": learnt.spec.to_config(),
        "sees_actions": reward.sees_actions,
        "pessimistic": learnt.is_pessimistic,
        "provenance": dict(learnt.provenance),
        "fingerprint": fingerprint,
        "trailward": version("trailward"),
    }
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={FACTS: json.dumps(facts)})
    return write_file(path, content.getvalue())


def _fingerprint(learnt: LearntReward) -> str:
    """A hash of what the program depends on: weights, normalizers and form."""
    parts = (learnt.model, learnt.observation_normalizer, learnt.action_normalizer)
    found = hashlib.sha256(str(learnt.is_pessimistic).encode())
    for part in parts:
        for name, value in sorted(part.state_dict().items()):
            found.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def _exported(path: Path) -> str | None:
    """The fingerprint of the reward in a file; None if it holds none."""
    with suppress(OSError, ValueError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(f"/{FACTS}") and entry.file_size < _LONGEST:
                facts = json.loads(archive.read(entry))
                return facts.get("fingerprint") if isinstance(facts, dict) else None
    return None


def _inputs(reward: StepReward, count: int) -> tuple[Tensor, ...]:
    """Random steps over the range of the play data, environment units."""
    generator = torch.Generator().manual_seed(count)
    normalizers = [reward.observation_normalizer]
    if reward.sees_actions:
        normalizers.append(reward.action_normalizer)
    return tuple(
        normalizer.unnormalize(
            2 * torch.rand((count, len(normalizer.shift)), generator=generator) - 1
        ).float()
        for normalizer in normalizers
    )


def _known_inputs(learnt: LearntReward, region: KnownRegion) -> tuple[Tensor, ...]:
    """Steps at which a pessimistic reward is known, environment units."""
    sample = region.sample[:64].cpu()
    steps = sample.new_zeros(len(sample), learnt.spec.transition_dim)
    observations, actions = learnt.spec.split(
        steps.index_copy(1, learnt.model.inputs.cpu(), sample)
    )
    seen = learnt.observation_normalizer.unnormalize(observations).float()
    if not learnt.sees_actions or actions is None:
        return (seen,)
    return seen, learnt.action_normalizer.unnormalize(actions[:, 0]).float()


def _check(program: nn.Module, reward: StepReward, learnt: LearntReward) -> None:
    tried = [_inputs(reward, count) for count in _BATCHES]
    if learnt.is_pessimistic and learnt.known_region is not None:
        tried.append(_known_inputs(learnt, learnt.known_region))
    for inputs in tried:
        expected = torch.from_numpy(learnt(*(part.numpy() for part in inputs)))
        difference = (program(*inputs) - expected).abs().max().item()
        limit = TOLERANCE * max(1.0, expected.abs().max().item())
        if not difference <= limit:
            msg = (
                f"the exported reward differs from the learnt one by {difference:.2g}, more than "
                f"{limit:.2g}, so nothing was written"
            )
            remedy = "use the reward's folder instead"
            raise CheckpointError(msg, place="exported reward", value=difference, remedy=remedy)
