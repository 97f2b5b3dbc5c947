"""Feature views behind an endpoint: deployed, looked up, logged, and held against the past."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sklearn.linear_model import LinearRegression
from tests.unit.serving.plane import whole

from mainspring.core.clock import SECOND_US, SystemClock
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data, Feature, FeatureViews, ViewSpec
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Serving, commands
from mainspring.serving.batch.job import BatchRequest
from mainspring.serving.batch.running import Batches
from mainspring.serving.modelserver.app import App
from mainspring.serving.modelserver.batching import Batcher, Line
from mainspring.serving.modelserver.plan import SPOOLS, Options, ViewUse, read_plan
from mainspring.serving.modelserver.spool import Spool
from mainspring.serving.modelserver.traffic import Table, build
from mainspring.serving.skew_commands import group

HOUR = 3_600 * SECOND_US
Fact = tuple[str, int, int, float]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    rows = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [7.0, 3.0]])
    model = LinearRegression().fit(rows, rows @ [1.0, 10.0])
    made.get(Registry).register("sums", model, example=pl.DataFrame(rows, schema=["a", "b"]))
    yield made
    made.close()


def now() -> int:
    return time.time_ns() // 1000


def ingest(house: Wiring, name: str, *facts: Fact) -> None:
    schema = {"who": pl.String, "t": pl.Int64, "known": pl.Int64, "b": pl.Float64}
    house.get(Data).ingest(name, pl.DataFrame(list(facts), schema=schema, orient="row"))


def view_of(house: Wiring, name: str, *facts: Fact, as_of: int | None = None) -> None:
    """A view of `b` by `who` over a dataset of that name, materialized."""
    ingest(house, name, *facts)
    views = house.get(FeatureViews)
    views.add(name, ViewSpec(name, ("who",), "t", (Feature("b"),), "known", ttl_s=7_200.0))
    views.materialize(name, as_of=as_of)


@contextmanager
def answering(house: Wiring) -> Iterator[App]:
    """A worker's application over the plan of the house, whose log is complete when the block ends."""
    folder = house.get(Serving).folder
    plan = read_plan(folder)
    loop = asyncio.new_event_loop()
    batcher, spool = Batcher(loop), Spool(folder / SPOOLS / f"w{now()}.sqlite", "process", loop)
    app = App(batcher, spool)
    app.served.table = build(plan, Table(plan), lambda name, model: spool.declare(
        name, model.version, list(zip(model.features.names, model.features.kinds, strict=True))
    ))  # fmt: skip
    app.loop = loop  # type: ignore[attr-defined]
    try:
        yield app
    finally:
        batcher.close()
        spool.close()
        loop.close()


def ask(app: App, name: str, *rows: Mapping[str, object], key: str = "r") -> tuple[int, dict[str, object]]:
    body = json.dumps({"instances": list(rows)}).encode()
    headers = {b"content-type": b"application/json", b"x-request-id": key.encode()}
    message = whole("POST", f"/v1/models/{name}:predict", headers, body)
    loop: asyncio.AbstractEventLoop = app.loop  # type: ignore[attr-defined]
    reply = loop.run_until_complete(app.reply(message, Line()))
    assert reply is not None
    return reply.status, json.loads(reply.body)


