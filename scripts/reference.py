"""Write docs/reference.md from the code: settings, commands, errors, routes and events. `--check` only compares."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import click
from litestar.handlers import HTTPRouteHandler

from mainspring.cli import COMMANDS, EXIT_CODES
from mainspring.cli.root import root
from mainspring.core.errors import error_codes
from mainspring.core.events import fact_kinds
from mainspring.core.settings import SECTIONS
from mainspring.loop.model import Policy
from mainspring.loop.triggers.model import Trigger
from mainspring.server.app import health
from mainspring.server.errors import STATUS
from mainspring.server.rooms import ROOMS, collect_handlers
from mainspring.server.stream import stream

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
HEAD = """# Reference

Written by `scripts/reference.py` from the code; a test holds it against the code, so it is never out of date.
"""


def main() -> None:
    text = render()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == text else f"{PAGE} is old\ntry: python scripts/reference.py")
    PAGE.write_text(text, encoding="utf-8")


def render() -> str:
    """The page."""
    return "\n".join([HEAD, *settings(), *commands(), *errors(), *routes(), *events()])


def settings() -> Iterator[str]:
    yield "## Settings\n"
    yield (
        "In `mainspring.toml`, as `MAINSPRING_SECTION_NAME` in the environment, or for some as a flag (`--data`,\n"
        "`--db`, `--blobs`, `up --port`); the later one wins.\n"
    )
    for section, kind in {**SECTIONS, "policy.NAME": Policy, "trigger.NAME": Trigger}.items():
        yield f"### `[{section}]`\n"
        says = first_line(kind.__doc__).split("`: ", 1)[-1]
        yield says[0].upper() + says[1:] + "\n"
        meanings = meanings_of(kind)
        rows = [
            [code(entry.name), str(entry.type), default_of(entry), meanings.get(entry.name, "")]
            for entry in fields(kind)
            if not (kind in (Policy, Trigger) and entry.name == "name")
        ]
        yield table(["name", "type", "default", "meaning"][: 4 if meanings else 3], rows)
    yield "Gates are declared as `[gate.NAME]`; [gates](gates.md) lists their checks.\n"


def default_of(entry: object) -> str:
    value = getattr(entry, "default", MISSING)
    if value is MISSING:
        factory = getattr(entry, "default_factory", MISSING)
        return "required" if factory is MISSING else "empty"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code("[" + ", ".join(f'"{part}"' for part in value) + "]")
    return code(str(value)) if value != "" else "empty"


def meanings_of(kind: type) -> dict[str, str]:
    """What the docstring's Attributes say of each."""
    _, _, text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    text = re.sub(r"\n {8,}", " ", text)
    return dict(re.findall(r"^ {4}(\w+): (.+)$", text, re.MULTILINE))


def commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "Every list takes `--json`; `mainspring COMMAND --help` lists the options of a command.\n"
    rows = []
    with click.Context(root) as ctx:
        for name in sorted(COMMANDS):
            command = root.get_command(ctx, name) if isinstance(root, click.Group) else None
            assert command is not None
            rows += [[code(usage), says] for usage, says in usages(f"mainspring {name}", command)]
    yield table(["command", "what it does"], rows)


def usages(path: str, command: click.Command) -> Iterator[tuple[str, str]]:
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from usages(f"{path} {name}", inner)
        return
    words = [path]
    for entry in command.params:
        if isinstance(entry, click.Argument):
            name = (entry.name or "").upper()
            words.append(name if entry.required else f"[{name}]")
        elif entry.required:
            words.append(f"{entry.opts[0]} {(entry.metavar or entry.name or '').upper()}")
    yield " ".join(words), first_line(command.help)


def errors() -> Iterator[str]:
    yield "## Errors\n"
    yield 'Over HTTP: `{"code", "what", "where", "hint"}`. On the command line: three lines and an exit code.\n'
    rows = [
        [code(name), str(STATUS[name]), str(EXIT_CODES.get(name, 1)), first_line(kind.__doc__)]
        for name, kind in sorted(error_codes().items())
    ]
    yield table(["code", "status", "exit code", "meaning"], rows)


def routes() -> Iterator[str]:
    yield "## API\n"
    yield (
        "A route's permission is checked before anything runs; in embedded mode whoever reaches the server is the\n"
        "owner and has them all. A running server describes bodies and answers at `/schema`. The model server, on the\n"
        "port after it, speaks the Open Inference Protocol v2: `/v2/models/{name}/infer`.\n"
    )
    yield table(["method", "path", "permission", "what it does"], routes_of([health, stream, *collect_handlers().api]))
    yield "### Pages\n"
    yield table(["method", "path", "permission", "what it does"], routes_of(collect_handlers().pages))


def routes_of(handlers: Iterable[object]) -> list[list[str]]:
    rows = [
        [
            ", ".join(sorted(handler.http_methods)),
            code(shown(path)),
            permission_of(handler),
            first_line(doc_of(handler)),
        ]
        for handler in handlers
        if isinstance(handler, HTTPRouteHandler)
        for path in handler.paths
    ]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def shown(path: str) -> str:
    return re.sub(r":\w+}", "}", path)


def permission_of(handler: HTTPRouteHandler) -> str:
    return code(str(handler.opt["permission"]))


def doc_of(handler: HTTPRouteHandler) -> str:
    return inspect.getdoc(handler.fn) or ""


def events() -> Iterator[str]:
    yield "## Events\n"
    yield "Each event has number, time, actor, project, kind, subject and request; these are its own fields.\n"
    for room in (*ROOMS, "storage"):
        if importlib.util.find_spec(f"mainspring.{room}.events"):
            importlib.import_module(f"mainspring.{room}.events")
    rows = [
        [
            code(kind),
            ", ".join(entry.name for entry in fields(fact) if entry.name != "subject"),
            first_line(fact.__doc__),
        ]
        for kind, fact in fact_kinds().items()
        if fact.__module__.startswith("mainspring.") and fact.__module__.endswith(".events")
    ]
    yield table(["kind", "fields", "meaning"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, cut to the width of its head."""
    lines = [head, ["---"] * len(head), *(row[: len(head)] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in lines)


def code(text: str) -> str:
    return f"`{text}`"


def first_line(text: str | None) -> str:
    """The first sentence of a docstring, without the example behind it."""
    paragraph = " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())
    return paragraph.partition(" Example: ")[0].strip()


if __name__ == "__main__":
    main()
