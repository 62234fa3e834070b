"""Readers of recorded data, a module a format: path in, episodes with names out.

A format is a :class:`Format`: a name for people, whether a path is of it, and how it is read.
Installed packages add theirs by an entry point of the group ``trailward.formats``, and
``read_dataset(path, format="module:Name")`` (``--format module:Name``) takes one from any module.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trailward.data.formats import d4rl, lerobot, minari_folder, npz, table
from trailward.data.formats.guard import readable
from trailward.data.formats.rows import Recording
from trailward.data.formats.table import TableLayout
from trailward.errors import DataError
from trailward.registry import Registry


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


FORMATS: Registry[Format] = Registry(
    "formats",
    {
        "d4rl": Format("HDF5 of D4RL", d4rl.recognises, lambda path, _: d4rl.read_d4rl(path)),
        "npz": Format(".npz of NumPy", npz.recognises, lambda path, _: npz.read_npz(path)),
        "minari": Format(
            "folder of Minari",
            minari_folder.recognises,
            lambda path, _: minari_folder.read_minari(path),
        ),
        "lerobot": Format("folder of LeRobot", lerobot.recognises, lerobot.read_lerobot),
        "table": Format("Parquet or CSV table", table.recognises, table.read_table),
    },
)
"""Formats by name, in the order asked: the first that recognises a path reads it."""


def read_recording(
    source: str | os.PathLike[str],
    layout: TableLayout = TableLayout(),
    *,
    format: str | Format | None = None,  # noqa: A002
) -> Recording:
    """Read data of any known format.

    Args:
        source: a file, a folder, or the id of a Minari dataset.
        layout: which columns are what; of tables only.
        format: which it is: a format, its name, or ``module:Name``; if None, that of the layout if
            it or no other recognises the path, else told by the path.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
        MissingExtraError: if it takes a package that is not installed; names the command.
        UnknownPartError: if there is no format of that name.
    """
    path = Path(source).expanduser()
    if format is not None:
        found = FORMATS.find(format) if isinstance(format, str) else format
        return _read(found, path, layout)
    # a flag is of all the data that a command is given, which may be of several formats
    named = [] if layout.format is None else [FORMATS.find(layout.format)]
    for form in (*named, *FORMATS.values()):
        if form.recognises(path):
            return _read(form, path, layout)
    if named and path.exists():
        return _read(named[0], path, layout)
    if path.is_file():
        known = ", ".join(form.name for form in FORMATS.values())
        msg = f"{path} is of no known format ('{path.suffix}')"
        remedy = f"convert it to one of: {known}"
        raise DataError(msg, place=str(path), value=path.suffix, remedy=remedy)
    with readable(source, "a readable Minari dataset", "download it again"):
        return minari_folder.read_minari_id(str(source))


def _read(form: Format, path: Path, layout: TableLayout) -> Recording:
    with readable(path, f"a whole {form.name}", "check it, or write it again"):
        return form.read(path, layout)
