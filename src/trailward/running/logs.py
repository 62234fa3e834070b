"""Curves for TensorBoard, written so that a full disk is told in one line, and read back."""

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from trailward.running.files import StorageError

LOGS = "logs"


class CurveLog:
    """A file of curves in the folder ``logs`` of a run; a context that closes it.

    Args:
        folder: of the run.
        purge_step: values from this step on, of an interrupted run, no longer count.
    """

    def __init__(self, folder: str | os.PathLike[str], *, purge_step: int = 0) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        protocols: Any = event_pb2
        self._event, self._summary = protocols.Event, cast("Any", summary_pb2).Summary
        name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.0"
        self._path = Path(folder) / LOGS / name
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
            self._records: Any = RecordWriter(self._file)
        except OSError as error:
            raise self._told(error) from None
        start = protocols.SessionLog(status=protocols.SessionLog.START)
        self._write(file_version="brain.Event:2", step=purge_step)
        self._write(session_log=start, step=purge_step)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a value to a curve.

        Raises:
            StorageError: if the file could not be written.
        """
        entry = self._summary.Value(tag=tag, simple_value=value)
        self._write(summary=self._summary(value=[entry]), step=step)

    def flush(self) -> None:
        """Write what is in memory still.

        Raises:
            StorageError: if the file could not be written.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise self._told(error) from None

    def __enter__(self) -> "CurveLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            if kind is None:
                raise self._told(error) from None

    def _write(self, **entries: Any) -> None:
        try:
            event = self._event(wall_time=time.time(), **entries)
            self._records.write(event.SerializeToString())
        except OSError as error:
            raise self._told(error) from None

    def _told(self, error: OSError) -> StorageError:
        reason = error.strerror or str(error)
        msg = f"{self._path} could not be written: {reason}; make room there and run again"
        return StorageError(error.errno or 0, msg)


def read_curve(folder: str | os.PathLike[str], tag: str) -> Iterator[tuple[int, float]]:
    """A curve of the runs in a folder, as (step, value) pairs; none if there is no such curve."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(Path(folder) / LOGS), size_guidance={"scalars": 0})
    events.Reload()
    for event in events.Scalars(tag) if tag in events.Tags()["scalars"] else []:
        yield event.step, event.value
