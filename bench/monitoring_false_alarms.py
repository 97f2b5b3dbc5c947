"""False alarms of the monitors per model and year on data that does not change, and the days to find data that does.

    python bench/monitoring_false_alarms.py                      # the main cells and the power, some minutes
    python bench/monitoring_false_alarms.py --all                # every cell of the specification
    python bench/monitoring_false_alarms.py --parts flights,weather   # real days of one season, shuffled

A cell is a kind of data, a size of the daily window and a size of the reference. Rows are not drawn: the counts in the
cells of the grid are drawn from their exact probabilities (for windows of 50,000 rows from the normal distribution
that they have then). Years are judged for all columns at once by arrays, and the first weeks of each cell by the code
that runs in production too: the evidence has to be the same. The upper limit is that of a Poisson rate at 95 %.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.clock import DAY_US
from mainspring.data.sketch import (
    ColumnSketch,
    Grid,
    GridColumn,
    Profile,
    Sketch,
    WindowSketch,
    learn_grid,
    learn_profile,
    sketch,
)
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.rules.budget import level_of
from mainspring.monitoring.rules.dispersion import WEEK
from mainspring.monitoring.rules.evidence import ODD_ROWS
from mainspring.monitoring.rules.judging import drift_level, judge_inputs, judge_loss
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.monitoring.rules.rates import rate_p_value
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.scanning import Scan, Stretch, extended
from mainspring.monitoring.rules.windows import InputWindow, LabelWindow, closed_inputs

Floats = NDArray[np.float64]
SPEC = MonitorSpec()
VERSION = WatchedVersion("bench", 1, "bench", "binary", "datasets/bench/1", "brier", 0.15)
START = 16_000 * DAY_US
CALM = 28
"""Days without a change before the one that is to be found."""


@dataclass(frozen=True)
class Kind:
    """How columns vary: by day (in standard deviations), by week, with memory; their shape, nulls and levels.

    Attributes:
        moody: How many columns vary by day, 0 for all; the first ones do.
        spread: Standard deviation of the logarithm of `day` between columns.
        shared: What share of the variance of moods all columns have in common, in [0, 1].
        freedom: Of the t-distribution that moods have, 0 for normal ones.
        uneven: Whether days differ in their rows: weekends, quiet weeks and the first days of rollouts have few.
    """

    name: str
    day: float = 0.0
    week: float = 0.0
    memory: float = 0.0
    moody: int = 0
    spread: float = 0.0
    shared: float = 0.0
    freedom: float = 0.0
    uneven: bool = False
    heavy: bool = False
    missing: float = 0.0
    levels: int = 0

    def moods(self, days: int, columns: int, rng: np.random.Generator) -> Floats:
        z = self._independent(days, columns, rng)
        if self.shared:
            common = self._independent(days, 1, rng)
            z = math.sqrt(1 - self.shared) * z + math.sqrt(self.shared) * common
        for at in range(1, days):
            z[at] = self.memory * z[at - 1] + math.sqrt(1 - self.memory**2) * z[at]
        return self._sizes(columns, rng) * z + self.week * np.sin(2 * np.pi * np.arange(days) / 7)[:, None]

    def _independent(self, days: int, columns: int, rng: np.random.Generator) -> Floats:
        if self.freedom:
            return rng.standard_t(self.freedom, (days, columns)) / math.sqrt(self.freedom / (self.freedom - 2))
        return rng.normal(size=(days, columns))

    def _sizes(self, columns: int, rng: np.random.Generator) -> Floats:
        """Standard deviation of the moods of each column, shape (columns,)."""
        sizes = np.full(columns, self.day)
        if self.spread:
            sizes = self.day * np.exp(self.spread * rng.normal(size=columns))
        sizes[self.moody or columns :] = 0.0
        return sizes

    def sizes(self, days: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of each day, shape (days,): `most` of them, or from a tenth of that on, and 200 at least."""
        if not self.uneven:
            return np.full(days, most)
        day = np.arange(days)
        share = np.where(day % 7 >= 5, 0.3, 1.0) * np.where(day % 56 < 10, 0.1, 1.0)
        share *= rng.uniform(0.3, 1.0, days // 7 + 1)[day // 7]
        return np.maximum((most * share).astype(np.int64), min(200, most))

    def rows(self, size: int, mood: float, rng: np.random.Generator) -> pl.Series:
        if self.levels:
            return pl.Series(rng.choice(self.levels, size, p=self.shares(np.array(mood)))).cast(pl.String)
        draw = rng.standard_t(3, size) if self.heavy else rng.normal(size=size)
        return pl.Series(draw + mood).set(pl.Series(rng.random(size) < self.missing), None)

    def shares(self, moods: Floats) -> Floats:
        """Shares of the levels: some common, many rare; a mood moves them against each other. Shape (..., levels)."""
        weight = -np.log(np.arange(1, self.levels + 1)) + moods[..., None] * np.cos(np.arange(self.levels))
        share = np.exp(weight)
        return np.asarray(share / share.sum(-1, keepdims=True), np.float64)

    def probabilities(self, cells: GridColumn, moods: Floats) -> Floats:
        """Exact probability of each cell and of null, on days of these moods, shape (..., cells + 1)."""
        if self.levels:
            known = self.shares(moods)[..., [int(level) for level in cells.levels]]
            other = np.maximum(0.0, 1 - known.sum(-1, keepdims=True))
            return np.concatenate([known, other, np.zeros_like(other)], axis=-1)
        x = cells.edges - moods[..., None]
        below = _student3(x) if self.heavy else _normal(x)
        ends = np.zeros_like(below[..., :1])
        mass = np.diff(np.concatenate([ends, below, ends + 1], axis=-1), axis=-1).clip(0)
        return np.concatenate([(1 - self.missing) * mass, ends + self.missing], axis=-1)


def _normal(x: Floats) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(x), np.float64)


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
MIXTURES = (
    Kind("day effect 0.1 of 1 column", day=0.1, moody=1),
    Kind("day effect 0.3 of 1 column", day=0.3, moody=1),
    Kind("day effect 0.1 of 5 columns", day=0.1, moody=5),
    Kind("day effect 0.3 of 25 columns", day=0.3, moody=25),
    Kind("day effects 0.05, spread 0.5", day=0.05, spread=0.5),
    Kind("day effects 0.05, spread 1", day=0.05, spread=1.0),
    Kind("day effects 0.1, spread 0.3", day=0.1, spread=0.3),
    Kind("one mood of all, 0.1", day=0.1, shared=1.0),
    Kind("mood half in common, 0.1", day=0.1, shared=0.5),
    Kind("one mood, spread 0.5, 0.1", day=0.1, shared=1.0, spread=0.5),
    Kind("one mood, AR(1) 0.7, 0.1", day=0.1, shared=1.0, memory=0.7),
    Kind("AR(1) 0.7, 0.1 of 1 column", day=0.1, moody=1, memory=0.7),
    Kind("moods of t(5), 0.1", day=0.1, freedom=5.0),
    Kind("one mood of t(5), 0.1", day=0.1, shared=1.0, freedom=5.0),
    Kind("t(5), 0.3 of 1 column", day=0.3, moody=1, freedom=5.0),
)
"""Columns that vary by day, but not alike or not each on its own."""
UNEVEN = (
    Kind("independent rows", uneven=True),
    Kind("day effect 0.05", day=0.05, uneven=True),
    Kind("day effect 0.1", day=0.1, uneven=True),
    Kind("weekly season 0.1", week=0.1, uneven=True),
    Kind("weekly season 0.5", week=0.5, uneven=True),
    Kind("season 0.5, day effect 0.1", day=0.1, week=0.5, uneven=True),
    Kind("AR(1) 0.7, day effect 0.1", day=0.1, memory=0.7, uneven=True),
    Kind("one mood of all, 0.1", day=0.1, shared=1.0, uneven=True),
)
"""Days that do not have the same number of rows."""


