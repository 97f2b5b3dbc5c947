"""How metrics went, over the protocol."""

from __future__ import annotations

from collections.abc import Iterable

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.runs import Point, point_of
from mainspring.mlflow.wire import UNSET, Int64, MaybeInt, MaybeText, Message, Text, chosen, double
from mainspring.tracking.histories import MOST_POINTS, Histories
from mainspring.tracking.model import Metric

MAX_RUNS = 100
MAX_STEPS = 2500
_FIRST, _LAST = -(2**63), 2**63 - 1


class GetHistory(Message):
    """Which metric, and from where on."""

    run_id: Text
    metric_key: Text
    max_results: MaybeInt = UNSET
    page_token: str = ""


class GetBulk(Message, kw_only=True):
    """Which metric of which runs. The runs are `run_id` here, repeated, or `run_ids`."""

    run_id: list[str] = []
    run_ids: list[str] = []
    metric_key: Text
    max_results: Int64 = MOST_POINTS


class GetInterval(Message, kw_only=True):
    """Which metric of which runs, between which steps."""

    run_ids: list[str] = []
    metric_key: Text
    start_step: MaybeInt = UNSET
    end_step: MaybeInt = UNSET
    max_results: Int64 = 320


class History(Message):
    """Points of metrics."""

    metrics: list[Point] = []
    next_page_token: MaybeText = UNSET


@call("GET", "metrics/get-history", "runs:read")
def get_history(ask: GetHistory, histories: Histories) -> History:
    """Every point of a metric, by pages when a number of points is given."""
    limit = chosen(ask.max_results, None)
    found, token = histories.page(ask.run_id, ask.metric_key, limit=limit, page_token=ask.page_token)
    rows = zip(found.values, found.times, found.steps, strict=True)
    points = [Point(found.key, double(value), at // 1000, step) for value, at, step in rows]
    return History(metrics=points, next_page_token=token or UNSET)


@call("GET", "metrics/get-history-bulk", "runs:read")
def get_history_bulk(ask: GetBulk, histories: Histories) -> History:
    """Points of a metric of many runs."""
    runs = _runs([*ask.run_id, *ask.run_ids])
    if ask.max_results < 1:
        raise Invalid(f"Invalid value {ask.max_results} for parameter 'max_results' supplied", where="max_results")
    return _history(histories.of_runs(runs, ask.metric_key, limit=min(ask.max_results, MOST_POINTS)))


@call("GET", "metrics/get-history-bulk-interval", "runs:read")
def get_history_bulk_interval(ask: GetInterval, histories: Histories) -> History:
    """Points of a metric of many runs at evenly spread steps, for charts."""
    runs, first, last = _runs(ask.run_ids), chosen(ask.start_step, None), chosen(ask.end_step, None)
    if (first is None) != (last is None):
        both = "If either start step or end step are specified, both must be specified."
        raise Invalid(both, where="start_step")
    if first is not None and last is not None and first > last:
        what = f"end_step must be greater than start_step. Found start_step={first} and end_step={last}."
        raise Invalid(what, where="end_step")
    if not 1 <= ask.max_results <= MAX_STEPS:
        raise Invalid(f"max_results must be between 1 and {MAX_STEPS}.", where="max_results")
    begin, end = _FIRST if first is None else first, _LAST if last is None else last
    return _history(histories.sampled(runs, ask.metric_key, first=begin, last=end, steps=ask.max_results))


def _runs(run_ids: list[str]) -> list[str]:
    if 1 <= len(run_ids) <= MAX_RUNS:
        return run_ids
    raise Invalid(f"The request must specify 1 to {MAX_RUNS} runs. Received {len(run_ids)}.", where="run_id")


def _history(found: Iterable[tuple[str, Metric]]) -> History:
    return History(metrics=[point_of(point, run_id) for run_id, point in found])


calls = [get_history, get_history_bulk, get_history_bulk_interval]
