"""The rows of a batch in the prediction log, in their order and once each, where monitors count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from mainspring.serving.batch.chunks import raws_of
from mainspring.serving.batch.filling import filled_of
from mainspring.serving.batch.job import ID, LOOKED, REASON, RULES, Job, Parts
from mainspring.serving.frames import frame_of
from mainspring.serving.modelserver.columns import Declared, Features, plain

if TYPE_CHECKING:
    from mainspring.serving.service import Serving

ARM = "batch"
"""The arm of rows that came in a batch."""
_ANSWERS = ("probability", "label", "prediction", "low", "high", "label_set")


def log_chunks(serving: Serving, inputs: Sequence[Declared], parts: Parts, job: Job) -> None:
    """Log every answered row of the chunks that were not logged yet; a chunk is logged whole or not at all."""
    features = Features(inputs, max_rows=job.request.chunk_rows)
    for number in range(job.chunks):
        rows = _rows(features, parts, job, number)
        if rows.height:
            serving.log_rows(job.request.deployment, rows, app=_app(job), batch=number)


def _app(job: Job) -> str:
    return f"batch-{job.id}"


def _rows(features: Features, parts: Parts, job: Job, number: int) -> pl.DataFrame:
    answered = pl.col(REASON) == ""
    chunk = pl.read_parquet(parts.chunk(number))
    asked = parts.rows_of(job, number).filter(chunk[REASON] == "")
    chunk = chunk.with_row_index("place").filter(answered)
    arm, first = job.plan.arms[0], number * job.request.chunk_rows
    columns = list(zip(features.names, features.kinds, strict=True))
    looked = [filled_of(text) for text in chunk[LOOKED]] if LOOKED in chunk.columns else [({}, [])] * chunk.height
    cells = _cells(features, asked, job, [filled for filled, _ in looked])
    outputs = [name for name in _ANSWERS if name in chunk.columns]
    times = _times(asked, job)
    answers = chunk.select(outputs).to_dicts() if outputs else [{}] * chunk.height
    same = {
        "request_id": job.id, "at": job.started_at, "version": arm.version, "arm": ARM, "propensity": None,
        "rollout": "", "latency_us": 0, "status": 200, "error": "", "caller": "", "wait_us": 0, "model_us": 0,
    }  # fmt: skip
    ids = chunk[ID].to_list()
    said: dict[str, Sequence[object]] = {name: [value] * chunk.height for name, value in same.items()}
    said |= {"seq": [first + place for place in chunk["place"]], "id": ids, "event_at": times, "key": ids}
    said |= {
        "inputs": cells,
        "outputs": answers,
        "marks": chunk[RULES].to_list(),
        "features": [one for _, one in looked],
    }
    return frame_of(job.plan.name, said, {arm.version: columns}, spool=_app(job))


def _cells(
    features: Features, rows: pl.DataFrame, job: Job, looked: Sequence[Mapping[str, object]]
) -> list[tuple[object, ...]]:
    """The inputs of each row as the log has them: as sent or looked up, and nothing of those that are redacted."""
    sent = raws_of(rows, features, job)
    redact = job.plan.options.redact
    if not rows.height:
        return []
    columns: list[Sequence[object]] = [
        [found.get(field.name) for found in looked]
        if field.name in redact or field.name not in sent
        else plain(field.check(sent[field.name]))
        for field in features.fields
    ]
    return list(zip(*columns, strict=True))


def _times(rows: pl.DataFrame, job: Job) -> list[int]:
    """The event time of each row in microseconds; what is no time is when the batch began."""
    name = job.request.time_column
    if not name:
        return [job.started_at] * rows.height
    column = rows[name]
    if column.dtype == pl.String:
        column = column.str.to_datetime(strict=False, time_zone="UTC")
    if column.dtype.is_temporal():
        column = column.cast(pl.Datetime("us")).to_physical()
    return column.cast(pl.Int64, strict=False).fill_null(job.started_at).to_list()
