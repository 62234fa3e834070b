"""Whose a folder is: one kind of thing, one run, and one process at a time.

A folder that something is written into gets a mark that says what it holds. Anything else is
refused before a byte is written. While a process works there it holds a lock, which the kernel
lets go of when the process ends, however it ends; the lock's file names the process.
"""

import json
import os
import platform
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trailward.errors import RefusedError
from trailward.running.files import StorageError, clear_staging, write_json

try:
    import fcntl
except ImportError:  # not there on Windows
    fcntl = None

MARK, LOCK = ".trailward.json", ".trailward.lock"
_ANOTHER = "give another --out, or remove it"
_WAIT = "wait for it, stop it, or give another --out"
_SIGNS = {
    "snapshots": "policies",
    "demo.json": "demo",
    "training.safetensors": "diffuser",
    "learning.safetensors": "reward",
    "results.jsonl": "benchmark",
    "evaluation.json": "evaluation",
    "inspection.json": "inspection",
    "data/metadata.json": "dataset",
    "data/main_data.hdf5": "dataset",
    "index.html": "report",
}
_held: set[tuple[int, Path]] = set()


class FolderError(RefusedError):
    """A folder that another process works in, or that holds something else."""


@contextmanager
def own_folder(
    folder: str | os.PathLike[str],
    kind: str,
    *,
    run: Mapping[str, Any] | None = None,
    resumes_from: str | None = None,
) -> Iterator[Path]:
    """Own a folder for as long as the context lasts; it is made if it is not there.

    If the context ends in an error before anything was written, nothing is left.

    Args:
        folder: where results go.
        kind: what it holds, such as ``reward``.
        run: JSON values that must be the same when the folder is written again; not looked at if
            None.
        resumes_from: name of the checkpoint that a run goes on from. A finished model without it
            is refused, for it would be lost.

    Raises:
        FolderError: if it holds another kind or run, or another process works in it.
        StorageError: if it cannot be written.
    """
    folder = Path(folder).expanduser()
    made = _make(folder)
    holder = threading.get_ident(), folder.resolve()
    if holder in _held:
        _check(folder, kind, run, resumes_from)
        yield folder
        return
    try:
        with _locked(folder / LOCK, folder):
            was = _check(folder, kind, run, resumes_from)
            clear_staging(folder)
            mark = {"kind": kind, "trailward": version("trailward"), "run": run}
            if was != mark | {"trailward": was.get("trailward")}:
                write_json(folder / MARK, mark)
            _held.add(holder)
            try:
                yield folder
            except BaseException:
                if not was:
                    _unmark(folder, always=run is not None)
                raise
            finally:
                _held.discard(holder)
    finally:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()


def own_if_any(folder: Path | None, kind: str) -> AbstractContextManager[Path | None]:
    """As :func:`own_folder`; nothing where everything stays in memory."""
    return nullcontext() if folder is None else own_folder(folder, kind)


@contextmanager
def own_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Own the place of a file, or of a folder that is written in one move.

    Raises:
        FolderError: if another process is writing it.
        StorageError: if it cannot be written there.
    """
    path = Path(path).expanduser()
    made = _make(path.parent)
    try:
        with _locked(path.with_name(f".{path.name[:100]}.lock"), path):
            clear_staging(path.parent, path.name)
            yield path
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def kind_of(folder: Path) -> str | None:
    """What a folder holds by its mark, or else by what is in it; None if nothing of ours."""
    kind = _read(folder / MARK).get("kind")
    if isinstance(kind, str):
        return kind
    if (folder / "config.json").exists():
        kind = _read(folder / "config.json").get("kind")
        return kind if isinstance(kind, str) else "something else"
    for name, kind in _SIGNS.items():
        if (folder / name).exists():
            return kind
    return None


def run_of(folder: Path) -> Any:
    """The settings that a folder's mark says it was made with; None if there is no mark."""
    return _read(folder / MARK).get("run")


def _check(
    folder: Path, kind: str, run: Mapping[str, Any] | None, resumes_from: str | None
) -> dict[str, Any]:
    """The mark there is, if the folder may be written as this kind and run."""
    found, mark = kind_of(folder), _read(folder / MARK)
    if found is not None and found != kind:
        msg = f"{folder} holds {_a(found)}, not {_a(kind)}"
        raise FolderError(msg, place=str(folder), value=found, remedy=_ANOTHER)
    before = mark.get("run")
    if run is not None and isinstance(before, dict):
        now = json.loads(json.dumps(run))
        for name in before | now:
            old, new = before.get(name), now.get(name)
            if old != new:
                place = f"{folder}: {name}"
                msg = f"{folder} was made with {name} {old}, now it is {new}"
                raise FolderError(msg, place=place, value=(old, new), remedy=_ANOTHER)
    finished = (folder / "config.json").exists()
    if resumes_from is not None and finished and not (folder / resumes_from).exists():
        msg = f"{folder} holds a finished {kind} but not {resumes_from}, which it could go on from"
        raise FolderError(msg, place=str(folder / resumes_from), remedy=_ANOTHER)
    return mark


def _a(kind: str) -> str:
    return kind if kind == "something else" else f"{'an' if kind[:1] in 'aeio' else 'a'} {kind}"


def _make(folder: Path) -> list[Path]:
    """Make a folder; those that were made, the outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{folder} cannot be made: {reason}; choose a folder that may be written"
        raise StorageError(error.errno or 0, msg) from None
    return missing[::-1]


def _unmark(folder: Path, *, always: bool) -> None:
    """Take the mark away, if there is nothing else that it says anything about or always."""
    if always or {path.name for path in folder.iterdir()} <= {MARK, LOCK}:
        (folder / MARK).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _locked(lock: Path, what: Path) -> Iterator[None]:
    """Hold a lock; its file is removed in the end."""
    try:
        file = _take(lock, what)
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{what} cannot be written: {reason}; choose a place that may be written"
        raise StorageError(error.errno or 0, msg) from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(file)


def _take(lock: Path, what: Path) -> int:
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            is_free = _flock(file)
            if is_free is None:  # the file system knows no locks
                is_free = not _is_alive(_read(lock))
            if not is_free:
                holder = _read(lock)
                msg = f"{what} is in use by {_told(holder)}"
                raise FolderError(msg, place=str(what), value=holder, remedy=_WAIT)
            if os.fstat(file).st_ino == _inode(lock):  # not one that was removed meanwhile
                os.ftruncate(file, 0)
                os.write(file, json.dumps(_this_process()).encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _flock(file: int) -> bool | None:
    """Whether the lock was free, and is now ours; None if that cannot be told."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
    }


def _started(pid: int) -> int | None:
    """When a process began, in the kernel's ticks: tells it from a later one of the same number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _is_alive(holder: Mapping[str, Any]) -> bool:
    """Whether the process that a lock names may still be at work."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or holder.get("host") != platform.node():
        return bool(holder)
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return holder.get("started") == _started(pid)


def _told(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return (
        f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')} "
        f"({holder.get('command')})"
    )
