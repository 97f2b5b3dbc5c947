"""Estimated performance beside NannyML, on the data that NannyML brings along.

    python bench/measure_estimates.py --peer /path/to/a/venv/with/nannyml/bin/python

The peer runs in a process of its own, and its numbers are read from files. Realized values are exact (not from cells).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from figure import Figure

from mainspring.core.scores import CELLS, count_scores, score_cells
from mainspring.monitoring.rules.estimating.calibrating import Calibration, Counted, calibrate
from mainspring.monitoring.rules.estimating.classes import estimate
from mainspring.monitoring.rules.estimating.like_nannyml import MEASURES, LikeNannyML, LikeNannyMLOfClasses, Places
from mainspring.monitoring.rules.estimating.numbers import LossModel, estimate_loss, learn_loss
from mainspring.monitoring.rules.measuring import Floats
from mainspring.monitoring.rules.parity import peer as scores_of

CARDS = ("highstreet_card", "prepaid_card", "upmarket_card")
PEER = """
import json, sys, warnings, logging, pathlib
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
import pandas as pd
pd.set_option("future.infer_string", False)  # its encoder of categories knows no other texts
import nannyml as nml
out = pathlib.Path(sys.argv[1])
binary = {
    "synthetic": (nml.load_synthetic_binary_classification_dataset(), "y_pred", "y_pred_proba", "work_home_actual"),
    "car loan": (nml.load_synthetic_car_loan_dataset(), "y_pred", "y_pred_proba", "repaid"),
    "employment": (nml.load_us_census_ma_employment_data(), "prediction", "predicted_probability", "employed"),
}
M = ["roc_auc", "f1", "precision", "recall", "specificity", "accuracy", "average_precision"]
for name, ((ref, ana, truth), said, score, label) in binary.items():
    ana = ana.merge(truth, on="id")
    made = nml.CBPE(y_pred=said, y_pred_proba=score, y_true=label, problem_type="classification_binary", metrics=M)
    made.fit(ref).estimate(ana).to_df(multilevel=False).to_json(
        out / f"{name}.json", orient="records", date_format="iso", double_precision=15)
    for frame, what in ((ref, "reference"), (ana, "analysis")):
        kept = frame[[score, said, label]].rename(columns={score: "score", said: "said", label: "truth"})
        kept.astype(float).to_parquet(out / f"{name} {what}.parquet")
ref, ana, truth = nml.load_synthetic_car_price_dataset()
ana = ana.join(truth[[c for c in truth.columns if c not in ana.columns]])
features = [c for c in ref.columns if c not in ("id", "timestamp", "y_pred", "y_true")]
made = nml.DLE(feature_column_names=features, y_pred="y_pred", y_true="y_true", metrics=["mae", "rmse"])
made.fit(ref).estimate(ana).to_df(multilevel=False).to_json(
    out / "car price.json", orient="records", date_format="iso", double_precision=15)
for frame, what in ((ref, "reference"), (ana, "analysis")):
    kept = frame[[*features, "y_pred", "y_true"]]
    kept.to_parquet(out / f"car price {what}.parquet")
ref, ana, truth = nml.load_synthetic_multiclass_classification_dataset()
ana = ana.merge(truth, on="id")
score = {c: f"y_pred_proba_{c}" for c in sorted(ref["y_true"].unique())}
nml.CBPE(y_pred="y_pred", y_pred_proba=score, y_true="y_true", problem_type="classification_multiclass",
    metrics=[*M, "confusion_matrix"]).fit(ref).estimate(ana).to_df(multilevel=False).to_json(
    out / "cards.json", orient="records", date_format="iso", double_precision=15)
features = [c for c in ref.columns if c not in ("id", "timestamp", "y_true")]
table = nml.UnivariateDriftCalculator(column_names=features,
    continuous_methods=["jensen_shannon", "kolmogorov_smirnov", "wasserstein", "hellinger"],
    categorical_methods=["jensen_shannon", "chi2", "l_infinity", "hellinger"],
).fit(ref).calculate(ana).filter(period="analysis").to_df()
drift = [[c, m, [float(v) for v in table[(c, m, p)]]] for c, m, p in table.columns if p == "value"]
(out / "cards drift.json").write_text(json.dumps(drift))
for frame, what in ((ref, "reference"), (ana, "analysis")):
    frame.drop(columns=["id", "timestamp"]).to_parquet(out / f"cards {what}.parquet")
"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--peer", type=Path, required=True, help="a python that can import nannyml")
    peer = asked.parse_args().peer
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        quiet = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"}
        subprocess.run([peer, "-c", PEER, out], check=True, env=quiet, cwd="/")
        found = [figure for name in ("synthetic", "car loan", "employment") for figure in classes(out, name)]
        found += [*numbers(out), *many_classes(out)]
    for figure in found:
        print(figure.line())
    print("\n| what | found | bar | held |\n|---|---|---|---|")
    for figure in found:
        print(figure.row())


def chunks(out: Path, name: str) -> list[dict[str, Any]]:
    """The windows of the analysis; a leftover of a few rows, which we do not estimate, is left out."""
    rows: list[dict[str, Any]] = json.loads((out / f"{name}.json").read_text())
    return [
        row
        for row in rows
        if row["chunk_period"] == "analysis" and row["chunk_end_index"] - row["chunk_start_index"] >= 30
    ]


