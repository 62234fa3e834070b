"""The first page of a verb's help, read off its source, so that nothing heavy is imported.

A verb is a dataclass whose fields are flags. Those of plain types are shown. Groups of settings,
whose classes live with what they set, are only named: ``--help-all`` imports and shows them.
"""

import ast
import functools
import importlib.util
import operator
from collections.abc import Iterator, Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from trailward.cli import preset_names

_KNOWN = {
    **{kind.__name__: kind for kind in (str, int, float, bool, tuple, Path)},
    **{"Annotated": Annotated, "Literal": Literal, "tyro": tyro},
    **vars(preset_names),
}


def print_short_help(verb: str, module: str) -> None:
    """Print a verb's own flags, and which groups it has besides.

    Args:
        verb: its name on the command line.
        module: the module whose class of that name it is.

    Raises:
        SystemExit: always, as tyro does after help.
    """
    found = importlib.util.find_spec(module)
    tree = ast.parse(Path(str(found and found.origin)).read_text("utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    kind = classes[verb.capitalize()]
    own = list(_own_flags(kind))
    shown = [name for name, *_ in own]
    groups = [name for name, _ in _fields(kind) if name not in shown]
    about = ast.get_docstring(kind) or ""
    if groups:
        about += f"\n\nMore settings ({', '.join(groups)}): trailward {verb} --help-all"
    tyro.cli(
        make_dataclass(kind.name, own, kw_only=True),
        args=["--help"],
        prog=f"trailward {verb}",
        description=about,
        config=(tyro.conf.DisallowNone,),
    )


def _own_flags(kind: ast.ClassDef) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each field whose type is known here."""
    told = dict(zip(kind.body, kind.body[1:], strict=False))
    for name, node in _fields(kind):
        try:
            hint = _value(node.annotation, _KNOWN)
            default = tyro.MISSING if node.value is None else _value(node.value, _KNOWN)
        except KeyError:
            continue
        after = told.get(node)
        text = after.value if isinstance(after, ast.Expr) else None
        doc = " ".join(str(text.value).split()) if isinstance(text, ast.Constant) else None
        yield name, Annotated[hint, tyro.conf.arg(help=doc)], field(default=default)


def _fields(kind: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    for node in kind.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


def _value(node: ast.expr | None, known: Mapping[str, Any]) -> Any:
    """What a type or a default in the source stands for.

    Raises:
        KeyError: if it is made of anything but constants and known names.
    """
    value = functools.partial(_value, known=known)
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return known[node.id]
        case ast.Attribute():
            return getattr(value(node.value), node.attr)
        case ast.Tuple():
            return tuple(map(value, node.elts))
        case ast.Subscript():
            return operator.getitem(value(node.value), value(node.slice))
        case ast.BinOp(op=ast.BitOr()):
            return operator.or_(value(node.left), value(node.right))
        case ast.Call():
            named = {str(each.arg): value(each.value) for each in node.keywords}
            return value(node.func)(*map(value, node.args), **named)
    raise KeyError(ast.dump(node) if node else "nothing")
