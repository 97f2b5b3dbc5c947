"""What a command needs to speak: its room, and one way to show a value to people or as JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TypeVar

import click

from mainspring.core.clock import iso
from mainspring.core.wiring import Wiring

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


def room(ctx: click.Context, kind: type[T]) -> T:
    """The service a command speaks to. The roof puts a function that opens the house into the root context."""
    opener = ctx.find_root().obj
    wiring: Wiring = opener()
    return wiring.get(kind)


def json_option(command: F) -> F:
    """Give a command the flag `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one value.")(command)


def plain(value: object) -> object:
    """`value` as plain JSON values: dataclasses become objects, tuples lists, paths text, bytes hex."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    return value


def show(value: object, line: str = "", *, as_json: bool | None = None) -> None:
    """Print `line` for people, or `value` as JSON when the command was asked for it."""
    context = click.get_current_context(silent=True)
    if as_json is None:
        as_json = bool(context and context.params.get("as_json"))
    if as_json:
        click.echo(json.dumps(plain(value), ensure_ascii=False, default=str))
    elif line:
        click.echo(printable(line))


def printable(text: str, *, keep: str = "\n\t") -> str:
    """`text` with its control characters written out: a name may hold what would rewrite the terminal.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(
        f"\\x{ord(letter):02x}" if unicodedata.category(letter) == "Cc" and letter not in keep else letter
        for letter in text
    )


def table(rows: Sequence[object], columns: Sequence[str], *, empty: str = "nothing here yet") -> None:
    """Print objects or mappings as an aligned table, or as a JSON list when the command was asked for it.

    Columns named `at` or ending in `_at` are shown as UTC times.
    """
    context = click.get_current_context(silent=True)
    if context and context.params.get("as_json"):
        click.echo(json.dumps(plain(rows), ensure_ascii=False, default=str))
        return
    if not rows:
        click.echo(empty)
        return
    cells = [[_cell(row, name) for name in columns] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(columns)]
    for line in ([*columns], *cells):
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(row: object, name: str) -> str:
    value = row.get(name) if isinstance(row, Mapping) else getattr(row, name)
    if isinstance(value, int) and (name == "at" or name.endswith("_at")):
        return iso(value)[:19]
    return _shown(value)


def _shown(value: object) -> str:
    """A value in a cell: lists and mappings without the marks of Python."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_shown(key)} {_shown(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(_shown(entry) for entry in value)
    return "" if value is None else printable(str(value), keep="")
