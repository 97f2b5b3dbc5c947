"""The verbs of performance: what versions are worth, realized and estimated, by window and segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, HOUR_US, day_of
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.monitoring import records
from mainspring.monitoring.calibrations import Meaning, counted_of
from mainspring.monitoring.model import HOURS_KEPT_US, WatchedVersion
from mainspring.monitoring.performances import (
    PERIODS,
    FeedbackWindow,
    Performance,
    SegmentPerformance,
    WindowPerformance,
    WorstSlices,
)
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.performance import Outcomes, coverage_of

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data import Data, DatasetVersion
    from mainspring.monitoring.rules.estimating.calibrating import Calibration
    from mainspring.monitoring.rules.feedback import Said
    from mainspring.monitoring.rules.measuring import Floats
    from mainspring.monitoring.service import Monitoring
    from mainspring.serving import Serving
    from mainspring.storage.ports import Tables

WEEK_US = 7 * DAY_US
ASSUMES = "estimates assume that the same inputs still mean the same (no concept change)"
_SIZES = {"hour": HOUR_US, "day": DAY_US, "week": WEEK_US}
_MOST_WINDOWS = 400
_MOST_ROWS = 100_000
_KEPT = 4_000
_ANSWER, _LOSS = "answer of the version", "loss of the version"
_Hours = Sequence[tuple[int, Outcomes]]


class Performing:
    """Says what versions are worth, from counts only: no row is read again, except to look for the worst slices.

    Args:
        tables: Where the counts are.
        monitoring: Knows what is watched.
        serving: Gives labelled rows.
        data: Keeps what is exported.
    """

    def __init__(self, *, tables: Tables, monitoring: Monitoring, serving: Serving, data: Data) -> None:
        self._tables, self._monitoring, self._serving, self._data = tables, monitoring, serving, data
        self._windows: dict[tuple[object, ...], WindowPerformance] = {}

    def performance(
        self,
        deployment: str,
        *,
        by: str = "day",
        segment: str = "",
        version: int = 0,
        since: int = 0,
        until: int = 0,
        windows: int = 60,
    ) -> Performance:
        """Realized and estimated performance of a version.

        Args:
            deployment: What is watched.
            by: "hour" (of the newest 14 days), "day", "week" (from Monday) or "all".
            segment: Such as "carrier=AA"; "" for all rows.
            version: Which one; 0 for the live one.
            since: Earliest event time, microseconds.
            until: First event time that is left out; 0 for none.
            windows: At most so many, the newest.
        Raises:
            NotFound: The deployment is not watched, or the version or segment has no rows.
            Invalid: There is no such period.
        """
        _check_period(by, PERIODS)
        watched = self.watched(deployment, version)
        with self._tables.read() as conn:
            hours = records.list_outcomes(conn, deployment, watched.version, segment=segment, by_us=HOUR_US)
        if segment and not hours:
            raise self._no_segment(deployment, watched.version, segment)
        meaning = self._meaning(watched)
        if by == "hour":  # hours before these are joined to their days
            since = max(since, day_of(self._monitoring.get(deployment).watermark) - HOURS_KEPT_US)
        asked = [(at, found) for at, found in hours if at >= since and (not until or at < until)]
        parts = _grouped(asked, by)[-min(max(windows, 1), _MOST_WINDOWS) :]
        seen = [self._window(watched.task, start, end, found, meaning) for start, end, found in parts]
        whole = Outcomes.total(found for _, _, found in parts)
        first, last = (parts[0][0], parts[-1][1]) if parts else (since, until)
        return Performance(
            deployment=deployment,
            version=watched.version,
            task=watched.task,
            by=by,
            segment=segment,
            windows=tuple(seen),
            total=self._window(watched.task, first, last, whole, meaning),
            classes=_classes(watched.task, whole),
            loss=watched.loss,
            reference_loss=watched.reference_loss,
            calibrated_on=meaning.source,
            currency=self._monitoring.spec.currency,
            notes=self._notes(watched, whole),
        )

    def segments(self, deployment: str, *, version: int = 0, since: int = 0) -> list[SegmentPerformance]:
        """Performance of each declared segment, by name.

        Raises:
            NotFound: The deployment is not watched.
        """
        watched = self.watched(deployment, version)
        meaning = self._meaning(watched)
        with self._tables.read() as conn:
            found = records.list_segments(conn, deployment, watched.version, since=since)
            last = self._monitoring.get(deployment).watermark
        return [
            SegmentPerformance(name, self._window(watched.task, since, last, outcomes, meaning))
            for name, outcomes in found
        ]

    def worst(self, deployment: str, *, days: int = 30, version: int = 0, most: int = 10) -> WorstSlices:
        """The slices of one and two inputs on which a version is worst, over the newest labelled rows.

        Args:
            deployment: What is watched.
            days: How far back, in event time.
            version: Which one; 0 for the live one.
            most: At most so many slices.
        Raises:
            NotFound: The deployment is not watched.
        """
        from mainspring.monitoring.rules.slices import worst_slices

        watched = self.watched(deployment, version)
        since = self._monitoring.get(deployment).watermark - days * DAY_US
        name = {"binary": "brier", "regression": "absolute error"}.get(watched.task, "error")
        try:
            rows = self._serving.labelled(deployment, since)
            if watched.task == "multiclass":
                rows = self._with_answers(rows, deployment, since)
        except (NotFound, Invalid) as reason:
            return WorstSlices(0, name, (), unknown(reason.what).why)
        rows, losses = _losses(rows, watched)
        if rows.height < 100:
            return WorstSlices(rows.height, name, (), unknown(f"{rows.height} labelled rows, 100 are needed").why)
        return WorstSlices(rows.height, name, tuple(worst_slices(rows, losses.to_numpy(), most=most)))

    def feedback(self, deployment: str, *, by: str = "day", since: int = 0) -> list[FeedbackWindow]:
        """What people said of predictions besides labels, by kind and time at which it became known.

        Raises:
            NotFound: The deployment is not watched.
            Invalid: There is no such period.
        """
        _check_period(by, PERIODS[1:])  # what people say is counted by the day
        live = self.watched(deployment, 0)
        with self._tables.read() as conn:
            said = records.said.list_said(conn, deployment, since=since)
            numbers = [entry.version for entry in records.list_stateless(conn, deployment)] or [live.version]
            asked: dict[int, int] = {}
            for number in numbers:
                for at, outcomes in records.list_outcomes(conn, deployment, number, since=since):
                    asked[_start(at, by)] = asked.get(_start(at, by), 0) + outcomes.predictions
        return _said_windows(said, asked, by)

    def export(self, deployment: str, dataset: str, *, since: int | None = None) -> DatasetVersion:
        """Store labelled predictions as a version of a dataset to train on: inputs, score, label, times.

        A correction replaces the label it corrects, and stands for it where there was none.

        Raises:
            NotFound: There is no such deployment, or nothing was predicted yet.
            Invalid: No prediction has a label or correction.
        """
        rows = self._serving.labelled(deployment, since, corrected=True)
        if not rows.height:
            hint = f"mainspring feedback {deployment} LABELS.csv"
            raise Invalid("no prediction has a label or a correction yet", where=deployment, hint=hint)
        return self._data.ingest(dataset, rows)

    # parts

    def _with_answers(self, rows: pl.DataFrame, deployment: str, since: int) -> pl.DataFrame:
        import polars as pl

        said = self._serving.predictions(deployment, since).select("id", pl.col("label_out").alias(_ANSWER))
        return rows.join(said.collect().unique("id"), left_on="prediction_id", right_on="id", how="left")

    def watched(self, deployment: str, number: int = 0) -> WatchedVersion:
        """A version that is watched, the live one for 0.

        Raises:
            NotFound: The deployment is not watched, or the version answered nothing.
        """
        self._monitoring.get(deployment)
        live = number or self._serving.get(deployment).champion
        with self._tables.read() as conn:
            known = {entry.version: entry for entry in records.list_versions(conn, deployment)}
        if live in known:
            return known[live]
        if number:
            hint = f"versions that answered: {', '.join(map(str, known)) or 'none'}"
            raise NotFound(f"version {number} of {deployment} answered nothing", where="monitors", hint=hint)
        return WatchedVersion(deployment, live, self._serving.get(deployment).model, "binary")

    def _no_segment(self, deployment: str, version: int, segment: str) -> NotFound:
        with self._tables.read() as conn:
            names = [name for name, _ in records.list_segments(conn, deployment, version)]
        listed = ", ".join(names[:10]) or 'none: write segments = ["COLUMN"] in [monitor]'
        hint = did_you_mean(segment, names) or f"segments: {listed}"
        return NotFound(f"no segment {segment!r}", where=f"monitors/{deployment}", hint=hint)

    def _meaning(self, watched: WatchedVersion) -> Meaning:
        with self._tables.read() as conn:
            return self._monitoring.calibrations.of(conn, watched)

    def _window(self, task: str, start: int, end: int, outcomes: Outcomes, meaning: Meaning) -> WindowPerformance:
        """The measures of a window; those that were asked for before and did not change since are at hand."""
        key = (caller().project, task, start, end, id(meaning.calibration), id(meaning.classes), _size(outcomes))
        found = self._windows.get(key)
        if found is None:
            if len(self._windows) >= _KEPT:
                self._windows.clear()
            found = self._windows[key] = self._measured(task, start, end, outcomes, meaning)
        return found

    def _measured(self, task: str, start: int, end: int, outcomes: Outcomes, meaning: Meaning) -> WindowPerformance:
        worth = self._monitoring.spec.worth
        calibration = "these rows calibrate it" if start < meaning.until else meaning.calibration
        return WindowPerformance(
            start,
            end,
            outcomes.predictions,
            outcomes.rows,
            outcomes.unread,
            _realized(task, outcomes, worth),
            {**_estimated(task, outcomes, worth, calibration), **_areas(task, outcomes, start, meaning)},
        )

    def _notes(self, watched: WatchedVersion, whole: Outcomes) -> tuple[str, ...]:
        notes = [ASSUMES] if watched.task != "regression" else []
        if whole.unread:
            notes.append(f"{whole.unread} labels are no value of a {watched.task} model and count as missing")
        return tuple(notes)


def _check_period(by: str, known: Sequence[str]) -> None:
    if by not in known:
        hint = did_you_mean(by, known) or f"use {', '.join(known)}"
        raise Invalid(f"no period is called {by[:60]!r}", where="by", hint=hint)


def _grouped(hours: _Hours, by: str) -> list[tuple[int, int, Outcomes]]:
    """Hours joined to periods: (start, end, outcomes), in order."""
    if by == "all":
        total = Outcomes.total(found for _, found in hours)
        return [(hours[0][0], hours[-1][0] + HOUR_US, total)] if hours else []
    size = _SIZES[by]
    parts: dict[int, list[Outcomes]] = {}
    for at, found in hours:
        parts.setdefault(_start(at, by), []).append(found)
    return [(start, start + size, Outcomes.total(found)) for start, found in sorted(parts.items())]


def _start(at: int, by: str) -> int:
    """Where the period of a moment begins; weeks begin on Monday, and the epoch was a Thursday."""
    if by == "hour":
        return at - at % HOUR_US
    if by == "week":
        return at - (at + 3 * DAY_US) % WEEK_US
    return day_of(at) if by == "day" else 0


def _size(outcomes: Outcomes) -> tuple[object, ...]:
    """What changes whenever something is counted; sums tell the same rows of two segments apart."""
    return (
        outcomes.predictions,
        outcomes.rows,
        outcomes.unread,
        outcomes.loss,
        sum(map(_second, outcomes.scored.values())),
    )


def _second(pair: Sequence[float]) -> float:
    return pair[1]


def _realized(task: str, outcomes: Outcomes, worth: Mapping[str, float]) -> dict[str, Reading]:
    if task == "regression":
        from mainspring.monitoring.rules.numbers import realized_numbers

        return realized_numbers(outcomes, worth=worth)
    if task == "multiclass":
        from mainspring.monitoring.rules.areas import realized_areas
        from mainspring.monitoring.rules.manyclasses import realized_many

        found = realized_many(outcomes, worth=worth)
        return {**found, **realized_areas(outcomes.classed)}
    from mainspring.monitoring.rules.measuring import realized

    counted = counted_of(outcomes)
    found = realized(counted.no, counted.yes, counted.sums, worth=worth)
    if outcomes.rows:  # sums of rows, not of cells
        found["brier"] = _moved(found["brier"], outcomes.loss / outcomes.rows)
        found["log_loss"] = _moved(found["log_loss"], outcomes.log_loss / outcomes.rows)
    return found


def _moved(reading: Reading, value: float) -> Reading:
    if reading.value is None or reading.low is None or reading.high is None:
        return reading
    by = value - reading.value
    return Reading.of(value, max(0.0, reading.low + by), reading.high + by)


def _estimated(
    task: str, outcomes: Outcomes, worth: Mapping[str, float], calibration: Calibration | str
) -> dict[str, Reading]:
    from mainspring.monitoring.rules.measuring import MEASURES

    names = {"binary": (*MEASURES, *(["value"] if worth else [])), "multiclass": ("accuracy",)}.get(task, ("mae",))
    if isinstance(calibration, str):
        return dict.fromkeys(names, unknown(calibration))
    from mainspring.monitoring.rules.estimating.classes import estimate, estimate_right

    scored = _scored(outcomes)
    if task == "multiclass":
        return {"accuracy": estimate_right(*scored, calibration)}
    return estimate(*scored, calibration, worth=worth)


def _areas(task: str, outcomes: Outcomes, start: int, meaning: Meaning) -> dict[str, Reading]:
    if task != "multiclass":
        return {}
    from mainspring.monitoring.rules.areas import estimated_areas

    calibrations = "these rows calibrate it" if start < meaning.classes_until else meaning.classes
    return estimated_areas(outcomes.classed, calibrations)


def _scored(outcomes: Outcomes) -> tuple[Floats, Floats]:
    import numpy as np

    from mainspring.core.scores import CELLS

    rows, sums = np.zeros(CELLS), np.zeros(CELLS)
    for cell, (count, total) in outcomes.scored.items():
        rows[cell], sums[cell] = count, total
    return rows, sums


def _classes(task: str, outcomes: Outcomes) -> dict[str, dict[str, Reading]]:
    if task != "multiclass" or not outcomes.rows:
        return {}
    from mainspring.monitoring.rules.manyclasses import per_class

    return per_class(outcomes)


def _losses(rows: pl.DataFrame, watched: WatchedVersion) -> tuple[pl.DataFrame, pl.Series]:
    """Inputs and losses of the newest rows of a version whose loss is known."""
    import polars as pl

    from mainspring.serving.feedback import ABOUT

    rows = rows.filter(pl.col("version") == watched.version).tail(_MOST_ROWS)
    label, score = pl.col("label"), pl.col("score")
    if watched.task == "multiclass":
        loss = (label.cast(pl.String) != pl.col(_ANSWER)).cast(pl.Float64)
    else:
        number = label.cast(pl.Float64, strict=False)
        loss = (score - number) ** 2 if watched.task == "binary" else (score - number).abs()
    known = rows.with_columns(loss.alias(_LOSS)).filter(pl.col(_LOSS).is_finite())
    return known.drop(*ABOUT, _LOSS, _ANSWER, strict=False), known[_LOSS]


def _said_windows(said: Iterable[Said], asked: Mapping[int, int], by: str) -> list[FeedbackWindow]:
    from mainspring.monitoring.rules.feedback import Said

    size = {"day": DAY_US, "week": WEEK_US}.get(by, 0)
    parts: dict[tuple[str, int], list[Said]] = {}
    for one in said:
        parts.setdefault((one.kind, _start(one.start, by)), []).append(one)
    found = []
    for (kind, start), days in sorted(parts.items()):
        whole = Said(
            kind,
            start,
            sum(day.rows for day in days),
            sum(day.numbers for day in days),
            sum(day.total for day in days),
            sum(day.squares for day in days),
        )
        end = start + size if size else max(day.start for day in days) + DAY_US
        found.append(FeedbackWindow(kind, start, end, whole.rows, whole.mean, _rate(whole.rows, asked.get(start, 0))))
    return found


def _rate(said: int, asked: int) -> Reading:
    if not asked:
        return unknown("nothing was predicted in that time")
    if said > asked:
        return unknown(f"{said} were said of {asked} predictions: they are of earlier ones")
    held = coverage_of(0, asked, said)
    return Reading(held.share, held.low, held.high)
