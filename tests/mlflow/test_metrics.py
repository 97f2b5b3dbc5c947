"""Metrics: values, steps and times of every kind, which point is the latest, and histories."""

from __future__ import annotations

import math
import time

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from tests.mlflow.http import BAD, Http, Json

MOST = 1.7976931348623157e308


def history(http: Http, run: str, key: str, **more: object) -> Json:
    return http.ok("GET", "metrics/get-history", run_id=run, metric_key=key, **more)


def points(http: Http, run: str, key: str) -> list[tuple[int, int, object]]:
    return [(m["timestamp"], m.get("step", 0), m["value"]) for m in history(http, run, key).get("metrics", [])]


def latest(http: Http, run: str) -> dict[str, Json]:
    return {m["key"]: m for m in http.get_run(run)["data"].get("metrics", [])}


def test_a_metric_is_logged_and_read(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "loss", 0.25, timestamp=17, step=3)
    found = client.get_metric_history(run, "loss")
    assert [(m.key, m.value, m.timestamp, m.step) for m in found] == [("loss", 0.25, 17, 3)]
    assert client.get_run(run).data.metrics == {"loss": 0.25}


def test_a_metric_without_time_and_step_gets_now_and_zero(client: MlflowClient, run: str) -> None:
    before = int(time.time() * 1000) - 1
    client.log_metric(run, "m", 1)
    found = client.get_metric_history(run, "m")[0]
    assert before <= found.timestamp <= int(time.time() * 1000) + 1
    assert found.step == 0


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-320, 5e-324, MOST, -MOST, 0.1, 1 / 3, 2.0**53 + 2, -1.5])
def test_values_come_back_bit_by_bit(client: MlflowClient, run: str, value: float) -> None:
    client.log_metric(run, "m", value, timestamp=1)
    assert client.get_run(run).data.metrics["m"].hex() == value.hex() or value == 0.0
    assert client.get_metric_history(run, "m")[0].value == value


def test_nan_is_kept(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "m", math.nan)
    assert math.isnan(client.get_run(run).data.metrics["m"])
    assert math.isnan(client.get_metric_history(run, "m")[0].value)


