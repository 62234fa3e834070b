"""One Parquet or CSV file, read by pyarrow: its columns as arrays, checked as they are taken."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trailward.data.formats.dialect import TextTable, is_text_table
from trailward.data.formats.guard import check_size, readable
from trailward.data.formats.rows import check_values
from trailward.errors import DataError
from trailward.optional import import_extra

_DATE = re.compile(
    r"\d{1,4}([/.-])\d{1,2}\1\d{1,4}\b|\d{1,2}\.?[ -][a-z]{3,9}\.?[ -]\d{2,4}\b"
    r"|[a-z]{3,9}\.? \d{1,2},? \d{4}\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d+ days? )?\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]m)?$", re.IGNORECASE)


def pyarrow(module: str = "") -> Any:
    """A module of pyarrow.

    Raises:
        MissingExtraError: if it is not installed.
    """
    command = "pip install 'trailward[table]'"
    message = f"reading Parquet and CSV files needs pyarrow; install it: {command}"
    return import_extra(f"pyarrow{module}", message)


def column_names(path: Path) -> list[str]:
    """The names of a file's columns, in its order, with those that its folders' names tell.

    Args:
        path: of a text table, or Parquet.

    Raises:
        DataError: if it cannot be read, or two columns have the same name.
    """
    with _readable(path):
        names = [name.strip() for name in _schema(path).names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        msg = f"{path} has two columns called '{twice[0]}'"
        raise DataError(msg, place=str(path), value=twice[0], remedy="give each a name of its own")
    return names + [name for name in _told_by_folders(path) if name not in names]


def text_columns(path: Path) -> list[str]:
    """The names of a file's columns of text; with those that its folders' names tell."""
    types = pyarrow(".types")
    with _readable(path):
        schema = _schema(path)
    found = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        plain = kind.value_type if types.is_dictionary(kind) else kind
        if _is_text(plain):
            found.append(name.strip())
    names = {name.strip() for name in schema.names}
    return found + [name for name in _told_by_folders(path) if name not in names]


def _told_by_folders(path: Path) -> dict[str, str]:
    """Columns that stand in the names of folders, as in ``episode_index=3/part.parquet``."""
    pairs = (part.partition("=") for part in path.parts[:-1])
    return {name: value for name, equals, value in pairs if equals and name and value}


@dataclass(frozen=True)
class ArrowFile:
    """Some columns of a file.

    Attributes:
        path: where they were read.
        table: of Arrow.
        told: columns that are not in the file but in its folders' names.
    """

    path: Path
    table: Any
    told: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> "ArrowFile":
        """Read these columns.

        Args:
            path: of a text table, or Parquet.
            names: of columns.

        Raises:
            DataError: if one is not there, or the file cannot be read.
        """
        present = column_names(path)
        for name in names:
            if name not in present:
                msg = f"{path} has no column '{name}', only {', '.join(present)}"
                place = f"{path}: column '{name}'"
                raise DataError(msg, place=place, value=present, remedy="add it")
        arrow, told = pyarrow(), _told_by_folders(path)
        with _readable(path):
            inside = {name.strip(): name for name in _schema(path).names}
            table = _columns(path, [inside[name] for name in names if name in inside])
            table = table.rename_columns([name.strip() for name in table.column_names])
            for name in names:
                if name not in inside:
                    values = arrow.array([told[name]] * len(table), arrow.string())
                    table = table.append_column(name, values)
            return cls(path, table.select(list(names)), frozenset(names).difference(inside))

    @property
    def units(self) -> dict[str, str]:
        """The units of those columns whose metadata tells one."""
        told = {field.name: (field.metadata or {}).get(b"unit") for field in self.table.schema}
        return {name: unit.decode() for name, unit in told.items() if unit}

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.table.num_rows

    def column(self, name: str) -> Any:
        """An Arrow column with a value in every row.

        Raises:
            DataError: if a row has none.
        """
        found = self.table.column(name)
        if found.null_count:
            place = f"{self._place(name)}, row {np.argmax(found.is_null().to_numpy())}"
            remedy = "fill in the value or drop the row"
            raise DataError(f"{place} is empty", place=place, remedy=remedy)
        return found

    def width(self, name: str) -> int:
        """Entries of a column: those of its first row's list, or one.

        Raises:
            DataError: if a row has another number.
        """
        column = self.column(name)
        if not _is_list(column.type):
            return 1
        lengths = pyarrow(".compute").list_value_length(column).to_numpy()
        if (lengths != lengths[:1]).any():
            row = int(np.argmax(lengths != lengths[0]))
            place, count = f"{self._place(name)}, row {row}", int(lengths[row])
            remedy = f"row 0 has {lengths[0]}, and every row needs as many: split the data by kind"
            raise DataError(f"{place} has {count} entries", place=place, value=count, remedy=remedy)
        if not lengths[0]:
            msg = f"{self._place(name)} holds lists without entries"
            raise DataError(msg, place=self._place(name), value=0, remedy="leave it out")
        return int(lengths[0])

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Columns side by side, shape (row, entry).

        Raises:
            DataError: names the column, the row and the value that is no finite number.
        """
        widths = [self.width(name) for name in names]
        filled = np.empty((self.rows, sum(widths)))
        begin = 0
        for name, width in zip(names, widths, strict=True):
            filled[:, begin : begin + width] = self._numbers(name).reshape(self.rows, width)
            begin += width
        return filled

    def frames(self, name: str) -> np.ndarray:
        """A column of whole numbers, of numbers, or of dates and times, which become seconds.

        Raises:
            DataError: if it is of another kind.
        """
        arrow, found = pyarrow(), self.column(name)
        if arrow.types.is_time(found.type):
            found = found.cast(arrow.time64("us"), safe=False)
            return found.cast(arrow.int64()).to_numpy() / 1e6
        if arrow.types.is_duration(found.type):
            found = found.cast(arrow.duration("us"), safe=False)
            return found.cast(arrow.int64()).to_numpy() / 1e6
        if self.is_time(name):
            microseconds = found.cast(arrow.timestamp("us"), safe=False).cast(arrow.int64())
            return microseconds.to_numpy() / 1e6
        if arrow.types.is_integer(found.type):
            return found.cast(arrow.int64()).to_numpy()
        return self._numbers(name)

    def episodes(self, name: str) -> Any:
        """A column of ids as an Arrow column of 64-bit whole numbers, or of text.

        Raises:
            DataError: if it is of another kind.
        """
        arrow, types, found = pyarrow(), pyarrow(".types"), self.column(name)
        if types.is_dictionary(found.type):
            found = found.cast(found.type.value_type)
        if types.is_decimal(found.type):
            found = found.cast(arrow.float64())
        if types.is_integer(found.type) and found.type != arrow.uint64():
            return found.cast(arrow.int64())
        if _is_text(found.type):
            return pyarrow(".compute").utf8_trim_whitespace(found.cast(arrow.string()))
        if types.is_floating(found.type):  # as pandas keeps whole numbers beside missing ones
            numbers = self._numbers(name)
            is_whole = bool((numbers == np.round(numbers)).all())
            return found.cast(arrow.int64()) if is_whole else found.cast(arrow.float64())
        if not types.is_integer(found.type):
            place, kind = self._place(name), str(found.type)
            remedy = (
                "ids are whole numbers or text: correct it, or name another column with "
                "--table.episode"
            )
            raise DataError(f"{place} holds {kind}", place=place, value=kind, remedy=remedy)
        return found

    def text(self, name: str) -> np.ndarray:
        """A column of text, empty where there is none."""
        arrow, found = pyarrow(), self.table.column(name)
        filled = found.cast(arrow.string()).fill_null("")
        return pyarrow(".compute").utf8_trim_whitespace(filled).to_numpy().astype(str)

    def is_time(self, name: str) -> bool:
        """Whether a column holds dates, times or durations."""
        types, kind = pyarrow(".types"), self.table.column(name).type
        return types.is_temporal(kind)

    def is_time_of_day(self, name: str) -> bool:
        """Whether a column holds times without a date."""
        return pyarrow(".types").is_time(self.table.column(name).type)

    def is_whole(self, name: str) -> bool:
        """Whether a column holds whole numbers by its type."""
        return pyarrow(".types").is_integer(self.table.column(name).type)

    def shown(self, name: str, row: int) -> str:
        """A value as the file has it."""
        value = self.table.column(name)[row].as_py()
        return f"'{value}'" if self.is_time(name) else str(value)

    def _numbers(self, name: str) -> np.ndarray:
        types, found = pyarrow(".types"), self.column(name)
        is_list = _is_list(found.type)
        if is_list:
            found = pyarrow(".compute").list_flatten(found)
        if types.is_decimal(found.type):
            found = found.cast(pyarrow().float64())
        kinds = (types.is_integer, types.is_floating, types.is_boolean)
        if found.null_count or not any(is_kind(found.type) for is_kind in kinds):
            row, value = _first_that_is_no_number(found)
            row //= self.width(name)
            remedy = "correct it, or say what is what with --table.observations and its like"
            if isinstance(value, str) and _CLOCK.match(value):
                remedy = "write times in seconds, or with their date: 2021-05-31 12:00:00.5"
            elif isinstance(value, str) and _DATE.match(value):
                remedy = "write dates as 2021-05-31 12:00"
            place = f"{self._place(name)}, row {row}"
            msg = f"{place} is {value!r}, in a column of {found.type}, not a number"
            raise DataError(msg, place=place, value=value, remedy=remedy)
        array = found.to_numpy()
        check_values(self._place(name), array.reshape(self.rows, -1) if is_list else array)
        return array

    def _place(self, name: str) -> str:
        return f"{self.path}: column '{name}'"


