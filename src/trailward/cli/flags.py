"""What several verbs share: types of flags, and reading what they name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import zip_longest
from typing import Annotated, Any

import torch
import tyro

from trailward.data.angles import with_angles
from trailward.data.dataset import Dataset, check_entries, read_dataset, with_choices
from trailward.data.formats.table import TableLayout
from trailward.data.tracks import with_rates_like
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import ENVIRONMENTS, Environment, find_environment
from trailward.errors import DataError, SettingsError
from trailward.learning.learnt_reward import LearntReward

Say = Callable[[str], None]
"""Tells people something; a line at a time."""


def flag_value(arguments: Sequence[str], *flags: str) -> str | None:
    """What follows the first of these flags among the arguments; None if none is there."""
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        for flag in flags:
            if argument == flag:
                return after
            if argument.startswith(f"{flag}="):
                return argument.partition("=")[2]
    return None


def with_environment(
    kind: type[Any], name: str, given: Mapping[str, Any]
) -> tuple[type[Any], dict[str, Any]]:
    """A verb with the flag ``--env`` and those of an environment's own settings.

    Args:
        kind: the verb, with a field ``environment``.
        name: of the environment; ``none`` for no environment.
        given: values of fields, such as a preset's.

    Returns:
        The verb, and the values of its fields with the environment among them.
    """
    environment = given.get("environment")
    if name == "none":
        environment = None
    elif environment is None or name != environment.name:
        environment = find_environment(name)
    settings = settings_of(environment)
    hint = Annotated[type(environment), tyro.conf.arg(name="")]
    if not settings or any(not isinstance(value, str | int | float) for value in settings.values()):
        hint = Annotated[Any, tyro.conf.Suppress]
    names = ", ".join(ENVIRONMENTS)
    help_text = f"The environment: {names}, an id of Gymnasium such as Hopper-v5, or module:Name."
    flag = tyro.conf.arg(name="env", aliases=["--environment"], help=help_text)
    annotations = {"environment": hint, "env_name": Annotated[str, flag]}
    space = {"__annotations__": annotations, "__doc__": kind.__doc__, "env_name": name}
    made = dataclass(frozen=True, kw_only=True)(type(kind.__name__, (kind,), space))
    return made, dict(given) | {"environment": environment}


def settings_of(environment: Environment | None) -> dict[str, Any]:
    """What decides which environment it is, beside its name."""
    if environment is None or not is_dataclass(environment):
        return {}
    return {each.name: getattr(environment, each.name) for each in fields(environment)}


def usable_device(name: str) -> str:
    """The name of a device, if PyTorch can use it here.

    Raises:
        SettingsError: if it cannot.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"device '{name}' cannot be used here: {reason}"
        raise SettingsError(msg, place="--device", value=name) from None
    return name


def read_for(source: str, made: Diffuser | LearntReward, layout: TableLayout) -> Dataset:
    """A dataset of which plans can be made; an error names the source.

    Args:
        source: of the data.
        made: what the data is for. Rates that were added to what it was made from are added.
        layout: of tables. Angles get sine and cosine if those have them.
    """
    dataset, spec = read_dataset(source, layout), made.spec
    step = made.provenance.get("choices", {}).get("time_step")
    dataset = with_rates_like(dataset, made.columns, step)
    if dataset.observation_dim == spec.observation_dim - len(made.columns.angles):
        dataset = with_angles(dataset, made.columns.angles)
    try:
        dataset = with_choices(dataset, spec.action_dim)
        check_entries(dataset, spec)
    except DataError as error:
        raise error.within(source) from None
    return dataset
