"""From logged predictions and their labels to the counts a rollout is judged by. The same rows give the same counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mainspring.serving.model import CANARY, CHAMPION
from mainspring.serving.rules.assignment import share_beside
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
_EMPTY = pl.all_horizontal(pl.col(name).is_null() for name in _OUTPUTS)


def labels_frame(items: Iterable[StoredFeedback]) -> pl.DataFrame:
    """Labels by prediction id with their order of arrival: columns id, seq, number, text."""
    rows = [
        (item.prediction_id, item.seq, *((None, item.value) if isinstance(item.value, str) else (item.value, None)))
        for item in items
    ]
    schema = {"id": pl.String, "seq": pl.Int64, "number": pl.Float64, "text": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def evidence_of(
    rows: pl.DataFrame,
    labels: pl.DataFrame,
    spec: RolloutSpec,
    *,
    share: float,
    weight: float = 1.0,
    trouble: str = "",
) -> Evidence:
    """What all rows and labels of a rollout say, counted at once: see `Gathered`."""
    gathered = Gathered(spec, weight)
    gathered.add(rows, labels)
    return gathered.evidence(spec, share=share, trouble=trouble)


class Once:
    """Ids that came already, as 8 bytes each: a request that a client sends twice is logged twice, and counts once."""

    def __init__(self) -> None:
        self._seen = np.empty(0, dtype=np.uint64)

    def new(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows whose id never came before, each id once."""
        rows = rows.unique("id", keep="first", maintain_order=True)
        marks = rows["id"].hash(_HASH_SEED).to_numpy()
        places = np.searchsorted(self._seen, marks)
        known = np.zeros(len(marks), dtype=bool)
        within = places < len(self._seen)
        known[within] = self._seen[places[within]] == marks[within]
        self._seen = np.sort(np.concatenate([self._seen, marks[~known]]), kind="stable")  # two runs: merged
        return rows.filter(~known)


_HASH_SEED = 4


class Gathered:
    """What the rows of a rollout say, gathered as the log grows: the same however they are split up and when they come.

    A routing key counts once: all its requests are on one arm, so its second bad event says nothing about the arm that
    the first did not. An answer without any value, where others have one, is an error: such as a number that is none.
    Errors, slow answers and rules that held count per key that had one, wrong answers by the first label that
    arrived for a key.

    Rows that can become a bad event are kept, and those with a label; of the others there are sums, the times of those
    of the canary, between which errors may lie, and a mark of each id, so that a request sent twice counts once.

    Args:
        spec: What is a bad event; of later ones only that may be the same.
        weight: The champion's share of what the canary leaves. Less than 1 where other versions have one too: given a
            bad event of either of the two, it is the canary's with what it has of the traffic of the two.
    """

    def __init__(self, spec: RolloutSpec, weight: float = 1.0) -> None:
        self._spec = spec
        self._weight = weight
        self._kept = pl.DataFrame()
        self._labels = labels_frame(())
        self._requests: Counter[str] = Counter()
        self._spans: dict[float, tuple[int, int]] = {}
        self._good: list[pl.Series] = []
        self._has_values = False
        self._once = Once()

    def missing(self, labels: pl.DataFrame) -> list[str]:
        """Ids of predictions with new labels that were good when they came: their rows have to be given once more."""
        if not self._requests.total():
            return []
        return labels.filter(~pl.col("id").is_in(self._kept["id"].implode()))["id"].to_list()

    def add(self, rows: pl.DataFrame, labels: pl.DataFrame, again: pl.DataFrame | None = None) -> None:
        """Take new rows and labels in, each given once.

        Args:
            rows: Predictions of one rollout, with `ROW_COLUMNS`; those whose version the client named do not count.
            labels: As `labels_frame` makes them.
            again: Rows of earlier turns that now have a label.
        """
        self._labels = pl.concat([self._labels, labels])
        rows = self._once.new(_judgeable(rows, self._weight))
        self._has_values = self._has_values or not rows.filter(~_EMPTY).is_empty()
        self._requests.update(dict(rows["arm"].value_counts().iter_rows()))
        ends = pl.col("event_at").min().alias("first"), pl.col("event_at").max().alias("last")
        for share, first, last in rows.group_by("share").agg(ends).iter_rows():
            before = self._spans.get(share, (first, last))
            self._spans[share] = min(before[0], first), max(before[1], last)
        good = rows.filter((pl.col("arm") == CANARY) & (pl.col("status") < 500))
        self._good.append(good["at"])
        is_labelled = pl.col("id").is_in(self._labels["id"].implode())
        kept = [rows.filter(is_labelled | _EMPTY | self._may_be_bad())]
        kept += [] if again is None else [_judgeable(again, self._weight)]
        kept = ([self._kept] if self._kept.height else []) + kept
        self._kept = pl.concat(kept).unique("id", keep="first", maintain_order=True)

    def _may_be_bad(self) -> pl.Expr:
        bad = pl.col("status") >= 500
        bad |= (pl.col("latency_us") > self._spec.latency_us) if self._spec.latency_us else False
        return (bad | _is_marked(self._spec.bad_rules)) if self._spec.bad_rules else bad

    def evidence(self, spec: RolloutSpec, *, share: float, trouble: str = "") -> Evidence:
        """Bad events per arm and canary share.

        Args:
            spec: How the rollout is judged.
            share: The canary's share in the present step; elapsed time is event time within it.
            trouble: What a hard guard found.
        """
        rows, now = self._kept.sort("at", "id"), round(share_beside(share, self._weight), 9)
        labelled = rows.filter(pl.col("status") < 400).join(self._labels, on="id", how="inner").sort("seq")
        bad: dict[str, pl.DataFrame] = {"errors": _once(rows.filter(self._is_error()))}
        if spec.latency_us:
            bad["latency"] = _once(rows.filter(pl.col("latency_us") > spec.latency_us))
        if spec.bad_rules:
            bad["rules"] = _once(rows.filter(_is_marked(spec.bad_rules)))
        if labelled.height and (spec.error_limit or labelled["prediction"].null_count() == labelled.height):
            bad["quality"] = _once(labelled).filter(_is_wrong(spec))
        first, last = self._spans.get(now, (0, 0))
        return Evidence(
            counts={signal: _per_share(frame) for signal, frame in bad.items()},
            step={signal: _per_share(frame.filter(pl.col("share") == now)) for signal, frame in bad.items()},
            requests=(self._requests[CHAMPION], self._requests[CANARY]),
            labelled=_per_arm(labelled),
            error_run=self._longest_error_run(),
            trouble=trouble,
            elapsed_us=last - first,
        )

    def _is_error(self) -> pl.Expr:
        failed = pl.col("status") >= 500
        if not self._has_values:
            return failed  # a model whose outputs the log has no columns for
        return failed | ((pl.col("status") < 400) & _EMPTY)

    def _longest_error_run(self) -> int:
        """Most requests of the canary in a row that ended in an error: those with no good one between them."""
        failed = self._kept.filter((pl.col("arm") == CANARY) & (pl.col("status") >= 500)).unique("request_id")
        if failed.is_empty():
            return 0
        self._good = [pl.concat(self._good).sort()]
        between = self._good[0].search_sorted(failed["at"])
        return max(Counter(between).values())


