"""Two versions on the same inputs: how often and how far they differ, whose loss is less, what failed, how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mainspring.serving.model import Comparison
from mainspring.serving.rules.pairs import Difference, difference, most_frequent, verdict

if TYPE_CHECKING:
    import polars as pl

OUTPUTS = ("probability", "prediction", "label_out")
ANSWERED = ("id", "key", "version", "status", "error", "model_us", *OUTPUTS)
"""Columns of answers that are compared."""
_MOST = 10
_NEW = "_new"


def paired(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Answers to the same inputs beside each other; those of `after` have names that end in "_new".

    Args:
        before: What users were answered, with `ANSWERED`.
        after: What was answered to the same by others, likewise.
    """
    first = before.select(ANSWERED).unique("id", keep="first", maintain_order=True)
    second = after.select(ANSWERED).unique(["id", "version"], keep="first", maintain_order=True).drop("key")
    return first.join(second, on="id", suffix=_NEW, maintain_order="left")


def comparisons(pairs: pl.DataFrame, labels: pl.DataFrame) -> list[Comparison]:
    """One for each two versions, the newest first.

    Args:
        pairs: As `paired` makes them.
        labels: As `counting.labels_frame` makes them.
    """
    known = pairs.join(labels, on="id", how="left", maintain_order="left")
    parts = known.partition_by(["version_new", "version"], as_dict=True, maintain_order=True)
    found = [
        _compared(part, version=cast(int, version), against=cast(int, against))
        for (version, against), part in parts.items()
    ]
    return sorted(found, key=lambda entry: (-entry.version, -entry.against))


def _compared(part: pl.DataFrame, *, version: int, against: int) -> Comparison:
    import polars as pl

    failed = part.filter(pl.col("status_new") >= 400)
    both = part.filter(pl.col("status_new") < 400, pl.col("status") < 400).with_columns(_apart())
    labelled, loss = _with_loss(both)
    lost = _difference(labelled, pl.col("loss_new") - pl.col("loss"))
    columns, errors = _reasons(failed)
    return Comparison(
        version=version,
        against=against,
        rows=part.height,
        failed=failed.height,
        failed_before=part.filter(pl.col("status") >= 400).height,
        answered=both.height,
        differing=float(both.select(_differs().mean()).item() or 0.0) if both.height else 0.0,
        distance=_distances(both),
        difference=_difference(both, pl.col("apart")),
        labelled=labelled.height,
        loss=loss,
        losses=cast("tuple[float, float]", labelled.select(pl.mean("loss"), pl.mean("loss_new")).row(0))
        if labelled.height
        else None,
        loss_difference=lost,
        verdict=verdict(lost),
        columns=columns,
        errors=errors,
        model_us=(_times(both, "model_us"), _times(both, "model_us_new")),
    )


def _number(suffix: str = "") -> pl.Expr:
    import polars as pl

    return pl.coalesce(f"probability{suffix}", f"prediction{suffix}")


def _apart() -> pl.Expr:
    return (_number(_NEW) - _number()).alias("apart")


def _differs() -> pl.Expr:
    import polars as pl

    return (
        pl.when(pl.col("label_out").is_not_null() | pl.col("label_out_new").is_not_null())
        .then(pl.col("label_out").ne_missing(pl.col("label_out_new")))
        .otherwise(_number().ne_missing(_number(_NEW)))
    )


def _distances(both: pl.DataFrame) -> tuple[float, float, float, float] | None:
    import polars as pl

    apart = pl.col("apart").abs()
    found = both.select(
        apart.mean().alias("mean"),
        apart.median().alias("p50"),
        apart.quantile(0.99, "higher").alias("p99"),
        apart.max().alias("most"),
    ).row(0)
    return None if found[0] is None else cast("tuple[float, float, float, float]", found)


def _difference(rows: pl.DataFrame, apart: pl.Expr) -> Difference:
    """Of the means of routing keys: requests of one key are no evidence of their own."""

    keys = rows.group_by("key").agg(apart.mean().alias("apart")).drop_nulls("apart")["apart"]
    if not keys.len():
        return Difference()
    return difference(keys.len(), cast(float, keys.mean()), cast(float, keys.std() or 0.0))


def _with_loss(both: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The rows with a label and what each version lost there, by the loss that all of them allow."""
    import polars as pl

    known = both.filter(pl.col("number").is_not_null() | pl.col("text").is_not_null())
    if not known.height:
        return known.with_columns(loss=pl.lit(0.0), loss_new=pl.lit(0.0)), ""
    name = _loss_of(known)
    return known.with_columns(_loss(name).alias("loss"), _loss(name, _NEW).alias("loss_new")), name


def _loss_of(known: pl.DataFrame) -> str:
    def whole(*names: str) -> bool:
        return all(known[name].null_count() == 0 for name in names)

    if whole("number", "prediction", "prediction_new"):
        return "absolute error"
    if whole("number", "probability", "probability_new") and known["number"].is_in([0.0, 1.0]).all():
        return "Brier score"
    return "wrong answers"


def _loss(name: str, suffix: str = "") -> pl.Expr:
    import polars as pl

    match name:
        case "absolute error":
            return (pl.col(f"prediction{suffix}") - pl.col("number")).abs()
        case "Brier score":
            return (pl.col(f"probability{suffix}") - pl.col("number")) ** 2
        case _:
            truth = pl.coalesce("text", pl.col("number").cast(pl.Int64, strict=False).cast(pl.String))
            return pl.col(f"label_out{suffix}").ne_missing(truth).cast(pl.Float64)


def _reasons(failed: pl.DataFrame) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """Inputs that were refused and other failures, each with the number of rows."""
    import polars as pl

    named = failed.select(pl.col("error_new").str.extract_all(r"input '[^']*'").list.unique().alias("named"))
    columns = named.explode("named").drop_nulls().get_column("named").str.slice(7).str.head(-1)
    others = failed.filter(named["named"].list.len() == 0)["error_new"].fill_null("")
    return _counted(columns), _counted(others)


def _counted(values: pl.Series) -> tuple[tuple[str, int], ...]:
    return most_frequent([(str(name), int(count)) for name, count in values.value_counts().iter_rows()], _MOST)


def _times(both: pl.DataFrame, name: str) -> tuple[float, float]:
    import polars as pl

    times = pl.col(name).drop_nulls()
    found = both.select(times.median().alias("p50"), times.quantile(0.99, "higher").alias("p99")).row(0)
    return (0.0, 0.0) if found[0] is None else cast("tuple[float, float]", found)
