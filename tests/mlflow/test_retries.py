"""What the client sends again after a failure may come twice: the second time changes nothing and is no error."""

from __future__ import annotations

import pytest
from tests.mlflow.http import Http, Json

POINT = {"key": "m", "value": 1.0, "timestamp": 1, "step": 1}
RUN_CALLS: list[tuple[str, Json]] = [
    ("runs/log-metric", POINT),
    ("runs/log-metric", {**POINT, "value": "NaN"}),
    ("runs/log-metric", {**POINT, "value": "Infinity"}),
    ("runs/log-parameter", {"key": "p", "value": "1"}),
    ("runs/set-tag", {"key": "t", "value": "1"}),
    (
        "runs/log-batch",
        {"metrics": [POINT], "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "1"}]},
    ),
    ("runs/log-batch", {"metrics": [{**POINT, "value": "NaN"}]}),
    ("runs/update", {"status": "FINISHED", "end_time": 5}),
    ("runs/update", {"run_name": "x"}),
    ("runs/delete", {}),
    ("runs/restore", {}),
    ("runs/log-inputs", {"datasets": [{"dataset": {"name": "d", "digest": "1", "source_type": "s", "source": "x"}}]}),
]


@pytest.mark.parametrize(("path", "fields"), RUN_CALLS, ids=[f"{path} {i}" for i, (path, _) in enumerate(RUN_CALLS)])
def test_a_call_to_a_run_may_come_twice(http: Http, run: str, path: str, fields: Json) -> None:
    http.ok("POST", path, run_id=run, **fields)
    once, histories = http.get_run(run), history(http, run)
    http.ok("POST", path, run_id=run, **fields)
    assert (http.get_run(run), history(http, run)) == (once, histories)


def history(http: Http, run: str) -> Json:
    return http.ok("GET", "metrics/get-history", run_id=run, metric_key="m")


def test_a_tag_of_an_experiment_may_come_twice(http: Http, experiment: str) -> None:
    for _ in range(2):
        http.ok("POST", "experiments/set-experiment-tag", experiment_id=experiment, key="a", value="b")


def test_tags_and_aliases_of_the_registry_may_come_twice(http: Http, name: str) -> None:
    http.ok("POST", "registered-models/create", name=name)
    http.ok("POST", "model-versions/create", name=name, source="s3://b/m")
    for _ in range(2):
        http.ok("POST", "registered-models/set-tag", name=name, key="a", value="b")
        http.ok("POST", "model-versions/set-tag", name=name, version="1", key="a", value="b")
        http.ok("POST", "registered-models/alias", name=name, alias="best", version="1")
        http.ok("DELETE", "registered-models/delete-tag", name=name, key="none")
        http.ok("DELETE", "model-versions/delete-tag", name=name, version="1", key="none")
    found = http.ok("GET", "registered-models/get", name=name)["registered_model"]
    assert (found["aliases"], found["tags"]) == ([{"alias": "best", "version": "1"}], [{"key": "a", "value": "b"}])


def test_a_metric_of_a_model_may_come_twice(http: Http, experiment: str, run: str) -> None:
    model = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]["model_id"]
    for _ in range(2):
        http.log(run, metrics=[{**POINT, "model_id": model}])
    assert len(http.ok("GET", f"logged-models/{model}")["model"]["data"]["metrics"]) == 1


def test_a_logged_model_may_be_finalized_twice(http: Http, experiment: str) -> None:
    model = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]["model_id"]
    for _ in range(2):
        answer = http.ok("PATCH", f"logged-models/{model}", model_id=model, status="LOGGED_MODEL_READY")
        http.ok("PATCH", f"logged-models/{model}/tags", tags=[{"key": "a", "value": "b"}])
    assert answer["model"]["info"]["status"] == "LOGGED_MODEL_READY"


def test_an_upload_may_come_twice(http: Http, experiment: str) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/again.txt"
    for _ in range(2):
        assert http.send("PUT", path, data=b"the same").status_code == 200
    assert http.send("GET", path).content == b"the same"


def test_outputs_of_a_run_may_come_twice(http: Http, experiment: str, run: str) -> None:
    model = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]["model_id"]
    for _ in range(2):
        http.ok("POST", "runs/outputs", run_id=run, models=[{"model_id": model, "step": 1}])
    assert len(http.get_run(run)["outputs"]["model_outputs"]) == 1
