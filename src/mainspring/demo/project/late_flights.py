"""Will a flight be late? Collect what is known, split by time, train, evaluate, register: one file, plain functions."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import polars as pl
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import mainspring as ms
from mainspring.serving import Serving

MODEL = "late-flights"
LABEL = "late"
CATEGORIES = ["carrier", "origin", "dest"]
NOT_FEATURES = ["flight_id", "scheduled", "known_at", LABEL]
PARAMS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "cat_smooth": 50.0,
    "num_threads": 1,
    "verbose": -1,
    "seed": 1,
}


@ms.step(cache=False)
def collect(until: int) -> str:
    """The history, and every flight served since whose outcome was known by `until` (microseconds; 0: none)."""
    rooms = ms.context()
    history = rooms.data.get("flights")
    frame = rooms.data.frame("flights", history.number).collect()
    if until:
        live = rooms.room(Serving).labelled(MODEL, until=until).filter(pl.col("label_at") <= until)
        live = live.with_columns(
            flight_id="prediction_id",
            scheduled=pl.from_epoch("event_at", time_unit="us"),
            known_at=pl.from_epoch("label_at", time_unit="us"),
            late=pl.col("label") > 0.5,
        )
        frame = pl.concat([frame, live.select(frame.columns)]).sort("scheduled")
    return rooms.data.ingest("flights-known", frame, parents=[history.ref], key=f"until {until}").ref


@ms.step
def split(known: str, holdout_days: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Train on all but the last days; those judge the version, so it never saw them."""
    _, name, number = known.split("/")
    frame = ms.context().data.frame(name, int(number)).collect()
    held_out = pl.col("scheduled") >= pl.col("scheduled").max() - pl.duration(days=holdout_days)
    return frame.filter(~held_out), frame.filter(held_out)


@ms.step
def train(rows: pl.DataFrame, trees: int) -> lgb.Booster:
    """Boosted trees on schedule, route, plane and the weather that was known."""
    label = rows[LABEL].cast(pl.Float64).to_numpy()
    names = list(features(rows).columns)
    data = lgb.Dataset(matrix(rows, levels(rows)), label, feature_name=names, categorical_feature=CATEGORIES)
    return lgb.train(PARAMS, data, trees)


@ms.step
def evaluate(model: lgb.Booster, training: pl.DataFrame, rows: pl.DataFrame) -> dict[str, float]:
    """Metrics on the days it never saw: what the monitor will hold live traffic against."""
    label = rows[LABEL].cast(pl.Int64).to_numpy()
    probability = np.asarray(model.predict(matrix(rows, levels(training)), num_threads=1))
    metrics = {
        "roc_auc": float(roc_auc_score(label, probability)),
        "log_loss": float(log_loss(label, probability)),
        "brier": float(brier_score_loss(label, probability)),
    }
    ms.context().log("on the held-out days", at_step=0, **metrics)
    return metrics


@ms.step(side_effect=True)
def register(
    model: lgb.Booster, known: str, training: pl.DataFrame, rows: pl.DataFrame, metrics: dict[str, float]
) -> dict[str, object]:
    """A new version, with the training rows as the reference of its monitor and the held-out ones for its gate."""
    rooms = ms.context()
    reference = rooms.data.ingest("flights-training", training, parents=[known], key=known).ref
    evaluation = rooms.data.ingest("flights-evaluation", rows, parents=[known], key=known).ref
    version = rooms.registry.register(
        MODEL,
        model,
        example=features(rows).head(5),
        encoding=levels(training),
        run_id=rooms.run_id,
        datasets=[reference, evaluation],
        reference=reference,
        metrics=metrics,
        key=known,
    )
    return {"model": MODEL, "version": version.number, "evaluation": evaluation, "label": LABEL}


@ms.pipeline
def retrain(until: int = 0, holdout_days: int = 14, trees: int = 200) -> dict[str, object]:
    """The whole of it."""
    known = collect(until)
    training, held_out = split(known, holdout_days)
    model = train(training, trees)
    metrics = evaluate(model, training, held_out)
    return register(model, known, training, held_out, metrics)


def features(rows: pl.DataFrame) -> pl.DataFrame:
    """The inputs of the model."""
    return rows.drop(NOT_FEATURES, strict=False)


def levels(rows: pl.DataFrame) -> dict[str, list[str]]:
    """The known levels of each text column; their positions are what the trees see."""
    return {name: rows[name].drop_nulls().unique().sort().to_list() for name in CATEGORIES}


def matrix(rows: pl.DataFrame, known: dict[str, list[str]]) -> np.ndarray:
    """Numbers as they are, text as the position of its level, unknown and missing as not a number."""
    codes = [
        pl.col(name).replace_strict(
            {level: code for code, level in enumerate(names)}, default=None, return_dtype=pl.Float64
        )
        for name, names in known.items()
    ]
    return features(rows).with_columns(codes).cast(pl.Float64).to_numpy()
