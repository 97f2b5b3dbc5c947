"""The doors of tracking and registry: HTTP, pages and commands, on one data folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from litestar import Litestar
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression

from mainspring.core.clock import SystemClock
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.registry.commands import group as models_group
from mainspring.registry.conversions import Conversions
from mainspring.registry.searching import ModelSearch
from mainspring.server.app import create_app
from mainspring.storage.delta import DeltaTables, FilePlace
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables
from mainspring.storage.queue import SqlQueue
from mainspring.tracking import CodeState, Environment, Files, Metric, Search, Tracking
from mainspring.tracking.commands import group as runs_group
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.views import Views

FRAME = pl.DataFrame({"hour": [1, 9, 20, 23], "carrier": ["UA", "AA", "UA", "AA"]})


@pytest.fixture
def wiring(sqlite_tables: Tables, tmp_path: Path) -> Wiring:
    made, clock = Wiring(), SystemClock()
    journal, blobs = SqlJournal(sqlite_tables, clock), FileBlobs(tmp_path / "blobs")
    registry = Registry(tables=sqlite_tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path / "data")
    tracking = Tracking(tables=sqlite_tables, journal=journal, clock=clock)
    files = Files(tables=sqlite_tables, journal=journal, blobs=blobs, clock=clock, scratch=tmp_path / "uploads")
    made.add(Tables, lambda _: sqlite_tables)  # type: ignore[type-abstract]
    made.add(Journal, lambda _: journal)  # type: ignore[type-abstract]
    made.add(Registry, lambda _: registry)
    delta = DeltaTables(FilePlace(tmp_path / "delta"))
    data = Data(tables=sqlite_tables, journal=journal, delta=delta, blobs=blobs, clock=clock)
    queue = SqlQueue(sqlite_tables)
    conversions = Conversions(registry=registry, data=data, tables=sqlite_tables, queue=queue)
    made.add(Conversions, lambda _: conversions)
    made.add(ModelSearch, lambda _: ModelSearch(tables=sqlite_tables, clock=clock))
    made.add(Tracking, lambda _: tracking)
    made.add(Files, lambda _: files)
    made.add(Search, lambda _: Search(tables=sqlite_tables, clock=clock))
    made.add(Experiments, lambda _: Experiments(tables=sqlite_tables, journal=journal, clock=clock))
    made.add(Views, lambda _: Views(tables=sqlite_tables, journal=journal, clock=clock))
    return made


@pytest.fixture
def client(wiring: Wiring) -> Iterator[TestClient[Litestar]]:
    app = create_app(wiring, rooms=("tracking", "registry"))
    with TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def model(wiring: Wiring) -> Registry:
    """A registry with one model of one version, which is champion."""
    registry = wiring.get(Registry)
    fitted = LogisticRegression().fit(np.array([[1.0, 0], [9, 1], [20, 0], [23, 1]]), [0, 0, 1, 1])
    registry.register(
        "flights",
        fitted,
        example=FRAME,
        encoding={"carrier": ["UA", "AA"]},
        metrics={"roc_auc": 0.7},
        reference="datasets/flights/1",
    )
    registry.set_alias("flights", "champion", 1, "first & <best>")
    return registry


@pytest.fixture
def run_id(wiring: Wiring) -> str:
    """A run with a bit of everything."""
    tracking = wiring.get(Tracking)
    code = CodeState(commit="c" * 40, branch="main", dirty=True, diff="<script>alert(1)</script>", entry="train.py")
    where = Environment(python="3.11.7", platform="Linux", cpus=2, packages={"polars": "2.1.0"})
    made = tracking.create_run("flights", name="<first>", code=code, environment=where)
    points = [Metric("loss", 1 / (step + 1), step, 1) for step in range(600)]
    tracking.log_batch(made.id, metrics=[*points, Metric("odd", float("nan"))], params={"depth": "6"})
    wiring.get(Files).put(f"{made.folder}plots/a b.svg", b"<svg/>")
    tracking.log_input(made.id, "datasets/flights/1")
    return made.id


def command(wiring: Wiring, *arguments: str) -> Result:
    group = runs_group if arguments[0] == "runs" else models_group
    return CliRunner().invoke(group, list(arguments[1:]), obj=lambda: wiring, catch_exceptions=False)


def test_a_run_is_logged_over_http(client: TestClient[Litestar]) -> None:
    made = client.post("/api/v1/runs", json={"experiment": "flights", "name": "first"}).json()
    place = f"/api/v1/runs/{made['id']}"
    body = '{"metrics": [["val/auc", 0.5, 1, 7], ["val/auc", "NaN", 2, 8]], "params": {"depth": "6"}}'
    for _ in range(2):
        assert client.post(f"{place}/log", content=body).status_code == 200
    columns = {"key": "val/auc", "steps": [1, 2], "times": [7, 8], "values": [0.5, "NaN"]}
    assert client.get(f"{place}/metrics/val/auc").json() == columns
    arrow = client.get(f"{place}/metrics/val/auc", headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pl.read_ipc_stream(arrow.content)
    assert table.schema == {"step": pl.Int64, "at": pl.Datetime("us", "UTC"), "value": pl.Float64}
    assert table["at"].to_physical().to_list() == [7, 8]
    assert (table["step"].to_list(), str(table["value"].to_list())) == ([1, 2], "[0.5, nan]")
    assert client.put(f"{place}/artifacts/plots/a.txt", content=b"hello").json()["size_bytes"] == 5
    assert client.get(f"{place}/artifacts/plots/a.txt").content == b"hello"
    assert [entry["path"] for entry in client.get(f"{place}/artifacts").json()] == ["plots/a.txt"]
    assert client.post(f"{place}/inputs", json={"dataset": "datasets/flights/1"}).status_code == 200
    assert client.post(f"{place}/finish", json={"status": "finished"}).json()["status"] == "finished"
    found = client.get(place).json()
    assert (found["params"], found["metrics"]["val/auc"]["value"]) == ({"depth": "6"}, "NaN")
    assert [entry["id"] for entry in client.get("/api/v1/runs?experiment=flights").json()["runs"]] == [made["id"]]
    assert client.get("/api/v1/experiments").json()[0]["runs"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b'{"metrics": [["a/../b", 1.0]]}', 400),
        (b'{"params": {"depth": "7"}}', 409),
        (json.dumps({"metrics": [["a", 1.0]] * 1001}).encode(), 413),
    ],
)
def test_a_bad_batch_is_refused_and_says_why(
    client: TestClient[Litestar], run_id: str, body: bytes, status: int
) -> None:
    answer = client.post(f"/api/v1/runs/{run_id}/log", content=body)
    assert answer.status_code == status
    assert answer.json()["what"]
    assert answer.json()["hint"]


def test_an_artifact_leaves_as_an_attachment_that_runs_nothing(client: TestClient[Litestar], run_id: str) -> None:
    headers = client.get(f"/api/v1/runs/{run_id}/artifacts/plots/a b.svg").headers
    assert headers["content-disposition"] == 'attachment; filename="a b.svg"'
    assert headers["content-type"] == "image/svg+xml"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox; style-src 'unsafe-inline'"


def test_html_is_shown_in_a_frame_of_our_own_alone_and_reaches_nothing(
    client: TestClient[Litestar], wiring: Wiring, run_id: str
) -> None:
    files = wiring.get(Files)
    files.put(files.run_folder(run_id) + "f.html", b"<script>draw()</script>")
    place = f"/runs/{run_id}/framed/f.html"
    for headers in ({}, {"Sec-Fetch-Dest": "document"}):
        answer = client.get(place, headers=headers)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
    framed = client.get(place, headers={"Sec-Fetch-Dest": "iframe"}).headers
    assert framed["content-type"].startswith("text/html")
    assert framed["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'; ")
    assert "allow-same-origin" not in framed["content-security-policy"]
    svg = client.get(f"/runs/{run_id}/framed/plots/a b.svg", headers={"Sec-Fetch-Dest": "iframe"})
    assert svg.headers["content-disposition"].startswith("attachment"), "only HTML is framed"
    page = client.get(f"/runs/{run_id}/files/f.html").text
    assert "<iframe" not in page
    assert "&lt;script&gt;" in page
    assert (
        '<iframe class="framed" sandbox="allow-scripts"' in client.get(f"/runs/{run_id}/files/f.html?framed=true").text
    )


def test_models_are_read_and_aliases_moved_over_http(client: TestClient[Litestar], model: Registry) -> None:
    assert client.get("/api/v1/models").json()[0]["aliases"] == {"champion": 1}
    version = client.get("/api/v1/models/flights/versions/champion").json()
    assert (version["number"], version["signature"]["inputs"][1]["levels"]) == (1, ["UA", "AA"])
    assert len(client.get("/api/v1/models/flights/versions").json()) == 1
    moved = client.put("/api/v1/models/flights/aliases/shadow", json={"version": 1, "reason": "try"})
    assert (moved.status_code, moved.json()["version"]) == (200, 1)
    assert client.get("/api/v1/models/flights/aliases/shadow").json()["version"] == 1
    assert client.get("/api/v1/models/flights/aliases/shadow?at=2001-01-01").json()["version"] is None
    gone = client.put("/api/v1/models/flights/aliases/shadow", json={"version": None})
    assert gone.json()["version"] is None
    assert len(client.get("/api/v1/models/flights/history").json()) == 3
    assert client.get("/api/v1/models/flights/versions/1/files/manifest.json").json()["flavour"] == "sklearn"
    assert client.get("/api/v1/models/fligths").json()["hint"] == 'did you mean "flights"?'


@pytest.mark.parametrize("page", ["/runs", "/models"])
def test_an_empty_list_shows_what_fills_it(client: TestClient[Litestar], page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    assert "<code>" in answer.text


def test_the_pages_of_runs_show_what_was_logged_and_escape_it(client: TestClient[Litestar], run_id: str) -> None:
    listed, shown = client.get("/runs").text, client.get(f"/runs/{run_id}").text
    assert "&lt;first&gt;" in listed
    assert "loss" in listed
    for text in ("depth", "plots/a b.svg", "datasets/flights/1", "c" * 40, "polars==2.1.0", "<svg", "&lt;script&gt;"):
        assert text in shown
    assert "<script>alert" not in shown


def test_the_table_of_runs_says_what_it_is_sorted_by_and_keeps_the_order_of_a_view(
    client: TestClient[Litestar], run_id: str
) -> None:
    client.put("/api/v1/views/best", json={"order_by": ["metrics.loss", "name DESC"]})
    shown = client.get("/runs", params={"order": "started DESC"}).text
    assert '<th aria-sort="descending"><a href="/runs?order=started_at+ASC"' in shown
    assert 'href="/runs?order=metrics.loss,+name+DESC"' in shown


def test_the_pages_of_models_show_version_aliases_and_history(client: TestClient[Litestar], model: Registry) -> None:
    listed, shown = client.get("/models").text, client.get("/models/flights").text
    version = client.get("/models/flights/1").text
    assert "champion" in listed
    assert "first &amp; &lt;best&gt;" in shown
    for text in (model.get("flights", 1).digest, "roc_auc", "UA, AA", "model.skops", "datasets/flights/1"):
        assert text in version


def test_a_page_of_nothing_is_not_found(client: TestClient[Litestar]) -> None:
    assert client.get("/models/nothing").status_code == 404
    assert client.get("/runs/" + "0" * 32).status_code == 404


def test_runs_on_the_command_line(wiring: Wiring, run_id: str) -> None:
    tracking = wiring.get(Tracking)
    other = tracking.create_run("flights", name="second", seed=3)
    tracking.log_batch(other.id, params={"depth": "7"})
    assert "<first>" in command(wiring, "runs", "ls").output
    assert len(json.loads(command(wiring, "runs", "ls", "--json").output)) == 2
    assert "param   depth = 6" in command(wiring, "runs", "show", run_id).output
    assert json.loads(command(wiring, "runs", "show", run_id, "--json").output)["params"] == {"depth": "6"}
    compared = json.loads(command(wiring, "runs", "compare", run_id, other.id, "--json").output)
    assert compared["params"] == {"depth": ["6", "7"]}


def test_models_on_the_command_line(wiring: Wiring, model: Registry, tmp_path: Path) -> None:
    assert "flights" in command(wiring, "models", "ls").output
    assert json.loads(command(wiring, "models", "ls", "flights", "--json").output)[0]["number"] == 1
    assert "hour:int64" in command(wiring, "models", "show", "flights", "champion").output
    assert command(wiring, "models", "alias", "flights", "champion").output == "flights champion is version 1.\n"
    assert "version 1." in command(wiring, "models", "alias", "flights", "shadow", "1", "--reason", "try").output
    assert "nowhere" in command(wiring, "models", "alias", "flights", "shadow", "--remove").output
    assert "is whole" in command(wiring, "models", "verify", "flights").output
    out = command(wiring, "models", "download", "flights", "1", str(tmp_path / "out")).output
    assert "model.skops" in out
    assert (tmp_path / "out" / "manifest.json").is_file()