def _is_text(kind: Any) -> bool:
    types = pyarrow(".types")
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_list(kind: Any) -> bool:
    types = pyarrow(".types")
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _first_that_is_no_number(column: Any) -> tuple[int, Any]:
    for row, value in enumerate(column):
        try:
            float(value.as_py())
        except (TypeError, ValueError):
            return row, value.as_py()
    return 0, column[0].as_py() if len(column) else None


def _schema(path: Path) -> Any:
    if is_text_table(path):
        source, options = _text(path)
        with pyarrow(".csv").open_csv(source, **options) as reader:
            return reader.schema
    with pyarrow(".parquet").ParquetFile(path) as file:
        return file.schema_arrow


def _columns(path: Path, names: Sequence[str]) -> Any:
    if is_text_table(path):
        source, options = _text(path)
        options["convert_options"].include_columns = list(names)
        return pyarrow(".csv").read_csv(source, **options)
    with pyarrow(".parquet").ParquetFile(path) as file:
        check_size(path, 8 * file.metadata.num_rows * len(names), path)
        return file.read(columns=list(names))


def _text(path: Path) -> tuple[Any, dict[str, Any]]:
    """What pyarrow is to read, and how."""
    csv, found = pyarrow(".csv"), TextTable.read(path)
    source = path if found.content is None else pyarrow().BufferReader(found.content)
    options = {
        "parse_options": csv.ParseOptions(delimiter=found.separator),
        "convert_options": csv.ConvertOptions(null_values=[""], decimal_point=found.decimal),
    }
    return source, options


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    kind = "CSV" if is_text_table(path) else "Parquet"
    with readable(path, f"a whole {kind} file", "check it, or write it again"):
        try:
            yield
        except UnicodeDecodeError as error:
            msg = f"{path} names a column by bytes that are not UTF-8 ({error})"
            remedy = "write it as UTF-8"
            raise DataError(msg, place=str(path), value=str(error), remedy=remedy) from None
