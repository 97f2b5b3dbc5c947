"""Whether what was looked up for predictions is what the past says: the test for skew between training and serving.

Every looked up input in the log is computed again by the point-in-time join that makes training tables, at the moment
it was looked up, over the dataset as it is now. Corrections that came later have a later creation time, so they change
nothing; what does differ was served too old, too early, or out of rows that are no longer what they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.clock import SECOND_US
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data import FeatureViews
    from mainspring.data.features.model import FeatureView

REASONS = {
    "stale": "more was known than had been materialized",
    "ahead": "it was materialized as of a later time, before it was known",
    "changed": "the dataset says otherwise now",
}
"""Why a value differs, in words."""
_EXAMPLES = 20
_AT, _FOUND, _AS_OF = "__looked_at__", "__found_at__", "__as_of__"


@dataclass(frozen=True, slots=True)
class Skewed:
    """One looked up input that differs: what was served, what the past says, and why, as one of `REASONS`. None is a
    missing value."""

    prediction_id: str
    view: str
    input: str
    served: float | str | bool | None
    offline: float | str | bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class SkewReport:
    """What a test for skew found.

    Attributes:
        deployment: Whose predictions.
        rows: Predictions that something was looked up for, and that could be computed again.
        skipped: Predictions whose entity is redacted, so that they could not.
        values: Looked up inputs that were compared.
        differing: Rows with an input that differs.
        reasons: Rows by why they differ, and
        inputs: by which input.
        largest: The largest difference of two numbers.
        tolerance: Numbers that differ by no more than this part of the larger one, or of 1, count as the same.
        examples: The first that differ.
    """

    deployment: str
    rows: int
    skipped: int
    values: int
    differing: int
    reasons: dict[str, int]
    inputs: dict[str, int]
    largest: float
    tolerance: float
    examples: tuple[Skewed, ...]


def skew_of(
    deployment: str, log: pl.LazyFrame, views: FeatureViews, *, tolerance: float, redact: Sequence[str], most: int
) -> SkewReport:
    """Compare what was looked up with what the past says.

    Args:
        deployment: Whose log it is.
        log: Its predictions.
        views: Knows the feature views.
        tolerance: See `SkewReport`.
        redact: Inputs that the log does not have.
        most: So many predictions are compared, the newest.
    """
    import polars as pl

    asked = log.filter(pl.col("features").list.len() > 0, pl.col("status") < 400)
    newest = asked.select("id", "at", "inputs", "features").top_k(most, by="at").collect()
    each = newest.explode("features", empty_as_null=False).rename({"at": "answered"}).unnest("features")
    known = each.filter(pl.col("entity").is_not_null())
    found: list[pl.DataFrame] = []
    for (name, number), part in known.partition_by(["view", "number"], as_dict=True, maintain_order=True).items():
        view = views.get(str(name), int(str(number)))
        as_of = {made.id: made.as_of for made in views.materializations(view.name, limit=100_000)}
        found.append(_differing(part, view, views, as_of, tolerance=tolerance, redact=redact))
    return _report(deployment, newest.height, each, known, found, tolerance)


def _differing(
    part: pl.DataFrame,
    view: FeatureView,
    views: FeatureViews,
    as_of: Mapping[str, int],
    *,
    tolerance: float,
    redact: Sequence[str],
) -> pl.DataFrame:
    """Every looked up input of one view: whether it differs, by how much and why."""
    import polars as pl

    rows = _keyed(part, view).with_columns(
        pl.Series(_AT, part["at"]),
        pl.Series(_AS_OF, [as_of.get(one) for one in part["materialization"]], dtype=pl.Int64),
    )
    dataset = views.dataset_of(view)
    then = views.join(rows, view, dataset, on=_AT, found_at=_FOUND)
    for_ever = replace(view, spec=replace(view.spec, ttl_s=0.0))  # what was materialized was not too old yet
    made = views.join(rows, for_ever, dataset, on=_AS_OF, found_at=_FOUND)
    ttl_us = round(view.spec.ttl_s * SECOND_US)
    holds = pl.lit(True) if not ttl_us else pl.col(_AT) - pl.col(_FOUND) < ttl_us
    fresh = then[_FOUND].is_not_null()
    made_fresh = made.select(found=pl.col(_FOUND).is_not_null() & holds)["found"].fill_null(False)
    served_fresh = part["state"] == "fresh"
    looked: list[pl.DataFrame] = []
    fields = {field.name for field in _fields(part)}
    for name in view.spec.names:
        if name in redact or name not in fields:
            continue
        served = part["inputs"].struct.field(name)
        pairs = pl.DataFrame(
            {
                "id": part["id"], "view": pl.repeat(view.ref, part.height, eager=True),
                "input": pl.repeat(name, part.height, eager=True), "given": part["names"].list.contains(name),
                "served": served, "offline": _as(then[name], served), "made": _as(made[name], served),
                "served_fresh": served_fresh, "fresh": fresh, "made_fresh": made_fresh,
                "ahead": rows[_AS_OF] > rows[_AT],
            }
        )  # fmt: skip
        looked.append(_told(pairs.filter("given"), tolerance))
    return pl.concat(looked) if looked else pl.DataFrame()


def _told(pairs: pl.DataFrame, tolerance: float) -> pl.DataFrame:
    import polars as pl

    apart = _apart(pairs, "offline")
    differs = _differs("offline", "fresh", pairs, tolerance)
    like_made = ~_differs("made", "made_fresh", pairs, tolerance)
    why = pl.when(~like_made).then(pl.lit("changed")).when("ahead").then(pl.lit("ahead")).otherwise(pl.lit("stale"))
    shown = [pl.col(name).cast(pl.String).alias(name) for name in ("served", "offline")]
    kind = pl.lit(str(pairs.schema["served"])).alias("kind")
    return pairs.select("id", "view", "input", *shown, kind, differs=differs, apart=apart, reason=why)


def _differs(other: str, fresh: str, pairs: pl.DataFrame, tolerance: float) -> pl.Expr:
    """Whether what was served is not what another way says; what is not known is the same, whatever took its place."""
    import polars as pl

    if pairs.schema["served"].is_numeric():
        larger = pl.max_horizontal(pl.col("served").abs(), pl.col(other).abs(), pl.lit(1.0))
        missing = pl.col("served").is_null() != pl.col(other).is_null()
        unlike = missing | (_apart(pairs, other) > tolerance * larger).fill_null(False)
    else:
        unlike = pl.col("served").ne_missing(pl.col(other))
    both = pl.col("served_fresh") & pl.col(fresh)
    return (pl.col("served_fresh") != pl.col(fresh)) | (both & unlike)


def _apart(pairs: pl.DataFrame, other: str) -> pl.Expr:
    import polars as pl

    if not pairs.schema["served"].is_numeric():
        return pl.lit(None, pl.Float64)
    return (pl.col("served") - pl.col(other)).abs()


def _as(column: pl.Series, like: pl.Series) -> pl.Series:
    return column.cast(like.dtype, strict=False)


def _fields(part: pl.DataFrame) -> Sequence[pl.Field]:
    import polars as pl

    inputs = part.schema["inputs"]
    return inputs.fields if isinstance(inputs, pl.Struct) else []


def _keyed(part: pl.DataFrame, view: FeatureView) -> pl.DataFrame:
    """The entities of rows as the columns of a view."""
    import polars as pl

    types = {"String": pl.String, "Int64": pl.Int64, "Boolean": pl.Boolean}
    cells = [msgspec.json.decode(text) for text in part["entity"]]
    return pl.DataFrame(
        {
            key.name: pl.Series([cell[place] for cell in cells], dtype=types[key.dtype])
            for place, key in enumerate(view.keys)
        }
    )


def _report(
    deployment: str,
    rows: int,
    each: pl.DataFrame,
    known: pl.DataFrame,
    found: Sequence[pl.DataFrame],
    tolerance: float,
) -> SkewReport:
    import polars as pl

    skipped = each["id"].n_unique() - known["id"].n_unique()
    told = pl.concat([part for part in found if part.width]) if any(part.width for part in found) else None
    if told is None:
        return SkewReport(deployment, rows - skipped, skipped, 0, 0, {}, {}, 0.0, tolerance, ())
    wrong = told.filter("differs")

    def counted(name: str) -> dict[str, int]:
        return dict(wrong.group_by(name, maintain_order=True).agg(pl.col("id").n_unique()).iter_rows())

    examples = [
        Skewed(row["id"], row["view"], row["input"], _plain(row["served"], row["kind"]),
               _plain(row["offline"], row["kind"]), row["reason"])
        for row in wrong.head(_EXAMPLES).iter_rows(named=True)
    ]  # fmt: skip
    largest = wrong["apart"].max()
    return SkewReport(
        deployment=deployment,
        rows=rows - skipped,
        skipped=skipped,
        values=told.height,
        differing=wrong["id"].n_unique(),
        reasons=counted("reason"),
        inputs=counted("input"),
        largest=float(largest) if isinstance(largest, (int, float)) else 0.0,
        tolerance=tolerance,
        examples=tuple(examples),
    )


def _plain(text: str | None, kind: str) -> float | str | bool | None:
    if text is None or kind == "String":
        return text
    return text == "true" if kind == "Boolean" else float(text)