def _judgeable(rows: pl.DataFrame, weight: float) -> pl.DataFrame:
    """Rows of the two arms, each once, with the canary's share of what the two got when it was asked."""
    propensity = pl.col("propensity")
    share = pl.when(pl.col("arm") == CANARY).then(propensity).otherwise(1.0 - propensity / weight)
    canary_share = share / (share + weight * (1.0 - share))
    return (
        rows.filter(pl.col("arm").is_in([CANARY, CHAMPION]) & pl.col("propensity").is_not_null())
        .unique("id", keep="first", maintain_order=True)
        .with_columns(canary_share.round(9).alias("share"))
        .filter(pl.col("share").is_between(0.0, 1.0, closed="none"))
    )


def _is_marked(names: Iterable[str]) -> pl.Expr:
    """Whether one of these rules held, whatever it did: marks are NAME:ACTION."""
    named = sorted(set(names))
    if "*" in named:
        return pl.col("marks").list.len() > 0
    return pl.col("marks").list.eval(pl.element().str.split(":").list.first().is_in(named)).list.any()


def _once(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.unique("key", keep="first", maintain_order=True)


def _is_wrong(spec: RolloutSpec) -> pl.Expr:
    return ~is_right(spec.error_limit, spec.threshold)


def is_right(error_limit: float = 0.0, threshold: float = 0.5) -> pl.Expr:
    """Whether an answer agrees with its label: by class for classifiers, to within the limit for numbers.

    Args:
        error_limit: How far a number may be off.
        threshold: Probability from which a binary answer counts as 1.
    """
    said_one = pl.col("probability") >= threshold
    return (
        pl.when(pl.col("prediction").is_not_null())
        .then((pl.col("prediction") - pl.col("number")).abs() <= error_limit)
        .when(pl.col("text").is_not_null() | pl.col("probability").is_null())
        .then(pl.col("label_out") == pl.coalesce("text", pl.col("number").cast(pl.Int64).cast(pl.String)))
        .otherwise(said_one == (pl.col("number") >= 0.5))
    )


def _per_share(frame: pl.DataFrame) -> tuple[BadEvents, ...]:
    counted = frame.group_by("share").agg(
        (pl.col("arm") == CANARY).sum().alias("canary"), (pl.col("arm") == CHAMPION).sum().alias("champion")
    )
    return tuple(BadEvents(share, canary, champion) for share, canary, champion in counted.sort("share").iter_rows())


def _per_arm(frame: pl.DataFrame) -> tuple[int, int]:
    counts: Mapping[str, int] = dict(frame["arm"].value_counts().iter_rows())
    return counts.get(CHAMPION, 0), counts.get(CANARY, 0)
