"""Reads what is declared: `mainspring.toml`, and the Python file that it names, as one; and where each object is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mainspring.core.errors import Failed, Invalid, MainspringError, Timeout, error_codes
from mainspring.core.settings import Settings, find_file
from mainspring.core.values import dataclass
from mainspring.loop.planning.model import KINDS, MONITOR

SECONDS = 120
"""How long importing the file may take."""
Key = tuple[str, str]
_HEADER = re.compile(r'\s*\[+\s*([\w-]+)\s*(?:\.\s*(?:"([^"]+)"|\'([^\']+)\'|([\w-]+))\s*[.\]]|\])')


@dataclass(frozen=True, slots=True)
class Reading:
    """What is declared.

    Attributes:
        settings: The settings, with what Python declares among the tables of the file.
        places: File and line of each object, by kind and name.
    """

    settings: Settings
    places: Mapping[Key, str]

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Name file and line in what is refused inside."""
        try:
            yield
        except MainspringError as error:
            raise type(error)(error.what, where=self.place_of(error.where), hint=error.hint) from None

    def place_of(self, where: str) -> str:
        """Where a setting such as `policy.keep.gate` is written, with its file and line when they are known."""
        known = {_dotted(key): place for key, place in self.places.items()}
        fitting = [name for name in known if where == name or where.startswith((f"{name}.", f"{name}["))]
        return f"{known[max(fitting, key=len)]} ({where})" if fitting else where


class _Said(msgspec.Struct):
    kind: str
    name: str
    section: dict[str, Any]
    file: str
    line: int


class _Answer(msgspec.Struct):
    objects: tuple[_Said, ...] = ()
    files: tuple[str, ...] = ()
    error: tuple[str, str, str, str] | None = None


_kept: dict[Key, tuple[dict[str, tuple[int, int]], _Answer]] = {}


def read_declared(settings: Settings) -> Reading:
    """Everything that is declared.

    Raises:
        Invalid: The Python file is wrong, or an object is declared twice.
        NotFound: There is no such file.
        Failed: It ended the process that read it.
        Timeout: Importing it took too long.
    """
    places = places_in(settings)
    if not settings.project.declarations:
        return Reading(settings, places)
    tables: dict[str, Any] = {kind: dict(settings.section(kind)) for kind in KINDS}
    for each in _ask(settings).objects:
        key, place = (each.kind, each.name), f"{_shown(Path(each.file), settings.root)}, line {each.line}"
        if key in places or (each.kind != "monitor" and each.name in tables[each.kind]):
            before = places.get(key, str(find_file(settings.root)))
            hint = "take one of them out, or give it another name"
            what = each.kind if each.kind == "monitor" else f"{each.kind} {each.name}"
            raise Invalid(f"{what} is declared twice", where=f"{before} and {place}", hint=hint)
        places[key] = place
        tables[each.kind].update(each.section if each.kind == "monitor" else {each.name: each.section})
    said = {kind: table for kind, table in tables.items() if table or kind in settings.tables}
    return Reading(replace(settings, tables={**settings.tables, **said}), places)


def _dotted(key: Key) -> str:
    return key[0] if key[0] == "monitor" else ".".join(key)


def _shown(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def places_in(settings: Settings) -> dict[Key, str]:
    """Where the sections of `mainspring.toml` begin."""
    path = find_file(settings.root)
    found: dict[Key, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path else (), start=1):
        header = _HEADER.match(line)
        if header is None or header[1] not in KINDS:
            continue
        name = MONITOR if header[1] == "monitor" else header[2] or header[3] or header[4]
        if name:
            found.setdefault((header[1], name), f"{path and path.name}, line {number}")
    return found


def _ask(settings: Settings) -> _Answer:
    """What the file declares, from its own process unless none of its files changed since."""
    key = (str(settings.root), settings.project.declarations)
    marks, answer = _kept.get(key, ({}, _Answer()))
    if not marks or _marks(marks) != marks:
        answer = _run(settings)
        if answer.error is None:
            _kept[key] = _marks(answer.files), answer
    if answer.error is not None:
        code, what, where, hint = answer.error
        told = where if ", line " in where else f"project.declarations ({where})" if where else "project.declarations"
        raise error_codes().get(code, Invalid)(what, where=told.replace(f"{settings.root}{os.sep}", ""), hint=hint)
    return answer


def _marks(files: Mapping[str, object] | tuple[str, ...]) -> dict[str, tuple[int, int]]:
    found = {name: os.stat(name) for name in files if os.path.exists(name)}
    return {name: (about.st_mtime_ns, about.st_size) for name, about in found.items()}


def _run(settings: Settings) -> _Answer:
    place = settings.project.declarations
    command = [sys.executable, "-m", "mainspring.loop.planning.child", place]
    try:
        done = subprocess.run(
            command, cwd=settings.root, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        hint = "let it only declare; work belongs into the steps of pipelines"
        raise Timeout(f"importing {place} took more than {SECONDS} s", where=place, hint=hint) from None
    try:
        return msgspec.json.decode(done.stdout, type=_Answer)
    except msgspec.DecodeError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        hint = f"python {place} shows more"
        raise Failed(f"importing {place} ended its process: {last[0]}", where=place, hint=hint) from None
