"""Files that are whole or not there: written beside their place, flushed, and moved in one step.

A process that is killed at any moment, a full disk, a limit on the size of files and a folder that
may not be written all leave what stood there before. What a killed process left beside it is
cleared away by the next one that owns the place (:mod:`trailward.running.folders`).
"""

import errno
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_STAGING = re.compile(r"^\..+\.(\d+-[0-9a-f]{8}\.)?writing$|^\.writing-[0-9a-f]{8}$")
_REASONS = {
    errno.ENOSPC: ("there is no space left", "make room there"),
    errno.EDQUOT: ("the quota is used up", "make room there"),
    errno.EFBIG: ("it is above the limit on the size of a file", "raise it (ulimit -f)"),
    errno.EROFS: ("the disk may only be read", "choose a folder that may be written"),
    errno.EACCES: ("that is not permitted", "choose a folder that may be written"),
    errno.EPERM: ("that is not permitted", "choose a folder that may be written"),
    errno.ENOTDIR: ("a file stands where a folder should be", "choose another folder"),
    errno.EEXIST: ("a file stands where a folder should be", "choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}


class StorageError(OSError):
    """A file that could not be written; the message names it, the space it takes and the remedy.

    What stood there before is as it was.
    """

    def __str__(self) -> str:
        return str(self.strerror)


def write_file(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file in one move; its folder is made if it is not there.

    Raises:
        StorageError: if it could not be written.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    staging = staging_name(path)
    with _told(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with staging.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            staging.replace(path)
        finally:
            with suppress(OSError):
                staging.unlink(missing_ok=True)
    return path


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write JSON in one move.

    Raises:
        StorageError: if it could not be written.
    """
    return write_file(path, json.dumps(value, indent=2) + "\n")


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays as a compressed ``.npz`` file in one move.

    Raises:
        StorageError: if it could not be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return write_file(path, content.getvalue())


def png_of(figure: Any, *, dpi: int) -> bytes:
    """A figure of matplotlib as the content of a PNG file."""
    content = io.BytesIO()
    made_by = {"Software": f"trailward {version('trailward')}"}
    figure.savefig(content, format="png", dpi=dpi, bbox_inches="tight", metadata=made_by)
    return content.getvalue()


def write_figure(path: str | os.PathLike[str], figure: Any, *, dpi: int) -> Path:
    """Draw a figure of matplotlib as a PNG file, in one move.

    Raises:
        StorageError: if it could not be written.
    """
    return write_file(path, png_of(figure, dpi=dpi))


@contextmanager
def new_folder(path: Path, num_bytes: int) -> Iterator[Path]:
    """A folder to make a folder of that name in, which is moved to its place when all went well.

    Libraries that write files by themselves can die where the disk is full; so the space is
    reserved, and freed again, before anything is written.

    Args:
        path: of the folder; it must not exist yet.
        num_bytes: what will be in it, at most.

    Raises:
        StorageError: if there is no space for it, or it could not be written.
    """
    staging = staging_name(path)
    with _told(path, num_bytes):
        staging.mkdir(parents=True)
        try:
            _reserve(staging / "space", num_bytes)
            yield staging
            for file in staging.rglob("*"):
                _flush(file)
            (staging / path.name).rename(path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def staging_name(path: Path) -> Path:
    """Where something is written before it is moved to a path: a new name beside it."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.writing")


def clear_staging(folder: Path, name: str = "") -> None:
    """Remove what killed processes left half-written, in a folder that no other process uses.

    Args:
        folder: with all folders in it, if there is no name.
        name: of the one file or folder in it whose leavings are meant.
    """
    found = folder.glob(f".{name[:100]}.*") if name else folder.rglob(".*writing*")
    for path in list(found):
        if _STAGING.match(path.name):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def size_in_words(num_bytes: float) -> str:
    """A number of bytes for people, such as ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    raise AssertionError


def _flush(path: Path) -> None:
    """See to it that a file that a library wrote is on the disk."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _reserve(path: Path, num_bytes: int) -> None:
    """Take up space for a moment, so that a lack of it shows before anything is written."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, num_bytes))
        path.unlink()
    elif shutil.disk_usage(path.parent).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _told(path: Path, num_bytes: int) -> Iterator[None]:
    """Turns errors of the file system into one that says what could not be written, and why."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason, remedy = _REASONS.get(
            error.errno or 0, (error.strerror or str(error), "see what is wrong there")
        )
        msg = (
            f"{path} could not be written: {reason}; it takes {size_in_words(num_bytes)}"
            f"{_free(path)}, and what was there before is as it was: {remedy} and run again"
        )
        raise StorageError(error.errno or 0, msg) from None


def _free(path: Path) -> str:
    for place in path.parents:
        with suppress(OSError):
            return f", {size_in_words(shutil.disk_usage(place).free)} are free"
    return ""
