"""One Parquet or CSV file, read by pyarrow: its columns as arrays, checked as they are taken."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trailward.data.episode import DataError
from trailward.data.formats.rows import check_values
from trailward.optional import import_extra


def pyarrow(module: str = "") -> Any:
    """A module of pyarrow.

    Raises:
        MissingExtraError: if it is not installed.
    """
    command = "pip install 'trailward[table]'"
    message = f"reading Parquet and CSV files needs pyarrow; install it: {command}"
    return import_extra(f"pyarrow{module}", message)


def column_names(path: Path) -> list[str]:
    """The names of a file's columns, in its order.

    Args:
        path: ``.csv``, or Parquet.

    Raises:
        DataError: if it cannot be read, or two columns have the same name.
    """
    with _readable(path):
        names = list(_schema(path).names)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{path} has two columns called '{twice[0]}'; give each a name of its own")
    return names


@dataclass(frozen=True)
class ArrowFile:
    """Some columns of a file.

    Attributes:
        path: where they were read.
        table: of Arrow.
    """

    path: Path
    table: Any

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> "ArrowFile":
        """Read these columns.

        Args:
            path: ``.csv``, or Parquet.
            names: of columns.

        Raises:
            DataError: if one is not there, or the file cannot be read.
        """
        present = column_names(path)
        for name in names:
            if name not in present:
                msg = f"{path} has no column '{name}', only {', '.join(present)}; add it"
                raise DataError(msg)
        with _readable(path):
            return cls(path, _columns(path, names).select(list(names)))

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
            row = int(np.argmax(found.is_null().to_numpy()))
            msg = f"{self._place(name)}, row {row} is empty; fill in the value or drop the row"
            raise DataError(msg)
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
            msg = (
                f"{self._place(name)}, row {row} has {lengths[row]} entries, row 0 {lengths[0]}; "
                "every row needs as many: split the data by kind"
            )
            raise DataError(msg)
        if not lengths[0]:
            raise DataError(f"{self._place(name)} holds lists without entries; leave it out")
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
        """A column of whole numbers, of numbers, or of dates, which become seconds.

        Raises:
            DataError: if it is of another kind.
        """
        arrow, found = pyarrow(), self.column(name)
        if arrow.types.is_timestamp(found.type) or arrow.types.is_date(found.type):
            microseconds = found.cast(arrow.timestamp("us"), safe=False).cast(arrow.int64())
            return microseconds.to_numpy() / 1e6
        if arrow.types.is_integer(found.type):
            return found.cast(arrow.int64()).to_numpy()
        return self._numbers(name)

    def episodes(self, name: str) -> Any:
        """A column of ids, whole numbers or text, as an Arrow column of plain values.

        Raises:
            DataError: if it is of another kind.
        """
        types, found = pyarrow(".types"), self.column(name)
        if types.is_dictionary(found.type):
            found = found.cast(found.type.value_type)
        kinds = (types.is_integer, types.is_string, types.is_large_string)
        if types.is_floating(found.type):  # as pandas keeps whole numbers beside missing ones
            self._numbers(name)
        elif not any(is_kind(found.type) for is_kind in kinds):
            msg = (
                f"{self._place(name)} holds {found.type}; ids are whole numbers or text: correct "
                "it, or name another column with --table.episode"
            )
            raise DataError(msg)
        return found

    def _numbers(self, name: str) -> np.ndarray:
        types, found = pyarrow(".types"), self.column(name)
        is_list = _is_list(found.type)
        if is_list:
            found = pyarrow(".compute").list_flatten(found)
        kinds = (types.is_integer, types.is_floating, types.is_boolean)
        if found.null_count or not any(is_kind(found.type) for is_kind in kinds):
            row, value = _first_that_is_no_number(found)
            row //= self.width(name)
            msg = (
                f"{self._place(name)}, row {row} is {value!r}, in a column of {found.type}, not a "
                "number; correct it, or say what is what with --table.observations and its like"
            )
            raise DataError(msg)
        array = found.to_numpy()
        check_values(self._place(name), array.reshape(self.rows, -1) if is_list else array)
        return array

    def _place(self, name: str) -> str:
        return f"{self.path}: column '{name}'"


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
    if path.suffix.lower() == ".csv":
        with pyarrow(".csv").open_csv(path) as reader:
            return reader.schema
    with pyarrow(".parquet").ParquetFile(path) as file:
        return file.schema_arrow


def _columns(path: Path, names: Sequence[str]) -> Any:
    if path.suffix.lower() == ".csv":
        csv = pyarrow(".csv")
        options = csv.ConvertOptions(null_values=[""], include_columns=list(names))
        return csv.read_csv(path, convert_options=options)
    with pyarrow(".parquet").ParquetFile(path) as file:
        return file.read(columns=list(names))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    kind = "CSV" if path.suffix.lower() == ".csv" else "Parquet"
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the name") from None
    except UnicodeDecodeError as error:
        msg = f"{path} names a column by bytes that are not UTF-8 ({error}); write it as UTF-8"
        raise DataError(msg) from None
    except (ValueError, OSError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        msg = f"{path} is not a whole {kind} file: {reason}; check it, or write it again"
        raise DataError(msg) from None