def test_nan_is_a_word_on_the_wire(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-metric", run_id=run, key="m", value="NaN", timestamp=1)
    assert latest(http, run)["m"]["value"] == "NaN"
    assert points(http, run, "m") == [(1, 0, "NaN")]


def test_nan_is_kept_in_a_batch(client: MlflowClient, run: str) -> None:
    client.log_batch(run, metrics=[Metric("m", math.nan, 1, 0), Metric("m", 2.0, 2, 1)])
    assert client.get_run(run).data.metrics["m"] == 2.0
    assert [math.isnan(m.value) for m in client.get_metric_history(run, "m")] == [True, False]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinity_is_logged_as_at_least_the_greatest_number(client: MlflowClient, run: str, value: float) -> None:
    client.log_metric(run, "m", value)
    assert client.get_run(run).data.metrics["m"] * math.copysign(1, value) >= MOST


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinity_comes_back_as_it_was(client: MlflowClient, run: str, value: float) -> None:
    client.log_metric(run, "m", value)
    assert client.get_run(run).data.metrics["m"] == value
    assert client.get_metric_history(run, "m")[0].value == value


@pytest.mark.parametrize("word", ["Infinity", "-Infinity"])
def test_infinities_are_words_on_the_wire(http: Http, run: str, word: str) -> None:
    http.ok("POST", "runs/log-metric", run_id=run, key="m", value=word, timestamp=1)
    assert float(latest(http, run)["m"]["value"]) * (-1 if word[0] == "-" else 1) >= MOST


@pytest.mark.parametrize("step", [-5, 0, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_steps_are_64_bit_numbers(http: Http, run: str, step: int) -> None:
    http.ok("POST", "runs/log-metric", run_id=run, key="m", value=1.0, timestamp=1, step=step)
    assert points(http, run, "m") == [(1, step, 1.0)]


@pytest.mark.parametrize("field", ["step", "timestamp"])
def test_a_number_beyond_64_bits_is_refused(http: Http, run: str, field: str) -> None:
    fields: Json = {"key": "m", "value": 1.0, "timestamp": 1, "step": 0, field: 2**63}
    assert http.error("POST", "runs/log-metric", run_id=run, **fields)[0] == 400


def test_whole_numbers_may_come_as_text(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-metric", run_id=run, key="m", value=1.0, timestamp="12", step="34")
    assert points(http, run, "m") == [(12, 34, 1.0)]


def test_a_whole_number_is_a_value(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-metric", run_id=run, key="m", value=3, timestamp=1)
    assert latest(http, run)["m"]["value"] == 3.0


@pytest.mark.parametrize("value", ["high", None, ""])
def test_a_value_that_is_no_number_is_refused(http: Http, run: str, value: object) -> None:
    assert http.error("POST", "runs/log-metric", run_id=run, key="m", value=value, timestamp=1)[0] == 400


@pytest.mark.parametrize("value", [[1.0], {"a": 1}, True])
def test_a_value_of_a_strange_kind_is_refused(http: Http, run: str, value: object) -> None:
    assert http.error("POST", "runs/log-metric", run_id=run, key="m", value=value, timestamp=1)[0] == 400


@pytest.mark.parametrize("missing", ["key", "value", "timestamp"])
def test_a_metric_needs_key_value_and_time(http: Http, run: str, missing: str) -> None:
    fields = {"key": "m", "value": 1.0, "timestamp": 1}
    del fields[missing]
    assert http.error("POST", "runs/log-metric", run_id=run, **fields)[0] == 400


def test_a_metric_without_a_step_has_step_zero(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-metric", run_id=run, key="m", value=1.0, timestamp=1)
    assert latest(http, run)["m"].get("step", 0) == 0


@pytest.mark.parametrize(
    "key", ["a", "a b", "val/loss", "val.loss", "a-b_c:d", "ünïcode", "损失", "x" * 250, "0", "a/b/c/d", "system/cpu %"]
)  # fmt: skip
def test_these_are_names_of_metrics(http: Http, run: str, key: str) -> None:
    answer = http.call("POST", "runs/log-metric", run_id=run, key=key, value=1.0, timestamp=1)
    if "%" in key:
        assert answer.status_code == 400
        return
    assert answer.status_code == 200, answer.text
    assert points(http, run, key) == [(1, 0, 1.0)]
    assert latest(http, run)[key]["value"] == 1.0


@pytest.mark.parametrize(
    "key", ["", "x" * 251, "../a", "/a", "a//b", "a/", ".", "..", "a/../b", "a\nb\x00", "a,b", "a*b", "🚂"]
)
def test_these_are_no_names(http: Http, run: str, key: str) -> None:
    assert http.error("POST", "runs/log-metric", run_id=run, key=key, value=1.0, timestamp=1) == BAD
    assert http.error("POST", "runs/log-parameter", run_id=run, key=key, value="1") == BAD
    assert http.error("POST", "runs/set-tag", run_id=run, key=key, value="1") == BAD
    assert http.error("POST", "runs/log-batch", run_id=run, params=[{"key": key, "value": "1"}]) == BAD


@pytest.mark.parametrize(
    ("logged", "wanted"),
    [
        ([(1.0, 5, 0), (2.0, 1, 1)], 2.0),  # the greater step, though earlier
        ([(2.0, 1, 1), (1.0, 5, 0)], 2.0),
        ([(1.0, 5, 0), (2.0, 6, 0)], 2.0),  # the same step: the later
        ([(2.0, 6, 0), (1.0, 5, 0)], 2.0),
        ([(3.0, 5, 0), (2.0, 5, 0)], 3.0),  # step and time the same: the greater value
        ([(2.0, 5, 0), (3.0, 5, 0)], 3.0),
        ([(1.0, 5, -3), (2.0, 5, -2)], 2.0),
        ([(9.0, 5, 3), (1.0, 5, -2)], 9.0),
    ],
)
def test_the_latest_point_has_the_greatest_step_time_and_value(
    http: Http, run: str, logged: list[tuple[float, int, int]], wanted: float
) -> None:
    for value, timestamp, step in logged:
        http.ok("POST", "runs/log-metric", run_id=run, key="single", value=value, timestamp=timestamp, step=step)
    batch = [{"key": "batch", "value": value, "timestamp": at, "step": step} for value, at, step in logged]
    http.log(run, metrics=batch)
    for point in batch:
        http.log(run, metrics=[{**point, "key": "batches"}])
    assert {key: m["value"] for key, m in latest(http, run).items()} == dict.fromkeys(
        ("single", "batch", "batches"), wanted
    )


def test_the_latest_point_tells_its_step_and_time(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": v, "timestamp": v * 10, "step": v} for v in (1, 3, 2)])
    assert latest(http, run)["m"] == {"key": "m", "value": 3.0, "timestamp": 30, "step": 3}


def test_the_same_point_is_kept_once(http: Http, run: str) -> None:
    for _ in range(3):
        http.ok("POST", "runs/log-metric", run_id=run, key="m", value=1.0, timestamp=1, step=1)
        http.log(run, metrics=[{"key": "m", "value": 1.0, "timestamp": 1, "step": 1}] * 2)
    assert points(http, run, "m") == [(1, 1, 1.0)]


def test_points_that_differ_in_one_thing_are_all_kept(http: Http, run: str) -> None:
    for value, timestamp, step in [(1.0, 1, 1), (2.0, 1, 1), (1.0, 2, 1), (1.0, 1, 2)]:
        http.ok("POST", "runs/log-metric", run_id=run, key="m", value=value, timestamp=timestamp, step=step)
    assert points(http, run, "m") == [(1, 1, 1.0), (1, 1, 2.0), (1, 2, 1.0), (2, 1, 1.0)]


def test_a_history_is_ordered_by_time_step_and_value(http: Http, run: str) -> None:
    logged = [(3, 1, 5.0), (1, 9, 7.0), (1, 2, 7.0), (1, 2, 6.0), (2, 0, 1.0)]
    http.log(run, metrics=[{"key": "m", "timestamp": t, "step": s, "value": v} for t, s, v in logged])
    assert points(http, run, "m") == sorted(logged)


def test_the_history_of_an_absent_key_is_empty(http: Http, run: str) -> None:
    assert history(http, run, "none") == {}


def test_a_history_needs_its_run_and_key(http: Http, run: str) -> None:
    assert http.error("GET", "metrics/get-history", run_id=run)[0] == 400
    assert http.error("GET", "metrics/get-history", metric_key="m")[0] in (400, 404)


def test_a_history_without_a_limit_is_whole(http: Http, run: str) -> None:
    for start in range(0, 3000, 1000):
        http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(start, start + 1000)])
    answer = history(http, run, "m")
    assert [m.get("step", 0) for m in answer["metrics"]] == list(range(3000))
    assert "next_page_token" not in answer


def test_a_history_is_paged(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(25)])
    found: list[int] = []
    token, pages = "", 0
    while True:
        answer = history(http, run, "m", max_results=10, **({"page_token": token} if token else {}))
        found += [m.get("step", 0) for m in answer["metrics"]]
        pages += 1
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert (found, pages) == (list(range(25)), 3)


def test_a_history_that_ends_with_its_page_has_no_token(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(10)])
    assert "next_page_token" not in history(http, run, "m", max_results=10)


def test_a_rubbish_token_of_a_history_is_refused(http: Http, run: str) -> None:
    assert (
        http.error("GET", "metrics/get-history", run_id=run, metric_key="m", max_results=2, page_token="?!")[0] == 400
    )


def test_the_client_pages_a_long_history(client: MlflowClient, run: str) -> None:
    client.log_batch(run, metrics=[Metric("m", float(i), i, i) for i in range(1000)])
    client.log_batch(run, metrics=[Metric("m", float(i), i, i) for i in range(1000, 1500)])
    assert [m.step for m in client.get_metric_history(run, "m")] == list(range(1500))


def test_histories_of_many_runs_come_in_one_answer(http: Http, experiment: str) -> None:
    runs = [http.new_run(experiment) for _ in range(3)]
    for number, run in enumerate(runs):
        http.log(run, metrics=[{"key": "m", "value": number, "timestamp": i, "step": i} for i in range(4)])
    query = [("run_id", run) for run in runs] + [("metric_key", "m")]
    answer = http.send("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", params=query)
    assert answer.status_code == 200, answer.text
    found = answer.json()["metrics"]
    assert len(found) == 12
    assert {m["run_id"]: m["value"] for m in found} == dict(zip(runs, [0.0, 1.0, 2.0], strict=True))


def test_a_bulk_of_histories_has_at_most_a_hundred_runs(http: Http) -> None:
    query = [("run_id", f"{i:032x}") for i in range(101)] + [("metric_key", "m")]
    answer = http.send("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", params=query)
    assert answer.status_code == 400


def test_a_bulk_of_histories_has_a_limit_of_points(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(20)])
    query = [("run_id", run), ("metric_key", "m"), ("max_results", "5")]
    found = http.send("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", params=query).json()["metrics"]
    assert len(found) == 5


SAMPLED = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"


def sampled(http: Http, runs: list[str], **fields: object) -> list[Json]:
    query = [("run_ids", run) for run in runs] + [("metric_key", "m"), *((k, str(v)) for k, v in fields.items())]
    answer = http.send("GET", SAMPLED, params=query)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json().get("metrics", [])
    return found


def test_a_sampled_history_keeps_first_and_last(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(1000)])
    steps = [m.get("step", 0) for m in sampled(http, [run], max_results=10)]
    assert (steps[0], steps[-1]) == (0, 999)
    assert steps == sorted(steps)
    assert 10 <= len(steps) <= 13


def test_a_sampled_history_of_few_points_is_whole(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(20)])
    found = sampled(http, [run])
    assert [m.get("step", 0) for m in found] == list(range(20))
    assert {m["run_id"] for m in found} == {run}


