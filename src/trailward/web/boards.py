"""All state of the page is a folder: a board a folder, in files that the command line reads.

::

    OUT/umaze-3f9a/board.json          what it is, what was drawn, what the page shows
                   demonstrations-v0/  a dataset
                   play-v0/            a dataset (painted mazes)
                   diffuser/           a model (painted mazes)
                   reward/             a learnt reward

Names of boards are made here, of letters and digits; a name that comes from a page is looked up
among them and is never a path.
"""

import json
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

BOARD, ENDING, FREE_BYTES = "board.json", ".part", 200 * 2**20
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MOST_BOARDS, _LONGEST = 500, 60


class UnknownBoardError(LookupError):
    """No board has that name."""


def read_board(root: Path, name: str) -> dict[str, Any]:
    """The facts of a board.

    Raises:
        UnknownBoardError: if there is none of that name.
    """
    folder = board_folder(root, name)
    return json.loads((folder / BOARD).read_text(encoding="utf-8"))


def write_board(root: Path, name: str, facts: dict[str, Any]) -> None:
    """Replace the facts of a board, whole or not at all."""
    folder = board_folder(root, name)
    partial = folder / (BOARD + ENDING)
    partial.write_text(json.dumps(facts, allow_nan=False), encoding="utf-8")
    partial.replace(folder / BOARD)


def board_folder(root: Path, name: str) -> Path:
    """Where a board is.

    Raises:
        UnknownBoardError: if there is none of that name.
    """
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise UnknownBoardError("there is no board of that name")
    folder = root / name
    if folder.is_symlink() or not (folder / BOARD).is_file():
        raise UnknownBoardError(f"there is no board '{name}'; it may have been deleted")
    return folder


def new_board(root: Path, kind: str, facts: dict[str, Any]) -> str:
    """Make a board.

    Args:
        root: the server's folder.
        kind: what its name begins with.
        facts: what it holds.

    Raises:
        OSError: if the disk is full, or there are too many boards.
    """
    if shutil.disk_usage(root).free < FREE_BYTES:
        raise OSError("the disk is nearly full; delete something and try again")
    if len(board_names(root)) >= _MOST_BOARDS:
        raise OSError(f"there are {_MOST_BOARDS} boards already; delete some of them")
    name = f"{kind}-{secrets.token_hex(4)}"
    (root / name).mkdir()
    (root / name / BOARD).write_text(json.dumps(facts | {"made": int(time.time())}))
    return name


def delete_board(root: Path, name: str) -> None:
    """Remove a board and all that it holds."""
    shutil.rmtree(board_folder(root, name))


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
