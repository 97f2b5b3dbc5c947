"""What a search reads of metrics by columns: which runs a filter lets through, and which come first in an order.

Whatever is found here is looked up again in the rows. So it is enough that no run is missed, and values may be rounded:
see `records.columns`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.values import dataclass
from mainspring.storage import bare
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.grammar.tree import And, Compare, Node, Not
from mainspring.tracking.records import columns
from mainspring.tracking.records.columns import BLOCK, State
from mainspring.tracking.records.points import bare_rows
from mainspring.tracking.records.search.keys import Keys
from mainspring.tracking.records.search.paged import Near, Way, among_numbers, met
from mainspring.tracking.records.tables import metric_latest, run
from mainspring.tracking.rules import joined

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[np.int64]
    Values: TypeAlias = npt.NDArray[np.float32]
    Marks: TypeAlias = npt.NDArray[np.bool_]

TAIL = 20_000
"""So many runs may be outside of blocks; the values of more of them take longer to look up than a walk takes."""
_LEVEL = 10_000
"""Among so many that come first, a page is found; where it is not, values differ by less than blocks tell apart."""
_POOL = 4
"""So many times what is wanted is gathered before the first are taken out of it."""
_MOST = 2**25
"""Up to so many runs are marked, with a byte each."""


@dataclass(slots=True)
class Stored:
    """The columns of a database, as one search finds them.

    Args:
        state: What is built.
        late: The runs whose values in blocks are not the latest.
        size: How many marks there are, one for each number of a run from 0.
    """

    conn: Connection
    keys: Keys
    state: State
    late: Numbers
    size: int

    def passed(self, node: Node, *, turned: bool = False) -> Marks | None:
        """Marks of the runs among which all are that a filter lets through; None when columns tell nothing of it.

        Args:
            turned: Those among which all are that it does not let through.
        """
        if isinstance(node, Compare):
            return self._compared(node, turned=turned) if tells_of(node, turned=turned) else None
        if isinstance(node, Not):
            return self.passed(node.part, turned=not turned)
        parts = [self.passed(part, turned=turned) for part in node.parts if tells_of(part, turned=turned)]
        known = [part for part in parts if part is not None]
        if not known or not tells_of(node, turned=turned):
            return None
        every = isinstance(node, And) != turned
        return reduce(operator.and_ if every else operator.or_, known)

    def first_of(self, way: Way, marks: Marks) -> Callable[[int], Near]:
        """What gives so many marked runs that come first along the values of a metric, from infinite to infinite."""
        ahead, chosen = way.ahead, marks.copy()
        sign = -1 if ahead.lead[0].descending else 1
        more, newer = _tail(self.conn, ahead.metric, self.state.built, self.late)
        here = more < len(marks)  # those that came this moment are not here yet
        here[here] = marks[more[here]]
        chosen[self.late] = False
        least = max((sign * _rounded(bound) for bound in (way.begin, ahead.beyond) if bound), default=None)

        def stretches() -> Iterator[tuple[Numbers, Values]]:
            yield more[here], newer[here] * sign
            for place, runs, values in self._blocks(ahead.metric):
                own = chosen[place : place + BLOCK] if runs is None else chosen[place + runs]
                places = own.nonzero()[0]
                yield (places if runs is None else runs[places]) + place, values[places] * sign

        def near(count: int) -> Near:
            if count > _LEVEL:
                return met(self.conn, marks.tobytes(), way, count)
            numbers, values = _least(stretches(), least, count)
            last = values[-1] if len(values) else 0.0
            return numbers.tolist(), lambda keys: sign * _rounded(keys) < last

        return near

    def _compared(self, asked: Compare, *, turned: bool) -> Marks:
        """Which runs may be let through by a comparison with a metric, or turned away."""
        import numpy as np

        keys, value = self.keys.of(asked.field.key), asked.value
        assert value is None or isinstance(value, (int, float))
        compare, edge = (_TURNED if turned else _COMPARE)[asked.op], _rounded((0, 0.0 if value is None else value))
        is_there, is_null = asked.op in ("IS NULL", "IS NOT NULL"), asked.op == "IS NULL"
        marks = np.full(self.size, is_null != turned if is_there else turned)
        absent = bool(marks[0])
        for place, runs, values in self._blocks(keys):
            if runs is None:
                marks[place : place + BLOCK] = compare(values, edge)
            else:
                marks[runs + place] = compare(values, edge)
        marks[self.late] = absent
        more, newer = _tail(self.conn, keys, self.state.built, self.late)
        here = more < self.size  # those that came this moment are not here yet
        marks[more[here]] = compare(newer[here], edge)
        return marks

    def _blocks(self, keys: Sequence[int]) -> Iterator[tuple[int, Numbers | None, Values]]:
        """The least number of a run in a block, the places of those that have a value (None: all), and the values."""
        import numpy as np

        asked = "SELECT block, runs, numbers FROM metric_column WHERE key = ? AND block < ? ORDER BY block"
        for key in keys:
            for block, runs, values in bare.binary_rows(self.conn, asked, (key, self.state.built // BLOCK)):
                places = np.frombuffer(runs, "<u2").astype(np.int64) if runs else None
                yield block * BLOCK, places, np.frombuffer(values, "<f4")


def tells_of(node: Node, *, turned: bool = False) -> bool:
    """Whether columns tell of a part of a filter, or of what it turns away."""
    if isinstance(node, Compare):
        return node.field.entity == "metrics" and node.op in (_TURNED if turned else _COMPARE)
    if isinstance(node, Not):
        return tells_of(node.part, turned=not turned)
    return (any if isinstance(node, And) != turned else all)(tells_of(part, turned=turned) for part in node.parts)


def _least(stretches: Iterable[tuple[Numbers, Values]], least: float | None, count: int) -> tuple[Numbers, Values]:
    """So many runs with the least values, in order; NaN is none.

    Args:
        least: From which value on.
    """
    found: list[tuple[Numbers, Values]] = []
    size, most = 0, None
    for numbers, values in stretches:
        kept = values == values if most is None else values < most
        if least is not None:
            kept &= values >= least
        found.append((numbers[kept], values[kept]))
        size += len(found[-1][0])
        if size >= _POOL * count:
            found = [_cut(found, count)]
            size, most = count, found[0][1][-1]
    return _cut(found, count)


def _cut(found: Sequence[tuple[Numbers, Values]], count: int) -> tuple[Numbers, Values]:
    """The first so many of all, in order."""
    import numpy as np

    numbers, values = (np.concatenate(some) for some in zip(*found, strict=True))
    if len(values) > count:
        some = np.argpartition(values, count - 1)[:count]
        numbers, values = numbers[some], values[some]
    order = np.argsort(values, kind="stable")
    return numbers[order], values[order]


def _rounded(keys: Sequence[Key]) -> float:
    """A value in sort and number, as blocks have it."""
    import numpy as np

    with np.errstate(over="ignore"):
        return float(np.float32(joined(float(keys[1]), int(keys[0]))))


def _some(value: bool) -> Callable[[Values, float], Marks]:
    def made(values: Values, _: float) -> Marks:
        import numpy as np

        return np.full(len(values), value)

    return made


_COMPARE: dict[str, Callable[[Values, float], Marks]] = {
    "=": operator.eq,
    "<": operator.le,
    "<=": operator.le,
    ">": operator.ge,
    ">=": operator.ge,
    "IS NULL": _some(value=False),
    "IS NOT NULL": _some(value=True),
}
"""What may be let through: values are rounded, so those that are level may be on either side."""
_TURNED: dict[str, Callable[[Values, float], Marks]] = {
    "!=": operator.eq,
    "<": lambda values, asked: ~(values < asked),
    "<=": lambda values, asked: ~(values < asked),
    ">": lambda values, asked: ~(values > asked),
    ">=": lambda values, asked: ~(values > asked),
    "IS NULL": _some(value=True),
    "IS NOT NULL": _some(value=False),
}
"""What may be turned away; NaN is."""


def stored(conn: Connection, keys: Keys) -> Stored | None:
    """The columns there are; None when too many runs are outside of them, or there are too many at all."""
    found = columns.state(conn)
    if not found.built:
        return None
    late = columns.late(conn, found.built, TAIL + 1)
    greatest = conn.execute(sa.select(sa.func.max(run.c.number))).scalar() or 0
    if len(late) + greatest - found.built > TAIL or greatest > _MOST:
        return None
    import numpy as np

    return Stored(conn, keys, found, np.array(late, np.int64), max(greatest + 1, found.built))


def _tail(conn: Connection, keys: Sequence[int], built: int, late: Numbers) -> tuple[Numbers, Values]:
    """What is not in blocks, from its rows."""
    import numpy as np

    last = metric_latest.c
    # by the primary key: the rows of these few runs lie together, those of the metric do not
    key = last.key + 0 if conn.dialect.name == "sqlite" else last.key
    found = sa.select(last.run, last.sort, last.value).where(key.in_(keys))
    rows = bare_rows(conn, found.where(last.run >= built))
    if len(late):
        rows += bare_rows(conn, found.where(among_numbers(last.run, late.tolist(), conn.dialect.name)))
    made = np.fromiter(rows, np.dtype([("run", "<i8"), ("sort", "<i8"), ("value", "<f8")]))
    return made["run"], columns.rounded(made["value"], made["sort"])
