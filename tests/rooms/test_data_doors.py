"""The data room's API, pages and commands."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Invalid
from mainspring.core.wiring import Wiring
from mainspring.data import Check, Data
from mainspring.data.charts import column_shapes
from mainspring.data.commands import group
from mainspring.server.app import create_app
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Journal, Tables

Client = TestClient[Litestar]
CSV = "flight,delay,origin,day\n1545,2,EWR,2013-01-01\n1714,4,LGA,2013-01-02\n725,NA,JFK,2013-01-02\n"
CHECKS = '[{"column": "delay", "kind": "not_null"}]'


@pytest.fixture
def wiring(sqlite_tables: Tables, tmp_path: Path) -> Wiring:
    journal = SqlJournal(sqlite_tables)
    blobs, delta = open_blobs("", tmp_path), open_delta("", tmp_path)
    data = Data(tables=sqlite_tables, journal=journal, delta=delta, blobs=blobs, clock=ManualClock(1_000))
    wiring = Wiring()
    wiring.add(Data, lambda _: data)
    wiring.add(Journal, lambda _: journal)  # type: ignore[type-abstract]  # the wiring knows ports by name
    return wiring


@pytest.fixture
def client(wiring: Wiring) -> Iterator[Client]:
    with TestClient(create_app(wiring, port=80, rooms=["data"]), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def flights(wiring: Wiring) -> Data:
    data = wiring.get(Data)
    frame = pl.DataFrame({"flight": [1, 2, 3], "delay": [2.0, None, 4.0], "origin": ["EWR", "<script>", "LGA"]})
    data.ingest("flights", frame, checks=[Check("delay", "not_null")], parents=["datasets/weather/1"])
    return data


def run(wiring: Wiring, *arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments), obj=lambda: wiring)


def test_a_file_is_sent_checked_and_read_back(client: Client) -> None:
    made = client.post("/api/v1/datasets/flights/versions", params={"checks": CHECKS}, content=CSV)
    assert made.status_code == 201
    assert (made.json()["rows"], made.json()["quarantined"], made.json()["time_column"]) == (2, 1, "day")
    rows = client.get("/api/v1/datasets/flights/versions/1/rows?offset=1").json()
    assert rows == {"columns": ["flight", "delay", "origin", "day"], "rows": [[1714, 4, "LGA", "2013-01-02"]]}
    left_out = client.get("/api/v1/datasets/flights/versions/0/quarantine").json()
    assert left_out["rows"] == [[725, None, "JFK", "2013-01-02", "delay not_null"]]
    assert client.get("/api/v1/datasets").json()[0]["name"] == "flights"
    assert client.get("/api/v1/datasets/flights/versions").json() == [made.json()]
    assert client.get("/api/v1/datasets/flights/versions/1").json() == made.json()


def test_the_same_key_sent_twice_is_one_version(client: Client) -> None:
    sent = [client.post("/api/v1/datasets/f/versions", params={"key": "jan"}, content=CSV).json() for _ in range(2)]
    assert sent[0] == sent[1]


def test_parquet_is_taken_and_broken_bodies_are_400(client: Client) -> None:
    held = io.BytesIO()
    pl.DataFrame({"x": [1]}).write_parquet(held)
    address = "/api/v1/datasets/f/versions"
    assert client.post(address, params={"form": "parquet"}, content=held.getvalue()).status_code == 201
    for content, params in (
        (b"", {}),
        (b"a,b\n1\n", {}),
        (b"\xff\xfe", {}),
        (b"PAR1", {"form": "parquet"}),
        (b"a\n1\n", {"checks": "no"}),
        (b"a\n1\n", {"form": "exe"}),
        (b"a\n1\n", {"time_column": "b"}),
    ):
        assert client.post(address, params=params, content=content).status_code == 400
    assert client.get("/api/v1/datasets/absent/versions/1").status_code == 404


def test_the_profile_has_bars_for_every_column(client: Client, flights: Data) -> None:
    shapes = {shape["name"]: shape for shape in client.get("/api/v1/datasets/flights/versions/1/profile").json()}
    assert (shapes["delay"]["bars"], shapes["delay"]["labels"]) == ([1, 1], ["2", "4"])
    assert shapes["delay"]["mean"] == "3"
    assert sum(shapes["origin"]["bars"]) == 2


def test_pages_show_datasets_versions_histograms_and_quarantine(client: Client, flights: Data) -> None:
    assert '<a href="/datasets/flights">' in client.get("/datasets").text
    assert '<a href="/datasets/flights/1">1</a>' in client.get("/datasets/flights").text
    page = client.get("/datasets/flights/1").text
    assert page.count("<svg class=") == 3
    assert "delay not_null" in page
    assert "&lt;script&gt;" in page
    assert "<td><script>" not in page
    assert client.get("/datasets/flights/2").status_code == 404


def test_an_empty_list_shows_the_command_that_fills_it(client: Client) -> None:
    assert "mainspring data ingest NAME FILE.csv" in client.get("/datasets").text


def test_the_commands_ingest_list_show_and_explain(wiring: Wiring, tmp_path: Path) -> None:
    file = tmp_path / "flights.csv"
    file.write_text(CSV)
    told = run(wiring, "ingest", "flights", str(file), "--not-null", "delay", "--range", "flight=1000:")
    assert told.output == (
        "datasets/flights/1: 2 rows, 4 columns, 1 in quarantine (mainspring data quarantine flights).\n"
    )
    assert "flights" in run(wiring, "ls").output
    assert json.loads(run(wiring, "ls", "flights", "--json").output)[0]["number"] == 1
    shown = run(wiring, "show", "flights").output
    assert "delay not_null; flight in_range 1000.0 to" in shown
    assert "EWR, LGA" in shown
    assert json.loads(run(wiring, "show", "flights", "1", "--json").output)["rows"] == 2
    left_out = run(wiring, "quarantine", "flights").output
    assert "delay not_null; flight in_range 1000.0 to" in left_out
    assert json.loads(run(wiring, "quarantine", "flights", "--json").output)[0]["flight"] == 725


def test_commands_say_what_is_wrong(wiring: Wiring, tmp_path: Path) -> None:
    file = tmp_path / "flights.csv"
    file.write_text(CSV)
    assert isinstance(run(wiring, "ingest", "f", str(file), "--range", "flight").exception, Invalid)
    assert isinstance(run(wiring, "ingest", "f", str(file), "--checks", "[").exception, Invalid)
    assert "no datasets yet" in run(wiring, "ls").output


def test_every_row_is_in_one_bar_whatever_the_column(wiring: Wiring) -> None:
    frame = pl.DataFrame(
        {
            "wide": [float(n * n) for n in range(3000)],
            "whole": [n % 97 for n in range(3000)],
            "few": [n % 3 for n in range(3000)],
            "flag": [n % 3 == 0 for n in range(3000)],
            "word": [f"w{n % 40}" for n in range(3000)],
            "same": [7.5] * 3000,
            "heavy": [0.0] * 2990 + [1e9] * 10,
        }
    )
    data = wiring.get(Data)
    made = data.ingest("shapes", frame)
    shapes = {shape.name: shape for shape in column_shapes(made.columns, data.profile("shapes"))}
    assert {name: sum(shape.bars) for name, shape in shapes.items()} == dict.fromkeys(frame.columns, 3000)
    assert all(len(shape.bars) == len(shape.labels) for shape in shapes.values())
    assert shapes["few"].labels == ("0", "1", "2")
    assert shapes["flag"].bars == (2000, 1000)
    assert max(shapes["whole"].bars) / 3000 == pytest.approx(5 / 97, abs=0.01)  # bars of five whole numbers each
