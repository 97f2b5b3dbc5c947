"""From logged predictions and their labels to the counts a rollout is judged by. The same rows give the same counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from mainspring.serving.model import CANARY, CHAMPION
from mainspring.serving.rules.decision import Evidence, RolloutSpec
from mainspring.serving.rules.eprocess import BadEvents

if TYPE_CHECKING:
    from mainspring.serving.model import StoredFeedback

ROW_COLUMNS = (
    "id",
    "request_id",
    "at",
    "event_at",
    "arm",
    "propensity",
    "key",
    "status",
    "latency_us",
    "probability",
    "prediction",
    "label_out",
    "probabilities",
    "marks",
)
_OUTPUTS = ("probability", "prediction", "label_out", "probabilities")


def labels_frame(items: Iterable[StoredFeedback]) -> pl.DataFrame:
    """Labels by prediction id with their order of arrival: columns id, seq, number, text."""
    rows = [
        (item.prediction_id, item.seq, *((None, item.value) if isinstance(item.value, str) else (item.value, None)))
        for item in items
    ]
    schema = {"id": pl.String, "seq": pl.Int64, "number": pl.Float64, "text": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def evidence_of(
    rows: pl.DataFrame, labels: pl.DataFrame, spec: RolloutSpec, *, share: float, trouble: str = ""
) -> Evidence:
    """Count bad events per arm and canary share.

    A routing key counts once: all its requests are on one arm, so its second bad event says nothing about the arm that
    the first did not. An answer without any value, where others have one, is an error: such as a number that is none.
    Errors, slow answers and rules that held count per key that had one, wrong answers by the first label that
    arrived for a key.

    Args:
        rows: Predictions of one rollout, with `ROW_COLUMNS`; those whose version was named by the client do not count.
        labels: As `labels_frame` makes them.
        spec: What is a bad event.
        share: The canary's share in the present step.
        trouble: What a hard guard found.
    Returns: The counts; elapsed time is event time within the present step.
    """
    canary_share = pl.when(pl.col("arm") == CANARY).then(pl.col("propensity")).otherwise(1.0 - pl.col("propensity"))
    rows = (
        rows.filter(pl.col("arm").is_in([CANARY, CHAMPION]) & pl.col("propensity").is_not_null())
        .unique("id", keep="first", maintain_order=True)
        .with_columns(canary_share.round(9).alias("share"))
        .filter(pl.col("share").is_between(0.0, 1.0, closed="none"))
        .sort("at", "id")
    )
    labelled = rows.filter(pl.col("status") < 400).join(labels, on="id", how="inner").sort("seq")
    bad: dict[str, pl.DataFrame] = {"errors": _once(rows.filter(_is_error(rows)))}
    if spec.latency_us:
        bad["latency"] = _once(rows.filter(pl.col("latency_us") > spec.latency_us))
    if spec.bad_rules:
        bad["rules"] = _once(rows.filter(_is_marked(spec.bad_rules)))
    if labelled.height and (spec.error_limit or labelled["prediction"].null_count() == labelled.height):
        bad["quality"] = _once(labelled).filter(_is_wrong(spec))
    now = rows.filter(pl.col("share") == round(share, 9))
    return Evidence(
        counts={signal: _per_share(frame) for signal, frame in bad.items()},
        step={signal: _per_share(frame.filter(pl.col("share") == round(share, 9))) for signal, frame in bad.items()},
        requests=_per_arm(rows),
        labelled=_per_arm(labelled),
        error_run=_longest_error_run(rows.filter(pl.col("arm") == CANARY)),
        trouble=trouble,
        elapsed_us=_span(now),
    )


def _is_error(rows: pl.DataFrame) -> pl.Expr:
    failed = pl.col("status") >= 500
    empty = pl.all_horizontal(pl.col(name).is_null() for name in _OUTPUTS)
    if rows.filter(~empty).is_empty():
        return failed  # a model whose outputs the log has no columns for
    return failed | ((pl.col("status") < 400) & empty)


def _is_marked(names: Iterable[str]) -> pl.Expr:
    """Whether one of these rules held, whatever it did: marks are NAME:ACTION."""
    named = sorted(set(names))
    if "*" in named:
        return pl.col("marks").list.len() > 0
    return pl.col("marks").list.eval(pl.element().str.split(":").list.first().is_in(named)).list.any()


def _once(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.unique("key", keep="first", maintain_order=True)


def _is_wrong(spec: RolloutSpec) -> pl.Expr:
    """Whether an answer differs from its label: by class for classifiers, by more than the limit for numbers."""
    said_one = pl.col("probability") >= spec.threshold
    return (
        pl.when(pl.col("prediction").is_not_null())
        .then((pl.col("prediction") - pl.col("number")).abs() > spec.error_limit)
        .when(pl.col("text").is_not_null() | pl.col("probability").is_null())
        .then(pl.col("label_out") != pl.coalesce("text", pl.col("number").cast(pl.Int64).cast(pl.String)))
        .otherwise(said_one != (pl.col("number") >= 0.5))
    )


def _per_share(frame: pl.DataFrame) -> tuple[BadEvents, ...]:
    counted = frame.group_by("share").agg(
        (pl.col("arm") == CANARY).sum().alias("canary"), (pl.col("arm") == CHAMPION).sum().alias("champion")
    )
    return tuple(BadEvents(share, canary, champion) for share, canary, champion in counted.sort("share").iter_rows())


def _per_arm(frame: pl.DataFrame) -> tuple[int, int]:
    counts: Mapping[str, int] = dict(frame["arm"].value_counts().iter_rows())
    return counts.get(CHAMPION, 0), counts.get(CANARY, 0)


def _longest_error_run(frame: pl.DataFrame) -> int:
    """Most requests in a row that ended in an error."""
    requests = frame.unique("request_id", keep="first", maintain_order=True)
    failed = requests["status"] >= 500
    if not failed.any():
        return 0
    runs = pl.DataFrame({"failed": failed, "run": failed.rle_id()}).filter("failed").group_by("run").len()
    lengths: list[int] = runs["len"].to_list()
    return max(lengths)


def _span(frame: pl.DataFrame) -> int:
    if not frame.height:
        return 0
    first, last = frame.select(pl.col("event_at").min().alias("a"), pl.col("event_at").max().alias("b")).row(0)
    return int(last) - int(first)