@dataclass(frozen=True)
class Cell:
    """One kind of data at one size of window and reference."""

    kind: Kind
    window: int
    reference: int
    columns: int
    every: int = 1
    """Which edges of the grid are kept: with every third one a year takes a third of the time."""

    @property
    def before(self) -> int:
        """Days of the reference."""
        return max(1, self.reference // self.window)

    def grid(self, rng: np.random.Generator) -> GridColumn:
        """Cells as they are learnt from a reference of this size; every column has the same."""
        grid = learn_grid(pl.DataFrame({"x": self.kind.rows(min(self.reference, 100_000), 0.0, rng)})).columns[0]
        return replace(grid, edges=grid.edges[:: self.every]) if self.every > 1 and len(grid.edges) > 50 else grid


class Year:
    """A reference, and the days after it, as counts by day, column and cell; the last cell is null."""

    def __init__(self, cell: Cell, grid: GridColumn, seed: int) -> None:
        self.cell, self.rng = cell, np.random.default_rng(seed)
        self.column = grid
        moods = cell.kind.moods(cell.before + 365, cell.columns, self.rng)
        self.moods, self.later = moods[: cell.before], moods[cell.before :]
        rows = min(cell.reference, cell.window)
        kept, sizes = _kept_days(cell.before), cell.kind.sizes(cell.before, rows, self.rng)
        shown = self._draw(self.moods[kept], sizes[kept])
        others = ~np.isin(np.arange(cell.before), kept)
        whole = shown.sum(0) + (self._draw(self.moods[others], sizes[others]).sum(0) if others.any() else 0)
        named = tuple(replace(grid, name=f"c{i:02}") for i in range(cell.columns))
        self.grid = Grid(named)
        days = [int(day) for day in kept] if rows >= 200 else []
        windows = tuple(
            WindowSketch(START + day * DAY_US, START + (day + 1) * DAY_US, self.sketch(shown[i]))
            for i, day in enumerate(days)
        )
        self.reference = Reference(Profile(self.grid, self.sketch(whole), windows))

    def sketch(self, counts: Floats) -> Sketch:
        """Counts by column and cell as a sketch."""
        sums = np.zeros(self.column.cells if self.column.is_number else 0)
        columns = tuple(
            ColumnSketch(cells, one[:-1].astype(np.int64), sums, int(one[-1]))
            for cells, one in zip(self.grid.columns, counts, strict=True)
        )
        return Sketch(self.grid, int(counts[0].sum()), columns)

    def _draw(self, moods: Floats, sizes: NDArray[np.int64]) -> Floats:
        """Counts of days of so many rows, shape (days, columns, cells + 1)."""
        chances = self.cell.kind.probabilities(self.column, moods)
        rows = sizes[:, None, None]
        if sizes.max() < 20_000:
            return self.rng.multinomial(rows[:, :, 0], chances).astype(np.float64)
        spread = np.sqrt(rows * chances) * self.rng.normal(size=chances.shape)
        drawn = rows * chances + spread - chances * spread.sum(-1, keepdims=True)
        return np.asarray(np.maximum(np.round(drawn), 0.0), np.float64)

    def days(self, count: int, shift: float = 0.0, since: int = 0) -> Floats:
        """The days after the reference; a shift moves the first column from day `since` on."""
        moods = self.later[:count].copy()
        moods[since:, 0] += shift
        return self._draw(moods, self.cell.kind.sizes(count, self.cell.window, self.rng))

    def judged(self, counts: Floats) -> list[int]:
        """On which days alarms are raised, by the code that runs in production."""
        found = judge_inputs(VERSION, self.reference, self.windows(counts), SPEC)
        first = START + self.cell.before * DAY_US
        return [(draft.window_end - first) // DAY_US for draft in found.drafts]

    def windows(self, counts: Floats) -> list[InputWindow]:
        """The days as production gets them."""
        starts = [START + (self.cell.before + day) * DAY_US for day in range(len(counts))]
        return [InputWindow.joined([(at, self.sketch(day))]) for at, day in zip(starts, counts, strict=True)]


def _kept_days(days: int) -> NDArray[np.int64]:
    """The days that a profile keeps: at most 96, in runs of 8."""
    if days <= 96:
        return np.arange(days)
    return np.unique((np.linspace(0, days - 8, 12).astype(int)[:, None] + np.arange(8)).ravel())


class Watch:
    """The alarm rule over all columns at once: runs as production has them, missing values by arrays."""

    def __init__(self, year: Year) -> None:
        self.reference, self.columns = year.reference, year.cell.columns
        self.first_day = START // DAY_US + year.cell.before
        self.bars = np.minimum(1.0, np.array(self.reference.missing_bars) + SPEC.drift_tolerance)
        self.missing_phi = np.array(self.reference.missing_dispersions)
        self.level, self.missing_level = drift_level(self.columns, SPEC), level_of("missing", self.columns, SPEC)
        self.m, self.missing_m = np.zeros(self.columns), np.zeros(self.columns)
        self.alarmed, self.missing_alarmed = np.zeros(self.columns, bool), np.zeros(self.columns, bool)
        self.scan, self.stretches = Scan(self.reference), list[Stretch]()

    def day(self, number: int, counts: Floats) -> bool:
        """Judge a day, shape (columns, cells + 2); whether an alarm is raised."""
        told = self._missing(counts)
        start, rows = (self.first_day + number) * DAY_US, counts.sum(1)
        week = np.zeros((self.columns, WEEK))
        week[:, (self.first_day + number) % WEEK] = rows
        new = Stretch(start, start + DAY_US, 1, week, rows**2, np.cumsum(counts, axis=1))
        self.stretches = extended(self.stretches, new)
        found = self.scan.judge(self.stretches, level=self.level, tolerance=SPEC.drift_tolerance)
        m = np.where(self.alarmed, 0.0, found.evidence)
        crossed, over = m >= self.level, self.alarmed & found.is_gone
        self.m, self.alarmed = np.where(crossed, 0.0, m), crossed | (self.alarmed & ~over)
        if (crossed | over).any():
            self.stretches = [stretch.without(crossed | over) for stretch in self.stretches]
        return bool(told or crossed.any())

    def _missing(self, counts: Floats) -> bool:
        rows = counts.sum(1)
        share = counts[:, -2:].sum(1) / np.maximum(rows, 1)
        over = share > self.bars
        if not over.any() and not self.missing_alarmed.any():
            self.missing_m = np.where(self.missing_m > 0, 0.5 * np.maximum(self.missing_m, 1.0), 0.5)
            return False
        p = np.array([
            rate_p_value(int(one[-2:].sum()), int(n), float(bar), float(phi))
            for one, n, bar, phi in zip(counts, rows, self.bars, self.missing_phi, strict=True)
        ])  # fmt: skip
        e = 0.5 / np.sqrt(np.maximum(p, 1e-300))
        e = np.where(share - self.bars > ODD_ROWS, e, np.minimum(e, 2 * math.sqrt(self.missing_level)))
        m = np.where(self.missing_alarmed, 0.0, e * np.maximum(self.missing_m, 1.0))
        crossed = m >= self.missing_level
        self.missing_m = np.where(crossed, 0.0, m)
        self.missing_alarmed = crossed | (self.missing_alarmed & (e >= 1))
        return bool(crossed.any())


def alarms_of(year: Year, counts: Floats, check: int = 0) -> list[int]:
    """On which days alarms are raised; the first `check` days are judged by production too, and must agree."""
    watch = Watch(year)
    invalid = np.zeros((*counts.shape[:2], 1))
    padded = np.concatenate([counts[:, :, :-1], invalid, counts[:, :, -1:]], axis=2)
    found = []
    for number, day in enumerate(padded):
        if watch.day(number, day):
            found.append(number + 1)
        if number + 1 == check:
            _agree(watch, judge_inputs(VERSION, year.reference, year.windows(counts[:check]), SPEC).state["columns"])
    return found


def _agree(watch: Watch, states: object) -> None:
    assert isinstance(states, dict)
    theirs = np.array([[state["m"], state["missing_m"]] for state in states.values()])
    ours = np.stack([watch.m, watch.missing_m], axis=1)
    assert np.allclose(np.maximum(theirs, 0.5), np.maximum(ours, 0.5), rtol=1e-6), (theirs - ours).max()


def upper_limit(events: int, years: float) -> float:
    """The 95 % upper limit of a Poisson rate, by bisection of its distribution function."""
    low, high = float(events), events + 10.0 * math.sqrt(events + 1)
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.exp(-middle + k * math.log(middle) - math.lgamma(k + 1)) for k in range(events + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high / years


def _alarms_a_year(cell: Cell, years: int) -> list[int]:
    grid = cell.grid(np.random.default_rng(990017))
    counts: list[int] = []
    for seed in range(years):
        year = Year(cell, grid, seed)
        counts.append(len(alarms_of(year, year.days(365), check=0 if seed else 21)))
    return counts


def false_alarms(cells: list[Cell], years: int, processes: int) -> None:
    """Print the alarms of each cell, several cells at a time."""
    print(f"\nFalse alarms per model and year: {cells[0].columns} columns, {years} simulated years a cell")
    print(
        f"{'data':28}{'rows a day':>11}{'reference':>11}{'years':>7}{'alarms/year':>13}{'95 % limit':>12}", flush=True
    )
    with ProcessPoolExecutor(processes) as pool:
        running = [(cell, pool.submit(_alarms_a_year, cell, years)) for cell in cells]
        for cell, future in running:
            counts = future.result()
            mean, limit = sum(counts) / len(counts), upper_limit(sum(counts), len(counts))
            held = "" if limit <= 1 else "  above 1"
            name = f"{cell.kind.name:28}{cell.window:>11,}{cell.reference:>11,}{len(counts):>7}"
            print(f"{name}{mean:>13.2f}{limit:>12.2f}{held}", flush=True)


def power(trials: int, columns: int) -> None:
    print(f"\nDays until a change of one of {columns} columns is found, 1,000 rows a day, median of {trials}")
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
        cell = Cell(kind, 1000, reference, columns)
        grid, found = cell.grid(np.random.default_rng(990017)), []
        for seed in range(trials):
            year = Year(cell, grid, seed)
            found.append(_found(alarms_of(year, year.days(CALM + 60, shift, CALM))))
        print(f"{name:28}{reference:>11,}{statistics.median(found):>8.0f}", flush=True)
    calm = Kind("")
    cell = Cell(calm, 1000, 10_000, columns)
    grid, found = cell.grid(np.random.default_rng(990017)), []
    for seed in range(trials):
        year = Year(cell, grid, seed)
        counts = year.days(CALM + 60)
        counts[CALM:, 0] = _with_missing(counts[CALM:, 0], 0.05, year.rng)
        found.append(_found(alarms_of(year, counts)))
    print(f"{'5 % turn missing':28}{10_000:>11,}{statistics.median(found):>8.0f}", flush=True)


def _found(alarms: list[int]) -> int:
    """Days from the change to the alarm; 99 for none."""
    return min((day - CALM for day in alarms if day > CALM), default=99)


def _with_missing(counts: Floats, share: float, rng: np.random.Generator) -> Floats:
    gone = rng.binomial(counts[:, :-1].astype(np.int64), share)
    kept = np.concatenate([counts[:, :-1] - gone, counts[:, -1:] + gone.sum(1, keepdims=True)], axis=1)
    return np.asarray(kept, np.float64)


WEATHER = ("origin", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
SEASONS = {"January to April": [1, 2, 3, 4], "June to August": [6, 7, 8], "September to November": [9, 10, 11]}


def flights(replays: int) -> None:
    """Days of real flights, of one season, in random order: whatever else they are, they come from one distribution."""
    from mainspring.demo.flights import FEATURES, read_year

    flown = read_year().with_columns(
        (pl.col("scheduled") - pl.duration(hours=5)).dt.date().alias("day"),
        pl.col("scheduled").dt.month().alias("month"),
    )
    _shuffled("Flights", flown, list(FEATURES), replays, least=500)


def weather(replays: int) -> None:
    """Days of the weather at three airports, by hour: a day has one mood, and so few rows that three are one window."""
    from mainspring.demo.flights import find_data

    told = pl.read_csv(find_data() / "weather.csv", null_values="NA", infer_schema_length=None)
    _shuffled("Weather", told.with_columns(day=pl.date("year", "month", "day")), list(WEATHER), replays, least=60)


def _shuffled(what: str, rows: pl.DataFrame, features: list[str], replays: int, *, least: int) -> None:
    print(f"\n{what} of a season, its days in random order: half of them are the reference, the others are judged")
    alarms = judged = 0
    for name, months in SEASONS.items():
        parts = rows.filter(pl.col("month").is_in(months)).partition_by("day", maintain_order=True)
        days = [day for day in parts if day.height >= least]
        found = [_replayed(days, features, seed) for seed in range(replays)]
        print(f"{name}, {len(days)} days in {replays} orders: {sum(found)} alarms", flush=True)
        alarms, judged = alarms + sum(found), judged + replays * (len(days) - len(days) // 2)
    years = judged / 365
    rate, limit = alarms / years, upper_limit(alarms, years)
    print(f"{years:.1f} years: {alarms} alarms, {rate:.2f} a year, at most {limit:.2f}")


def _replayed(days: list[pl.DataFrame], features: list[str], seed: int) -> int:
    """Alarms over one half of the days, the other half being the reference."""
    order, half = np.random.default_rng(seed).permutation(len(days)), len(days) // 2
    dated = [days[i].with_columns(at=pl.lit(START + n * DAY_US).cast(pl.Datetime("us"))) for n, i in enumerate(order)]
    profile = learn_profile(pl.concat(dated[:half]).select(*features, "at"), time_column="at")
    reference = Reference.of(profile, features)
    grid = reference.profile.grid
    hours = ((START + n * DAY_US, sketch(day, grid)) for n, day in enumerate(dated) if n >= half)
    windows = closed_inputs(hours, grid, START + len(dated) * DAY_US)
    return len(judge_inputs(VERSION, reference, windows, SPEC).drafts)


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
    parser.add_argument("--years", type=int, default=20, help="simulated years a cell")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--every", type=int, default=1, help="keep every such edge of the grid; 3 is quicker")
    parser.add_argument("--all", action="store_true", help="every window and reference size")
    parser.add_argument("--mixtures", action="store_true", help="columns that vary by day in different ways")
    parser.add_argument("--uneven", action="store_true", help="days that do not have the same number of rows")
    parser.add_argument("--only", default="", help="kinds of data whose name has this in it")
    parser.add_argument("--parts", default="loss,power,false,flights,weather", help="what is done")
    args = parser.parse_args()
    known = MIXTURES if args.mixtures else UNEVEN if args.uneven else KINDS
    kinds = [kind for kind in known if args.only in kind.name]
    windows, references = ([200, 1000, 50_000], [1000, 10_000, 100_000]) if args.all else ([1000], [10_000, 100_000])
    cells = [
        Cell(kind, window, size, args.columns, args.every)
        for kind in kinds
        for window in windows
        for size in references
    ]
    parts: dict[str, Callable[[], None]] = {
        "loss": lambda: performance(2 * args.years),
        "power": lambda: power(args.years + 1, args.columns),
        "false": lambda: false_alarms(cells, args.years, args.processes),
        "flights": lambda: flights(args.years),
        "weather": lambda: weather(args.years),
    }
    for name in args.parts.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
