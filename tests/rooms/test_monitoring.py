from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from tests import spools

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US, HOUR_US, ManualClock, moment
from mainspring.core.errors import NotFound
from mainspring.core.ids import new_id
from mainspring.data import Data
from mainspring.gates import Gates
from mainspring.monitoring import Monitoring, MonitorSpec
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.registry import Registry
from mainspring.serving import Feedback, Serving
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Journal, Tables
from mainspring.storage.queue import SqlQueue

START = 1_364_774_400_000_000  # 2013-04-01
COLUMNS = [("hour", "float"), ("carrier", "text")]


@dataclass
class House:
    serving: Serving
    registry: Registry
    data: Data
    monitoring: Monitoring
    journal: Journal
    tables: Tables
    folder: Path

    def raised(self) -> list[tuple[object, object]]:
        events = self.journal.read(kinds=["monitoring.alarm_raised"])
        return [(event.payload["cause"], event.payload["window_end"]) for event in events]


def flights(rows: int, seed: int, *, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"hour": rng.normal(12 + shift, 4, rows), "carrier": rng.choice(["AA", "DL", "UA"], rows)})


def build(tables: Tables, folder: Path, *, batch_rows: int = 20_000) -> House:
    clock, journal = ManualClock(START), SqlJournal(tables)
    blobs, delta = open_blobs("", folder), open_delta("", folder)
    data = Data(tables=tables, journal=journal, delta=delta, blobs=blobs, clock=clock)
    registry = Registry(tables=tables, journal=journal, blobs=blobs, clock=clock, folder=folder / "registry")
    serving = Serving(
        tables=tables, journal=journal, delta=delta, registry=registry, clock=clock, folder=folder / "serving"
    )
    monitoring = Monitoring(
        tables=tables,
        journal=journal,
        clock=clock,
        serving=serving,
        registry=registry,
        data=data,
        gates=Gates(tables=tables, journal=journal, registry=registry, data=data),
        batch_rows=batch_rows,
        queue=SqlQueue(tables),
    )
    return House(serving, registry, data, monitoring, journal, tables, folder)


def train(
    house: House,
    *,
    reference: str = "",
    metrics: dict[str, float] | None = None,
    importance: dict[str, float] | None = None,
) -> int:
    frame = flights(200, 0)
    model = LogisticRegression().fit(_codes(frame), np.arange(200) % 2)
    levels = {"carrier": ["AA", "DL", "UA"]}
    example = frame.head(3)
    made = house.registry.register(
        "late",
        model,
        example=example,
        encoding=levels,
        reference=reference,
        metrics=metrics or {"brier": 0.15},
        importance=importance,
    )
    return made.number


