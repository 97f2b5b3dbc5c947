"""Tables in, tables out: the answers of the model server, also after kills; what can't be answered is put aside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from tests.unit.serving.doors import MODEL, loaded, packages

from mainspring.core.clock import SystemClock
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.monitoring import Monitoring
from mainspring.registry import Registry
from mainspring.registry.apart import Own
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.batch.carried import Away, carried, needs, rows_of
from mainspring.serving.batch.chunks import _marks, _series
from mainspring.serving.batch.job import BatchRequest, Parts
from mainspring.serving.batch.running import Batches, Told
from mainspring.serving.batch.scoring import score
from mainspring.serving.commands import predict
from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.plan import Options, ViewPlan
from mainspring.serving.rules.humility import Rule, Seen

LEVELS = ["AA", "UA"]


def rows(n: int = 500, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"delay": rng.normal(size=n), "hour": rng.integers(0, 24, n), "carrier": rng.choice(LEVELS, n)})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    folder = tmp_path_factory.mktemp("house")
    made = open_house(load(folder, environ={}))
    frame = rows()
    reference = made.get(Data).ingest("flights", frame).ref
    encoded = frame.with_columns((pl.col("carrier") == "UA").cast(pl.Float64)).to_numpy()
    model = LGBMClassifier(n_estimators=5, num_threads=1, verbose=-1)
    model.fit(encoded, (frame["delay"] > 0).to_numpy().astype(int), feature_name=frame.columns)
    made.get(Registry).register("late", model, example=frame.head(3), encoding={"carrier": LEVELS}, reference=reference)
    made.get(Serving).deploy("late", "late", 1)
    yield made
    made.close()


def batches(house: Wiring) -> Batches:
    return Batches(serving=house.get(Serving), registry=house.get(Registry), data=house.get(Data), clock=SystemClock())


def asked(tmp_path: Path, frame: pl.DataFrame, out: str = "out.parquet") -> BatchRequest:
    frame.write_parquet(tmp_path / "in.parquet")
    return BatchRequest("late", str(tmp_path / "in.parquet"), str(tmp_path / out), chunk_rows=64)


@pytest.fixture(scope="module")
def online(house: Wiring) -> LoadedModel:
    """The model as the model server has it."""
    plan = house.get(Serving).planned("late")
    return load_model(plan.arms[0], public_key=None, max_rows=10_000)


def test_a_batch_has_the_answers_of_the_model_server_to_the_last_bit(
    house: Wiring, tmp_path: Path, online: LoadedModel
) -> None:
    frame = rows(200, seed=1)
    report = batches(house).run(asked(tmp_path, frame))
    assert (report.rows, report.answered, report.quarantined) == (200, 200, 0)
    found = pl.read_parquet(report.out)
    assert found.select(frame.columns).equals(frame)
    each = [
        online.predict(online.features.from_named({c: [row[c]] for c in frame.columns})) for row in frame.to_dicts()
    ]
    assert found["probability"].to_list() == [answer["probability"][0] for answer in each]
    assert found["label"].to_list() == [answer["label"][0] for answer in each]
    assert found["prediction_id"].to_list() == [f"{report.id}.{row}" for row in range(200)]
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_actors_of_ray_give_the_same_answers_and_go_on_where_others_were(
    house: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, done = rows(500, seed=2), list[int]()
    one = asked(tmp_path, frame)
    first = pl.read_parquet(batches(house).run(one).out)
    monkeypatch.chdir(tmp_path)  # that of actors is another one
    two = replace(one, source="in.parquet", out="two.parquet")
    with pytest.raises(KeyboardInterrupt):
        batches(house).run(two, tell=_stop_at(3))
    batches(house).run(two, processes=2, engine="ray", tell=lambda count, of: done.append(count))
    assert pl.read_parquet(two.out).drop("prediction_id").equals(first.drop("prediction_id"))
    assert done == [3, 4, 5, 6, 7, 8]


def test_a_chunk_that_travelled_is_the_file_that_is_written_here(house: Wiring, tmp_path: Path) -> None:
    request = asked(tmp_path, rows(150, seed=3))
    with pytest.raises(KeyboardInterrupt):
        batches(house).run(request, tell=_stop_at(3))
    parts = Parts(Path(request.out))
    job = parts.job()
    assert job is not None
    given = carried(job)
    assert given is not None
    assert set(given[1]) == {path.name for path in Path(job.plan.arms[0].folder).iterdir()}
    away = Away(given)
    for number in range(job.chunks):
        assert away(number, rows_of(parts, job, number)) == parts.chunk(number).read_bytes()


def test_what_is_read_where_it_is_does_not_travel(house: Wiring, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        batches(house).run(request := asked(tmp_path, rows(150, seed=3)), tell=_stop_at(1))
    parts = Parts(Path(request.out))
    job = parts.job()
    assert job is not None
    view = ViewPlan(name="visits", number=1, path=str(tmp_path / "visits.keyed"), keys=[], names=["hour"])
    looking = msgspec.structs.replace(job, plan=msgspec.structs.replace(job.plan, views=[view]))
    assert carried(looking) is None
    assert needs(parts, looking)[-1] == tmp_path / "visits.keyed"
    arm = msgspec.structs.replace(job.plan.arms[0], own=Own(python="/opt/of/its/own/bin/python"))
    apart = msgspec.structs.replace(job, plan=msgspec.structs.replace(job.plan, arms=[arm]))
    assert carried(apart) is None


def test_processes_csv_and_datasets_give_the_same_answers(house: Wiring, tmp_path: Path) -> None:
    frame = rows(200, seed=1)
    one = asked(tmp_path, frame)
    first = pl.read_parquet(batches(house).run(one).out)
    two = replace(one, out=str(tmp_path / "two.csv"))
    batches(house).run(two, processes=2)
    frame.write_csv(tmp_path / "in.csv")
    three = replace(one, source=str(tmp_path / "in.csv"), out=str(tmp_path / "three.parquet"))
    batches(house).run(three)
    ref = house.get(Data).ingest("january", frame).ref
    four = replace(one, source=ref, out=str(tmp_path / "four.parquet"), keep=("hour",))
    batches(house).run(four)
    assert pl.read_csv(two.out)["probability"].to_list() == first["probability"].to_list()
    read = pl.read_parquet(three.out)
    assert read["probability"].to_list() == first["probability"].to_list()
    assert read.select(frame.columns).equals(frame)
    kept = pl.read_parquet(four.out)
    assert kept["probability"].to_list() == first["probability"].to_list()
    assert kept.columns == ["hour", "probability", "label", "prediction_id", "rules"]


def test_a_delta_table_is_answered_as_it_is_when_the_batch_begins(house: Wiring, tmp_path: Path) -> None:
    frame, table = rows(60, seed=1), tmp_path / "table"
    one = asked(tmp_path, frame)
    first = pl.read_parquet(batches(house).run(one).out)
    frame.write_delta(table)
    two = replace(one, source=str(table), out=str(tmp_path / "two.parquet"), chunk_rows=20)
    with pytest.raises(KeyboardInterrupt):
        batches(house).run(two, tell=_stop_at(1))
    rows(5, seed=2).write_delta(table, mode="append")
    report = batches(house).run(two)
    assert (report.rows, report.answered) == (60, 60)
    read = pl.read_parquet(report.out)
    assert read.select(frame.columns).equals(frame)
    assert read["probability"].to_list() == first["probability"].to_list()
    three = replace(two, out=str(tmp_path / "three.parquet"))
    assert batches(house).run(three).rows == 65
    four = replace(two, out=str(tmp_path / "four.parquet"))
    with pytest.raises(KeyboardInterrupt):
        batches(house).run(four, tell=_stop_at(1))
    shutil.rmtree(table)
    rows(5, seed=2).write_delta(table)
    with pytest.raises(Conflict, match="changed"):
        batches(house).run(four)
    (table / "_delta_log" / "00000000000000000000.json").write_text("{}")
    with pytest.raises(Invalid, match="not a Delta table"):
        batches(house).run(replace(two, out=str(tmp_path / "five.parquet")))


def test_rows_that_cannot_be_scored_are_put_aside_with_a_reason_for_each_column(house: Wiring, tmp_path: Path) -> None:
    lines = ["delay,hour,carrier,who", "0.5,7,AA,a", "soon,late,AA,b", "0.5,7.5,UA,c", ",9,UA,d"]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    request = BatchRequest("late", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    report = batches(house).run(request)
    assert (report.rows, report.answered, report.quarantined) == (4, 2, 2)
    assert pl.read_csv(report.out)["who"].to_list() == ["a", "d"]
    aside = pl.read_csv(report.quarantine)
    assert aside["who"].to_list() == ["b", "c"]
    first, second = aside["quarantine_reason"].to_list()
    assert "input 'delay' has a str" in first and "input 'hour' has a str" in first
    assert second == "input 'hour' has a float where it takes a whole number (int64)"


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_batch_goes_on_and_loses_and_doubles_nothing(house: Wiring, tmp_path: Path) -> None:
    frame = rows(800, seed=2)
    request = replace(asked(tmp_path, frame), log=True, chunk_rows=20)
    whole = pl.read_parquet(batches(house).run(replace(request, out=str(tmp_path / "whole.parquet"), log=False)).out)
    folder = house.get(Serving).folder.parents[1]
    program = f"""
