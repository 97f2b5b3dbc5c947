"""Inputs that a request leaves out, looked up by entity in the files of feature views, before anything is checked.

A file is read through a memory map that all workers share, a few microseconds a row. When another took its place, it is
taken up within a moment; a request is answered from one file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Corrupt, Invalid, NotFound, Refused
from mainspring.serving.modelserver.columns import Cell, Column, Feature, Features, Raw, plain
from mainspring.serving.modelserver.plan import ViewPlan
from mainspring.storage.keyed import KeyedFile

FRESH, EXPIRED, MISSING = "fresh", "expired", "missing"
"""What was found for an entity: a value within its time to live, one beyond it, or none."""
_LOOK_US = SECOND_US // 5
LoggedFeatures = tuple[str, int, str, Sequence[Cell] | None, int, int | None, str, Sequence[str]]
"""What the log has of one lookup of a row: the view and its version, the materialization, the entity's key (None where
that is redacted), when it was looked up, when the value was so, what was found, and the inputs that it filled in."""


class Looked(NamedTuple):
    """What one view gave for the rows of a request: the head of the log's entries, and the parts that differ by row."""

    view: ViewPlan
    materialization: str
    keys: Sequence[tuple[Cell, ...]]
    at: int
    event_at: Sequence[int | None]
    states: Sequence[str]
    names: Sequence[str]

    def logged(self, row: int, redact: Sequence[str]) -> LoggedFeatures:
        """As the log has it for one row."""
        hides = any(key.name in redact for key in self.view.keys)
        key = None if hides else self.keys[row]
        about = (self.view.name, self.view.number, self.materialization)
        return (*about, key, self.at, self.event_at[row], self.states[row], self.names)


class Filled(list[Column]):
    """The columns of a model, some of which were looked up; `looked` says which and from where."""

    __slots__ = ("looked",)

    def __init__(self, columns: Sequence[Column], looked: Sequence[Looked]) -> None:
        super().__init__(columns)
        self.looked = looked