def _codes(frame: pl.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return frame.with_columns(pl.col("carrier").replace_strict({"AA": 0.0, "DL": 1.0, "UA": 2.0})).to_numpy()


@pytest.fixture
def house(tables: Tables, tmp_path: Path) -> House:
    return watched(build(tables, tmp_path))


@pytest.fixture
def lite(sqlite_tables: Tables, tmp_path: Path) -> House:
    return watched(build(sqlite_tables, tmp_path))


def watched(house: House) -> House:
    march = [moment(START - 20 * DAY_US + i * 20 * DAY_US // 12_000) for i in range(12_000)]
    made = house.data.ingest("flights", flights(12_000, 1).with_columns(scheduled=pl.Series(march)))
    train(house, reference=made.ref)
    house.serving.deploy("live", "late", 1)
    house.monitoring.watch("live")
    return house


def log(
    house: House,
    frame: pl.DataFrame,
    *,
    start: int,
    version: int = 1,
    score: float = 0.5,
    prefix: str = "",
    spool: str = "",
    every_us: int = HOUR_US // 40,
    at: int = 0,
    status: int = 200,
) -> list[str]:
    """Answers in the log of a model server's worker, as it writes them, moved to the table. Returns their ids."""
    spool = spool or new_id()
    ids = [f"{prefix or spool}-{i}" for i in range(frame.height)]
    rows = [
        {
            "id": ids[i],
            "request_id": ids[i],
            "key": ids[i],
            "status": status,
            "inputs": row,
            "at": at or start + i * every_us,
            "event_at": start + i * every_us,
            "outputs": {"probability": score, "label": 0},
        }
        for i, row in enumerate(frame.iter_rows())
    ]
    path = house.folder / "serving" / SPOOLS / f"{spool}.sqlite"
    spools.write(path, rows, columns=COLUMNS, version=version)
    house.serving.compact()
    return ids


def day(house: House, number: int, *, shift: float = 0.0, brier: float = 0.15, rows: int = 400) -> None:
    """One day of flights, with labels that make its Brier loss about `brier` at a score of 0.2."""
    ids = log(
        house,
        flights(rows, 100 + number, shift=shift),
        start=START + number * DAY_US,
        score=0.2,
        every_us=DAY_US // rows,
    )
    late = round(rows * (brier - 0.04) / 0.6)
    house.serving.feedback("live", [Feedback(name, int(i < late)) for i, name in enumerate(ids)])
    house.monitoring.observe("live")


def test_watching_twice_is_watching_once(lite: House) -> None:
    assert lite.monitoring.watch("live") == lite.monitoring.get("live")
    assert len(lite.journal.read(kinds=["monitoring.monitor_started"])) == 1
    assert [monitor.deployment for monitor in lite.monitoring.monitors()] == ["live"]


def test_what_is_not_there_is_said_with_its_neighbour(lite: House) -> None:
    with pytest.raises(NotFound, match='did you mean "live"'):
        lite.monitoring.observe("liev")
    with pytest.raises(NotFound, match="no deployment"):
        lite.monitoring.watch("nothing")
    with pytest.raises(NotFound, match="no alarm"):
        lite.monitoring.acknowledge("0" * 32)


def test_before_the_first_prediction_a_monitor_waits(lite: House) -> None:
    assert lite.monitoring.observe("live") == 0
    assert lite.monitoring.evaluate("live") == []
    status = lite.monitoring.status("live")
    assert (status.state, status.alarms, status.measures, status.problems) == ("waiting", (), {}, ())


def test_predictions_and_labels_are_counted_once_however_often_one_looks(house: House) -> None:
    ids = log(house, flights(50, 2), start=START)
    assert house.monitoring.observe("live") == 50
    assert house.monitoring.observe("live") == 0
    house.serving.feedback("live", [Feedback(name, 1) for name in ids[:20]])
    house.serving.feedback("live", [Feedback(name, 1) for name in ids[:30]])
    assert house.monitoring.observe("live") == 30
    assert house.monitoring.observe("live") == 0
    status = house.monitoring.status("live")
    assert (status.monitor.predictions, status.monitor.labels, status.awaiting_labels) == (50, 30, 20)
    assert status.measures["brier"] == pytest.approx(0.25)


def test_labels_that_come_before_their_prediction_are_kept_for_it(house: House) -> None:
    house.serving.feedback("live", [Feedback(f"early-{i}", 1) for i in range(5)])
    assert house.monitoring.observe("live") == 0
    log(house, flights(10, 2), start=START, prefix="early")
    assert house.monitoring.observe("live") == 15
    assert house.monitoring.status("live").awaiting_labels == 5
    assert house.monitoring.observe("live") == 0


def test_a_request_that_was_sent_again_is_one_prediction(house: House) -> None:
    log(house, flights(10, 2), start=START, prefix="same")
    log(house, flights(10, 2), start=START, prefix="same")
    assert house.monitoring.observe("live") == 10
    log(house, flights(12, 2), start=START, prefix="same")
    assert house.monitoring.observe("live") == 2


def test_rows_of_several_workers_are_each_counted_from_where_they_were(house: House) -> None:
    spools = [new_id(), new_id()]
    for spool in spools:
        log(house, flights(30, 2), start=START, spool=spool)
    small = build(house.tables, house.folder, batch_rows=7).monitoring
    assert small.observe("live") == 60
    log(house, flights(5, 2), start=START)
    assert small.observe("live") == 5


def test_answers_that_failed_are_no_predictions_and_raise_their_own_alarm(lite: House) -> None:
    log(lite, flights(200, 2), start=START, status=500, every_us=1000)
    assert lite.monitoring.observe("live") == 0
    log(lite, flights(1, 3), start=START + HOUR_US)  # the stream has passed the five minutes
    lite.monitoring.observe("live")
    assert [alarm.cause for alarm in lite.monitoring.evaluate("live")] == ["errors"]
    assert lite.monitoring.alarms("live")[0].text == "100.0% of 200 requests failed, 1.0% are accepted"
    assert lite.monitoring.evaluate("live") == []


def test_a_planted_shift_is_told_with_the_first_row_after_its_window(lite: House) -> None:
    day(lite, 0)
    log(lite, flights(400, 101, shift=8.0), start=START + DAY_US, every_us=DAY_US // 400)
    lite.monitoring.observe("live")
    assert lite.monitoring.evaluate("live") == []
    log(lite, flights(1, 102), start=START + 2 * DAY_US)
    lite.monitoring.observe("live")
    found = lite.monitoring.evaluate("live")
    assert [(alarm.cause, alarm.window_start, alarm.window_end) for alarm in found] == [
        ("drift", START + DAY_US, START + 2 * DAY_US)
    ]


def test_labels_of_odd_values_are_counted_as_unread(lite: House) -> None:
    ids = log(lite, flights(3, 2), start=START)
    lite.serving.feedback("live", [Feedback(ids[0], "late"), Feedback(ids[1], 7), Feedback(ids[2], 1, kind="click")])
    assert lite.monitoring.observe("live") == 5
    assert lite.monitoring.status("live").measures == {}


def test_an_event_time_of_a_clock_gone_wrong_closes_no_window(lite: House) -> None:
    log(lite, flights(3, 2), start=START + 10_000 * DAY_US, at=START)
    lite.monitoring.observe("live")
    assert lite.monitoring.status("live").monitor.watermark == START + DAY_US


def test_ordinary_days_raise_nothing_and_leave_their_judgements(lite: House) -> None:
    for number in range(6):
        day(lite, number)
    assert lite.monitoring.evaluate("live") == []
    status = lite.monitoring.status("live")
    assert status.state == "ok"
    found = [(window.cause, window.window_end) for window in status.windows]
    assert [end for cause, end in found if cause == "drift"] == [START + n * DAY_US for n in range(1, 6)]
    assert [end for cause, end in found if cause == "performance"] == [START + n * DAY_US for n in range(1, 6)]
    assert set(status.windows[0].details) == {"hour", "carrier"}


def test_inputs_that_moved_raise_one_alarm_about_drift_with_its_evidence(house: House) -> None:
    for number in range(5):
        day(house, number, shift=4.0)
        house.monitoring.evaluate("live")
    alarms = house.monitoring.alarms("live")
    assert [(alarm.cause, alarm.state, alarm.version) for alarm in alarms] == [("drift", "open", 1)]
    columns = alarms[0].evidence["columns"]
    assert isinstance(columns, list)
    assert columns[0]["column"] == "hour"
    assert columns[0]["since"] == START
    assert house.raised() == [("drift", alarms[0].window_end)]
    event = house.journal.read(kinds=["monitoring.alarm_raised"])[0]
    assert (event.payload["deployment"], event.payload["performance_evidence"]) == ("live", False)


def test_a_column_that_moves_later_joins_the_open_alarm(lite: House) -> None:
    for number in range(9):
        frame = flights(400, number, shift=8.0)
        if number > 3:
            frame = frame.with_columns(carrier=pl.lit("AA"))
        log(lite, frame, start=START + number * DAY_US, every_us=DAY_US // 400)
        lite.monitoring.observe("live")
        lite.monitoring.evaluate("live")
    alarm = lite.monitoring.alarms("live")[0]
    columns = alarm.evidence["columns"]
    assert isinstance(columns, list)
    assert [column["column"] for column in columns] == ["hour", "carrier"]
    assert "and 1 more" in alarm.text
    assert len(lite.raised()) == 1


def test_a_loss_that_is_truly_worse_raises_an_alarm_about_performance(lite: House) -> None:
    for number in range(12):
        day(lite, number, brier=0.4)
        lite.monitoring.evaluate("live")
    first = lite.monitoring.alarms("live")[-1]
    assert (first.cause, first.evidence["loss"], first.evidence["reference"]) == ("performance", "brier", 0.15)
    assert first.evidence["realized"] == pytest.approx(0.4, abs=0.01)
    assert first.window_start == START
    event = lite.journal.read(kinds=["monitoring.alarm_raised"])[0]
    assert event.payload["performance_evidence"] is True
    assert lite.monitoring.status("live").state == "alarm"


def test_an_alarm_is_acknowledged_once_with_a_note(house: House) -> None:
    for number in range(4):
        day(house, number, shift=8.0)
    alarm = house.monitoring.evaluate("live")[0]
    with calling(Caller("eve")):
        seen = house.monitoring.acknowledge(alarm.id[:20], "summer timetable")
    assert (seen.state, seen.acknowledged_by, seen.note) == ("acknowledged", "eve", "summer timetable")
    assert house.monitoring.acknowledge(alarm.id, "again") == seen
    assert len(house.journal.read(kinds=["monitoring.alarm_acknowledged"])) == 1


def test_alarms_about_a_version_are_closed_when_it_is_no_longer_live(house: House) -> None:
    for number in range(4):
        day(house, number, shift=8.0)
    house.monitoring.evaluate("live")
    train(house, reference="datasets/flights/1")
    house.serving.deploy("live", "late", 2)
    assert house.monitoring.evaluate("live") == []
    assert [alarm.state for alarm in house.monitoring.alarms("live")] == ["closed"]


def test_each_version_is_held_against_its_own_reference(lite: House) -> None:
    made = lite.data.ingest("summer", flights(12_000, 9, shift=8.0))
    train(lite, reference=made.ref)
    lite.serving.deploy("live", "late", 2)
    for number in range(5):
        log(lite, flights(400, number, shift=8.0), start=START + number * DAY_US, version=2)
    lite.monitoring.observe("live")
    assert lite.monitoring.evaluate("live") == []
    assert [version.version for version in lite.monitoring.status("live").versions] == [2]


@pytest.mark.parametrize(
    ("reference", "metrics", "problem"),
    [
        ("", {"brier": 0.1}, "no reference dataset"),
        ("datasets/gone/1", {"brier": 0.1}, "the reference cannot be read"),
        ("datasets/other/1", {"brier": 0.1}, "none of the model's inputs"),
        ("datasets/flights/1", {"roc_auc": 0.7}, "no validation loss"),
    ],
)
def test_what_cannot_be_judged_is_said_and_the_rest_goes_on(
    lite: House, reference: str, metrics: dict[str, float], problem: str
) -> None:
    lite.data.ingest("other", pl.DataFrame({"something": [1, 2, 3]}))
    train(lite, reference=reference, metrics=metrics)
    lite.serving.deploy("live", "late", 2)
    for number in range(3):
        ids = log(lite, flights(300, number), start=START + number * DAY_US, version=2)
        lite.serving.feedback("live", [Feedback(name, 0) for name in ids])
        lite.monitoring.observe("live")
    assert lite.monitoring.evaluate("live") == []
    status = lite.monitoring.status("live")
    assert problem in status.problems[0]
    assert status.measures["accuracy"] >= 0


def test_projects_do_not_see_each_other(house: House) -> None:
    with calling(Caller(project="other")):
        assert house.monitoring.monitors() == []
        with pytest.raises(NotFound):
            house.monitoring.get("live")


def test_the_budget_is_a_setting(lite: House) -> None:
    for number in range(4):
        day(lite, number, shift=1.0)
    strict = MonitorSpec(budget=1e-12)
    rooms = {"serving": lite.serving, "registry": lite.registry, "data": lite.data}
    calm = Monitoring(tables=lite.tables, journal=lite.journal, clock=ManualClock(), spec=strict, **rooms)  # type: ignore[arg-type]
    assert calm.evaluate("live") == []


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from mainspring.storage.open import open_tables
from test_monitoring import build
folder = Path({folder!r})
build(open_tables("", folder / "tables"), folder, batch_rows=40).monitoring.observe("live")
"""


def test_killed_at_any_moment_nothing_is_lost_and_nothing_counted_twice(lite: House) -> None:
    ids = log(lite, flights(1200, 2), start=START)
    lite.serving.feedback("live", [Feedback(name, int(i % 3 == 0)) for i, name in enumerate(ids)])
    script = CHILD.format(tests=str(Path(__file__).parent), folder=str(lite.folder))

    def progress() -> int:
        monitor = lite.monitoring.get("live")
        return monitor.predictions + monitor.labels

    for most in (1, 400, 1500):
        with subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": "src"}) as child:
            while progress() < most and child.poll() is None:
                lite.journal.wait(10**9, 0.002)
            child.send_signal(signal.SIGKILL)
    lite.monitoring.observe("live")
    status = lite.monitoring.status("live")
    assert (status.monitor.predictions, status.monitor.labels, status.awaiting_labels) == (1200, 1200, 0)
    from mainspring.monitoring import records

    with lite.tables.read() as conn:
        hours = records.list_windows(conn, "live", 1, since=0, until=START + 9 * DAY_US)
        days = records.list_outcomes(conn, "live", 1)
        requests = records.requests.list_service(conn, "live")
    assert sum(counts.requests for _, counts in requests) == 1200
    assert sum(rows for _, rows, _ in hours) == 1200
    total = Outcomes()
    for _, outcomes in days:
        total = total.merge(outcomes)
    assert (total.predictions, total.rows) == (1200, 1200)
    assert total.loss == pytest.approx(300)
