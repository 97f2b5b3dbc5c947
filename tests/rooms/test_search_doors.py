"""Searching over HTTP and on the command line; comparisons and saved views."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.cli.root import root
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Metric, Tracking
from mainspring.tracking.comparing import compared
from mainspring.tracking.model import CodeState, Environment, View
from mainspring.tracking.views import Views

BASE = "http://127.0.0.1:7600"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Wiring]:
    made = open_house(load(tmp_path, environ={}))
    yield made
    made.close()


@pytest.fixture
def ids(house: Wiring) -> dict[str, str]:
    """Three runs of two experiments, by name."""
    tracking = house.get(Tracking)
    made = {}
    for name, loss, experiment in (("a", 0.1, "flights"), ("b", 0.2, "flights"), ("c", float("nan"), "trains")):
        packages = {"numpy": "2.0" if name == "a" else "2.1"}
        run = tracking.create_run(
            experiment,
            name=name,
            code=CodeState(commit=name * 40, diff=f"+{name}"),
            environment=Environment(python="3.11", packages=packages),
        )
        tracking.log_batch(run.id, metrics=[Metric("loss", loss, 0, 1)], params={"lr": str(loss)}, tags={"t": name})
        tracking.log_input(run.id, f"datasets/flights/{1 if name == 'a' else 2}")
        made[name] = run.id
    return made


@pytest.fixture
def client(house: Wiring) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(house, rooms=("tracking",)), base_url=BASE) as made:
        yield made


def command(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(root, ["--data", str(folder / ".mainspring"), *words], catch_exceptions=False)


def test_runs_are_searched_over_http(client: TestClient[Litestar], ids: dict[str, str]) -> None:
    asked = {"filter": "metrics.loss < 1 OR tags.t = 'c'", "order_by": "metrics.loss DESC, name", "limit": "2"}
    first = client.get("/api/v1/runs", params=asked).json()
    assert [run["name"] for run in first["runs"]] == ["b", "a"]
    rest = client.get("/api/v1/runs", params={**asked, "page_token": first["next_page_token"]}).json()
    assert [run["metrics"]["loss"]["value"] for run in rest["runs"]] == ["NaN"]
    assert rest["next_page_token"] == ""


def test_an_answer_has_only_the_fields_that_were_asked_for(client: TestClient[Litestar], ids: dict[str, str]) -> None:
    asked = {"experiment": "flights", "fields": "name, params, metrics.loss, inputs, code", "order_by": "name"}
    (first, _) = client.get("/api/v1/runs", params=asked).json()["runs"]
    assert set(first) == {"id", "name", "params", "metrics", "inputs", "code"}
    assert (first["params"], first["code"]["commit"]) == ({"lr": "0.1"}, "a" * 40)
    whole = client.get("/api/v1/runs", params={"limit": 1}).json()["runs"][0]
    assert {"experiment", "status", "tags", "inputs"} <= set(whole)
    assert "environment" not in whole


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"filter": "metrics.loss <"}, 400, "found the end"),
        ({"filter": "los < 1"}, 400, "no attribute"),
        ({"order_by": "loss"}, 400, "no attribute"),
        ({"fields": "losses"}, 400, "no attribute"),
        ({"view": "gone"}, 400, "no view"),
        ({"limit": "0"}, 400, "a page of 0"),
        ({"page_token": "x"}, 400, "page token"),
        ({"experiment": "fligths"}, 404, "no experiment"),
        ({"order_by": ", ".join(f"metrics.m{n}" for n in range(21))}, 400, "more than 20 fields"),
        ({"filter": " AND ".join([f"metrics.m NOT IN ({', '.join(map(str, range(150)))})"] * 2)}, 400, "more than 200"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_and_says_why(
    client: TestClient[Litestar], ids: dict[str, str], asked: dict[str, str], status: int, said: str
) -> None:
    answer = client.get("/api/v1/runs", params=asked)
    assert answer.status_code == status
    assert said in answer.json()["what"]
    assert answer.json()["hint"]


def test_names_to_complete_a_filter_with(client: TestClient[Litestar], ids: dict[str, str]) -> None:
    assert client.get("/api/v1/search-keys").json() == {"metrics": ["loss"], "params": ["lr"], "tags": ["t"]}
    assert client.get("/api/v1/search-keys", params={"experiment": "trains"}).json()["metrics"] == ["loss"]


def test_groups_are_counted_over_http_on_the_command_line_and_on_the_page(
    client: TestClient[Litestar], ids: dict[str, str], tmp_path: Path
) -> None:
    asked = {"by": "params.lr", "metric": "loss", "filter": "experiment = 'flights'"}
    found = client.get("/api/v1/runs/groups", params=asked).json()
    assert found == {
        "by": "params.lr",
        "groups": [
            {"value": "0.1", "runs": 1, "means": {"loss": 0.1}},
            {"value": "0.2", "runs": 1, "means": {"loss": 0.2}},
        ],
        "cut": False,
    }
    refused = client.get("/api/v1/runs/groups", params={"by": "metrics.loss"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    words = ("runs", "groups", "experiment", "--metric", "loss")
    shown = command(tmp_path, *words).output.splitlines()
    assert [line.split() for line in shown] == [
        ["experiment", "runs", "loss"],
        ["flights", "2", "0.15"],
        ["trains", "1"],
    ]
    assert json.loads(command(tmp_path, *words, "--json").output)["groups"][0]["runs"] == 2
    page = client.get("/runs", params={"group": "tags.t", "filter": "experiment = 'flights'"}).text
    assert "tags.t+%3D+%27a%27" in page, "each group leads to its runs"
    wrong = client.get("/runs", params={"group": "metrics.loss"})
    assert wrong.status_code == 400
    assert "use one param, tag or attribute" in wrong.text


def test_a_wide_table_of_runs_has_fewer_rows_and_a_wider_one_is_refused(
    client: TestClient[Litestar], house: Wiring
) -> None:
    for _ in range(55):
        house.get(Tracking).create_run("many")
    names = ["duration", *(f"params.p{n}" for n in range(60))]
    wide = client.get("/runs", params={"columns": names[:50]}).text
    assert (wide.count('name="run"'), "Next 50" in wide) == (50, True)
    assert 'title="sort by duration"' in wide
    refused = client.get("/runs", params={"columns": names})
    assert (refused.status_code, "choose at most 50" in refused.text) == (400, True)


def test_runs_are_compared_over_http(client: TestClient[Litestar], ids: dict[str, str]) -> None:
    found = client.get("/api/v1/runs/compare", params={"run": [ids["a"], ids["b"], ids["c"]]}).json()
    assert found["runs"] == [ids["a"], ids["b"], ids["c"]]
    assert found["params"] == {"lr": ["0.1", "0.2", "nan"]}
    assert found["metrics"] == {"loss": [0.1, 0.2, "NaN"]}
    assert found["attributes"] == {"experiment": ["flights", "flights", "trains"]}
    assert found["data"] == {"flights (training)": ["datasets/flights/1", "datasets/flights/2", "datasets/flights/2"]}
    assert found["environment"] == {"package numpy": ["2.0", "2.1", "2.1"]}
    assert found["code"]["commit"] == ["a" * 40, "b" * 40, "c" * 40]
    assert "-+a" in found["changes"][0] and "++b" in found["changes"][0]
    assert client.get("/api/v1/runs/compare").status_code == 400


def test_a_run_does_not_differ_from_itself(house: Wiring, ids: dict[str, str]) -> None:
    run = house.get(Tracking).get(ids["c"])
    assert compared([run, run]).sections() == {}
    with pytest.raises(Invalid):
        compared([])


def test_views_are_saved_changed_and_removed(client: TestClient[Litestar], house: Wiring) -> None:
    body = {"filter": "metrics.loss < 0.15", "order_by": ["metrics.loss"], "columns": ["name", "metrics.loss"]}
    assert client.put("/api/v1/views/best", json=body).json()["filter"] == "metrics.loss < 0.15"
    client.put("/api/v1/views/best", json={**body, "experiment": "flights"})
    (found,) = client.get("/api/v1/views").json()
    assert (found["name"], found["experiment"], found["columns"]) == ("best", "flights", ["name", "metrics.loss"])
    assert client.get("/api/v1/views/bets").status_code == 404
    for wrong in ({"filter": "loss <"}, {"order_by": ["x y z"]}, {"columns": ["nothing"]}):
        assert client.put("/api/v1/views/other", json=wrong).status_code == 400
    assert client.delete("/api/v1/views/best").status_code == 204
    assert client.get("/api/v1/views").json() == []
    with pytest.raises(NotFound):
        house.get(Views).remove("best")


def test_a_view_is_saved_and_used_on_the_command_line(house: Wiring, ids: dict[str, str], tmp_path: Path) -> None:
    words = ("--filter", "metrics.loss < 1", "--order-by", "metrics.loss DESC", "--column", "metrics.loss")
    assert "best is saved" in command(tmp_path, "views", "save", "best", *words).output
    shown = command(tmp_path, "runs", "ls", "--saved", "best").output.splitlines()
    assert shown[0].split() == ["id", "metrics.loss"]
    assert [line.split()[0] for line in shown[1:]] == [ids["b"], ids["a"]]
    assert "best" in command(tmp_path, "views", "ls").output
    assert house.get(Views).list()[0] == house.get(Views).get("best")
    assert isinstance(house.get(Views).get("best"), View)
    command(tmp_path, "views", "rm", "best")
    assert "no views yet" in command(tmp_path, "views", "ls").output


def test_runs_are_listed_and_compared_on_the_command_line(ids: dict[str, str], tmp_path: Path) -> None:
    words = ("--filter", "tags.t != 'c'", "--order-by", "name", "--fields", "name, params.lr, metrics", "--json")
    found = json.loads(command(tmp_path, "runs", "ls", *words).output)
    assert [(run["name"], run["params"]["lr"]) for run in found] == [("a", "0.1"), ("b", "0.2")]
    assert ids["c"] not in command(tmp_path, "runs", "ls", "--experiment", "flights").output
    assert "no run is like that" in command(tmp_path, "runs", "ls", "--filter", "name = 'x'").output
    with pytest.raises(Invalid, match="nothing to differ from"):
        command(tmp_path, "runs", "compare", ids["a"], ids["a"])
    text = command(tmp_path, "runs", "compare", ids["a"], ids["b"]).output
    for part in ("params", "lr", "0.2", "package numpy", "datasets/flights/2", "commit", "++b"):
        assert part in text
    plain = json.loads(command(tmp_path, "runs", "compare", ids["a"], ids["b"], "--json").output)
    assert plain["metrics"] == {"loss": [0.1, 0.2]}


def test_a_filter_that_is_being_written_may_go_on_with_what_there_is(
    client: TestClient[Litestar], ids: dict[str, str]
) -> None:
    def shown(text: str, **more: str) -> list[str]:
        answer = client.get("/api/v1/search-completions", params={"filter": text, **more})
        return [f"{entry['text']}|{entry['kind']}" for entry in answer.json()]

    assert shown("params.l") == ["params.lr |name"]
    assert shown("params.lr ")[:2] == ["params.lr = |operator", "params.lr != |operator"]
    assert shown("params.lr = ") == ["params.lr = '0.1' |value", "params.lr = '0.2' |value", "params.lr = 'nan' |value"]
    assert shown("params.lr = '0.2", experiment="flights") == ["params.lr = '0.2' |value"]
    assert shown("NOT (experiment = fli") == ["NOT (experiment = 'flights' |value"]
    assert shown("metrics.loss > ") == []
    assert client.get("/api/v1/search-completions", params={"experiment": "fligths"}).status_code == 404
