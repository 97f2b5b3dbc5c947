"""False alarms of the monitors per model and year on data that does not change, and the days to find data that does.

    python bench/monitoring_false_alarms.py                      # two years of the main cells, some minutes
    python bench/monitoring_false_alarms.py --years 20 --all     # every cell: hours

A cell is a kind of data, a size of the daily window and a size of the reference. Rows are not drawn: the counts in the
cells of the grid are drawn from their exact probabilities, and judged by the code that runs in production. The upper
limit is that of a Poisson rate at 95 %. Where a rule's assumptions end (a reference of one mood, days that follow each
other) is shown too.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.clock import DAY_US, moment
from mainspring.data.sketch import ColumnSketch, GridColumn, Sketch, learn_profile
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.rules.judging import judge_inputs, judge_loss
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.windows import InputWindow, LabelWindow

Floats = NDArray[np.float64]
SPEC = MonitorSpec()
VERSION = WatchedVersion("bench", 1, "bench", "binary", "datasets/bench/1", "brier", 0.15)
START = 16_000 * DAY_US


@dataclass(frozen=True)
class Kind:
    """How columns vary: by day (in standard deviations), by week, with memory; their shape, nulls and levels."""

    name: str
    day: float = 0.0
    week: float = 0.0
    memory: float = 0.0
    heavy: bool = False
    missing: float = 0.0
    levels: int = 0

    def moods(self, days: int, columns: int, rng: np.random.Generator) -> Floats:
        z = rng.normal(size=(days, columns))
        for at in range(1, days):
            z[at] = self.memory * z[at - 1] + math.sqrt(1 - self.memory**2) * z[at]
        return self.day * z + self.week * np.sin(2 * np.pi * np.arange(days) / 7)[:, None]

    def rows(self, size: int, mood: float, rng: np.random.Generator) -> pl.Series:
        if self.levels:
            return pl.Series(rng.choice(self.levels, size, p=self.shares(mood))).cast(pl.String)
        draw = rng.standard_t(3, size) if self.heavy else rng.normal(size=size)
        return pl.Series(draw + mood).set(pl.Series(rng.random(size) < self.missing), None)

    def shares(self, mood: float) -> Floats:
        """Shares of the levels: some common, many rare; a mood moves them against each other."""
        weight = -np.log(np.arange(1, self.levels + 1)) + mood * np.cos(np.arange(self.levels))
        share = np.exp(weight)
        return np.asarray(share / share.sum(), np.float64)

    def probabilities(self, cells: GridColumn, mood: float) -> Floats:
        """Exact probability of each cell and of null, on a day of this mood."""
        if self.levels:
            share = self.shares(mood)
            known = [share[int(level)] for level in cells.levels]
            return np.array([*known, max(0.0, 1 - sum(known)), 0.0])
        below = _student3(cells.edges - mood) if self.heavy else _normal(cells.edges - mood)
        mass = np.diff(np.concatenate([[0.0], below, [1.0]])).clip(0)
        return np.append((1 - self.missing) * mass, self.missing)


def _normal(x: Floats) -> Floats:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])


def _student3(x: Floats) -> Floats:
    u = x / math.sqrt(3)
    return np.asarray(0.5 + (u / (1 + u * u) + np.arctan(u)) / math.pi, np.float64)


KINDS = (
    Kind("independent rows"),
    Kind("day effect 0.02", day=0.02),
    Kind("day effect 0.05", day=0.05),
    Kind("day effect 0.1", day=0.1),
    Kind("weekly season 0.1", week=0.1),
    Kind("AR(1) 0.7, day effect 0.1", day=0.1, memory=0.7),
    Kind("heavy tails", heavy=True),
    Kind("2 % missing", missing=0.02),
    Kind("2 levels", levels=2),
    Kind("20 levels, day effect 0.05", levels=20, day=0.05),
    Kind("500 levels", levels=500),
)


class Year:
    """A reference, and the days after it."""

    def __init__(self, kind: Kind, window: int, reference: int, columns: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind, self.window, self.names = kind, window, [f"c{i:02}" for i in range(columns)]
        before = max(1, reference // window)
        self.moods = kind.moods(before + 365, columns, self.rng)
        sizes = [min(reference, window)] * before
        table = {name: pl.concat(self._column(i, sizes)) for i, name in enumerate(self.names)}
        at = [moment(START + day * DAY_US) for day, size in enumerate(sizes) for _ in range(size)]
        self.reference = Reference.of(learn_profile(pl.DataFrame({**table, "at": at}), time_column="at"), self.names)
        self.before = before

    def _column(self, index: int, sizes: list[int]) -> list[pl.Series]:
        return [self.kind.rows(size, float(self.moods[day, index]), self.rng) for day, size in enumerate(sizes)]

    def days(self, count: int, shift: float = 0.0) -> Iterator[InputWindow]:
        grid = self.reference.profile.grid
        for day in range(count):
            moods = self.moods[self.before + day].copy()
            moods[0] += shift
            columns = tuple(self._count(cells, float(mood)) for cells, mood in zip(grid.columns, moods, strict=True))
            start = START + (self.before + day) * DAY_US
            yield InputWindow(start, start + DAY_US, Sketch(grid, self.window, columns))

    def _count(self, cells: GridColumn, mood: float) -> ColumnSketch:
        drawn = self.rng.multinomial(self.window, self.kind.probabilities(cells, mood))
        sums = np.zeros(cells.cells if cells.is_number else 0)
        return ColumnSketch(cells, drawn[:-1].astype(np.int64), sums, int(drawn[-1]))

    def alarms(self, count: int = 365, shift: float = 0.0) -> list[int]:
        """On which days alarms are raised."""
        found = judge_inputs(VERSION, self.reference, list(self.days(count, shift)), SPEC)
        first = START + self.before * DAY_US
        return [(draft.window_end - first) // DAY_US for draft in found.drafts]


def upper_limit(events: int, years: float) -> float:
    """The 95 % upper limit of a Poisson rate, by bisection of its distribution function."""
    low, high = float(events), events + 10.0 * math.sqrt(events + 1)
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.exp(-middle + k * math.log(middle) - math.lgamma(k + 1)) for k in range(events + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high / years


def false_alarms(kinds: list[Kind], windows: list[int], references: list[int], years: int, columns: int) -> None:
    print(f"\nFalse alarms per model and year: {columns} columns, {years} simulated years a cell")
    print(f"{'data':28}{'rows a day':>11}{'reference':>11}{'alarms/year':>13}{'95 % limit':>12}")
    for kind in kinds:
        for window in windows:
            for reference in references:
                counts = [len(Year(kind, window, reference, columns, seed).alarms()) for seed in range(years)]
                mean, limit = sum(counts) / years, upper_limit(sum(counts), years)
                print(f"{kind.name:28}{window:>11,}{reference:>11,}{mean:>13.2f}{limit:>12.2f}", flush=True)


def power(trials: int) -> None:
    print(f"\nDays until a change of one column is found, 20 columns, 1,000 rows a day, median of {trials}")
    cases = [
        ("KS shift 0.05", Kind(""), 0.1257, 10_000),
        ("KS shift 0.05", Kind(""), 0.1257, 100_000),
        ("KS shift 0.10", Kind(""), 0.2533, 10_000),
        ("0.3 sd, day effect 0.1", Kind("", day=0.1), 0.3, 30_000),
        ("0.3 sd, day effect 0.1", Kind("", day=0.1), 0.3, 90_000),
        ("0.6 sd, AR(1) 0.7", Kind("", day=0.1, memory=0.7), 0.6, 90_000),
        ("1 sd, AR(1) 0.7", Kind("", day=0.1, memory=0.7), 1.0, 90_000),
    ]
    for name, kind, shift, reference in cases:
        found = [(Year(kind, 1000, reference, 20, seed).alarms(60, shift) or [99])[0] for seed in range(trials)]
        print(f"{name:28}{reference:>11,}{statistics.median(found):>8.0f}", flush=True)


def daily_losses(mean: float, days: int, memory: float, rng: np.random.Generator) -> list[float]:
    mood = Kind("", day=1.0, memory=memory).moods(days, 1, rng)[:, 0]
    width = math.sqrt(math.log(1 + (0.05 / mean) ** 2))
    return [float(loss) for loss in np.clip(mean * np.exp(width * mood - width**2 / 2), 0, 1)]


def loss_alarms(losses: list[float]) -> list[int]:
    windows = [
        LabelWindow(day * DAY_US, (day + 1) * DAY_US, Outcomes(predictions=900, rows=900, loss=900 * loss))
        for day, loss in enumerate(losses)
    ]
    return [draft.window_end // DAY_US for draft in judge_loss(VERSION, windows, SPEC).drafts]


def performance(years: int) -> None:
    print(f"\nRealized loss, 0.15 at validation, sd between days 0.05, tolerance {SPEC.tolerance:.0%}; {years} years")
    print(f"{'days follow each other':28}{'as before':>11}{'at the edge':>12}   days to find 0.18, 0.20, 0.25, 0.40")
    for memory in (0.0, 0.3, 0.5, 0.7):
        rng = np.random.default_rng(int(memory * 10))
        calm, edge = (
            sum(len(loss_alarms(daily_losses(mean, 365, memory, rng))) for _ in range(years)) / years
            for mean in (0.15, 0.15 * (1 + SPEC.tolerance))
        )
        delays = [_delay(worse, memory, years, rng) for worse in (0.18, 0.2, 0.25, 0.4)]
        print(
            f"{'AR(1) ' + str(memory):28}{calm:>11.2f}{edge:>12.2f}   {', '.join(f'{d:.0f}' for d in delays)}",
            flush=True,
        )


def _delay(worse: float, memory: float, years: int, rng: np.random.Generator) -> float:
    found: list[int] = []
    for _ in range(years):
        calm, bad = daily_losses(0.15, 60, memory, rng), daily_losses(worse, 250, memory, rng)
        later = [day - 60 for day in loss_alarms(calm + bad) if day > 60]
        found.append(later[0] if later else 999)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=2, help="simulated years a cell")
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--all", action="store_true", help="every window and reference size")
    parser.add_argument("--only", default="", help="kinds of data whose name has this in it")
    parser.add_argument("--skip", default="", help="parts to leave out: false,power,loss")
    args = parser.parse_args()
    kinds = [kind for kind in KINDS if args.only in kind.name]
    windows, references = ([200, 1000, 50_000], [1000, 10_000, 100_000]) if args.all else ([1000], [10_000, 100_000])
    parts: dict[str, Callable[[], None]] = {
        "loss": lambda: performance(20 * args.years),
        "power": lambda: power(5 * args.years + 1),
        "false": lambda: false_alarms(kinds, windows, references, args.years, args.columns),
    }
    for name, part in parts.items():
        if name not in args.skip.split(","):
            part()


if __name__ == "__main__":
    main()
