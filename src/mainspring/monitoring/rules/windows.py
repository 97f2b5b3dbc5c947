"""Which stretches of time are judged next: whole days of event time, joined until they hold enough rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mainspring.core.clock import DAY_US, day_of
from mainspring.core.values import dataclass
from mainspring.data.sketch import Grid, Sketch
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.rules.dispersion import WEEK
from mainspring.monitoring.rules.drift import LEAST_ROWS
from mainspring.monitoring.rules.performance import LEAST_ROWS as LEAST_LABELS
from mainspring.monitoring.rules.performance import Outcomes


@dataclass(frozen=True, slots=True)
class InputWindow:
    """Rows of a stretch of time, from `start` to before `end`; `week` is how many of them each day of the week has."""

    start: int
    end: int
    sketch: Sketch
    week: tuple[int, ...]

    @classmethod
    def joined(cls, days: Sequence[tuple[int, Sketch]]) -> InputWindow:
        """The window of days that follow each other, at least one: when each begins, and its rows."""
        whole, week = days[0][1], [0] * WEEK
        for _, sketch in days[1:]:
            whole = whole.merge(sketch)
        for start, sketch in days:
            week[start // DAY_US % WEEK] += sketch.rows
        return cls(days[0][0], days[-1][0] + DAY_US, whole, tuple(week))


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """Labelled rows of a stretch of time, from `start` to before `end`."""

    start: int
    end: int
    outcomes: Outcomes


def closed_inputs(hours: Iterable[tuple[int, Sketch]], grid: Grid, watermark: int) -> list[InputWindow]:
    """Days the stream has passed, joined with the next ones until they hold 200 rows.

    Args:
        hours: Start and sketch of stored hours, in order of time.
        grid: The cells they were counted in.
        watermark: Latest event time seen.
    Returns:
        Windows in order; hours after the last whole one are left for later.
    """
    parts: dict[int, list[Sketch]] = {}
    for start, sketch in hours:
        parts.setdefault(day_of(start), []).append(sketch)
    days = {day: Sketch.total(grid, [Sketch.empty(grid), *hours]) for day, hours in parts.items()}
    found: list[InputWindow] = []
    gathered: list[tuple[int, Sketch]] = []
    for day, sketch in days.items():
        if day + DAY_US > watermark:
            break
        gathered.append((day, sketch))
        if sum(rows.rows for _, rows in gathered) >= LEAST_ROWS:
            found.append(InputWindow.joined(gathered))
            gathered = []
    return found


def closed_labels(
    days: Iterable[tuple[int, Outcomes]], watermark: int, spec: MonitorSpec
) -> tuple[list[LabelWindow], int]:
    """Days whose labels are in, joined with the next ones until they hold 30 labelled rows.

    A day closes once the stream has passed it and enough of its labels are known, or the stream is far enough past it.
    Days close in order. Days without any label are passed over.

    Returns:
        Windows in order, and the time up to which nothing more is waited for.
    """
    found: list[LabelWindow] = []
    begin, until, gathered = -1, 0, Outcomes()
    for day, outcomes in days:
        end = day + DAY_US
        known = outcomes.coverage >= spec.label_share
        if watermark < (end if known else end + int(spec.label_wait_days * DAY_US)):
            break
        begin = day if begin < 0 else begin
        gathered = gathered.merge(outcomes)
        if gathered.rows >= LEAST_LABELS or not gathered.rows:
            found += [LabelWindow(begin, end, gathered)] if gathered.rows else []
            begin, until, gathered = -1, end, Outcomes()
    return found, until
