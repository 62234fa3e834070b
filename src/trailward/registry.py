"""Parts by name: those of trailward, of installed packages, and of any module that can be imported.

Wherever a name stands, on the command line, in Python or in a saved folder, it is looked up in a
:class:`Registry`: first among the parts that were registered, then among the entry points of
installed packages, and last, if it is spelt ``module:Name``, in that module.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from trailward.errors import RefusedError


class UnknownPartError(RefusedError):
    """A name that no part has; the message lists those there are."""


T = TypeVar("T")
Part = TypeVar("Part")


def import_named(module: str) -> ModuleType:
    """Import a module that somebody named: an installed one, or else one in the working folder.

    Raises:
        ImportError: if it is not there.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        here = str(Path.cwd())
        if error.name != module.partition(".")[0] or here in sys.path:
            raise
    sys.path.append(here)
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(here)


class Registry(Mapping[str, T]):
    """Parts of one family, such as objectives, by name.

    Args:
        family: what they are, in the plural: ``objectives``. Installed packages add parts by entry
            points of the group ``trailward.<family>``.
        parts: those that are there from the beginning; one that is given as ``module:Name`` is
            imported when it is asked for.
    """

    def __init__(self, family: str, parts: Mapping[str, T | str] | None = None) -> None:
        self.family = family
        self._parts: dict[str, Any] = dict(parts or {})

    def register(self, name: str) -> Callable[[Part], Part]:
        """A decorator that adds a part; a name that is taken is given to the new part."""

        def added(part: Part) -> Part:
            self._parts[name] = cast("T", part)
            return part

        return added

    def find(self, name: str, *, may_import: bool = True) -> T:
        """The part of a name.

        Args:
            name: a registered one, an entry point's, or ``module:Name``.
            may_import: whether a ``module:Name`` may import its module. Where names come from a
                file it must not, since importing executes: then the module must have been
                imported already.

        Raises:
            UnknownPartError: if there is no such part, or its module may not be imported.
        """
        if name in self._parts:
            if isinstance(self._parts[name], str):
                self._parts[name] = self._of_module(self._parts[name], may_import=True)
            return self._parts[name]
        if name in _installed(self.family):
            self._parts[name] = _installed(self.family)[name].load()
            return self._parts[name]
        if ":" in name:
            return self._of_module(name, may_import=may_import)
        raise UnknownPartError(
            f"'{name}' is not among the {self.family}",
            place=self.family,
            value=name,
            remedy=f"choose one of {', '.join(sorted(self))}, or name a part of your own as "
            "'module:Name'",
        )

    def _of_module(self, name: str, *, may_import: bool) -> T:
        module, _, attribute = name.partition(":")
        if not may_import and module not in sys.modules:
            raise UnknownPartError(
                f"'{name}' names code of the module '{module}', which is not imported, and loading "
                "a model imports nothing by itself",
                place=self.family,
                value=name,
                remedy=f"import {module} first, or allow it, by --allow-import or "
                "allow_import=True",
            )
        try:
            found: Any = import_named(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            remedy = "check the spelling and that it is installed"
            msg = f"'{name}' is not there ({error})"
            raise UnknownPartError(msg, place=self.family, value=name, remedy=remedy) from None
        return found

    def name_of(self, part: Any) -> str:
        """How a part is named in files: as registered, or as ``module:Name``.

        Raises:
            UnknownPartError: if it has no name, such as a function inside a function.
        """
        spelt = f"{getattr(part, '__module__', '')}:{getattr(part, '__qualname__', '')}"
        for name, registered in self._parts.items():
            if registered is part or registered == spelt:
                return name
        name = spelt
        if not name.partition(":")[2] or "<locals>" in name:
            msg, remedy = f"{part} has no name to be saved by", "define it at the top of a module"
            raise UnknownPartError(msg, place=self.family, value=spelt, remedy=remedy)
        return name

    def __getitem__(self, name: str) -> T:
        """The same as :meth:`find`, but it raises ``KeyError`` if there is none, as mappings do."""
        try:
            return self.find(name)
        except UnknownPartError as error:
            raise KeyError(str(error)) from None

    def __iter__(self) -> Iterator[str]:
        """Names of all parts that are registered or installed."""
        return iter(dict.fromkeys([*self._parts, *_installed(self.family)]))

    def __len__(self) -> int:
        """How many there are."""
        return len(list(iter(self)))


@cache
def _installed(family: str) -> dict[str, EntryPoint]:
    """The parts of installed packages, looked for once a process; of one name the first."""
    return {
        point.name: point for point in reversed(tuple(entry_points(group=f"trailward.{family}")))
    }
