"""The protocol itself: spellings, types, bodies, content types, unknown routes, and the form of answers and errors."""

from __future__ import annotations

import json

import pytest
import requests
from tests.mlflow.http import BAD, GONE, Http, refusal

JSON = {"Content-Type": "application/json"}


def test_health_says_ok(http: Http) -> None:
    answer = http.send("GET", "/health")
    assert (answer.status_code, answer.text) == (200, "OK")


def test_the_version_is_one(http: Http) -> None:
    from packaging.version import Version

    assert Version(http.send("GET", "/version").text.strip()).major >= 3


def test_the_server_says_what_it_can(http: Http) -> None:
    found = http.send("GET", "/api/3.0/mlflow/server-info").json()
    assert found["artifact_serving_enabled"] is True
    assert found["workspaces_enabled"] is False


def test_a_workspace_is_refused_rather_than_answered_out_of_another_place(http: Http) -> None:
    named = {"X-MLFLOW-WORKSPACE": "team-a"}
    found = http.send("GET", "experiments/get", params={"experiment_id": "0"}, headers=named).json()
    assert found["error_code"] == "FEATURE_DISABLED"
    assert found["message"].startswith("Workspace APIs are not available")
    assert http.send("GET", "server-info", headers=named).status_code == 200
    blank = http.send("GET", "experiments/get", params={"experiment_id": "0"}, headers={"X-MLFLOW-WORKSPACE": ""})
    assert blank.status_code == 200


