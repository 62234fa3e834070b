"""What several verbs share: types of flags, and reading what they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from trailward.checkpoint import CheckpointError
from trailward.data.dataset import Dataset, check_entries, read_dataset
from trailward.data.episode import DataError
from trailward.data.formats.table import TableLayout
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser
from trailward.learning.learnt_reward import LearntReward

Say = Callable[[str], None]
"""Tells people something; a line at a time."""

Preset = Literal[
    "umaze", "umaze-goal", "large", "halfcheetah", "thesis-umaze", "thesis-halfcheetah"
]
"""Names of settings known to work; every flag can still be given."""

Environment = Annotated[Literal["maze", "halfcheetah"], tyro.conf.arg(aliases=["--env"])]
Judge = Annotated[Literal["maze", "halfcheetah", "none"], tyro.conf.arg(aliases=["--env"])]


def usable_device(name: str) -> str:
    """The name of a device, if PyTorch can use it here.

    Raises:
        ValueError: if it cannot.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device '{name}' cannot be used here: {reason}") from None
    return name


def read_for(source: str, spec: PlanSpec, layout: TableLayout) -> Dataset:
    """A dataset of which plans can be made; an error names the source."""
    dataset = read_dataset(source, layout)
    try:
        check_entries(dataset, spec)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    return dataset


def load_reward(folder: Path, diffuser: Diffuser) -> LearntReward:
    """A reward to plan with.

    Raises:
        CheckpointError: if it was learnt with another diffuser.
    """
    learnt = LearntReward.load(folder)
    if learnt.diffuser_fingerprint != diffuser.fingerprint:
        msg = f"the reward in {folder} was learnt with another diffuser; plan with that one"
        raise CheckpointError(msg)
    return learnt
