"""Vectors looked at whole, on rows of the prediction log: when an alarm is about one, and when somebody asks.

Reading rows and learning from them takes seconds, so it is a job on the queue, done in a process of its own: no request
and no turn of the loop waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.clock import DAY_US, Clock
from mainspring.core.errors import NotFound, Unavailable
from mainspring.engines import Ask, Message
from mainspring.monitoring import records
from mainspring.monitoring.comparisons import VectorComparison, VectorFigures
from mainspring.monitoring.events import VectorsCompared
from mainspring.monitoring.model import Alarm, Judgement
from mainspring.monitoring.readings import unknown
from mainspring.pipelines.childwork import opened
from mainspring.storage.jobs import Job, JobState, NewJob, job_id

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.data.sketch.derivation import VectorColumn
    from mainspring.monitoring.references import References
    from mainspring.serving import Serving
    from mainspring.storage.ports import Journal, Queue, Tables

log = logging.getLogger("mainspring.monitoring")
QUEUE, KIND = "monitoring", "monitoring.vectors"
ENTRY = "mainspring.monitoring.vectors:compare_in_child"
CAUSE = "vectors"
"""What comparisons are kept under, among the judgements of a version."""
_ROW = "__row"
_AT = "__at"
_ENOUGH = 0.8
"""So many rows of the training data for one of the window, and both are learnt from alike."""


class Vectors:
    """Compares the vectors of a stretch of traffic with those of the training data, and keeps what was found.

    Args:
        tables: Where comparisons and alarms are kept.
        journal: The event log.
        clock: Tells when it was done.
        serving: Gives logged rows.
        data: Gives the rows of the training data.
        references: Gives what versions are compared with.
        queue: Where the work waits; without one it is only done at once.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        clock: Clock,
        serving: Serving,
        data: Data,
        references: Callable[[], References],
        queue: Queue | None = None,
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._serving, self._data, self._references, self._queue = serving, data, references, queue

    def columns(self, deployment: str) -> tuple[str, ...]:
        """The vectors among the inputs of the live version; none where it takes none or has no reference."""
        reference = self._watched(deployment)[1]
        return tuple(one.name for one in reference)

    # asking

    def ask(self, deployment: str) -> Job:
        """Have the latest window compared soon. Asked again before it is done, it is done once.

        Raises:
            NotFound: The deployment is not watched.
            Unavailable: There is no queue, or it takes nothing in.
        """
        self._seen_until(deployment)
        if self._queue is None:
            raise Unavailable("there is no queue", where="monitoring", hint=f"mainspring monitor vectors {deployment}")
        job = NewJob(queue=QUEUE, kind=KIND, key=deployment, payload={"deployment": deployment}, max_attempts=2)
        with self._tables.write() as conn:
            asked = self._queue.put(conn, job)
        return self._queue.get(asked)

    def ask_about(self, conn: Connection, alarm: Alarm, vectors: Iterable[str]) -> bool:
        """Have the window of an alarm compared soon, where one of its columns is of these vectors; once an alarm.

        A queue that takes nothing in keeps no alarm from being raised: it goes without this evidence.
        """
        if self._queue is None or not _is_about(alarm, vectors):
            return False
        named = {"deployment": alarm.deployment, "alarm": alarm.id}
        job = NewJob(queue=QUEUE, kind=KIND, id=job_id(KIND, alarm.id), payload=named, max_attempts=2)
        try:
            self._queue.put(conn, job)
        except Unavailable as reason:
            log.warning("vectors.not_asked alarm=%s reason=%s", alarm.id, reason.what)
            return False
        return True

    def last_job(self, deployment: str) -> Job | None:
        """The newest job for a deployment that is under way or has failed, None without one."""
        states = (JobState.QUEUED, JobState.RUNNING, JobState.DEAD)
        found = self._queue.find(states=states, queue=QUEUE) if self._queue is not None else []
        return next((job for job in found if job.payload.get("deployment") == deployment), None)

    # comparing

    def compare(self, deployment: str, *, days: float = 0.0) -> VectorComparison:
        """Compare now what the live version was asked, and keep what is found.

        Args:
            deployment: What is watched.
            days: So many days up to the newest row, event time; 0 for the latest window that was judged, and for the
                latest day where none was.
        Returns: The figures. Where nothing can be said it says why.
        Raises:
            NotFound: The deployment is not watched.
        """
        until = self._seen_until(deployment)
        live = self._serving.get(deployment).champion
        with self._tables.read() as conn:
            judged = records.list_judgements(conn, deployment, cause="drift", version=live, limit=1)
        since, until = until - int((days or 1.0) * DAY_US), until + 1
        if judged and not days:
            since, until = judged[-1].window_start, judged[-1].window_end
        return self._keep(self._compared(VectorComparison(deployment, live, since, until)))

    def compare_for(self, alarm_id: str) -> VectorComparison:
        """Compare the stretch that an alarm is about, and keep what is found with the alarm.

        Raises:
            NotFound: No such alarm.
        """
        with self._tables.read() as conn:
            alarm = records.find_alarm(conn, alarm_id)
        if alarm is None:
            raise NotFound(f"no alarm {alarm_id[:60]!r}", where="alarms", hint="mainspring monitor alarms")
        blank = VectorComparison(alarm.deployment, alarm.version, alarm.window_start, alarm.window_end, alarm=alarm.id)
        return self._keep(self._compared(blank))

    def kept(self, deployment: str, *, limit: int = 20) -> list[VectorComparison]:
        """What was found before, the newest window first.

        Raises:
            NotFound: The deployment is not watched.
        """
        self._seen_until(deployment)
        with self._tables.read() as conn:
            found = records.list_judgements(conn, deployment, cause=CAUSE, limit=limit)
        return [_comparison(one) for one in reversed(found)]

    # parts

    def _seen_until(self, deployment: str) -> int:
        with self._tables.read() as conn:
            found = records.find_monitor(conn, deployment)
        if found is None:
            hint = f"mainspring deploy MODEL --name {deployment}"
            raise NotFound(f"{deployment!r} is not watched", where="monitors", hint=hint)
        return found.watermark

    def _watched(self, deployment: str, version: int = 0) -> tuple[str, tuple[VectorColumn, ...]]:
        """The dataset version that a version is compared with, and the vectors that it takes."""
        number = version or self._serving.get(deployment).champion
        found = self._references().of(deployment, {number})[number]
        return found.version.reference, found.reference.vectors if found.reference is not None else ()

    def _compared(self, blank: VectorComparison) -> VectorComparison:
        from mainspring.monitoring.rules.vectors import compare_vectors, rows_drawn

        reference, vectors = self._watched(blank.deployment, blank.version)
        blank = replace(blank, reference=reference)
        if not reference:
            return replace(blank, why="not estimable: the training data of the version are not known")
        if not vectors:
            return replace(blank, why="not estimable: no input of the version is a vector")
        figures: list[VectorFigures] = []
        for vector in vectors:
            names, most = vector.places or (vector.name,), rows_drawn(vector.width)
            try:
                before, now = self._trained_on(reference, names, 2 * most), self._asked(blank, names, most)
            except NotFound as reason:
                return replace(blank, why=f"not estimable: {reason.what}")
            if not now.height:
                return replace(blank, why="not estimable: the log has no answer of the version in that time")
            seed = blank.window_end % 1_000_003
            found = compare_vectors(vector, before, now, seed=seed)
            parts = self._newest(reference, names, most, now.height, blank.window_end - blank.window_start)
            usual = unknown(parts) if isinstance(parts, str) else compare_vectors(vector, *parts, seed=seed).classifier
            figures.append(replace(found, usual=usual))
        return replace(blank, vectors=tuple(figures))

    def _trained_on(self, reference: str, names: Sequence[str], most: int) -> pl.DataFrame:
        """Some rows of the training data."""
        dataset = self._data.resolve(reference)
        frame = self._data.frame(dataset.dataset, dataset.number).select(names)
        return _some(frame, dataset.rows, most)

    def _newest(
        self, reference: str, names: Sequence[str], most: int, rows: int, span_us: int
    ) -> tuple[pl.DataFrame, pl.DataFrame] | str:
        """Some rows of the training data before their newest stretch of time, and as many of it as of the window.

        From fewer rows a classifier learns less, and the area would be too small to hold the window's against it: then
        it says why there are none.
        """
        import polars as pl

        dataset = self._data.resolve(reference)
        frame = self._data.frame(dataset.dataset, dataset.number)
        if not dataset.time_column or not frame.collect_schema()[dataset.time_column].is_temporal():
            return "the training data do not say when their rows were"
        at = pl.col(dataset.time_column).dt.epoch("us")
        [until] = frame.select(at.max()).collect(engine="streaming").row(0)  # a number: so rows are filtered by batches
        is_new = at > (until or 0) - span_us
        new, old = frame.select(new=is_new.sum(), old=(~is_new).sum()).collect(engine="streaming").row(0)
        if not new or not old:
            return "the training data are not longer than the window"
        if new < _ENOUGH * rows:
            return f"{new} rows in such a stretch of the training data, {rows} in the window"
        newest, earlier = frame.filter(is_new).select(names), frame.filter(~is_new).select(names)
        return _some(earlier, old, 2 * most), _some(newest, new, rows)

    def _asked(self, window: VectorComparison, names: Sequence[str], most: int) -> pl.DataFrame:
        """Some rows that a version answered: those whose ids have the least hashes, so that each counts once."""
        import polars as pl

        rows = self._serving.predictions(window.deployment, window.window_start, window.window_end)
        answered = rows.filter(pl.col("version") == window.version, pl.col("status") < 400)
        hashed = answered.select("id", pl.col("id").hash(0).alias(_AT))
        chosen = hashed.bottom_k(2 * most, by=_AT).collect(engine="streaming").unique("id").bottom_k(most, by=_AT)
        taken = rows.collect_schema()["inputs"]
        known = {field.name for field in taken.fields} if isinstance(taken, pl.Struct) else set()
        inputs = [pl.col("inputs").struct.field(name) if name in known else pl.lit(None).alias(name) for name in names]
        found = answered.filter(pl.col("id").is_in(chosen["id"].implode())).select("id", *inputs)
        return found.collect(engine="streaming").unique("id", maintain_order=True).drop("id")

    def _keep(self, found: VectorComparison) -> VectorComparison:
        """Store it among the judgements, and where it was made for an alarm, with its evidence."""
        found = replace(found, made_at=self._clock.now())
        kept = Judgement(
            deployment=found.deployment,
            version=found.version,
            cause=CAUSE,
            window_start=found.window_start,
            window_end=found.window_end,
            rows=max((one.rows for one in found.vectors), default=0),
            evidence=0.0,
            level=0.0,
            state="ok",
            details={
                "reference": found.reference,
                "vectors": [asdict(one) for one in found.vectors],
                "why": found.why,
                "alarm": found.alarm,
                "made_at": found.made_at,
            },
        )
        fact = VectorsCompared(
            subject=f"monitors/{found.deployment}",
            deployment=found.deployment,
            version=found.version,
            window_start=found.window_start,
            window_end=found.window_end,
            alarm=found.alarm,
        )
        with self._tables.write() as conn:
            records.put_judgement(conn, kept)
            alarm = records.find_alarm(conn, found.alarm, lock=True) if found.alarm else None
            if alarm is not None:
                records.change_alarm(conn, alarm.id, evidence={**alarm.evidence, CAUSE: asdict(found)})
            self._journal.append(conn, fact)
        return found


