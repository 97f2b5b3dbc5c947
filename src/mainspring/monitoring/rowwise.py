"""Estimates that need rows: where inputs moved far, and of predicted numbers. They are made when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US
from mainspring.core.errors import NotFound
from mainspring.core.values import dataclass
from mainspring.monitoring.readings import NOT_ESTIMABLE, Reading

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates import Gates
    from mainspring.gates.model import HeldOutRows
    from mainspring.monitoring.performing import Performing
    from mainspring.monitoring.service import Monitoring
    from mainspring.serving import Serving

_MOST_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class RowEstimate:
    """Performance of the newest rows without their labels.

    Attributes:
        deployment: What is watched.
        version: Version of the model that answered.
        method: "weighted" (two classes: held-out rows count by how much they look like the window) or "loss" (numbers:
            the error is learned from held-out rows).
        rows: Rows of the window that were looked at.
        held_out: Rows it rests on.
        effective: How many equal rows the weighted ones are worth; all of them for "loss".
        readings: The measures.
        why: "" or why there is none.
    """

    deployment: str
    version: int
    method: str
    rows: int = 0
    held_out: int = 0
    effective: float = 0.0
    readings: Mapping[str, Reading] = field(default_factory=dict)
    why: str = ""


class RowEstimates:
    """Estimates from the held-out rows of a version's gate and the rows of a window.

    Args:
        monitoring: Knows how far the stream is.
        performing: Knows what is watched.
        serving: Gives logged rows.
        gates: Give held-out rows, what the version says to them, and what was true.
    """

    def __init__(self, *, monitoring: Monitoring, performing: Performing, serving: Serving, gates: Gates) -> None:
        self._monitoring, self._performing, self._serving, self._gates = monitoring, performing, serving, gates

    def estimate(self, deployment: str, *, days: float = 7.0, version: int = 0) -> RowEstimate:
        """Estimate the performance of the newest rows.

        Args:
            deployment: What is watched.
            days: How far back, in event time.
            version: Which one; 0 for the live one.
        Returns: At most 5,000 rows of the window are looked at. Where nothing can be said it says why.
        Raises:
            NotFound: The deployment is not watched.
        """
        watched = self._performing.watched(deployment, version)
        method = "loss" if watched.task == "regression" else "weighted"
        nothing = RowEstimate(deployment, watched.version, method)
        if watched.task == "multiclass":
            return _without(nothing, "of many classes only the share of right answers is estimated, from counts")
        held = self._gates.held_out_rows(watched.model, watched.version, _MOST_ROWS)
        if held is None:
            return _without(nothing, "no gate judged the version, so that there are no held-out rows")
        since = self._monitoring.get(deployment).watermark - int(days * DAY_US)
        rows = self._window(deployment, watched.version, since)
        if not rows.height:
            return _without(nothing, "nothing was predicted in that time")
        inputs, scores = rows["inputs"].struct.unnest(), rows["score"]
        if method == "loss":
            return _loss(nothing, held, inputs, scores)
        return _weighted(nothing, held, inputs, scores)

    def _window(self, deployment: str, version: int, since: int) -> pl.DataFrame:
        import polars as pl

        score = pl.coalesce("probability", "prediction").alias("score")
        try:
            rows = self._serving.predictions(deployment, since)
        except NotFound:
            return pl.DataFrame()
        answered = rows.filter(pl.col("version") == version, pl.col("status") < 400)
        found = answered.select("id", "inputs", score).filter(pl.col("score").is_finite()).collect().unique("id")
        return found.sample(min(found.height, _MOST_ROWS), seed=0)


def _without(nothing: RowEstimate, reason: str) -> RowEstimate:
    return RowEstimate(nothing.deployment, nothing.version, nothing.method, why=NOT_ESTIMABLE + reason)


def _loss(nothing: RowEstimate, held: HeldOutRows, inputs: pl.DataFrame, scores: pl.Series) -> RowEstimate:
    from mainspring.monitoring.rules.estimating.numbers import estimate_loss, learn_loss

    model = learn_loss(held.inputs, held.scores, held.truth)
    if isinstance(model, str):
        return _without(nothing, model)
    rows = len(held.truth)
    readings = estimate_loss(model, inputs.select(held.inputs.columns), scores.to_numpy())
    return RowEstimate(nothing.deployment, nothing.version, "loss", len(scores), rows, float(rows), readings)


def _weighted(nothing: RowEstimate, held: HeldOutRows, inputs: pl.DataFrame, scores: pl.Series) -> RowEstimate:
    import numpy as np

    from mainspring.core.scores import CELLS, score_cells
    from mainspring.monitoring.rules.estimating.calibrating import LEAST_ROWS, calibrate
    from mainspring.monitoring.rules.estimating.classes import estimate
    from mainspring.monitoring.rules.estimating.shift import density_ratio, weighted

    if min(len(held.truth), len(scores)) < LEAST_ROWS:
        return _without(nothing, f"{min(len(held.truth), len(scores))} rows, {LEAST_ROWS} are needed")
    weights = density_ratio(held.inputs, inputs.select(held.inputs.columns))
    counted = weighted(held.scores, held.truth, weights)
    calibration = counted if isinstance(counted, str) else calibrate(counted, effective=weights.effective)
    if isinstance(calibration, str):
        return _without(nothing, calibration)
    values = scores.to_numpy()
    cells = score_cells(values)
    counts, sums = (np.bincount(cells, weights=weight, minlength=CELLS).astype(np.float64) for weight in (None, values))
    readings = estimate(counts, sums, calibration)
    rows = len(held.truth)
    return RowEstimate(nothing.deployment, nothing.version, "weighted", len(values), rows, weights.effective, readings)