class Lookup:
    """One feature view of an endpoint.

    Raises:
        NotFound: It was not materialized. Corrupt: Its file is none.
    """

    def __init__(self, plan: ViewPlan) -> None:
        self.plan = plan
        self.keys = [Feature(key) for key in plan.keys]
        self._file = KeyedFile(Path(plan.path))
        self._look_at = 0

    def file(self, now: int) -> KeyedFile:
        """The file of the moment (microseconds): looked at a few times a second, and kept where the new one is none."""
        if now >= self._look_at:
            self._look_at = now + _LOOK_US
            if not self._file.is_newest:
                try:
                    self._file = KeyedFile(self._file.path)
                except (NotFound, Corrupt):
                    return self._file  # being taken away, or not ours: the old one still answers
        return self._file

    def look(self, columns: Mapping[str, Raw], names: Sequence[str], now: int) -> tuple[dict[str, list[Cell]], Looked]:
        """Columns for inputs that were left out, and how they were found.

        Args:
            columns: What the request has.
            names: What it has not, of the view's features.
            now: The moment, microseconds.
        Raises:
            Invalid: The request does not say the entity. Refused: Nothing is known of it, and that is not to be.
        """
        keys = self._keys(columns, names)
        found, looked = self.find(keys, names, now)
        if self.plan.otherwise == "refuse" and looked.states.count(FRESH) < len(keys):
            row = next(row for row, state in enumerate(looked.states) if state != FRESH)
            raise Refused(f"row {row}: {self.unknown(looked, row)}", hint="send the inputs themselves")
        return found, looked

    def find(
        self, keys: Sequence[tuple[Cell, ...]], names: Sequence[str], now: int
    ) -> tuple[dict[str, list[Cell]], Looked]:
        """Columns by the keys of each row, what is not known included, and how they were found."""
        file, ttl_us = self.file(now), self.plan.ttl_us
        rows: list[Sequence[object] | None] = []
        event_at: list[int | None] = []
        states: list[str] = []
        for key in keys:
            found = None if None in key else file.get(cast("tuple[str, ...]", key))
            if found is None:
                state, at = MISSING, None
            else:
                at = cast(int, found[0])
                state = EXPIRED if ttl_us and now - at >= ttl_us else FRESH
            rows.append(found if state == FRESH else None)
            event_at.append(at)
            states.append(state)
        looked = Looked(self.plan, str(file.about["id"]), keys, now, event_at, states, names)
        return {name: self._column(name, rows) for name in names}, looked

    def unknown(self, looked: Looked, row: int) -> str:
        """Why there is nothing for a row, in words."""
        pairs = zip(self.keys, looked.keys[row], strict=True)
        entity = ", ".join(f"{one.name}={value!r}" for one, value in pairs)[:200]
        view, at = f"feature view {self.plan.name!r}", looked.event_at[row]
        if at is None:
            return f"{view} knows nothing of {entity}"
        age, ttl = (looked.at - at) / SECOND_US, self.plan.ttl_us / SECOND_US
        return f"what {view} knows of {entity} is {age:.0f} s old, and holds for {ttl:.0f} s"

    def _column(self, name: str, rows: Sequence[Sequence[object] | None]) -> list[Cell]:
        place = 1 + self.plan.names.index(name)
        other = self.plan.defaults.get(name)
        return [other if row is None else cast(Cell, row[place]) for row in rows]

    def _keys(self, columns: Mapping[str, Raw], names: Sequence[str]) -> list[tuple[Cell, ...]]:
        found = []
        for key in self.keys:
            values = columns.get(key.name)
            if values is None:
                hint = f"or send {key.name!r} as {key.expects}: feature view {self.plan.name!r} has it by that"
                raise Invalid(f"input {names[0]!r} is missing", hint=hint)
            found.append(plain(key.check(values)))
        if any(len(values) != len(found[0]) for values in found):
            counts = ", ".join(f"{key.name!r} {len(one)}" for key, one in zip(self.keys, found, strict=True))
            raise Invalid(f"the columns of an entity have different numbers of values: {counts}")
        return list(zip(*found, strict=True))


class FilledFeatures(Features):
    """Features of which some may be left out, since they are looked up.

    Args:
        base: The features as they are without that.
        lookups: The views of the endpoint.
    """

    def __init__(self, base: Features, lookups: Sequence[Lookup]) -> None:
        self.fields, self.names, self.kinds, self.max_rows = base.fields, base.names, base.kinds, base.max_rows
        self.are_floats = base.are_floats
        self._base = base
        self._sources = [(one, [n for n in one.plan.names if n in base.by_name]) for one in lookups]
        self.keys = [key for one in lookups for key in one.plan.keys]
        self.either = [(names, [key.name for key in one.keys]) for one, names in self._sources]
        self.may_lack = base.may_lack | {name for names, _ in self.either for name in names}
        self.by_name = {key.name: key for one in lookups for key in one.keys} | base.by_name

    def from_named(self, columns: Mapping[str, Raw]) -> list[Column]:
        """As `Features` does; a column that is not there at all is looked up, in every row."""
        filled: Mapping[str, Raw] = columns
        looked: list[Looked] = []
        now = 0
        for source, given in self._sources:
            absent = [name for name in given if filled.get(name) is None]
            if absent:
                now = now or time.time_ns() // 1000
                found, how = source.look(columns, absent, now)
                filled = {**filled, **found}
                looked.append(how)
        checked = self._base.from_named(filled)
        return Filled(checked, looked) if looked else checked


def filled(base: Features, lookups: Sequence[Lookup]) -> Features:
    """The features of a model behind an endpoint with these views; the same where it needs none of them."""
    wanted = [one for one in lookups if any(name in base.by_name for name in one.plan.names)]
    return FilledFeatures(base, wanted) if wanted else base
