"""How much memory there is, and refusing by name what would take more."""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from trailward.errors import SettingsError
from trailward.running.files import size_in_words

_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full}
_PLENTY = 1 << 50


def available_memory() -> int:
    """Bytes that a process can still get here; more than any machine has if that is not known."""
    found = [_PLENTY]
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        found.append(limit - int((group / "memory.current").read_text(encoding="utf-8")))
    if len(found) == 1:
        with suppress(OSError, ValueError, AttributeError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found)


def check_memory(num_bytes: float, what: str, remedy: str) -> None:
    """Refuse settings that take more memory than there is.

    Args:
        num_bytes: an estimate of what they take.
        what: the settings with their values.
        remedy: which of them to lower.

    Raises:
        SettingsError: names the settings, the estimate and what there is.
    """
    there = available_memory()
    if num_bytes > there:
        msg = (
            f"{what} takes about {size_in_words(num_bytes)} of memory, and {size_in_words(there)} "
            "are free here"
        )
        raise SettingsError(msg, place=what, value=num_bytes, remedy=remedy)


class AllocationLimit(TorchFunctionMode):
    """Refuses tensors made from nothing above a number of entries, before memory is taken.

    Args:
        num_entries: of all tensors together.
        refused: the error, given the shape of the tensor that is one too much.
    """

    def __init__(self, num_entries: float, refused: Callable[[tuple[int, ...]], Exception]) -> None:
        super().__init__()
        self._left, self._refused = num_entries, refused

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Counts, and passes the call on."""
        if func in _MAKERS:
            shape = kwargs.get("size", args) if kwargs else args
            shape = shape[0] if shape and not isinstance(shape[0], int) else shape
            shape = tuple(size for size in shape if isinstance(size, int))
            self._left -= math.prod(shape)
            if self._left < 0:
                raise self._refused(shape)
        return func(*args, **(kwargs or {}))