def columns(frame: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
    score, said, truth = (frame[name].to_numpy().astype(np.float64) for name in ("score", "said", "truth"))
    return score, said, truth


def classes(out: Path, name: str) -> list[Figure]:
    reference, analysis = (pl.read_parquet(out / f"{name} {what}.parquet") for what in ("reference", "analysis"))
    score, _, truth = columns(reference)
    like, calibration = LikeNannyML(score, truth), calibrate(Counted.of(count_scores(score, truth)))
    assert isinstance(calibration, Calibration)
    windows = chunks(out, name)
    apart, ours, theirs, held = 0.0, [], [], []
    for window in windows:
        part = analysis[window["chunk_start_index"] : window["chunk_end_index"] + 1]
        score, said, truth = columns(part)
        estimated, realized = like.estimated(score, said), like.realized(score, said, truth)
        for measure in MEASURES:
            apart = max(apart, abs(estimated[measure] - window[f"{measure}_value"]))
            apart = max(apart, abs(realized[measure] - window[f"{measure}_realized"]))
        reading = _ours(score, calibration)["roc_auc"]
        assert reading.value is not None
        ours.append(abs(reading.value - realized["roc_auc"]))
        theirs.append(abs(window["roc_auc_value"] - realized["roc_auc"]))
        held.append(reading.holds(realized["roc_auc"]))
    return [
        Figure(f"{name}: parity of {len(windows)} windows, largest difference of 14 numbers", apart, "", 1e-6),
        Figure(
            f"{name}: mean absolute error of the estimated AUC",
            math.fsum(ours) / len(ours),
            "",
            math.fsum(theirs) / len(theirs),
        ),
        Figure(f"{name}: bands of the AUC that hold", sum(held) / len(held), "share", 0.9, more_is_better=True),
    ]


def _ours(score: Floats, calibration: Calibration) -> Any:
    cells = score_cells(score)
    rows = np.bincount(cells, minlength=CELLS).astype(np.float64)
    return estimate(rows, np.bincount(cells, weights=score, minlength=CELLS).astype(np.float64), calibration)


def numbers(out: Path) -> list[Figure]:
    reference, analysis = (pl.read_parquet(out / f"car price {what}.parquet") for what in ("reference", "analysis"))
    model = learn_loss(_inputs(reference), *_answers(reference))
    assert isinstance(model, LossModel)
    ours, theirs, held = [], [], []
    for window in chunks(out, "car price"):
        part = analysis[window["chunk_start_index"] : window["chunk_end_index"] + 1]
        said, truth = _answers(part)
        realized = float(np.abs(said - truth).mean())
        reading = estimate_loss(model, _inputs(part), said)["mae"]
        assert reading.value is not None
        ours.append(abs(reading.value - realized))
        theirs.append(abs(window["mae_value"] - realized))
        held.append(reading.holds(realized))
    what = "car price: mean absolute error of the estimated MAE"
    return [
        Figure(what, math.fsum(ours) / len(ours), "", math.fsum(theirs) / len(theirs)),
        Figure("car price: bands of the MAE that hold", sum(held) / len(held), "share", 0.9, more_is_better=True),
    ]


def many_classes(out: Path) -> list[Figure]:
    """Parity on cards that customers choose, three classes: performance of every window, drift of every column."""
    reference, analysis = (pl.read_parquet(out / f"cards {what}.parquet") for what in ("reference", "analysis"))
    score, _, truth = _of_classes(reference)
    like = LikeNannyMLOfClasses(score, truth)
    windows, apart = chunks(out, "cards"), 0.0
    for window in windows:
        score, said, truth = _of_classes(analysis[window["chunk_start_index"] : window["chunk_end_index"] + 1])
        estimated, realized, confusion = (
            like.estimated(score, said),
            like.realized(score, said, truth),
            like.confusion(score, said),
        )
        for measure in MEASURES:
            apart = max(apart, abs(estimated[measure] - window[f"{measure}_value"]))
            apart = max(apart, abs(realized[measure] - window[f"{measure}_realized"]))
        for true, answered in np.ndindex(confusion.shape):
            name = f"true_{CARDS[true]}_pred_{CARDS[answered]}_value"
            apart = max(apart, abs(confusion[true, answered] - window[name]) / len(score))
    drift, moved = json.loads((out / "cards drift.json").read_text()), 0.0
    for column, measure, values in drift:
        ours = scores_of("nannyml").scores(reference[column], analysis[column])[measure]
        moved = max(moved, *(abs((mine or 0.0) - value) for mine, value in zip(ours, values, strict=True)))
    return [
        Figure(f"three classes: parity of {len(windows)} windows, largest difference of 23 numbers", apart, "", 1e-6),
        Figure(f"three classes: parity of drift, {len(drift)} methods of columns, largest difference", moved, "", 1e-6),
    ]


def _of_classes(frame: pl.DataFrame) -> tuple[Floats, Places, Places]:
    places = {name: at for at, name in enumerate(CARDS)}
    said, truth = (frame[name].replace_strict(places).to_numpy().astype(np.int64) for name in ("y_pred", "y_true"))
    return frame.select(f"y_pred_proba_{name}" for name in CARDS).to_numpy(), said, truth


def _inputs(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("y_pred", "y_true", "__index_level_0__", strict=False)


def _answers(frame: pl.DataFrame) -> tuple[Floats, Floats]:
    return frame["y_pred"].to_numpy().astype(np.float64), frame["y_true"].to_numpy().astype(np.float64)


if __name__ == "__main__":
    main()
