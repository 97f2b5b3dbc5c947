"""Params are written once; tags as often as you like; long values are cut."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from mlflow.entities import Param, RunTag
from tests.mlflow.http import BAD, GONE, Http, refused

TEXTS = ["", "None", " ", "0", "ünïcode ✓ 🚂", "quotes \"'`", "two\nlines\tand tab", "a=b;c", "%s %%", "\\", "<b>&amp;"]


def params(http: Http, run: str) -> dict[str, str]:
    return {p["key"]: p.get("value", "") for p in http.get_run(run)["data"].get("params", [])}


def tags(http: Http, run: str) -> dict[str, str]:
    return {t["key"]: t.get("value", "") for t in http.get_run(run)["data"].get("tags", [])}


@pytest.mark.parametrize("value", TEXTS)
def test_a_param_is_kept_as_it_is(client: MlflowClient, run: str, value: str) -> None:
    client.log_param(run, "p", value)
    assert client.get_run(run).data.params["p"] == value


@pytest.mark.parametrize("value", TEXTS)
def test_a_tag_is_kept_as_it_is(client: MlflowClient, run: str, value: str) -> None:
    client.set_tag(run, "t", value)
    assert client.get_run(run).data.tags["t"] == value


@pytest.mark.parametrize(
    ("value", "text"), [(None, "None"), (1, "1"), (0.1, "0.1"), (True, "True"), ([1, "a"], "[1, 'a']")]
)
def test_the_client_turns_values_into_text(client: MlflowClient, run: str, value: object, text: str) -> None:
    client.log_param(run, "p", value)
    client.set_tag(run, "t", value)
    data = client.get_run(run).data
    assert (data.params["p"], data.tags["t"]) == (text, text)


def test_the_same_param_again_is_fine(client: MlflowClient, run: str) -> None:
    for _ in range(3):
        client.log_param(run, "p", "1")
    assert client.get_run(run).data.params == {"p": "1"}


def test_another_value_of_a_param_is_refused(client: MlflowClient, run: str) -> None:
    client.log_param(run, "p", "1")
    with refused("INVALID_PARAMETER_VALUE", "Changing param values is not allowed"):
        client.log_param(run, "p", "2")
    assert client.get_run(run).data.params == {"p": "1"}


def test_a_refusal_names_the_param_and_its_values(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-parameter", run_id=run, key="depth", value="17")
    message = http.call("POST", "runs/log-parameter", run_id=run, key="depth", value="18").json()["message"]
    assert all(word in message for word in ("depth", "17", "18"))


def test_an_empty_param_is_a_value_like_any_other(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-parameter", run_id=run, key="p", value="")
    assert http.error("POST", "runs/log-parameter", run_id=run, key="p", value="x") == BAD
    assert params(http, run) == {"p": ""}


def test_a_param_without_a_value_is_empty(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-parameter", run_id=run, key="p")
    assert params(http, run) == {"p": ""}


def test_params_in_two_cases_are_two_params(client: MlflowClient, run: str) -> None:
    client.log_batch(run, params=[Param("Depth", "1"), Param("depth", "2")])
    assert client.get_run(run).data.params == {"Depth": "1", "depth": "2"}


def test_metric_param_and_tag_may_share_a_name(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "x", 1.0)
    client.log_param(run, "x", "p")
    client.set_tag(run, "x", "t")
    data = client.get_run(run).data
    assert (data.metrics["x"], data.params["x"], data.tags["x"]) == (1.0, "p", "t")


def test_a_param_of_6000_characters_is_kept_whole(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-parameter", run_id=run, key="p", value="ü" * 6000)
    assert params(http, run)["p"] == "ü" * 6000


def test_a_longer_param_is_cut(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-parameter", run_id=run, key="p", value="a" * 6001)
    http.log(run, params=[{"key": "q", "value": "b" * 9000}])
    assert params(http, run) == {"p": "a" * 6000, "q": "b" * 6000}


def test_a_param_that_was_cut_can_be_logged_again(http: Http, run: str) -> None:
    for _ in range(2):
        http.ok("POST", "runs/log-parameter", run_id=run, key="p", value="a" * 6500)
        http.log(run, params=[{"key": "p", "value": "a" * 6500}])


def test_a_tag_of_8000_characters_is_kept_whole_and_a_longer_one_cut(http: Http, run: str) -> None:
    http.ok("POST", "runs/set-tag", run_id=run, key="whole", value="a" * 8000)
    http.ok("POST", "runs/set-tag", run_id=run, key="cut", value="a" * 8001)
    http.log(run, tags=[{"key": "batch", "value": "b" * 9999}])
    found = tags(http, run)
    assert (len(found["whole"]), len(found["cut"]), found["batch"]) == (8000, 8000, "b" * 8000)


@pytest.mark.parametrize("value", [7, ["a"], {"a": 1}, True])
def test_a_param_is_text_on_the_wire(http: Http, run: str, value: object) -> None:
    assert http.error("POST", "runs/log-parameter", run_id=run, key="p", value=value) == BAD


@pytest.mark.parametrize("path", ["runs/log-parameter", "runs/set-tag"])
def test_a_key_is_needed(http: Http, run: str, path: str) -> None:
    assert http.error("POST", path, run_id=run, value="1") == BAD


def test_a_tag_is_overwritten(client: MlflowClient, run: str) -> None:
    client.set_tag(run, "t", "1")
    client.set_tag(run, "t", "2")
    assert client.get_run(run).data.tags["t"] == "2"


def test_a_tag_is_deleted(client: MlflowClient, run: str) -> None:
    client.set_tag(run, "t", "1")
    client.set_tag(run, "u", "2")
    client.delete_tag(run, "t")
    found = client.get_run(run).data.tags
    assert "t" not in found
    assert found["u"] == "2"


def test_an_absent_tag_is_not_deleted(http: Http, run: str) -> None:
    assert http.error("POST", "runs/delete-tag", run_id=run, key="none") == GONE


def test_a_deleted_tag_can_be_set_again(client: MlflowClient, run: str) -> None:
    client.set_tag(run, "t", "1")
    client.delete_tag(run, "t")
    client.set_tag(run, "t", "3")
    assert client.get_run(run).data.tags["t"] == "3"


def test_the_note_of_a_run_is_a_tag(client: MlflowClient, run: str) -> None:
    client.set_tag(run, "mlflow.note.content", "# what it was for\n")
    assert client.get_run(run).data.tags["mlflow.note.content"] == "# what it was for\n"


def test_many_tags_and_params_come_back_together(client: MlflowClient, run: str) -> None:
    client.log_batch(run, params=[Param(f"p{i}", str(i)) for i in range(100)])
    client.log_batch(run, tags=[RunTag(f"t{i}", str(i)) for i in range(100)])
    data = client.get_run(run).data
    assert data.params == {f"p{i}": str(i) for i in range(100)}
    assert {f"t{i}": str(i) for i in range(100)}.items() <= data.tags.items()
