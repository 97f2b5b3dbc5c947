"""Versions of scikit-learn as ONNX: only those that say the same, with what was found on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from click.testing import CliRunner
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mainspring.core.errors import Refused
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import ModelVersion, Registry
from mainspring.registry.commands import group
from mainspring.registry.converting import LEAST_ROWS, convert, rows_for
from mainspring.registry.flavours.sklearn import FILE, read
from mainspring.server.house import open_house

ROWS = 600
LEVELS = ["AA", "UA"]


def frame(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {"late by": rng.normal(size=rows) * 30, "hour": rng.integers(0, 24, rows)}
    return pl.DataFrame({**columns, "carrier": rng.choice(LEVELS, rows)})


def matrix(rows: pl.DataFrame) -> np.ndarray:
    return rows.with_columns((pl.col("carrier") == "UA").cast(pl.Float64)).to_numpy().astype(np.float64)


def truth(rows: pl.DataFrame, classes: int = 2) -> np.ndarray:
    value = rows["late by"].to_numpy() + 3 * rows["hour"].to_numpy()
    return np.asarray(np.digitize(value, [36.0] if classes == 2 else [20.0, 50.0]))


MODELS: dict[str, tuple[Callable[[], Any], Callable[[pl.DataFrame], np.ndarray]]] = {
    "linear": (LogisticRegression, truth),
    "forest": (lambda: RandomForestClassifier(20, random_state=0), truth),
    "boosted": (lambda: GradientBoostingClassifier(n_estimators=20, random_state=0), truth),
    "scaled forest": (lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)), truth),
    "names": (LogisticRegression, lambda rows: np.array(["early", "on time", "late"])[truth(rows, 3)]),
    "numbers": (LinearRegression, lambda rows: rows["hour"].to_numpy() * 2.5),
    "numbers of trees": (
        lambda: make_pipeline(StandardScaler(), ExtraTreesRegressor(10, random_state=0)),
        lambda rows: rows["hour"].to_numpy() * 2.5,
    ),
}


@pytest.fixture
def house(tmp_path: Path) -> Any:
    made = open_house(load(tmp_path, environ={}))
    made.get(Data).ingest("flights", frame())
    yield made
    made.close()


def registered(house: Wiring, name: str, model: Any, label: np.ndarray, reference: str = "flights/1") -> ModelVersion:
    reference = house.get(Data).resolve(reference).ref if reference else ""
    fitted = model.fit(matrix(frame()), label)
    about: dict[str, Any] = {"encoding": {"carrier": LEVELS}, "reference": reference, "metrics": {"brier": 0.1}}
    return house.get(Registry).register(name, fitted, example=frame().head(5), **about)


@pytest.mark.parametrize("kind", MODELS)
def test_a_converted_version_says_the_same_of_rows_it_was_not_compared_by(house: Wiring, kind: str) -> None:
    model, label = MODELS[kind]
    before = registered(house, "m", model(), label(frame()))
    registry = house.get(Registry)
    rows, data = rows_for(house.get(Data), before)
    made = registry.accelerate("m", 1, rows, data=data)
    assert (made.number, made.flavour, made.task, made.classes) == (2, "onnx", before.task, before.classes)
    assert (made.columns, made.reference, made.metrics) == (before.columns, before.reference, before.metrics)
    parity = registry.parity(made)
    assert parity is not None and parity.holds
    assert (parity.source, parity.data, parity.rows) == ("models/m/1", "datasets/flights/1", ROWS)
    assert registry.parity(before) is None
    assert registry.accelerate("m", 1, rows, data=data).number == 2
    fresh = frame(300, seed=1)
    name = "prediction" if before.task == "regression" else "probability"
    theirs, ours = (registry.load("m", number).predict(fresh) for number in (1, 2))
    np.testing.assert_allclose(ours[name].astype(float), theirs[name].astype(float), rtol=1e-5, atol=1e-5)
    if name == "probability":
        assert ours["label"].tolist() == theirs["label"].tolist()


def test_a_model_that_selects_by_name_is_converted_with_its_texts(house: Wiring) -> None:
    rows = frame().rename({"late by": "delay"})
    house.get(Data).ingest("named", rows)
    steps = ColumnTransformer([("one", OneHotEncoder(), ["carrier"]), ("two", StandardScaler(), ["delay", "hour"])])
    model = make_pipeline(steps, LogisticRegression()).fit(rows.to_pandas(), truth(frame()))
    reference = house.get(Data).resolve("named").ref
    before = house.get(Registry).register("m", model, example=rows.head(5), reference=reference)
    compared, data = rows_for(house.get(Data), before)
    made = house.get(Registry).accelerate("m", 1, compared, data=data)
    assert made.columns == before.columns
    theirs, ours = (house.get(Registry).load("m", n).predict(rows)["probability"].astype(float) for n in (1, 2))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_graph_that_says_something_else_is_not_given_out(house: Wiring) -> None:
    before = registered(house, "m", LogisticRegression(), truth(frame()))
    registry, (rows, data) = house.get(Registry), rows_for(house.get(Data), before)
    other = read(registry.file("m", 1, FILE))
    other.coef_ = other.coef_ * 1.001  # type: ignore[attr-defined]  # a linear model has them
    with pytest.raises(Refused, match="does not answer the same as ONNX: models/m/1 in ONNX: at most"):
        convert(before, registry.load("m", 1), other, rows, data)
    assert registry.get("m").number == 1


def test_what_can_not_be_compared_or_converted_is_refused(house: Wiring) -> None:
    registry, data = house.get(Registry), house.get(Data)
    lone = registered(house, "lone", LogisticRegression(), truth(frame()), reference="")
    with pytest.raises(Refused, match="no reference dataset"):
        rows_for(data, lone)
    rows, ref = rows_for(data, lone, "flights")
    data.ingest("few", frame(LEAST_ROWS - 1))
    with pytest.raises(Refused, match="99 rows, 100 are the least"):
        rows_for(data, lone, "few")
    data.ingest("narrow", frame().drop("hour"))
    with pytest.raises(Refused, match="no column 'hour'"):
        rows_for(data, lone, "narrow")
    registered(house, "hist", HistGradientBoostingClassifier(max_iter=5), truth(frame()))
    with pytest.raises(Refused, match="does not answer the same as ONNX"):
        registry.accelerate("hist", 1, rows, data=ref)
    registered(house, "trees", LGBMClassifier(n_estimators=3, verbose=-1), truth(frame()))
    with pytest.raises(Refused, match="format lightgbm is not converted"):
        registry.accelerate("trees", 1, rows, data=ref)


def test_the_command_says_what_was_found_and_the_file_knows_where_it_is_from(house: Wiring, tmp_path: Path) -> None:
    before = registered(house, "m", RandomForestClassifier(10, random_state=0), truth(frame()))
    out = tmp_path / "edge.onnx"
    done = CliRunner().invoke(group, ["onnx", "m", "1", "--out", str(out)], obj=lambda: house, catch_exceptions=False)
    assert "models/m/1 in ONNX: at most" in done.stdout and "over 600 rows of datasets/flights/1" in done.stdout
    assert house.get(Registry).get("m").number == 1
    said = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert (said["mainspring.source"], said["mainspring.digest"]) == ("models/m/1", before.digest)
    assert json.loads(said["mainspring.parity"])["labels_differing"] == 0
    assert [entry["name"] for entry in json.loads(said["mainspring.inputs"])] == ["late by", "hour", "carrier"]
    alone = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    answers = alone.run(None, {"rows": matrix(frame())})
    expected = house.get(Registry).load("m", 1).predict(frame())["probability"].astype(float)
    np.testing.assert_allclose(np.asarray(answers[-1])[:, 1], expected, atol=1e-5)
    again = CliRunner().invoke(group, ["onnx", "m", "1"], obj=lambda: house, catch_exceptions=False)
    assert again.stdout.startswith("models/m/2 is models/m/1 in ONNX")
    assert "both are asked 600 rows of datasets/flights/1" in again.stderr
    made = house.get(Registry).get("m")
    assert (made.number, made.flavour, made.description) == (2, "onnx", "models/m/1 as ONNX")