def compare_in_child(payload: Message, ask: Ask) -> Message:
    """Open the house and compare what the job names."""
    from mainspring.monitoring.service import Monitoring

    with opened(payload) as wiring:
        vectors = wiring.get(Monitoring).vectors
        alarm = str(payload.get("alarm") or "")
        found = vectors.compare_for(alarm) if alarm else vectors.compare(str(payload["deployment"]))
        return {"window_end": found.window_end, "why": found.why}


def _some(frame: pl.LazyFrame, rows: int, most: int) -> pl.DataFrame:
    """Rows of a table that has so many, drawn by their place in it, read a batch at a time."""
    import numpy as np
    import polars as pl

    if rows > most:
        drawn = np.sort(np.random.default_rng(rows).choice(rows, most, replace=False)).astype(np.uint32)
        frame = frame.with_row_index(_ROW).filter(pl.col(_ROW).is_in(drawn)).drop(_ROW)
    return frame.collect(engine="streaming")


def _is_about(alarm: Alarm, vectors: Iterable[str]) -> bool:
    entries = alarm.evidence.get("columns")
    named = {str(entry.get("source") or entry.get("column")) for entry in entries} if isinstance(entries, list) else ()
    return not set(vectors).isdisjoint(named)


def _comparison(kept: Judgement) -> VectorComparison:
    """What was kept, read back."""
    at = {name: getattr(kept, name) for name in ("deployment", "version", "window_start", "window_end")}
    return msgspec.convert({**at, **kept.details}, VectorComparison, strict=False)
