"""The registry over HTTP and on the command line, with runs and datasets around it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sklearn.linear_model import LinearRegression

from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.registry.commands import group
from mainspring.registry.grants import GrantRequest
from mainspring.registry.webhook_commands import group as webhooks
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Tracking

BASE = "http://127.0.0.1:7600"
FRAME = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
NAME = "Café (v2), daily"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Wiring]:
    made = open_house(load(tmp_path, environ={"MAINSPRING_WEBHOOKS_ALLOW_LOCAL": "true"}))
    yield made
    made.close()


@pytest.fixture
def client(house: Wiring) -> Iterator[TestClient[Any]]:
    app = create_app(house, rooms=("data", "tracking", "registry", "governance"))
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def trained(house: Wiring) -> str:
    """A model with two versions of two runs that read two versions of a dataset."""
    data, tracking, registry = house.get(Data), house.get(Tracking), house.get(Registry)
    for number, slope in ((1, 1.0), (2, 2.0)):
        read = data.ingest("rows", FRAME.with_columns(y=pl.col("a") * slope))
        run = tracking.create_run("lines", name=f"line {number}")
        tracking.log_input(run.id, read.ref)
        tracking.log_batch(run.id, params={"slope": str(slope), "same": "x"})
        model = LinearRegression().fit(FRAME.to_numpy(), slope * FRAME["a"].to_numpy())
        registry.register(NAME, model, example=FRAME, run_id=run.id, metrics={"mae": slope}, reference=read.ref)
    return NAME


def ask(client: TestClient[Any], method: str, path: str, body: object = None, status: int = 200) -> Any:
    answer = client.request(method, f"/api/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def say(house: Wiring, *words: str) -> str:
    done = CliRunner().invoke(group, list(words), obj=lambda: house)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


def test_models_are_made_changed_found_and_deleted(client: TestClient[Any]) -> None:
    ask(client, "POST", "models", {"name": NAME, "tags": {"team": "ops", "old": "x"}}, 201)
    changed = ask(client, "PATCH", f"models/{NAME}", {"description": "lines", "tags": {"old": None}, "name": "lines"})
    assert (changed["name"], changed["description"], changed["tags"]) == ("lines", "lines", {"team": "ops"})
    assert ask(client, "GET", f"models/{NAME}")["name"] == "lines"
    found = ask(client, "GET", "search/models?filter=tags.team = 'ops'")
    assert [model["name"] for model in found["items"]] == ["lines"]
    ask(client, "DELETE", "models/lines", status=204)
    ask(client, "GET", "models/lines", status=404)


def test_a_version_is_described_staged_promoted_copied_and_deleted(client: TestClient[Any], trained: str) -> None:
    path = f"models/{trained}/versions/2"
    assert ask(client, "PATCH", path, {"description": "steep", "tags": {"k": "v"}})["tags"] == {"k": "v"}
    assert ask(client, "POST", f"{path}/stage", {"stage": "production"})["stage"] == "Production"
    assert ask(client, "GET", f"models/{trained}/stages/production")["versions"] == [2]
    assert ask(client, "POST", f"{path}/promote", {"reason": "good"})["alias"] == "champion"
    assert ask(client, "GET", f"models/{trained}/stage-history")[0]["before"] == "None"
    assert ask(client, "POST", f"{path}/copy", {"to": "lines", "key": "once"}, 201)["number"] == 1
    assert ask(client, "POST", f"{path}/copy", {"to": "lines", "key": "once"}, 201)["number"] == 1
    assert client.get(f"/api/v1/{path}/files/example.json").status_code == 200
    ask(client, "PATCH", path, {"name": "x"}, 400)
    ask(client, "DELETE", path, status=204)
    assert ask(client, "GET", f"models/{trained}")["aliases"] == {}


def test_a_difference_names_data_params_metrics_and_files(client: TestClient[Any], trained: str) -> None:
    found = ask(client, "GET", f"models/{trained}/diff?before=1&after=latest")
    assert found["params"] == {"slope": ["1.0", "2.0"]}
    assert found["metrics"] == {"mae": [1.0, 2.0]}
    assert found["data"] == {"added": ["datasets/rows/2"], "removed": ["datasets/rows/1"]}
    assert "model.skops" in found["files"]
    assert (found["same_package"], found["breaking"], found["schema"]) == (False, [], {})


def _refs(kin: Mapping[str, Any]) -> set[str]:
    return {kin["ref"], *(ref for entry in kin["kin"] for ref in _refs(entry))}


def test_a_lineage_is_read_in_both_directions(client: TestClient[Any], house: Wiring, trained: str) -> None:
    run = house.get(Registry).get(trained, 1).run_id
    house.get(Registry).tell_users(lambda model, version: ["deployments/live"] if version == 1 else [])
    back = ask(client, "GET", f"lineage?ref=models/{trained}/1")
    assert _refs(back) == {f"models/{trained}/1", f"runs/{run}", "datasets/rows/1", "deployments/live"}
    on = ask(client, "GET", "lineage?ref=datasets/rows/1")
    assert _refs(on) == {"datasets/rows/1", f"runs/{run}", f"models/{trained}/1", "deployments/live"}
    ask(client, "GET", "lineage?ref=nonsense", status=400)
    ask(client, "GET", "lineage?ref=datasets/rows/9", status=404)


def test_pages_of_odd_names_and_of_versions_without_a_package_are_whole(
    client: TestClient[Any], house: Wiring, trained: str
) -> None:
    from mainspring.registry import Origin

    house.get(Registry).add_version("elsewhere", Origin(source="s3://bucket/m"), description="kept in a bucket")
    for path in ("models", f"models/{trained}", f"models/{trained}/2", "models/elsewhere", "models/elsewhere/1"):
        page = client.get(f"/{path}", headers={"Accept": "text/html"})
        assert page.status_code == 200, page.text
    assert "s3://bucket/m" in page.text
    assert "not kept here" in page.text


def test_every_command_speaks_json(house: Wiring, trained: str) -> None:
    assert json.loads(say(house, "ls", "--json"))[0]["name"] == trained
    assert [row["number"] for row in json.loads(say(house, "ls", trained, "--filter", "number > 1", "--json"))] == [2]
    assert json.loads(say(house, "show", trained, "1", "--json"))["run_id"]
    assert json.loads(say(house, "promote", trained, "2", "--json"))["alias"] == "champion"
    assert json.loads(say(house, "stage", trained, "2", "staging", "--json"))["stage"] == "Staging"
    assert json.loads(say(house, "stage", trained, "--json"))["stages"]["Staging"] == [2]
    assert json.loads(say(house, "diff", trained, "1", "2", "--json"))["params"]
    assert json.loads(say(house, "lineage", f"models/{trained}/2", "--json"))["kin"]
    assert json.loads(say(house, "describe", trained, "2", "--text", "x", "--tag", "a=b", "--json"))["tags"] == {
        "a": "b"
    }
    assert json.loads(say(house, "copy", trained, "2", "--to", "lines", "--json"))["model"] == "lines"
    assert json.loads(say(house, "rename", "lines", "curves", "--json"))["name"] == "curves"
    assert json.loads(say(house, "rm", "curves", "1", "--yes", "--json")) == {"deleted": "models/curves/1"}
    assert json.loads(say(house, "rm", "curves", "--yes", "--json")) == {"deleted": "models/curves"}


def test_people_read_differences_and_lineages_line_by_line(house: Wiring, trained: str) -> None:
    said = say(house, "diff", trained, "1", "2")
    assert "params slope: 1.0 -> 2.0" in said
    assert "data added: datasets/rows/2" in said
    tree = say(house, "lineage", f"models/{trained}/2")
    assert "  made by runs/" in tree
    assert "    training datasets/rows/2" in tree
    assert "stage" not in say(house, "show", trained, "2")


def test_webhooks_are_added_shown_and_removed(house: Wiring, client: TestClient[Any]) -> None:
    def tell(*words: str) -> Any:
        done = CliRunner().invoke(webhooks, [*words, "--json"], obj=lambda: house)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return json.loads(done.output)

    made = tell("add", "ci", "http://127.0.0.1:9/hook", "--event", "model_version.created", "--secret", "s")
    assert tell("ls") == [made]
    assert ask(client, "GET", f"webhooks/{made['id']}") == made
    assert ask(client, "PATCH", f"webhooks/{made['id']}", {"status": "disabled"})["status"] == "disabled"
    ask(client, "POST", f"webhooks/{made['id']}/test", {}, 503)
    ask(client, "POST", "webhooks", {"name": "w", "url": "gopher://x", "events": ["prompt.created"]}, 400)
    tell("rm", made["id"])
    assert ask(client, "GET", "webhooks") == []


def test_the_files_of_a_version_are_listed_shown_and_sent_in_parts(client: TestClient[Any], trained: str) -> None:
    path = f"models/{trained}/versions/2/files"
    listed = ask(client, "GET", path)
    assert [entry["path"] for entry in listed] == ["manifest.json", "example.json", "model.skops"]
    whole = client.get(f"/api/v1/{path}/example.json")
    assert whole.headers["content-type"] == "application/json"
    assert (whole.headers["x-content-type-options"], len(whole.content)) == ("nosniff", listed[1]["size_bytes"])
    part = client.get(f"/api/v1/{path}/example.json", headers={"Range": "bytes=0-1"})
    assert (part.status_code, part.content) == (206, whole.content[:2])
    assert "did you mean" in ask(client, "GET", f"{path}/exampl.json", status=404)["hint"]
    shown = client.get(f"/models/{trained}/2/files/manifest.json")
    assert (shown.status_code, "&#34;flavour&#34;: &#34;sklearn&#34;" in shown.text) == (200, True)
    assert client.get(f"/models/{trained}/2/files/nothing").status_code == 404


def test_the_page_of_a_version_shows_who_moved_its_aliases_and_stages_and_why(
    client: TestClient[Any], trained: str
) -> None:
    for number, reason in ((1, "the first one"), (2, "the steeper one")):
        ask(client, "PUT", f"models/{trained}/aliases/champion", {"version": number, "reason": reason})
    ask(client, "POST", f"models/{trained}/versions/1/stage", {"stage": "archived", "reason": "replaced"})
    first, second = (client.get(f"/models/{trained}/{number}").text for number in (1, 2))
    for reason in ("the first one", "the steeper one", "replaced"):
        assert reason in first
    assert "the first one" not in second
    assert len(ask(client, "GET", f"models/{trained}/history?version=2")) == 1
    ask(client, "PUT", f"models/{trained}/versions/2/card", {"purpose": "<b>lines</b>"})
    assert "&lt;b&gt;lines&lt;/b&gt;" in client.get(f"/models/{trained}/2").text


def test_a_grant_is_given_shown_and_taken_back_over_http(
    client: TestClient[Any], house: Wiring, tmp_path: Path
) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(LinearRegression().fit(FRAME.to_numpy(), FRAME["a"].to_numpy())))
    made = house.get(Registry).register(
        "old", tmp_path / "m.pkl", example=FRAME, grant=GrantRequest("made by <our> team")
    )
    path = f"models/old/versions/{made.number}"
    assert ask(client, "GET", f"{path}/grant")["reason"] == "made by <our> team"
    assert "made by &lt;our&gt; team" in client.get("/models/old/1").text
    changes = ask(client, "POST", f"{path}/grant/revoke", {"reason": "replaced"})
    assert [(change["granted"], change["reason"]) for change in changes] == [
        (False, "replaced"),
        (True, "made by <our> team"),
    ]
    assert "not granted" in client.get("/models/old/1").text
    ask(client, "GET", f"{path}/grant", status=404)
    ask(client, "POST", f"{path}/grant/revoke", {}, status=404)
    assert ask(client, "PUT", f"{path}/grant", {"reason": "needed again", "days": 2})["digest"] == made.digest
    for body in ({"reason": "x"}, {"reason": "needed again", "days": 0}, {}):
        ask(client, "PUT", f"{path}/grant", body, status=400)
    assert len(ask(client, "GET", f"{path}/grants")) == 3
    assert json.loads(say(house, "grants", "old", "1", "--json"))[0]["reason"] == "needed again"


def test_the_files_of_a_version_are_listed_by_a_command(house: Wiring, trained: str) -> None:
    assert json.loads(say(house, "files", trained, "2", "--json"))[0]["path"] == "manifest.json"
    assert "model.skops" in say(house, "files", trained)
