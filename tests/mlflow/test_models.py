"""Models of the client: logged, registered, and loaded back by run, version, alias, stage and id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from sklearn.linear_model import LinearRegression

X = np.arange(12.0).reshape(6, 2)
Y = X @ [1.0, 2.0] + 3.0
NEEDS = ["scikit-learn"]  # given, so that the client does not look for what the model needs in another process


@pytest.fixture(scope="module")
def regression() -> LinearRegression:
    """A fitted model."""
    return LinearRegression().fit(X, Y)


@pytest.fixture
def logged(experiment: str, regression: LinearRegression, name: str) -> Iterator[Any]:
    """A model logged in a run and registered under `name`."""
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run():
        yield mlflow.sklearn.log_model(
            regression, name="model", registered_model_name=name, input_example=X[:2], pip_requirements=NEEDS
        )


def same(loaded: Any) -> bool:
    return bool(np.allclose(loaded.predict(X), Y))


def test_a_logged_model_is_ready_and_belongs_to_its_run(logged: Any, client: MlflowClient) -> None:
    found = client.get_logged_model(logged.model_id)
    run = mlflow.active_run()
    assert (found.status, found.name, found.source_run_id) == (LoggedModelStatus.READY, "model", run.info.run_id)
    assert [o.model_id for o in client.get_run(run.info.run_id).outputs.model_outputs] == [logged.model_id]


def test_a_model_is_loaded_by_its_id(logged: Any) -> None:
    assert same(mlflow.sklearn.load_model(f"models:/{logged.model_id}"))
    assert same(mlflow.pyfunc.load_model(logged.model_uri))


def test_a_model_is_loaded_by_its_run(logged: Any) -> None:
    assert same(mlflow.sklearn.load_model(f"runs:/{mlflow.active_run().info.run_id}/model"))


def test_a_model_is_loaded_by_version_latest_alias_and_stage(logged: Any, client: MlflowClient, name: str) -> None:
    client.set_registered_model_alias(name, "champion", "1")
    client.transition_model_version_stage(name, "1", "Staging")
    for tail in ("/1", "/latest", "@champion", "/Staging"):
        assert same(mlflow.pyfunc.load_model(f"models:/{name}{tail}")), tail


def test_a_registered_version_knows_model_and_run(logged: Any, client: MlflowClient, name: str) -> None:
    version = client.get_model_version(name, "1")
    assert version.run_id == mlflow.active_run().info.run_id
    assert version.source in (f"models:/{logged.model_id}", client.get_logged_model(logged.model_id).artifact_location)


def test_the_files_of_a_model_are_below_its_own_place(logged: Any, client: MlflowClient) -> None:
    found = {f.path for f in client.list_logged_model_artifacts(logged.model_id)}
    assert {"MLmodel", "requirements.txt", "input_example.json"} <= found


def test_signature_and_example_come_back(logged: Any) -> None:
    info = mlflow.models.get_model_info(logged.model_uri)
    assert info.signature.inputs.input_types()
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    assert loaded.metadata.model_id == logged.model_id
    assert loaded.input_example is not None


def test_a_model_that_is_not_there_is_not_loaded(uri: str, name: str) -> None:
    for address in (f"models:/{name}/1", f"models:/{name}@best", f"models:/m-{'0' * 32}", f"runs:/{'0' * 32}/model"):
        with pytest.raises(mlflow.exceptions.MlflowException):
            mlflow.pyfunc.load_model(address)


def test_a_model_whose_upload_fails_says_so(
    experiment: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_experiment(experiment_id=experiment)

    class Broken(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # the client has no types
        def predict(self, context: object, model_input: list[float], params: object = None) -> list[float]:
            return model_input

        def __reduce__(self) -> Any:
            raise RuntimeError("cannot be pickled")

    with pytest.raises(mlflow.exceptions.MlflowException, match="serialize"), mlflow.start_run():
        mlflow.pyfunc.log_model(name="broken", python_model=Broken(), pip_requirements=[])
    found = mlflow.search_logged_models([experiment], output_format="list")
    assert [m.status for m in found] == [LoggedModelStatus.FAILED]


def test_metrics_logged_for_a_model_are_found_at_it(logged: Any, client: MlflowClient) -> None:
    mlflow.log_metric("rmse", 0.5, step=2, model_id=logged.model_id)
    mlflow.log_metrics({"mae": 0.25}, model_id=logged.model_id)
    metrics = {m.key: m.value for m in client.get_logged_model(logged.model_id).metrics}
    assert metrics == {"rmse": 0.5, "mae": 0.25}
    assert mlflow.search_logged_models([logged_experiment(client, logged)], "metrics.rmse < 1", output_format="list")


def logged_experiment(client: MlflowClient, logged: Any) -> str:
    return str(client.get_logged_model(logged.model_id).experiment_id)


def test_params_of_a_run_are_params_of_its_model(
    experiment: str, regression: LinearRegression, client: MlflowClient
) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run():
        mlflow.log_params({"depth": 3})
        made = mlflow.sklearn.log_model(
            regression, name="m", params={"own": "x"}, tags={"t": "1"}, pip_requirements=NEEDS
        )
    found = client.get_logged_model(made.model_id)
    assert found.params["own"] == "x"
    assert found.tags["t"] == "1"


def test_a_python_function_is_logged_and_loaded(experiment: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)

    class AddN(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # the client has no types
        def predict(self, context: object, model_input: list[float], params: object = None) -> list[float]:
            return [x + 5 for x in model_input]

    with mlflow.start_run():
        made = mlflow.pyfunc.log_model(name="adder", python_model=AddN(), pip_requirements=[])
    assert mlflow.pyfunc.load_model(made.model_uri).unwrap_python_model().predict(None, [1.0]) == [6.0]


def test_a_model_logged_twice_is_two_models(experiment: str, regression: LinearRegression) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run() as run:
        made = [
            mlflow.sklearn.log_model(regression, name="m", step=i, pip_requirements=NEEDS).model_id for i in range(2)
        ]
    assert len(set(made)) == 2
    outputs = mlflow.get_run(run.info.run_id).outputs.model_outputs
    assert sorted((o.model_id, o.step) for o in outputs) == sorted(zip(made, range(2), strict=True))


def test_a_model_is_registered_from_its_run_later(experiment: str, regression: LinearRegression, name: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(regression, name="later", pip_requirements=NEEDS)
    mlflow.register_model(f"runs:/{run.info.run_id}/later", name)
    assert same(mlflow.pyfunc.load_model(f"models:/{name}/1"))
