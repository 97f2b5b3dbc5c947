"""Versions that were registered natively, as the client downloads and loads them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from tests.mlflow.conftest import GIVEN
from tests.mlflow.http import Http

pytestmark = pytest.mark.skipif(bool(GIVEN), reason="needs a server of ours")
ROWS = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "b": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]})
LATE = [0, 0, 0, 1, 1, 1]
AMOUNT = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def _lightgbm() -> tuple[object, Any]:
    import lightgbm

    options = {"objective": "regression", "min_data_in_leaf": 1, "min_data_in_bin": 1, "verbose": -1}
    made = lightgbm.train(options, lightgbm.Dataset(ROWS.to_numpy(), AMOUNT), num_boost_round=3)
    return made, made.predict(ROWS.to_numpy())


def _xgboost() -> tuple[object, Any]:
    import xgboost

    made = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(ROWS, AMOUNT), num_boost_round=3)
    return made, made.predict(xgboost.DMatrix(ROWS))


def _catboost() -> tuple[object, Any]:
    import catboost

    made = catboost.CatBoostClassifier(iterations=3, allow_writing_files=False, verbose=False).fit(ROWS, LATE)
    return made, made.predict(ROWS)


def _onnx() -> tuple[object, Any]:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(ROWS.to_numpy(), AMOUNT)
    return to_onnx(fitted, ROWS.to_numpy(dtype=np.float32)), fitted.predict(ROWS.to_numpy())


def _sklearn() -> tuple[object, Any]:
    from sklearn.linear_model import LogisticRegression

    made = LogisticRegression().fit(ROWS.to_numpy(), LATE)
    return made, made.predict(ROWS.to_numpy())


@pytest.fixture(scope="module")
def registered(uri: str, storage: str, servers: dict[str, Any]) -> dict[str, Any]:
    """A native version of each format, by its name; what its model answers to `ROWS`."""
    from mainspring.core.caller import adopt, caller
    from mainspring.core.settings import load
    from mainspring.registry import Registry
    from mainspring.server.house import open_house

    process, before = servers[storage], caller()
    with pytest.MonkeyPatch.context() as patch:
        for key, text in process.env.items():
            patch.setenv(key, text)  # also what the store of blobs reads its keys from
        house = open_house(load(process.folder))
        try:
            return _filled(house.get(Registry))
        finally:
            house.close()
            adopt(before)


def _filled(registry: Any) -> dict[str, Any]:
    import polars as pl

    frame, made = pl.DataFrame(ROWS.to_dict("list")), dict[str, Any]()
    for kind in (_sklearn, _lightgbm, _xgboost, _catboost, _onnx):
        model, answers = kind()
        name = f"{kind.__name__} ä {uuid4().hex[:8]}"
        registry.register(name, model, example=frame)
        made[name] = answers
    encoded = f"encoded-{uuid4().hex[:8]}"
    levels = frame.with_columns(b=pl.Series(["x", "y"] * 3))
    registry.register(encoded, _sklearn()[0], example=levels, encoding={"b": ["x", "y"]})
    made[encoded] = None
    return made


def test_a_native_version_is_downloaded_with_every_file(registered: dict[str, Any], tmp_path: Path) -> None:
    name = next(iter(registered))
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path)))
    files = {"MLmodel", "example.json", "manifest.json", "model.skops", "requirements.txt"}
    assert files <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "manifest.json").read_bytes())["flavour"] == "sklearn"
    one = mlflow.artifacts.download_artifacts(f"models:/{name}/1/example.json", dst_path=str(tmp_path / "one"))
    assert json.loads(Path(one).read_bytes())["inputs"]["a"][:2] == [0.0, 1.0]


def test_a_native_version_is_loaded_by_number_alias_and_stage(registered: dict[str, Any], client: MlflowClient) -> None:
    for name, answers in registered.items():
        client.set_registered_model_alias(name, "champion", "1")
        client.transition_model_version_stage(name, "1", "Production")
        if answers is None:
            continue
        for tail in ("/1", "@champion", "/Production", "/latest"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = mlflow.pyfunc.load_model(f"models:/{name}{tail}").predict(ROWS)
            np.testing.assert_allclose(_plain(found), np.asarray(answers).ravel(), rtol=1e-5, atol=1e-5)


def _plain(found: Any) -> Any:
    """What the model of a format answers as one array."""
    return np.asarray(next(iter(found.values())) if isinstance(found, dict) else found).ravel()


def test_a_model_that_needs_its_columns_encoded_is_loaded_by_its_own_flavour_alone(registered: dict[str, Any]) -> None:
    name = next(name for name, answers in registered.items() if answers is None)
    assert mlflow.sklearn.load_model(f"models:/{name}/1").predict(ROWS.to_numpy()).tolist() == LATE
    with pytest.raises(MlflowException, match="python_function"):
        mlflow.pyfunc.load_model(f"models:/{name}/1")


def test_a_package_is_never_changed_through_the_proxy(registered: dict[str, Any], http: Http, uri: str) -> None:
    import httpx

    name = next(iter(registered))
    address = http.ok("GET", "model-versions/get-download-uri", name=name, version="1")["artifact_uri"]
    place = f"{uri}/api/2.0/mlflow-artifacts/artifacts/{address.removeprefix('mlflow-artifacts:/')}"
    assert httpx.put(f"{place}/MLmodel", content=b"{}").status_code == 403
    assert httpx.delete(place).status_code == 403
    assert httpx.get(f"{place}/MLmodel").json()["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert httpx.get(f"{place}/nothing").status_code == 404
    assert httpx.get(place[:-1] + "x/MLmodel").status_code == 404


def test_the_pages_of_mlflow_download_a_file_of_a_native_version(registered: dict[str, Any], uri: str) -> None:
    import httpx

    asked = {"name": next(iter(registered)), "version": "1", "path": "manifest.json"}
    found = httpx.get(f"{uri}/model-versions/get-artifact", params=asked)
    assert (found.status_code, found.headers["content-disposition"][:10]) == (200, "attachment")