from pathlib import Path
from mainspring.core.settings import load
from mainspring.server.house import open_house
from mainspring.core.clock import SystemClock
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.serving import Serving
from mainspring.serving.batch.job import BatchRequest
from mainspring.serving.batch.running import Batches
made = open_house(load(Path({str(folder)!r}), environ={{}}))
rooms = {{"serving": made.get(Serving), "registry": made.get(Registry), "data": made.get(Data)}}
Batches(**rooms, clock=SystemClock()).run({request!r}, tell=lambda done, of: print(done, flush=True))
"""
    for wait in (3, 24):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= wait:
                break
        time.sleep(0.002 * wait)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    report = batches(house).run(request)
    assert report.answered == 800
    found = pl.read_parquet(report.out)
    assert found.drop("prediction_id").equals(whole.drop("prediction_id"))
    logged = house.get(Serving).predictions("late").filter(pl.col("arm") == "batch").collect()
    assert sorted(logged["id"].to_list()) == sorted(found["prediction_id"].to_list())
    assert batches(house).run(request) == report


def test_a_batch_that_ends_between_two_commits_of_the_log_logs_each_row_once(
    house: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(asked(tmp_path, rows(300, seed=4)), log=True)
    made, calls, through = batches(house), list[int](), Serving.log_rows

    def die(self: Serving, name: str, frame: pl.DataFrame, *, app: str, batch: int) -> bool:
        calls.append(batch)
        new = through(self, name, frame, app=app, batch=batch)
        if batch == 2 and calls.count(2) == 1:
            raise KeyboardInterrupt
        return new

    monkeypatch.setattr(Serving, "log_rows", die)
    with pytest.raises(KeyboardInterrupt):
        made.run(request)
    report = made.run(request)
    logged = house.get(Serving).predictions("late").filter(pl.col("request_id") == report.id).collect()
    assert sorted(logged["id"].to_list()) == sorted(f"{report.id}.{row}" for row in range(300))
    assert calls == [0, 1, 2, 0, 1, 2, 3, 4]


def test_logged_rows_are_counted_by_monitors_like_traffic(house: Wiring, tmp_path: Path) -> None:
    serving, monitoring = house.get(Serving), house.get(Monitoring)
    monitoring.watch("late")
    monitoring.observe("late")
    before = monitoring.get("late").predictions
    frame = rows(100, seed=3).with_columns(when=pl.datetime(2026, 1, 1, time_zone="UTC"))
    request = replace(asked(tmp_path, frame), log=True, time_column="when")
    report = batches(house).run(request)
    monitoring.observe("late")
    assert monitoring.get("late").predictions == before + 100
    one = serving.prediction(f"{report.id}.7")
    assert (one.arm, one.request_id, one.event_at) == ("batch", report.id, 1_767_225_600_000_000)
    assert one.inputs == {**rows(100, seed=3).to_dicts()[7], "hour": float(rows(100, seed=3)["hour"][7])}


def test_what_does_not_fit_is_refused_before_a_row_is_answered(house: Wiring, tmp_path: Path) -> None:
    request, run = asked(tmp_path, rows(5)), batches(house).run
    wrong = {
        "column 'delay' is missing": rows(5).rename({"delay": "delays"}),
        "column 'hour' is String": rows(5).with_columns(pl.col("hour").cast(pl.String)),
        "would have 'label' twice": rows(5).with_columns(label=pl.lit(1)),
    }
    for says, frame in wrong.items():
        frame.write_parquet(request.source)
        with pytest.raises(Invalid, match=says):
            run(request)
    rows(5).write_parquet(request.source)
    with pytest.raises(Invalid, match="neither Parquet nor CSV"):
        run(replace(request, out="out.xlsx"))
    with pytest.raises(NotFound, match="no file"):
        run(replace(request, source=str(tmp_path / "none.parquet")))
    with pytest.raises(NotFound):
        run(replace(request, deployment="nobody"))
    (tmp_path / "in.parquet").write_text("no table")
    with pytest.raises(Invalid, match="not a table"):
        run(request)
    rows(5).write_parquet(request.source)
    Path(request.out).write_text("mine")
    fresh = replace(request, out=str(tmp_path / "fresh.parquet"))
    assert run(fresh).rows == 5
    with pytest.raises(Conflict, match="something already"):
        run(replace(fresh, source="datasets/flights"))


def test_a_source_that_changed_is_not_gone_on_with(house: Wiring, tmp_path: Path) -> None:
    request = asked(tmp_path, rows(300))
    with pytest.raises(KeyboardInterrupt):
        batches(house).run(request, tell=_stop_at(2))
    rows(301).write_parquet(request.source)
    with pytest.raises(Conflict, match="changed"):
        batches(house).run(request)
    with pytest.raises(Conflict, match="another batch"):
        batches(house).run(replace(request, keep=("hour",)))
    assert Parts(Path(request.out)).folder.exists()


def _stop_at(chunk: int) -> Told:
    def tell(done: int, of: int) -> None:
        if done >= chunk:
            raise KeyboardInterrupt

    return tell


def test_an_empty_table_gives_an_empty_one(house: Wiring, tmp_path: Path) -> None:
    report = batches(house).run(asked(tmp_path, rows(5).head(0)))
    assert (report.rows, report.answered) == (0, 0)
    assert pl.read_parquet(report.out).columns[-4:] == ["probability", "label", "prediction_id", "rules"]


def test_rules_of_the_endpoint_hold_in_a_batch(house: Wiring, tmp_path: Path) -> None:
    serving = house.get(Serving)
    rules = (
        Rule("far", "out_of_range", "refuse", column="hour"),
        Rule("none", "missing", "override", column="delay", value=0),
    )
    serving.deploy("humble", "late", 1, options=Options(rules=rules))
    frame = rows(4).with_columns(hour=pl.Series([1, 99, 2, 3]), delay=pl.Series([0.0, 1.0, None, 1.0]))
    report = batches(house).run(replace(asked(tmp_path, frame), deployment="humble"))
    found = pl.read_parquet(report.out)
    assert found["rules"].to_list() == [[], ["none:override"], []]
    assert found["probability"][1] == 0.0
    assert pl.read_parquet(report.quarantine)["quarantine_reason"].to_list() == [
        "input 'hour' is out of range (rule 'far')"
    ]


def test_the_command_answers_a_file(house: Wiring, tmp_path: Path) -> None:
    request = asked(tmp_path, rows(10))
    said = CliRunner().invoke(
        predict, ["late", "--batch", request.source, request.out], obj=lambda: house, catch_exceptions=False
    )
    assert said.output.strip() == "10 of 10 rows answered by version 1"
    again = CliRunner().invoke(predict, ["late", "--batch", request.source, request.out, "--json"], obj=lambda: house)
    assert again.exit_code == 0
    assert '"answered": 10' in again.output


@pytest.fixture(scope="module")
def late() -> LoadedModel:
    return loaded(packages()[MODEL])


@given(st.lists(st.none() | st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9))
def test_columns_of_lists_are_what_they_would_be_one_by_one(values: list[list[float] | None]) -> None:
    kind = pl.List(pl.Float64)
    assert _series("p", values, kind).to_list() == pl.Series("p", values, dtype=kind).to_list()
    assert _series("p", values, kind).dtype == kind
    marks = {row: ["a:queue", "b:refuse"][: 1 + row % 2] for row, value in enumerate(values) if value is None}
    assert _marks(marks, len(values)).to_list() == [marks.get(row, []) for row in range(len(values))]


CELLS = st.tuples(
    st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.just("x"),
    st.none() | st.integers(-3, 99) | st.floats(0, 9),
    st.none() | st.sampled_from(["AA", "UA", "XX"]) | st.just(5),
)


@given(st.lists(CELLS, min_size=1, max_size=7))
def test_every_row_is_answered_or_put_aside_as_if_it_were_alone(
    late: LoadedModel, cells: list[tuple[object, ...]]
) -> None:
    seen = {"hour": Seen(0.0, 23.0)}
    humility = Humility([Rule("r", "out_of_range", "refuse"), Rule("s", "unseen", "queue")], late, seen)

    def run(table: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
        columns = dict(zip(late.features.names, (list(c) for c in zip(*table, strict=True)), strict=True))
        found = score(late, humility, columns, len(table))
        numbers = [None if p is None else round(float(str(p)), 9) for p in found.outputs["probability"]]
        return list(
            zip(
                numbers,
                found.outputs["label"],
                [tuple(found.marks.get(row, ())) for row in range(len(numbers))],
                found.reasons,
                strict=True,
            )
        )

    together = run(cells)
    assert together == [run([row])[0] for row in cells]
    assert all((reason == "") == (answer is not None) for answer, _, _, reason in together)
