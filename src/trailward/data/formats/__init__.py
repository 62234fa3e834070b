"""Readers of recorded data, a module a format: path in, episodes with names out."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trailward.data.episode import DataError
from trailward.data.formats import d4rl, lerobot, npz, table
from trailward.data.formats.d4rl import read_d4rl
from trailward.data.formats.lerobot import read_lerobot
from trailward.data.formats.minari_folder import read_minari
from trailward.data.formats.npz import read_npz
from trailward.data.formats.rows import Recording
from trailward.data.formats.table import TableLayout, read_table


@dataclass(frozen=True)
class Format:
    """One way of keeping data.

    Attributes:
        name: for people.
        recognises: whether a path is of this format; looks at names only, opens nothing.
        read: the path and, for tables, which column is what.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, TableLayout], Recording]


FORMATS = (
    Format("HDF5 of D4RL", d4rl.recognises, lambda path, _: read_d4rl(path)),
    Format(".npz of NumPy", npz.recognises, lambda path, _: read_npz(path)),
    Format("Parquet or CSV table", table.recognises, read_table),
    Format("folder of LeRobot", lerobot.recognises, read_lerobot),
)
"""In the order asked; what none recognises may be Minari's."""


def read_recording(
    source: str | os.PathLike[str], layout: TableLayout = TableLayout()
) -> Recording:
    """Read data of any known format.

    Args:
        source: a file, a folder, or a Minari id.
        layout: which columns are what; of tables only.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
        MissingExtraError: if it takes a package that is not installed; names the command.
    """
    path = Path(source).expanduser()
    for form in FORMATS:
        if form.recognises(path):
            return form.read(path, layout)
    if path.is_file():
        known = ", ".join([*(form.name for form in FORMATS), "folder of Minari"])
        msg = f"{path} is of no known format ('{path.suffix}'); convert it to one of: {known}"
        raise DataError(msg)
    return read_minari(source)
