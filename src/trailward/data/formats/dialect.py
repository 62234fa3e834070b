"""How a text table is written: what separates its columns, its decimals, comments, compression."""

import bz2
import codecs
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trailward.errors import DataError

SUFFIXES = (".csv", ".tsv")
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open}
_SEPARATORS = ",;\t|"
_COMMENTS = (b"#", b"%", b"//")
_TOLD = re.compile(rb"^sep=.\r?$")
"""The first line with which Excel is told what separates columns."""
_HEAD, _LINES, _MOST = 2**16, 50, 4 * 2**30
_DECIMAL_COMMA, _DECIMAL_POINT = re.compile(r"^[+-]?\d+,\d+$"), re.compile(r"^[+-]?\d+\.\d+$")


def is_text_table(path: Path) -> bool:
    """Whether the name is that of a table of text, compressed or not."""
    name = path.name.lower()
    return any(name.endswith(s + packed) for s in SUFFIXES for packed in ("", *_OPENERS))


@dataclass(frozen=True)
class TextTable:
    """A table of text, and how pyarrow is to read it.

    Attributes:
        content: UTF-8, without comments, with tabs for spaces that separate columns; None if the
            file can be read as it is.
        separator: between columns.
        decimal: between the whole and the rest of a number.
    """

    content: bytes | None
    separator: str
    decimal: str

    @classmethod
    def read(cls, path: Path) -> "TextTable":
        """Look at a file, and tell how it is written by its first lines.

        Raises:
            DataError: if it unpacks to more than a thousand times its size.
        """
        content = None
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if path.suffix.lower() in _OPENERS or _utf16(head):
            content = _unpacked(path)
            if encoding := _utf16(content):
                content = content.decode(encoding).encode()
            head = content[:_HEAD]
        lines = head.removeprefix(codecs.BOM_UTF8).split(b"\n")
        if any(_is_comment(line) for line in lines):
            whole = path.read_bytes() if content is None else content
            whole = whole.removeprefix(codecs.BOM_UTF8)
            lines = [line for line in whole.split(b"\n") if not _is_comment(line)]
            content = b"\n".join(lines)
        if _separated_by_spaces(lines[:_LINES]):
            whole = path.read_bytes() if content is None else content
            lines = [b"\t".join(line.split()) for line in whole.split(b"\n")]
            content = b"\n".join(lines)
        shown = [line.decode("utf-8", "replace").strip("\r") for line in lines[:_LINES]]
        shown = [line for line in shown if line.strip()]
        separator = max(_SEPARATORS, key=lambda mark: shown[0].count(mark)) if shown else ","
        cells = [cell.strip(' "') for line in shown[1:] for cell in line.split(separator)]
        comma = separator != "," and any(_DECIMAL_COMMA.match(cell) for cell in cells)
        point = any(_DECIMAL_POINT.match(cell) for cell in cells)
        return cls(content, separator, "," if comma and not point else ".")


def _utf16(content: bytes) -> str | None:
    """Which UTF-16 this is, by its mark or by the zeros beside letters; None if it is not."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if content[1:4:2] == b"\0\0":
        return "utf-16-le"
    return "utf-16-be" if content[0:3:2] == b"\0\0" else None


def _is_comment(line: bytes) -> bool:
    return line.lstrip().startswith(_COMMENTS) or _TOLD.match(line) is not None


def _separated_by_spaces(lines: Sequence[bytes]) -> bool:
    """Whether spaces alone part all lines into the same number of cells, more than one."""
    whole = [line for line in lines[:-1] or lines if line.strip()]
    counts = {len(line.split()) for line in whole}
    marked = any(mark.encode() in line for line in whole for mark in _SEPARATORS)
    return len(counts) == 1 and max(counts) > 1 and not marked and b'"' not in whole[0]


def _unpacked(path: Path) -> bytes:
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        return path.read_bytes()
    most = min(_MOST, max(2**28, 1000 * path.stat().st_size))
    with opener(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        remedy = "it is damaged, or made to exhaust memory: unpack it yourself"
        msg = f"{path} unpacks to more than {most / 1e9:.2g} GB"
        raise DataError(msg, place=str(path), value=most, remedy=remedy)
    return content
