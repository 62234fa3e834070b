"""What every reader goes through: errors of libraries become the project's, sizes are checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trailward.errors import DataError
from trailward.optional import MissingExtraError

_SMALL, _RATIO = 2**26, 1000
"""Bytes that are read in any case, and bytes of data that a byte of a file may stand for."""


@contextmanager
def readable(place: object, what: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises into an error with place, value and remedy.

    Args:
        place: the file, or the file and the field.
        what: what it ought to be, such as "a whole CSV file".
        remedy: what to do if it is not.

    Raises:
        DataError: if anything was raised but that and a lack of a package.
    """
    try:
        yield
    except (DataError, MissingExtraError):
        raise
    except FileNotFoundError as error:
        if error.filename is not None and str(error.filename) != str(place):
            raise _unreadable(place, what, error, remedy) from error
        msg = f"{place} does not exist"
        raise DataError(msg, place=str(place), remedy="check the name") from None
    except Exception as error:
        raise _unreadable(place, what, error, remedy) from error


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return lines[0] if lines else type(error).__name__


def _unreadable(place: object, what: str, error: Exception, remedy: str) -> DataError:
    reason = _reason(error)
    msg = f"{place} is not {what}: {reason}"
    return DataError(msg, place=str(place), value=reason, remedy=remedy)


def check_size(place: object, num_bytes: int, file: Path) -> None:
    """Check, before anything is allocated, that a file can hold as much as it claims to.

    Args:
        place: of errors: the file, or the file and the field.
        num_bytes: of the data, as the file claims.
        file: the file itself.

    Raises:
        DataError: if it claims a thousand times its own size, and more than 64 MB.
    """
    size = file.stat().st_size
    if num_bytes > max(_SMALL, _RATIO * size):
        remedy = "it is damaged, or made to exhaust memory: write it again"
        msg = f"{place} claims {num_bytes / 1e9:,.3g} GB of data in a file of {size:,} bytes"
        raise DataError(msg, place=str(place), value=num_bytes, remedy=remedy)


def check_hdf5(path: Path, file: Any) -> None:
    """Check the sizes of all arrays of an open HDF5 file, as 64-bit numbers.

    Raises:
        DataError: as :func:`check_size`.
    """
    total = 0
    claims: list[tuple[str, int]] = []
    file.visititems(
        lambda name, found: (
            claims.append((str(name), int(found.size or 0) * max(found.dtype.itemsize, 8)))
            if hasattr(found, "dtype") and hasattr(found, "size")
            else None
        )
    )
    for name, claimed in claims:
        check_size(f"{path}: '{name}'", claimed, path)
        total += claimed
    check_size(path, total, path)