def run(house: Wiring, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(group, list(arguments), obj=lambda: house, catch_exceptions=False)
    return done.exit_code, done.output


def test_what_was_served_is_what_the_past_says_with_late_corrections_and_a_time_to_live(house: Wiring) -> None:
    start = now()
    facts: list[Fact] = [
        ("ada", start - HOUR, start - HOUR, 1.0),
        ("ada", start - HOUR, start - HOUR // 2, 2.0),  # a correction that was known before anybody asked
        ("bob", start - 3 * HOUR, start - 3 * HOUR, 5.0),  # too old
    ]
    view_of(house, "right", *facts)
    serving = house.get(Serving)
    made = serving.deploy("right", "sums", 1, options=Options(features=(ViewUse("right", "default", {"b": 9.0}),)))
    assert made.options.features[0].view == "right/1"  # whatever version of the view comes later
    with answering(house) as app:
        rows = [{"who": who, "a": 1.0} for who in ("ada", "bob", "eve")]
        status, answer = ask(app, "right", *rows)
    assert (status, np.round(answer["predictions"], 6).tolist()) == (200, [21.0, 91.0, 91.0])  # type: ignore[call-overload]
    later = now() + SECOND_US
    ingest(house, "right", *facts, ("ada", start - HOUR, later, 7.0), ("eve", later, later, 8.0))
    found = serving.skew("right")
    assert (found.rows, found.values, found.differing, found.skipped, found.examples) == (3, 3, 0, 0, ())
    code, said = run(house, "skew", "right")
    assert (code, said) == (0, "3 predictions, 3 looked up inputs: 0 predictions differ\n")
    looked = {one.id: one.features[0] for one in serving.recent("right")}
    assert [looked[f"r.{i}"].state for i in range(3)] == ["fresh", "expired", "missing"]
    assert looked["r.0"].entity == '["ada"]'
    assert looked["r.0"].age_s == pytest.approx(3_600, abs=600)


def test_a_batch_looks_up_what_requests_do_logs_it_and_puts_rows_of_unknown_entities_aside(
    house: Wiring, tmp_path: Path
) -> None:
    start = now()
    view_of(house, "batched", ("ada", start - HOUR, start, 2.0), ("bob", start - 3 * HOUR, start, 5.0))
    serving = house.get(Serving)
    serving.deploy("batched", "sums", 1, options=Options(features=(ViewUse("batched"),)))
    made = Batches(serving=serving, registry=house.get(Registry), data=house.get(Data), clock=SystemClock())
    pl.DataFrame({"who": ["ada", "bob", None, "ada", "eve"], "a": [1.0, 1.0, 1.0, 0.25, 1.0]}).write_csv(
        tmp_path / "in.csv"
    )
    request = BatchRequest("batched", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), log=True, chunk_rows=2)
    report = made.run(request, processes=2)
    assert (report.answered, report.quarantined) == (2, 3)
    answered = pl.read_csv(report.out)
    assert answered.columns == ["who", "a", "prediction", "prediction_id", "rules"]
    with answering(house) as app:
        _, answer = ask(app, "batched", {"who": "ada", "a": 1.0}, {"who": "ada", "a": 0.25})
    assert answered["prediction"].to_list() == answer["predictions"]
    aside = pl.read_csv(report.quarantine)["quarantine_reason"].to_list()
    age = r"what feature view 'batched' knows of who='bob' is (\d+) s old, and holds for 7200 s"
    (stale,) = filter(None, (re.fullmatch(age, reason) for reason in aside))
    assert 0 <= int(stale[1]) - 3 * 3600 <= (now() - start) // 1_000_000
    assert [reason.partition(" knows nothing of ")[2] for reason in aside[1:]] == ["who=None", "who='eve'"]
    one = serving.prediction(f"{report.id}.3")
    assert (one.inputs, one.features[0].state, one.features[0].entity) == ({"a": 0.25, "b": 2.0}, "fresh", '["ada"]')
    found = serving.skew("batched")
    assert (found.rows, found.values, found.differing) == (4, 4, 0)
    pl.DataFrame({"a": [1.0]}).write_parquet(tmp_path / "short.parquet")
    short = BatchRequest("batched", str(tmp_path / "short.parquet"), str(tmp_path / "none.parquet"))
    with pytest.raises(Invalid, match="column 'who' is missing"):
        made.run(short)


def test_skew_is_found_and_its_reason_told(house: Wiring) -> None:
    start = now()
    old: list[Fact] = [(who, start - HOUR, start - HOUR, 1.0) for who in ("ada", "bob", "eve")]
    view_of(house, "wrong", *old, ("joe", start + HOUR, start + HOUR, 4.0), as_of=start + 2 * HOUR)
    house.get(Serving).deploy("wrong", "sums", 1, options=Options(features=(ViewUse("wrong"),)))
    with answering(house) as app:
        assert ask(app, "wrong", *({"who": who, "a": 0.0} for who in ("ada", "bob", "eve", "joe")))[0] == 200
        house.get(FeatureViews).materialize("wrong", as_of=start - HOUR // 2)
        time.sleep(0.25)  # until it looks for another file
        assert ask(app, "wrong", {"who": "eve", "a": 0.0}, key="again")[0] == 200
    rewritten = [("ada", *old[0][1:3], 3.0), old[1], old[2], ("eve", start - HOUR // 4, start - HOUR // 4, 6.0)]
    ingest(house, "wrong", *rewritten)  # and joe is gone
    found = house.get(Serving).skew("wrong")
    assert (found.rows, found.differing) == (5, 4)
    reasons = {one.prediction_id: (one.reason, one.served, one.offline) for one in found.examples}
    assert reasons == {
        "r.0": ("changed", 1.0, 3.0),
        "r.2": ("changed", 1.0, 6.0),  # materialized as of two hours later, it should have had the newer value
        "r.3": ("changed", 4.0, None),
        "again": ("stale", 1.0, 6.0),
    }
    code, said = run(house, "skew", "wrong")
    assert (code, "4 predictions differ" in said) == (4, True)
    assert run(house, "skew", "wrong", "--allow", "0.8")[0] == 0
    assert json.loads(run(house, "skew", "wrong", "--json")[1])["inputs"] == {"b": 4}
    assert run(house, "skew", "wrong", "--tolerance", "10")[0] == 4  # joe was served, and nothing is known of joe
    with TestClient(create_app(house, rooms=("serving",)), base_url="http://127.0.0.1:7600") as http:
        told = http.get("/api/v1/deployments/wrong/skew?tolerance=10").json()
        assert (told["differing"], told["reasons"]) == (1, {"changed": 1})
        page = http.get("/deployments/wrong").text
        assert all(said in page for said in ("Looked up by entity", 'name="in.who"', 'name="in.a"'))
        assert 'name="in.b"' not in page


def test_what_was_served_before_it_was_known_is_told_apart(house: Wiring) -> None:
    start = now()
    view_of(house, "early", ("ada", start - HOUR, start - HOUR, 1.0), ("ada", start - HOUR, start + HOUR, 2.0),
            as_of=start + 2 * HOUR)  # fmt: skip
    house.get(Serving).deploy("early", "sums", 1, options=Options(features=(ViewUse("early"),)))
    with answering(house) as app:
        assert ask(app, "early", {"who": "ada", "a": 0.0})[0] == 200
    (one,) = house.get(Serving).skew("early").examples
    assert (one.reason, one.served, one.offline) == ("ahead", 2.0, 1.0)


def test_a_deployment_takes_only_views_that_fit_it(house: Wiring, tmp_path: Path) -> None:
    start = now()
    view_of(house, "fits", ("ada", start, start, 1.0))
    views, serving = house.get(FeatureViews), house.get(Serving)
    views.add("other", ViewSpec("fits", ("who",), "t", (Feature("c", "b"),)))
    views.add("texts", ViewSpec("fits", ("who",), "t", (Feature("b", "text(b)"),)))
    views.add("idle", ViewSpec("fits", ("who",), "t", (Feature("b"),)))
    for name, kind, says in (
        ("other", Invalid, "no input of this version"),
        ("texts", Invalid, "as text, it takes float64"),
        ("idle", NotFound, "features materialize idle --version 1"),
        ("fit", NotFound, 'did you mean "fits"'),
        ("fits:c=1", Invalid, "which is no feature"),
    ):
        with pytest.raises(kind) as refused:
            serving.deploy("picky", "sums", 1, options=Options(features=(ViewUse.of(name),)))
        assert says in str(refused.value)
    with pytest.raises(Invalid, match="is in both"):
        serving.deploy("picky", "sums", 1, options=Options(features=(ViewUse("fits"), ViewUse("fits"))))
    serving.deploy("picky", "sums", 1, options=Options(features=(ViewUse("fits"),), redact=("who",)))
    with answering(house) as app:
        assert ask(app, "picky", {"who": "ada", "a": 1.0})[0] == 200
        status, answer = ask(app, "picky", {"who": "zoe", "a": 1.0})
        assert (status, "knows nothing of who='zoe'" in str(answer["error"])) == (422, True)
    found = serving.skew("picky")
    assert (found.rows, found.skipped) == (0, 1)


def test_a_view_is_named_on_the_command_line(house: Wiring) -> None:
    start = now()
    view_of(house, "told", ("ada", start, start, 1.0))
    arguments = ["sums", "--version", "1", "--name", "told", "--features", "told:b=2", "--json"]
    done = CliRunner().invoke(commands.deploy, arguments, obj=lambda: house, catch_exceptions=False)
    assert json.loads(done.stdout)["options"]["features"] == [
        {"view": "told/1", "otherwise": "default", "defaults": {"b": 2}}
    ]
    CliRunner().invoke(commands.deploy, [*arguments[:5], "--features", ""], obj=lambda: house, catch_exceptions=False)
    assert house.get(Serving).get("told").options.features == ()
