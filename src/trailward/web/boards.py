"""All state of the page is a folder: a board a folder, in files that the command line reads.

::

    OUT/NAME-3f9a/board.json          what it is, what was drawn, what the page shows
                  demonstrations-v0/  a dataset
                  play-v0/            a dataset, if the ground is the board's own
                  diffuser/           a model, likewise
                  reward/             a learnt reward
                  answers.jsonl       answers to questions about it
                  fit/                what trailward fit makes of tracks
        play/NAME/play-v0/            a dataset for all boards of a known ground
        jobs.json                     what is being done, so that nothing is lost unsaid

Names of boards are made here, of letters and digits; a name that comes from a page is looked up
among them and is never a path.
"""

import json
import os
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trailward.running.files import write_file

SHOWN = "shown.json"
"""File of the folders of rewards that the server was started with, by name."""

BOARD, FREE_BYTES = "board.json", 200 * 2**20
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MOST_BOARDS, _LONGEST = 500, 60


class UnknownBoardError(LookupError):
    """No board has that name."""


@dataclass(frozen=True)
class Board:
    """A board of the page.

    Args:
        root: the server's folder.
        name: may be anything that a page sent.
    """

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where it is.

        Raises:
            UnknownBoardError: if there is none of that name.
        """
        if len(self.name) > _LONGEST or not _NAME.fullmatch(self.name):
            raise UnknownBoardError("there is no board of that name")
        folder = self.root / self.name
        if folder.is_symlink() or not (folder / BOARD).is_file():
            raise UnknownBoardError(f"there is no board '{self.name}'; it may have been deleted")
        return folder

    def found(self) -> "Board":
        """Itself.

        Raises:
            UnknownBoardError: if there is none of that name.
        """
        _ = self.folder
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """What it is and holds, as the page is told of it."""
        return json.loads((self.folder / BOARD).read_text(encoding="utf-8"))

    def keep(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Replace the facts, whole or not at all; returns them."""
        self.write(BOARD, facts)
        return facts

    def write(self, file: str, values: Any) -> None:
        """Write JSON into the board's folder, whole or not at all."""
        write_file(self.folder / file, json.dumps(values, allow_nan=False))

    def read(self, file: str) -> Any:
        """JSON from the board's folder; None if there is no such file."""
        path = self.folder / file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def delete(self) -> None:
        """Remove it and all that it holds."""
        shutil.rmtree(self.folder)


def new_board(root: Path, called: str, facts: dict[str, Any]) -> Board:
    """Make a board.

    Args:
        root: the server's folder.
        called: what its name begins with.
        facts: what it holds; ``kind`` says which tab is for it.

    Raises:
        OSError: if the disk is full, or there are too many boards.
    """
    if shutil.disk_usage(root).free < FREE_BYTES:
        raise OSError("the disk is nearly full; delete something and try again")
    if len(board_names(root)) >= _MOST_BOARDS:
        raise OSError(f"there are {_MOST_BOARDS} boards already; delete some of them")
    name = f"{called}-{secrets.token_hex(4)}"
    write_file(root / name / BOARD, json.dumps(facts | {"made": int(time.time())}))
    return Board(root, name)


def board_names(root: Path) -> list[str]:
    """Names of all boards, the newest first."""
    found = [
        (entry.stat().st_mtime, entry.name)
        for entry in os.scandir(root)
        if _NAME.fullmatch(entry.name)
        and entry.is_dir(follow_symlinks=False)
        and (Path(entry.path) / BOARD).is_file()
    ]
    return [name for _, name in sorted(found, reverse=True)]
