"""Batches of what a run measured, its params and its tags: each is stored whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mainspring.storage.commits import Joint
from mainspring.tracking.lifecycle import change_run, writable, writable_runs
from mainspring.tracking.logged_models import measure
from mainspring.tracking.model import Metric, ModelUse, RunChange
from mainspring.tracking.records import points, tables
from mainspring.tracking.rules import Row, changed_params

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

T = TypeVar("T")
_REMEMBERED = 20_000
"""How many metric names, and how many runs, a process keeps the numbers of."""
_AT_ONCE = 20
"""How many batches of points go into one statement: a bigger one gains nothing, and takes memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What is to be stored of a run of a project; `made_at` is when it came."""

    project: str
    run_id: str
    rows: Sequence[Row]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    change: RunChange | None
    measured: Mapping[ModelUse, Sequence[Metric]]
    made_at: int
    keys: dict[tuple[int, str], int] = field(default_factory=dict)
    """The numbers of its metric names, by experiment and name, once it is stored."""

    @property
    def is_points(self) -> bool:
        """Whether it has points and nothing else."""
        return bool(self.rows) and not (self.params or self.tags or self.change or self.measured)


class _Waiting(NamedTuple):
    """A batch of points, and they as they are sent where that needs no question to the database."""

    batch: Batch
    ready: points.Ready | None


class Batches:
    """Stores batches, each in one transaction, and many that have only points by the same statements."""

    def __init__(self, *, tables: Tables, journal: Journal) -> None:
        self._tables = tables
        self._journal = journal
        self._keys: dict[tuple[int, str], int] = {}
        self._places: dict[tuple[str, str], tuple[int, int]] = {}

    def submit(self, batch: Batch) -> Future[None]:
        """Store a batch. The future resolves once it is committed, or with the error.

        Raises:
            Overloaded: Too many batches wait to be stored.
        """
        if batch.is_points:
            ready = self._ready(batch) if self._tables.dialect == "postgresql" else None
            stored = self._tables.submit(Joint(self._store_points, _Waiting(batch, ready), at_once=self._store_at_once))
        else:
            stored = self._tables.submit(lambda conn: self._store(conn, batch))
        stored.add_done_callback(lambda done: self._remember(batch.keys) if done.exception() is None else None)
        return stored

    def _store(self, conn: Connection, batch: Batch) -> None:
        number, owner = writable(conn, batch.project, batch.run_id)
        if batch.change is not None:
            change_run(conn, self._journal, batch.run_id, batch.change, batch.made_at)
        if batch.rows:
            points.add_points(conn, [(number, batch.rows, self._key_numbers(conn, owner, batch))])
            for use, some in batch.measured.items():
                measure(conn, batch.project, use, number, some)
        if batch.params:
            points.add_texts(conn, tables.param, number, batch.params, replace=False)
            changed_params(points.texts_of(conn, tables.param, [number])[number], batch.params)
        if batch.tags:
            points.add_texts(conn, tables.tag, number, batch.tags, replace=True)

    def _store_points(self, conn: Connection, waiting: Sequence[_Waiting]) -> None:
        for some in _pieces([one.batch for one in waiting]):
            places = writable_runs(conn, [(batch.project, batch.run_id) for batch in some])
            if len(self._places) > _REMEMBERED:
                self._places.clear()
            self._places.update({(batch.project, batch.run_id): at for batch, at in zip(some, places, strict=True)})
            found = [
                (number, batch.rows, self._key_numbers(conn, owner, batch))
                for (number, owner), batch in zip(places, some, strict=True)
            ]
            points.add_points(conn, found)

    def _store_at_once(self, conn: Connection, waiting: Sequence[_Waiting]) -> bool:
        """Store points of runs and metrics whose numbers are known; whether all of them were stored.

        In a transaction the database rests during each of its turns: this process takes in requests before it goes on.
        """
        known = [ready for batch, packed in waiting if (ready := packed or self._ready(batch)) is not None]
        return len(known) == len(waiting) and all(points.add_points_at(conn, some) for some in _pieces(known))

    def _ready(self, batch: Batch) -> points.Ready | None:
        """The points of a batch as they are sent, where the numbers of its run and its metrics are known."""
        place = self._places.get((batch.project, batch.run_id))
        if place is None:
            return None
        keys: dict[str, int] = {}
        for name in {row[0] for row in batch.rows}:
            number = self._keys.get((place[1], name))
            if number is None:
                return None
            keys[name] = number
        return points.ready(points.Place(*place, batch.project, batch.run_id), batch.rows, keys)

    def _key_numbers(self, conn: Connection, owner: int, batch: Batch) -> Mapping[str, int]:
        """Numbers of metric names. Only committed ones are remembered: a rolled back work may have made others."""
        names = {row[0] for row in batch.rows}
        known = {name: number for name in names if (number := self._keys.get((owner, name))) is not None}
        batch.keys.clear()
        if len(known) < len(names):
            known = points.key_numbers(conn, owner, names)
            batch.keys.update({(owner, name): key for name, key in known.items()})
        return known

    def _remember(self, keys: Mapping[tuple[int, str], int]) -> None:
        if len(self._keys) < _REMEMBERED:
            self._keys.update(keys)


def _pieces(batches: Iterable[T]) -> Iterator[list[T]]:
    left = iter(batches)
    while some := list(islice(left, _AT_ONCE)):
        yield some
