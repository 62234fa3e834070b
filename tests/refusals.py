"""What errors say: the place, the value there and the remedy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from trailward.errors import DataError, RefusedError


@contextmanager
def refused(
    kind: type[RefusedError] = DataError,
    *,
    place: object = ANY,
    value: object = ANY,
    remedy: str = "",
) -> Iterator[pytest.ExceptionInfo[Any]]:
    """What is done in this context raises an error of this kind, with these fields.

    Args:
        kind: of error.
        place: equal to the error's.
        value: equal to the error's.
        remedy: a few words of the error's, such as the name of a flag; never a whole sentence.
    """
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert (error.place, error.value) == (place, value)
    assert remedy in error.remedy
    assert error.remedy in str(error)
    file, _, _ = error.place.partition(": ")
    assert os.sep not in file or Path(file).name in str(error)
