"""Two tables in, a report out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.data.sketch import ColumnSketch, count_column, learn_column
from mainspring.monitoring.reports.report import ColumnDrift, DriftReport
from mainspring.monitoring.reports.tables import Table
from mainspring.monitoring.rules import multivariate, statistics
from mainspring.monitoring.rules.causes import cause
from mainspring.monitoring.rules.drift import which_columns
from mainspring.monitoring.rules.statistics import Estimate

RULE = "shift"
RATE = 0.01


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
        method: One of `rules.statistics.names()`; a column drifted when its p-value passes Benjamini-Hochberg at 1 %
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
    statistics.method(method)
    names = _asked(reference, columns)
    pairs = {name: _counted(reference, current, name) for name in names}
    found = _judged(pairs, method, importance or {})
    whole: dict[str, Estimate] = {}
    if together:
        frames = reference.frame(names), current.frame(names)
        whole = {name: multivariate.compare_frames(name, *frames, seed=seed) for name in multivariate.names()}
    return DriftReport(
        method=method,
        reference=reference.name,
        current=current.name,
        reference_rows=reference.rows,
        current_rows=current.rows,
        columns=tuple(found),
        together=whole,
        absent=tuple(name for name in names if name not in current.columns),
        added=tuple(name for name in current.columns if name not in reference.columns),
    )


def _asked(reference: Table, columns: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in reference.columns:
            hint = did_you_mean(name, reference.columns) or f"it has {', '.join(reference.columns[:8])}"
            raise Invalid(f"no column {name!r} in the reference", where=reference.name, hint=hint)
    if not reference.columns:
        raise Invalid("the reference has no columns", where=reference.name, hint="is it the right table?")
    return list(columns or reference.columns)


def _counted(reference: Table, current: Table, name: str) -> tuple[ColumnSketch, ColumnSketch]:
    learned = learn_column(reference.column(name))
    return learned, count_column(current.column(name), learned.cells)


def _judged(
    pairs: Mapping[str, tuple[ColumnSketch, ColumnSketch]], method: str, importance: Mapping[str, float]
) -> Iterator[ColumnDrift]:
    """Every column, the most severe first."""
    found = {name: statistics.compare(method, *pair) for name, pair in pairs.items()}
    floor = statistics.method(method).FLOOR
    effects = {name: abs(one.value or 0.0) - floor for name, one in found.items()}
    p_values = {name: one.p for name, one in found.items() if one.p is not None}
    drifted = set(which_columns(p_values, effects, rate=RATE))
    severity = {name: max(0.0, effect) * importance.get(name, 1.0) for name, effect in effects.items()}
    for name in sorted(pairs, key=lambda name: (name not in drifted, -severity[name])):
        reference, current = pairs[name]
        what = cause(reference, current) if name in drifted else None
        yield ColumnDrift(
            name=name,
            kind=reference.cells.kind,
            drifted=name in drifted,
            estimate=found[name],
            severity=severity[name],
            cause=what.kind if what else "",
            text=what.text if what else "",
            reference=reference,
            current=current,
        )