def test_a_sampled_history_can_be_cut_to_steps(http: Http, run: str) -> None:
    http.log(run, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(100)])
    steps = [m["step"] for m in sampled(http, [run], start_step=20, end_step=40)]
    assert steps == list(range(20, 41))


def test_a_sample_of_several_runs_takes_the_ends_of_each(http: Http, experiment: str) -> None:
    short, long = http.new_run(experiment), http.new_run(experiment)
    http.log(short, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(7)])
    http.log(long, metrics=[{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(1000)])
    found = sampled(http, [short, long], max_results=5)
    assert {(m["run_id"], m.get("step", 0)) for m in found} >= {(short, 0), (short, 6), (long, 0), (long, 999)}


@pytest.mark.parametrize(
    "fields",
    [{"max_results": 0}, {"max_results": 2501}, {"start_step": 5}, {"end_step": 5}, {"start_step": 9, "end_step": 5}],
)
def test_a_sample_with_odd_bounds_is_refused(http: Http, run: str, fields: dict[str, int]) -> None:
    query = {"run_ids": run, "metric_key": "m", **fields}
    assert http.send("GET", SAMPLED, params=query).status_code == 400


def test_a_sample_of_no_run_is_refused(http: Http) -> None:
    assert http.send("GET", SAMPLED, params={"metric_key": "m"}).status_code == 400


def test_metrics_of_two_runs_do_not_mix(http: Http, experiment: str) -> None:
    one, two = http.new_run(experiment), http.new_run(experiment)
    http.log(one, metrics=[{"key": "m", "value": 1, "timestamp": 1}])
    http.log(two, metrics=[{"key": "m", "value": 2, "timestamp": 1}])
    assert points(http, one, "m") == [(1, 0, 1.0)]
    assert points(http, two, "m") == [(1, 0, 2.0)]


def test_a_metric_can_belong_to_a_dataset_and_a_model(http: Http, experiment: str, run: str) -> None:
    body = {"experiment_id": experiment, "name": "m", "source_run_id": run}
    model = http.ok("POST", "logged-models", **body)["model"]["info"]["model_id"]
    fields = {"key": "auc", "value": 0.75, "timestamp": 1, "step": 2, "model_id": model}
    http.ok("POST", "runs/log-metric", run_id=run, dataset_name="d", dataset_digest="7", **fields)
    assert latest(http, run)["auc"]["value"] == 0.75
    found = http.ok("GET", f"logged-models/{model}")["model"]["data"]["metrics"]
    assert [(m["key"], m["value"], m["step"], m["dataset_name"], m["dataset_digest"], m["run_id"]) for m in found] == [
        ("auc", 0.75, 2, "d", "7", run)
    ]