@pytest.mark.parametrize("prefix", ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"])
def test_calls_are_there_under_both_prefixes(http: Http, prefix: str) -> None:
    answer = http.send("GET", f"{prefix}/experiments/get", params={"experiment_id": "0"})
    assert answer.json()["experiment"]["name"] == "Default"


def test_answers_are_json(http: Http) -> None:
    answer = http.send("GET", "experiments/get", params={"experiment_id": "0"})
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"


def test_errors_are_json_with_code_and_message(http: Http) -> None:
    answer = http.send("GET", "runs/get", params={"run_id": "0" * 32})
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    body = answer.json()
    assert body["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "0" * 32 in body["message"]


def test_nothing_to_say_is_an_empty_object(http: Http, run: str) -> None:
    assert http.send("POST", "runs/set-tag", json={"run_id": run, "key": "a", "value": "b"}).json() == {}


def test_names_of_answers_are_snake_case(http: Http, run: str) -> None:
    info = http.get_run(run)["info"]
    assert {"run_id", "run_uuid", "run_name", "experiment_id", "artifact_uri", "lifecycle_stage", "start_time"} <= set(
        info
    )


def test_a_request_may_be_in_camel_case(http: Http, experiment: str) -> None:
    body = {"experimentId": experiment, "startTime": 5, "runName": "camel", "userId": "u"}
    info = http.ok("POST", "runs/create", **body)["run"]["info"]
    assert (info["experiment_id"], info["start_time"], info["run_name"]) == (experiment, 5, "camel")


def test_inner_names_may_be_in_camel_case(http: Http, run: str) -> None:
    inner = {"dataset": {"name": "d", "digest": "1", "sourceType": "s", "source": "x"}}
    http.ok("POST", "runs/log-inputs", run_id=run, datasets=[inner])
    assert http.get_run(run)["inputs"]["dataset_inputs"][0]["dataset"]["source_type"] == "s"


def test_one_field_in_both_spellings_is_refused(http: Http, experiment: str) -> None:
    assert http.error("POST", "runs/create", experiment_id=experiment, experimentId=experiment)[0] == 400


def test_a_query_may_be_in_camel_case_or_not(http: Http, run: str) -> None:
    assert http.ok("GET", "runs/get", run_id=run)["run"]["info"]["run_id"] == run


@pytest.mark.parametrize("field", ["run_uuid", "run_id"])
def test_a_run_has_two_names_in_requests(http: Http, run: str, field: str) -> None:
    assert http.ok("GET", "runs/get", **{field: run})["run"]["info"]["run_id"] == run
    http.ok("POST", "runs/log-metric", **{field: run}, key="m", value=1.0, timestamp=1)
    http.ok("POST", "runs/set-tag", **{field: run}, key="t", value="1")
    assert http.ok("GET", "metrics/get-history", **{field: run}, metric_key="m")["metrics"]


def test_unknown_fields_are_ignored(http: Http, run: str) -> None:
    http.ok("POST", "runs/set-tag", run_id=run, key="a", value="b", colour="blue", nested={"deep": [1]})
    assert http.ok("GET", "runs/get", run_id=run, colour="blue")["run"]["info"]["run_id"] == run


def test_whole_numbers_may_be_text(http: Http, experiment: str) -> None:
    assert http.get_run(http.new_run(experiment, start_time="1234567890123"))["info"]["start_time"] == 1234567890123


def test_whole_numbers_are_numbers_in_answers(http: Http, experiment: str) -> None:
    text = http.send("GET", "runs/get", params={"run_id": http.new_run(experiment, start_time=1234567890123)}).text
    assert '"1234567890123"' not in text
    assert "1234567890123" in text


@pytest.mark.parametrize("bad", ["abc", "1e3x", ""])
def test_a_time_that_is_none_is_refused(http: Http, experiment: str, bad: object) -> None:
    assert http.call("POST", "runs/create", experiment_id=experiment, start_time=bad).status_code == 400


@pytest.mark.parametrize("bad", [[1], {"a": 1}])
def test_a_time_of_a_strange_kind_is_refused(http: Http, experiment: str, bad: object) -> None:
    assert http.error("POST", "runs/create", experiment_id=experiment, start_time=bad) == BAD


@pytest.mark.parametrize("view", ["ACTIVE_ONLY", "ALL"])
def test_kinds_are_words(http: Http, experiment: str, run: str, view: str) -> None:
    found = http.ok("POST", "runs/search", experiment_ids=[experiment], run_view_type=view)
    assert [r["info"]["run_id"] for r in found["runs"]] == [run]


def test_kinds_may_be_numbers(http: Http, experiment: str, run: str) -> None:
    found = http.ok("POST", "runs/search", experiment_ids=[experiment], run_view_type=3)
    assert [r["info"]["run_id"] for r in found["runs"]] == [run]


def test_a_list_of_a_query_is_a_parameter_repeated(http: Http, name: str) -> None:
    ids = [http.ok("POST", "experiments/create", name=f"{name}{i}")["experiment_id"] for i in range(2)]
    query = [
        ("filter", f"name LIKE '{name}%'"),
        ("order_by", "name DESC"),
        ("order_by", "experiment_id"),
        ("max_results", "5"),
    ]
    found = http.send("GET", "experiments/search", params=query).json()["experiments"]
    assert [e["experiment_id"] for e in found] == ids[::-1]


def test_empty_lists_are_left_out(http: Http, run: str) -> None:
    data = http.get_run(run)["data"]
    assert "metrics" not in data
    assert "params" not in data


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/json"])
def test_a_body_of_json_may_say_its_letters(http: Http, run: str, kind: str) -> None:
    body = json.dumps({"run_id": run, "key": "a", "value": "ü"}, ensure_ascii=False).encode()
    assert http.send("POST", "runs/set-tag", data=body, headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_a_body_of_another_kind_is_refused(http: Http, run: str, kind: str) -> None:
    body = json.dumps({"run_id": run, "key": "a", "value": "b"})
    assert http.send("POST", "runs/set-tag", data=body, headers={"Content-Type": kind}).status_code == 400


@pytest.mark.parametrize("body", ["{", "null", "{'a': 1}", '{"a": 1,}', "\x00"])
def test_a_body_that_is_no_json_is_refused(http: Http, body: str) -> None:
    answer = http.send("POST", "runs/set-tag", data=body.encode(), headers=JSON)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("body", ["[1]", '"text"', "7"])
def test_a_body_of_json_that_is_no_object_is_refused(http: Http, body: str) -> None:
    assert refusal(http.send("POST", "runs/set-tag", data=body.encode(), headers=JSON))[0] == 400


def test_a_broken_body_is_refused_in_the_form_of_all_errors(http: Http) -> None:
    answer = http.send("POST", "runs/set-tag", data=b"{", headers=JSON)
    assert refusal(answer)[0] == 400


def test_a_body_that_is_empty_lacks_its_fields(http: Http) -> None:
    assert http.send("POST", "runs/set-tag", headers=JSON).status_code == 400


@pytest.mark.parametrize("path", ["experiments/none", "runs/frobnicate", "nothing"])
def test_an_unknown_call_is_404(http: Http, path: str) -> None:
    assert http.send("GET", path).status_code == 404
    assert http.send("POST", path, json={}).status_code == 404


def test_a_call_with_the_wrong_method_is_405_or_404(http: Http) -> None:
    assert http.send("GET", "runs/create").status_code in (404, 405)
    assert http.send("DELETE", "runs/create").status_code in (404, 405)


def test_a_delete_has_a_body(http: Http, name: str) -> None:
    http.ok("POST", "registered-models/create", name=name, tags=[{"key": "a", "value": "1"}])
    http.ok("DELETE", "registered-models/delete-tag", name=name, key="a")
    assert "tags" not in http.ok("GET", "registered-models/get", name=name)["registered_model"]
    http.ok("DELETE", "registered-models/delete", name=name)
    assert http.error("GET", "registered-models/get", name=name) == GONE


def test_a_missing_field_is_named(http: Http, run: str) -> None:
    answer = http.send("POST", "runs/set-tag", json={"run_id": run, "value": "b"})
    assert refusal(answer) == BAD
    assert "key" in answer.json()["message"]


@pytest.mark.parametrize("value", [5, True, ["a"], {"a": 1}])
def test_a_field_of_the_wrong_type_is_refused(http: Http, run: str, value: object) -> None:
    assert http.error("POST", "runs/set-tag", run_id=run, key="a", value=value)[0] == 400
    assert http.error("POST", "runs/set-tag", run_id=run, key=value, value="a")[0] == 400


def test_null_is_a_field_left_out(http: Http, experiment: str) -> None:
    info = http.ok("POST", "runs/create", experiment_id=experiment, start_time=1, run_name=None, tags=None)["run"][
        "info"
    ]
    assert info["run_name"]


def test_unicode_goes_there_and_back(http: Http, run: str) -> None:
    for text in ("ünïcode", "漢字", "🚂🚃", "‮right to left", "e\u0301", "\u2028"):
        http.ok("POST", "runs/set-tag", run_id=run, key="t", value=text)
        assert {t["key"]: t["value"] for t in http.get_run(run)["data"]["tags"]}["t"] == text


def test_a_deep_body_is_no_server_error(http: Http) -> None:
    body = '{"tags":' + "[" * 5000 + "]" * 5000 + "}"
    answer = http.send("POST", "runs/set-tag", data=body.encode(), headers=JSON)
    assert 400 <= answer.status_code < 500


def test_a_connection_is_used_again(uri: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            answer = session.get(f"{uri}/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}, timeout=30)
            assert answer.headers.get("Connection", "keep-alive").lower() == "keep-alive"


def test_a_client_may_name_itself_and_bring_a_token(http: Http) -> None:
    headers = {"User-Agent": "mlflow-python-client/3.18.0", "Authorization": "Bearer anything"}
    answer = http.send("GET", "experiments/get", params={"experiment_id": "0"}, headers=headers)
    assert answer.status_code in (200, 401)
