"""Optional dependencies: imported where they are needed, with an error that names the command."""

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


def import_extra(module: str, message: str) -> Any:
    """A module of an optional dependency.

    Args:
        module: dotted name.
        message: of the error: what needs it, and the command that installs it.

    Raises:
        MissingExtraError: if it, or something that it imports, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(message) from error
