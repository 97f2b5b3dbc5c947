"""What clients log while a run goes on: metrics, params and tags. These calls run on the loop and wait for the shared
commit without a thread; their bodies are decoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.run_tags import change_of
from mainspring.mlflow.wire import (
    LATEST_MS,
    UNSET,
    Int64,
    KeyValue,
    MaybeText,
    Message,
    Number,
    Text,
    chosen,
    float_of,
    micros,
    texts,
)
from mainspring.tracking.model import Metric, ModelUse
from mainspring.tracking.rules import MAX_TAG, MAX_VALUE, Row, split
from mainspring.tracking.service import Tracking

MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTRIES = 1000, 100, 100, 1000
"""Most entries of each kind, and of all, in one batch."""


class LoggedPoint(Message, gc=False, forbid_unknown_fields=True):
    """A point of a metric."""

    key: str
    value: Number
    timestamp: Int64
    step: Int64 = 0
    model_id: MaybeText = UNSET
    dataset_name: MaybeText = UNSET
    dataset_digest: MaybeText = UNSET


class LogBatch(Message, forbid_unknown_fields=True):
    """Metrics, params and tags of a run."""

    run_id: Text
    metrics: list[LoggedPoint] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class LogMetric(LoggedPoint, kw_only=True, gc=False):
    """One point of a metric of a run."""

    run_id: Text


class LogText(Message):
    """One param or tag of a run."""

    run_id: Text
    key: str
    value: str = ""


@call("POST", "runs/log-batch", "runs:write", conflict="INVALID_PARAMETER_VALUE")
async def log_batch(ask: LogBatch, tracking: Tracking) -> None:
    """Store metrics, params and tags of a run: all of them or none."""
    _check_limits(ask)
    await _store(tracking, ask.run_id, metrics=ask.metrics, params=ask.params, tags=ask.tags)


@call("POST", "runs/log-metric", "runs:write", conflict="INVALID_PARAMETER_VALUE")
async def log_metric(ask: LogMetric, tracking: Tracking) -> None:
    """Store one point of a metric."""
    await _store(tracking, ask.run_id, metrics=[ask])


@call("POST", "runs/log-parameter", "runs:write", conflict="INVALID_PARAMETER_VALUE")
async def log_parameter(ask: LogText, tracking: Tracking) -> None:
    """Store one param, which never changes."""
    await _store(tracking, ask.run_id, params=[KeyValue(key=ask.key, value=ask.value)])


@call("POST", "runs/set-tag", "runs:write", conflict="INVALID_PARAMETER_VALUE")
async def set_tag(ask: LogText, tracking: Tracking) -> None:
    """Set one tag."""
    await _store(tracking, ask.run_id, tags=[KeyValue(key=ask.key, value=ask.value)])


async def _store(
    tracking: Tracking,
    run_id: str,
    *,
    metrics: Sequence[LoggedPoint] = (),
    params: Sequence[KeyValue] = (),
    tags: Sequence[KeyValue] = (),
) -> None:
    kept, change = change_of({tag.key: tag.value[:MAX_TAG] for tag in tags})
    rows = _rows(metrics)
    stored = tracking.submit_rows(
        run_id,
        rows,
        params={param.key: param.value[:MAX_VALUE] for param in params},
        tags=kept,
        change=change,
        measured=_measured(metrics),
    )
    await asyncio.wrap_future(stored)


def _rows(entries: Sequence[LoggedPoint]) -> list[Row]:
    rows = []
    for entry in entries:
        value, at = entry.value, entry.timestamp
        if type(value) is float and 0 <= at <= LATEST_MS and value - value == 0:
            rows.append((entry.key, entry.step, at * 1000, 0, value + 0.0))
        else:
            number, sort = split(float_of(value, "value"))
            rows.append((entry.key, entry.step, micros(at, "timestamp"), sort, number))
    return rows


def _measured(entries: Sequence[LoggedPoint]) -> dict[ModelUse, list[Metric]]:
    """The points that were measured of a model."""
    found: dict[ModelUse, list[Metric]] = {}
    for entry in entries:
        if entry.model_id:
            use = ModelUse(*(chosen(part, "") for part in (entry.model_id, entry.dataset_name, entry.dataset_digest)))
            point = Metric(entry.key, float_of(entry.value, "value"), entry.step, micros(entry.timestamp, "timestamp"))
            found.setdefault(use, []).append(point)
    return found


def _check_limits(ask: LogBatch) -> None:
    _check_count("metrics", len(ask.metrics), MAX_METRICS)
    _check_count("params", len(ask.params), MAX_PARAMS)
    _check_count("tags", len(ask.tags), MAX_TAGS)
    _check_count("metrics, params, and tags", len(ask.metrics) + len(ask.params) + len(ask.tags), MAX_ENTRIES)
    if len(texts(ask.params)) < len(ask.params):
        keys = [param.key for param in ask.params]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        what = f"Duplicate parameter keys have been submitted: {twice[:5]}."
        raise Invalid(f"{what} Please ensure the request contains only one param value per param key.", where="params")


def _check_count(what: str, found: int, most: int) -> None:
    if found > most:
        text = f"A batch logging request can contain at most {most} {what}. Got {found} {what}."
        raise Invalid(f"{text} Please split up {what} across multiple requests and try again.", where=what)


calls = [log_batch, log_metric, log_parameter, set_tag]
