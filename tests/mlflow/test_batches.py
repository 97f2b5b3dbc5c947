"""Batches: all or nothing, limits, and what may stand in one twice."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from tests.mlflow.http import BAD, Http, Json


def metric(number: int, key: str = "") -> Json:
    return {"key": key or f"m{number}", "value": float(number), "timestamp": number, "step": number}


def pair(number: int, letter: str = "k") -> Json:
    return {"key": f"{letter}{number}", "value": str(number)}


def content(http: Http, run: str) -> tuple[dict[str, object], dict[str, str], dict[str, str]]:
    """Metrics, params and tags of a run, without the tag of its name."""
    data = http.get_run(run)["data"]
    metrics, params, tags = (
        {i["key"]: i.get("value", "") for i in data.get(part, [])} for part in ("metrics", "params", "tags")
    )
    return metrics, params, {key: value for key, value in tags.items() if not key.startswith("mlflow.")}


def test_a_batch_logs_everything_in_it(client: MlflowClient, run: str) -> None:
    client.log_batch(run, [Metric("m", 1.5, 1, 2)], [Param("p", "x")], [RunTag("t", "y")])
    data = client.get_run(run).data
    assert (data.metrics, data.params, data.tags["t"]) == ({"m": 1.5}, {"p": "x"}, "y")


def test_an_empty_batch_is_fine(http: Http, run: str) -> None:
    assert http.log(run) == {}
    assert http.log(run, metrics=[], params=[], tags=[]) == {}


@pytest.mark.parametrize(("metrics", "params", "tags"), [(1000, 0, 0), (800, 100, 100), (0, 100, 100)])
def test_a_batch_may_be_this_large(http: Http, run: str, metrics: int, params: int, tags: int) -> None:
    http.log(
        run,
        metrics=[metric(i) for i in range(metrics)],
        params=[pair(i) for i in range(params)],
        tags=[pair(i, "t") for i in range(tags)],
    )
    assert [len(part) for part in content(http, run)] == [metrics, params, tags]


@pytest.mark.parametrize(("metrics", "params", "tags"), [(1001, 0, 0), (0, 101, 0), (0, 0, 101), (801, 100, 100)])
def test_a_larger_batch_is_refused_and_leaves_nothing(
    http: Http, run: str, metrics: int, params: int, tags: int
) -> None:
    answer = http.error(
        "POST",
        "runs/log-batch",
        run_id=run,
        metrics=[metric(i) for i in range(metrics)],
        params=[pair(i) for i in range(params)],
        tags=[pair(i, "t") for i in range(tags)],
    )
    assert answer == BAD
    assert content(http, run) == ({}, {}, {})


def test_a_batch_that_changes_a_param_leaves_nothing(http: Http, run: str) -> None:
    http.log(run, params=[pair(1)])
    changed = {"key": "k1", "value": "other"}
    assert http.error("POST", "runs/log-batch", run_id=run, metrics=[metric(1)], params=[pair(2), changed]) == BAD
    assert content(http, run) == ({}, {"k1": "1"}, {})


def test_a_batch_with_a_bad_metric_leaves_no_params_and_tags(http: Http, run: str) -> None:
    bad = {"key": "m", "value": "high", "timestamp": 1}
    assert (
        http.error("POST", "runs/log-batch", run_id=run, metrics=[metric(1), bad], params=[pair(2)], tags=[pair(3)])[0]
        == 400
    )
    assert content(http, run) == ({}, {}, {})


def test_a_batch_with_a_bad_tag_leaves_no_metrics_and_params(http: Http, run: str) -> None:
    bad = {"key": "../t", "value": "1"}
    assert (
        http.error("POST", "runs/log-batch", run_id=run, metrics=[metric(1)], params=[pair(2)], tags=[pair(1), bad])
        == BAD
    )
    assert content(http, run) == ({}, {}, {})


def test_a_batch_whose_tag_cannot_be_stored_leaves_no_metrics(http: Http, run: str) -> None:
    nameless = {"key": "mlflow.runName", "value": ""}
    answer = http.call("POST", "runs/log-batch", run_id=run, metrics=[metric(1)], params=[pair(2)], tags=[nameless])
    whole = answer.status_code == 200
    assert whole or answer.status_code == 400
    metrics, params, _ = content(http, run)
    assert (bool(metrics), bool(params)) == (whole, whole)


def test_a_param_twice_in_a_batch_is_refused(http: Http, run: str) -> None:
    assert http.error("POST", "runs/log-batch", run_id=run, params=[pair(1), pair(1)]) == BAD
    assert http.error("POST", "runs/log-batch", run_id=run, params=[pair(1), {"key": "k1", "value": "2"}]) == BAD


def test_the_last_of_equal_tags_wins(http: Http, run: str) -> None:
    http.log(run, tags=[{"key": "t", "value": value} for value in ("1", "3", "2")])
    assert content(http, run)[2] == {"t": "2"}


def test_equal_metrics_in_a_batch_are_one_point(http: Http, run: str) -> None:
    http.log(run, metrics=[metric(1, "m")] * 5)
    assert len(http.ok("GET", "metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 1


def test_a_batch_again_changes_nothing(http: Http, run: str) -> None:
    batch = {"metrics": [metric(i, "m") for i in range(50)], "params": [pair(1)], "tags": [pair(2, "t")]}
    for _ in range(3):
        http.log(run, **batch)
    assert content(http, run) == ({"m": 49.0}, {"k1": "1"}, {"t2": "2"})
    assert len(http.ok("GET", "metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 50


@pytest.mark.parametrize("missing", ["key", "value", "timestamp"])
def test_every_metric_of_a_batch_is_whole(http: Http, run: str, missing: str) -> None:
    broken = metric(1)
    del broken[missing]
    assert http.error("POST", "runs/log-batch", run_id=run, metrics=[broken])[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": {"key": "m"}},
        {"metrics": "m"},
        {"params": [{"value": "1"}]},
        {"tags": [{"value": "1"}]},
        {"tags": [{"key": 5, "value": "a"}]},
        {"params": "p"},
    ],
)
def test_a_batch_of_the_wrong_shape_is_refused(http: Http, run: str, fields: Json) -> None:
    assert http.error("POST", "runs/log-batch", run_id=run, **fields)[0] == 400
    assert content(http, run) == ({}, {}, {})


@pytest.mark.parametrize("fields", [{"metrics": [7]}, {"params": [{"key": "p", "value": 5}]}])
def test_a_batch_with_items_of_a_strange_kind_is_refused(http: Http, run: str, fields: Json) -> None:
    assert http.error("POST", "runs/log-batch", run_id=run, **fields)[0] == 400
    assert content(http, run) == ({}, {}, {})


def test_a_batch_for_a_model_that_is_not_there_leaves_nothing(http: Http, run: str) -> None:
    strange = {**metric(1), "model_id": f"m-{'0' * 32}"}
    status, _ = http.error(
        "POST", "runs/log-batch", run_id=run, metrics=[strange], params=[pair(2)], tags=[pair(3, "t")]
    )
    assert status in (400, 404)
    assert content(http, run) == ({}, {}, {})


def test_a_batch_without_steps_logs_at_step_zero(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": 1.0, "timestamp": 5}])
    assert http.ok("GET", "metrics/get-history", run_id=run, metric_key="m")["metrics"][0].get("step", 0) == 0


def test_a_batch_of_a_model_is_recorded_there_too(http: Http, experiment: str, run: str) -> None:
    model = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]["model_id"]
    http.log(run, metrics=[{**metric(3, "auc"), "model_id": model}, metric(4, "other")])
    found = http.ok("GET", f"logged-models/{model}")["model"]["data"]["metrics"]
    assert [(m["key"], m["value"], m["run_id"]) for m in found] == [("auc", 3.0, run)]
    assert content(http, run)[0] == {"auc": 3.0, "other": 4.0}


def test_a_batch_a_thousand_wide_and_long_keys_is_fine(http: Http, run: str) -> None:
    http.log(run, metrics=[metric(i, f"{'k' * 240}{i:04d}") for i in range(1000)])
    assert len(content(http, run)[0]) == 1000


def test_the_fluent_client_logs_many_at_once(run: str) -> None:
    import mlflow

    with mlflow.start_run(run_id=run):
        mlflow.log_metrics({"a": 1, "b": 2.5}, step=4)
        mlflow.log_params({"p": 1, "q": None})
        mlflow.set_tags({"t": "x", "u": 3})
    data = mlflow.get_run(run).data
    assert (data.metrics, data.params) == ({"a": 1.0, "b": 2.5}, {"p": "1", "q": "None"})
    assert (data.tags["t"], data.tags["u"]) == ("x", "3")


def test_more_params_than_a_batch_holds_are_split_by_the_client(run: str) -> None:
    import mlflow

    with mlflow.start_run(run_id=run):
        mlflow.log_params({f"p{i}": i for i in range(250)})
        mlflow.log_metrics({f"m{i}": i for i in range(1500)})
    data = mlflow.get_run(run).data
    assert (len(data.params), len(data.metrics)) == (250, 1500)
