"""Learns whether a number is positive; the world turns its sign one day."""

from __future__ import annotations

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import mainspring as ms
from mainspring.serving import Serving

INPUTS = ["a", "b"]


@ms.step(cache=False)
def collect(until: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The newest two thirds of what is known to learn from, the newest third to judge by."""
    rooms = ms.context()
    if until:
        known = rooms.room(Serving).labelled("sign", until=until).select(*INPUTS, "label").tail(600)
    else:
        known = rooms.data.frame("history").collect()
    border = known.height * 2 // 3
    return known.head(border), known.tail(known.height - border)


@ms.step
def fit(rows: pl.DataFrame) -> LogisticRegression:
    """A line."""
    return LogisticRegression().fit(rows.select(INPUTS).to_numpy(), rows["label"].cast(pl.Int64).to_numpy())


@ms.step
def measure(model: LogisticRegression, rows: pl.DataFrame) -> dict[str, float]:
    """On rows it never saw."""
    label = rows["label"].cast(pl.Int64).to_numpy()
    score = np.asarray(model.predict_proba(rows.select(INPUTS).to_numpy()))[:, 1]
    return {
        "roc_auc": float(roc_auc_score(label, score)),
        "log_loss": float(log_loss(label, score)),
        "brier": float(brier_score_loss(label, score)),
    }


@ms.step(side_effect=True)
def register(
    model: LogisticRegression, training: pl.DataFrame, rows: pl.DataFrame, metrics: dict[str, float]
) -> dict[str, object]:
    """Once, however often the step is repeated."""
    rooms = ms.context()
    reference = rooms.data.ingest("training", training, key=rooms.key).ref
    evaluation = rooms.data.ingest("evaluation", rows, key=rooms.key).ref
    version = rooms.registry.register(
        "sign",
        model,
        example=training.select(INPUTS).head(3),
        run_id=rooms.run_id,
        datasets=[reference, evaluation],
        reference=reference,
        metrics=metrics,
        key=rooms.key,
    )
    return {"model": "sign", "version": version.number, "evaluation": evaluation, "label": "label"}


@ms.pipeline
def retrain(until: int = 0) -> dict[str, object]:
    """The whole of it."""
    training, rows = collect(until)
    model = fit(training)
    metrics = measure(model, rows)
    return register(model, training, rows, metrics)
