"""Two tables in, a report out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.data.sketch import ColumnSketch, GridColumn, Sketch, count_column, learn_column
from mainspring.data.sketch.counting import count_counted, learn_counted
from mainspring.data.sketch.derived import LOOKED_AT, is_text, text_columns, vector_columns, vectors
from mainspring.data.sketch.grid import rows_of_levels
from mainspring.monitoring.reports.report import ColumnDrift, DriftReport
from mainspring.monitoring.reports.tables import Table
from mainspring.monitoring.rules import multivariate, parity, statistics
from mainspring.monitoring.rules.causes import Finding, cause
from mainspring.monitoring.rules.drift import which_columns
from mainspring.monitoring.rules.statistics import Estimate

RULE = "shift"
RATE = 0.01
_OPAQUE = Finding("", "of lists, objects and bytes only whether they are there is compared")


def compare_tables(
    reference: Table,
    current: Table,
    *,
    method: str = RULE,
    columns: Sequence[str] = (),
    together: bool = False,
    importance: Mapping[str, float] | None = None,
    seed: int = 0,
) -> DriftReport:
    """Compare two tables column by column.

    Args:
        reference: What is compared with.
        current: What is compared.
        method: One of `rules.statistics.names()`, or of `rules.parity.names()`, which shows the numbers of that tool
            and leaves the verdict to "shift". A column drifted when its p-value passes Benjamini-Hochberg at 1 %
            over all columns and its value is above the floor of the method.
        columns: Which; all of the reference when empty.
        together: Also compare whole rows: domain classifier, PCA reconstruction, MMD, energy distance.
        importance: How much each column matters to the model; severity is this times the effect, and orders columns.
        seed: For the rows that `together` draws.
    Returns:
        The report.
    Raises:
        NotFound: There is no such method.
        Invalid: There is no such column, or no column at all.
    """
    rule = RULE if method in parity.names() else method
    statistics.method(rule)
    names = _asked(reference, columns)
    pairs = {pair[0].cells.name: pair for name in names for pair in _counted(reference, current, name)}
    found = _judged(pairs, rule, importance or {})
    if rule != method:
        tool = parity.peer(method)
        found = tuple(
            replace(one, peer=tool.scores(reference.column(one.name), current.column(one.name)))
            for one in found
            if one.name in names
        )
    absent = tuple(name for name in names if name not in current.columns)
    found = tuple(replace(one, text="there is no such column") if one.name in absent else one for one in found)
    whole = _whole_rows(reference, current, names, seed) if together else {}
    return DriftReport(
        method=method,
        reference=reference.name,
        current=current.name,
        reference_rows=reference.rows,
        current_rows=current.rows,
        columns=found,
        together=whole,
        absent=absent,
        added=tuple(name for name in current.columns if name not in reference.columns),
    )


def _whole_rows(reference: Table, current: Table, names: Sequence[str], seed: int) -> dict[str, Estimate]:
    """Every method on all columns, and on each column of vectors alone."""
    found = {}
    groups = {"": list(names)}
    groups |= {name: [name] for name in names if len(names) > 1 and vectors(reference.column(name)) is not None}
    for group, columns in groups.items():
        frames = reference.frame(columns), current.frame(columns)
        for method in multivariate.names():
            found[f"{group}: {method}" if group else method] = multivariate.compare_frames(method, *frames, seed=seed)
    return found


def _asked(reference: Table, columns: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in reference.columns:
            hint = did_you_mean(name, reference.columns) or f"it has {', '.join(reference.columns[:8])}"
            raise Invalid(f"no column {name!r} in the reference", where=reference.name, hint=hint)
    if not reference.columns:
        raise Invalid("the reference has no columns", where=reference.name, hint="is it the right table?")
    return list(columns or reference.columns)


def _counted(reference: Table, current: Table, name: str) -> Iterator[tuple[ColumnSketch, ColumnSketch]]:
    """The column counted, and for a text or a vector, the columns that stand for it."""
    levels = reference.levels(name)
    if levels is not None and not is_text(levels.drop_nulls().head(LOOKED_AT).collect()[name]):
        learned = learn_counted(name, rows_of_levels(levels))
        yield learned, _counted_in(learned.cells, current)
        return
    before = reference.column(name)
    learned = learn_column(before)
    derived = is_text(before) or learned.cells.kind == "opaque"
    if not derived:
        del before  # the rows of one table at a time, unless both are looked at together
        yield learned, _counted_in(learned.cells, current)
        return
    now = current.column(name)
    yield learned, count_column(now, learned.cells)
    made = (text_columns(before), text_columns(now)) if is_text(before) else vector_columns(before, now)
    for left, right in zip(*made, strict=True):
        learned = learn_column(left)
        yield learned, count_column(right, learned.cells)


def _counted_in(cells: GridColumn, current: Table) -> ColumnSketch:
    levels = current.levels(cells.name) if cells.kind == "categorical" else None
    if levels is None:
        return count_column(current.column(cells.name), cells)
    return count_counted(rows_of_levels(levels), cells)


def compare_sketches(
    reference: Sketch, current: Sketch, *, method: str = RULE, importance: Mapping[str, float] | None = None
) -> tuple[ColumnDrift, ...]:
    """Compare two sketches on one grid, such as stored hours of a monitor, column by column.

    Returns:
        Every column, drifted ones first, the most severe first.
    Raises:
        NotFound: There is no such method.
    """
    pairs = zip(reference.columns, current.columns, strict=True)
    return _judged({before.cells.name: (before, now) for before, now in pairs}, method, importance or {})


def _judged(
    pairs: Mapping[str, tuple[ColumnSketch, ColumnSketch]], method: str, importance: Mapping[str, float]
) -> tuple[ColumnDrift, ...]:
    found = {name: statistics.compare(method, *pair) for name, pair in pairs.items()}
    floor = statistics.method(method).FLOOR
    effects = {name: abs(one.value or 0.0) - floor for name, one in found.items()}
    p_values = {name: one.p for name, one in found.items() if one.p is not None}
    drifted = set(which_columns(p_values, effects, rate=RATE))
    severity = {name: max(0.0, effect) * importance.get(name, 1.0) for name, effect in effects.items()}
    ordered = sorted(pairs, key=lambda name: (name not in drifted, -severity[name]))
    return tuple(_column(name, pairs[name], found[name], severity[name], name in drifted) for name in ordered)


def _column(
    name: str, pair: tuple[ColumnSketch, ColumnSketch], estimate: Estimate, severity: float, drifted: bool
) -> ColumnDrift:
    what = cause(*pair) if drifted else _OPAQUE if pair[0].cells.kind == "opaque" else None
    return ColumnDrift(
        name=name,
        kind=pair[0].cells.kind,
        drifted=drifted,
        estimate=estimate,
        severity=severity,
        cause=what.kind if what and drifted else "",
        text=what.text if what else "",
        reference=pair[0],
        current=pair[1],
    )
