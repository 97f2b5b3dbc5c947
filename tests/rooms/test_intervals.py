"""Intervals around predicted numbers: their width, their way through the model server, and how well they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from litestar.testing import TestClient
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests import spools
from tests.unit.serving.doors import doors

from mainspring.core.clock import SystemClock
from mainspring.core.errors import Invalid, NotFound, Refused
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.monitoring import Monitoring
from mainspring.monitoring.commands import group
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Feedback, Serving
from mainspring.serving.batch.job import BatchRequest
from mainspring.serving.batch.running import Batches
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import SPOOLS, Options, options_of, read_plan
from mainspring.serving.modelserver.traffic import Table, build
from mainspring.serving.rules.conformal import Interval, half_width, label_set, least_rows, strangeness
from mainspring.serving.rules.humility import Rule

RNG = np.random.default_rng(5)


def rows(n: int) -> pl.DataFrame:
    x = RNG.normal(size=n)
    return pl.DataFrame({"x": x, "y": 2 * x + RNG.normal(size=n)})


def kinds(n: int) -> pl.DataFrame:
    """Three classes that overlap."""
    place = RNG.integers(0, 3, n)
    return pl.DataFrame({"x": 2.0 * place + RNG.normal(size=n), "kind": [("a", "b", "c")[i] for i in place]})


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=60), st.floats(0.05, 0.95))
def test_whichever_row_is_new_the_others_cover_it_often_enough(residuals: list[float], coverage: float) -> None:
    """Exchangeable rows, all at once: each of n + 1 in turn is the new one."""
    try:
        within = [
            value <= half_width(residuals[:i] + residuals[i + 1 :], coverage) for i, value in enumerate(residuals)
        ]
    except Invalid:
        assert len(residuals) - 1 < least_rows(coverage)
        return
    assert sum(within) >= math.floor(coverage * len(residuals))


@given(st.lists(st.floats(0, 1e6), min_size=9, max_size=30), st.floats(0.1, 0.45), st.floats(0.5, 0.9))
def test_more_coverage_is_never_narrower_and_scales_with_the_errors(r: list[float], less: float, more: float) -> None:
    assert half_width(r, less) <= half_width(r, more)
    assert half_width([4 * value for value in r], more) == 4 * half_width(r, more)
    assert half_width(r[::-1], more) == half_width(r, more)


def test_too_few_rows_give_no_interval() -> None:
    with pytest.raises(Invalid, match="give 9 or more"):
        half_width([1.0] * 8, 0.9)
    for wrong in ({"coverage": 1.0}, {"data": ""}, {"label": ""}):
        with pytest.raises(Invalid):
            Interval(**{"data": "d", "label": "y", **wrong})  # type: ignore[arg-type]
    read = options_of({"interval": {"data": "d", "label": "y"}}, "deployment.x")
    assert read.interval == Interval("d", "y", 0.9)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    trained, held_out = rows(300), rows(400)
    reference = made.get(Data).ingest("trained", trained).ref
    made.get(Data).ingest("held-out", held_out)
    made.get(Data).ingest("few", held_out.head(5))
    fitted = LinearRegression().fit(trained.select("x").to_numpy(), trained["y"].to_numpy())
    made.get(Registry).register("line", fitted, example=trained.select("x").head(3), reference=reference)
    made.get(Data).ingest("kinds", kinds(300))
    known = kinds(300)
    model = LogisticRegression().fit(known.select("x").to_numpy(), known["kind"].to_numpy())
    made.get(Registry).register("kind", model, example=known.select("x").head(3))
    signs = known.select("x", pl.when(pl.col("x") > 0).then(pl.lit("up")).otherwise(pl.lit("down")).alias("sign"))
    made.get(Data).ingest("signs", signs)
    model = LogisticRegression().fit(signs.select("x").to_numpy(), signs["sign"].to_numpy())
    made.get(Registry).register("sign", model, example=signs.select("x").head(3))
    yield made
    made.close()


INTERVAL = Interval("datasets/held-out", "y", 0.9)


def test_intervals_go_with_answers_and_hold_as_often_as_they_say(house: Wiring, tmp_path: Path) -> None:
    serving, monitoring = house.get(Serving), house.get(Monitoring)
    rule = Rule("far", "out_of_range", "override", low=-50.0, high=50.0, value=7.0)
    serving.deploy("line", "line", 1, options=Options(interval=INTERVAL, rules=(rule,)))
    assert serving.get("line").options.interval == replace(INTERVAL, data="datasets/held-out/1")
    monitoring.watch("line")
    with doors(serving.folder / SPOOLS) as asked:

        def declare(deployment: str, model: LoadedModel) -> None:
            columns = list(zip(model.features.names, model.features.kinds, strict=True))
            asked.spool.declare(deployment, model.version, columns)

        asked.app.served.table = build(read_plan(serving.folder), Table(), declare)
        new = rows(300)
        body = {"parameters": {}, "instances": [[x] for x in [*new["x"], 99.0]]}
        answer = asked.ask("POST", "/v1/models/line:predict", body)
        assert answer.status == 200, answer.body
        given = answer.json["predictions"]
        request = answer.headers["x-request-id"]
    assert isinstance(given, list)
    width = given[0]["high"] - given[0]["low"]
    assert 2 * 1.4 < width < 2 * 2.0  # the errors are standard normal: 1.64 on either side
    assert given[300] == {"prediction": 7.0, "low": 7.0, "high": 7.0}
    logged = serving.prediction(f"{request}.0")
    assert (logged.low, logged.high) == (given[0]["low"], given[0]["high"])
    serving.feedback("line", [Feedback(f"{request}.{i}", y) for i, y in enumerate([*new["y"], 0.0])])
    monitoring.observe("line")
    (held,) = monitoring.coverage("line")
    assert held.rows == 300  # what a rule answered does not count
    assert held.within == sum(entry["low"] <= y <= entry["high"] for entry, y in zip(given, new["y"], strict=False))
    assert 0.82 < held.share < 0.97
    said = CliRunner().invoke(group, ["status", "line"], obj=lambda: house, catch_exceptions=False)
    assert f"held {held.within} of 300 labels" in said.output
    app = create_app(house, rooms=("monitoring",))
    with TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as http:
        assert http.get("/api/v1/monitors/line/coverage").json()[0]["within"] == held.within
        assert "of 300 labels" in http.get("/monitors/line").text

    new.write_parquet(tmp_path / "in.parquet")
    batches = Batches(serving=serving, registry=house.get(Registry), data=house.get(Data), clock=SystemClock())
    report = batches.run(BatchRequest("line", str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), log=True))
    found = pl.read_parquet(report.out)
    assert (found["high"] - found["prediction"]).to_list() == pytest.approx([width / 2] * 300)
    assert serving.prediction(f"{report.id}.0").low == found["low"][0]


def test_sets_of_classes_go_with_answers_and_hold_as_often_as_they_say(house: Wiring, tmp_path: Path) -> None:
    serving, monitoring = house.get(Serving), house.get(Monitoring)
    rule = Rule("far", "out_of_range", "override", low=-50.0, high=50.0, value="b")
    serving.deploy("kind", "kind", 1, options=Options(interval=Interval("datasets/kinds", "kind", 0.8), rules=(rule,)))
    monitoring.watch("kind")
    with doors(serving.folder / SPOOLS) as asked:

        def declare(deployment: str, model: LoadedModel) -> None:
            columns = list(zip(model.features.names, model.features.kinds, strict=True))
            asked.spool.declare(deployment, model.version, columns)

        asked.app.served.table = build(read_plan(serving.folder), Table(), declare)
        new = kinds(200)
        body = {"parameters": {}, "instances": [[x] for x in [*new["x"], 99.0]]}
        answer = asked.ask("POST", "/v1/models/kind:predict", body)
        assert answer.status == 200, answer.body
        given = answer.json["predictions"]
        tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [0.5]}
        found = asked.ask("POST", "/v2/models/kind/infer", {"inputs": [tensor]}).json["outputs"]
        request = answer.headers["x-request-id"]
    assert isinstance(given, list)
    assert isinstance(found, list)
    (said,) = (entry for entry in found if entry["name"] == "label_set")
    assert (said["datatype"], said["shape"], json.loads(said["data"][0])[0]) == ("BYTES", [1], "a")
    sets = [json.loads(entry["label_set"]) for entry in given]
    assert all(entry["label"] in found for entry, found in zip(given, sets, strict=True))
    assert sets[200] == ["b"], "what a rule says is the whole set"
    assert {len(found) for found in sets} == {1, 2}
    assert serving.prediction(f"{request}.0").label_set == tuple(sets[0])
    serving.feedback("kind", [Feedback(f"{request}.{i}", label) for i, label in enumerate([*new["kind"], "a"])])
    monitoring.observe("kind")
    (held,) = monitoring.coverage("kind")
    assert (held.rows, held.within) == (200, sum(t in s for t, s in zip(new["kind"], sets, strict=False)))
    assert 0.7 < held.share < 0.9
    new.write_parquet(tmp_path / "in.parquet")
    batches = Batches(serving=serving, registry=house.get(Registry), data=house.get(Data), clock=SystemClock())
    report = batches.run(BatchRequest("kind", str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), log=True))
    assert [json.loads(text) for text in pl.read_parquet(report.out)["label_set"]] == sets[:200]
    assert serving.prediction(f"{report.id}.0").label_set == tuple(sets[0])


def test_two_classes_are_held_to_zeros_and_ones(house: Wiring) -> None:
    serving = house.get(Serving)
    serving.deploy("sign", "sign", 1, options=Options(interval=Interval("datasets/signs", "sign", 0.8)))
    (entry,) = (entry for entry in read_plan(serving.folder).endpoints if entry.name == "sign")
    assert entry.arms[0].half_width is None
    rows = [
        {"id": f"s{i}", "request_id": f"s{i}", "key": "", "at": 5, "event_at": 5, "inputs": [0.0],
         "outputs": {"probability": 0.6, "label": "up", "label_set": kept}}
        for i, kept in enumerate(['["up"]', '["up"]', '["down", "up"]', '["up"]'])
    ]  # fmt: skip
    spools.write(serving.folder / SPOOLS / "s.sqlite", rows, columns=[("x", "float")], deployment="sign")
    serving.compact()
    labels: list[float | str] = [1.0, 0.0, 0.0, "up"]
    serving.feedback("sign", [Feedback(f"s{i}", label) for i, label in enumerate(labels)])
    assert serving.covered("sign") == {1: (4, 3)}


ROW = st.tuples(st.integers(0, 2), st.tuples(*[st.floats(0.01, 1)] * 3))


@given(st.lists(ROW, min_size=6, max_size=40), st.floats(0.3, 0.8))
def test_whichever_row_is_new_the_sets_of_the_others_cover_it_often_enough(
    rows: list[tuple[int, tuple[float, float, float]]], coverage: float
) -> None:
    chances = [[part / sum(parts) for part in parts] for _, parts in rows]
    strange = [strangeness(row, truth, [0, 1, 2]) for row, (truth, _) in zip(chances, rows, strict=True)]
    within = []
    for i, (row, (truth, _)) in enumerate(zip(chances, rows, strict=True)):
        try:
            limit = half_width(strange[:i] + strange[i + 1 :], coverage)
        except Invalid:
            return
        within.append(truth in label_set(row, limit))
    assert sum(within) >= math.floor(coverage * len(rows))


def test_an_interval_that_cannot_be_made_is_refused_at_deploy(house: Wiring, tmp_path: Path) -> None:
    serving = house.get(Serving)
    for wrong, error in (
        (Interval("datasets/none", "y"), NotFound),
        (Interval("datasets/held-out", "z"), Invalid),
        (Interval("datasets/few", "y"), Invalid),
        (Interval("datasets/trained", "y"), Refused),
    ):
        with pytest.raises(error):
            serving.deploy("other", "line", 1, options=Options(interval=wrong))
    with TestClient(create_app(house, rooms=("serving",)), base_url="http://127.0.0.1:7600") as http:
        body = {"model": "line", "version": 1, "options": {"interval": {"data": "datasets/held-out", "label": "y"}}}
        made = http.post("/api/v1/deployments/third", content=json.dumps(body).encode())
        assert made.json()["options"]["interval"]["coverage"] == 0.9
