"""Performance of what is live: realized and estimated, by day and segment, over real logs and labels."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.clock import DAY_US, HOUR_US
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.wiring import Wiring
from mainspring.gates import Gates
from mainspring.gates.model import gates_of
from mainspring.monitoring import Monitoring, MonitorSpec, WatchedVersion, records
from mainspring.monitoring.commands import group
from mainspring.monitoring.performing import Performing
from mainspring.monitoring.rowwise import RowEstimates
from mainspring.server.app import create_app
from mainspring.serving import Feedback, Serving
from mainspring.storage.ports import Tables
from mainspring.storage.sqlite import SqliteTables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_monitoring import START, House, build, flights, log, train, watched

Client = TestClient[Litestar]


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    return furnished(sqlite_tables, tmp_path)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Four days with labels, on which the scores of one carrier say the opposite; tests add feedback only."""
    folder = tmp_path_factory.mktemp("lived")
    tables = SqliteTables(folder / "tables.db")
    tables.migrate()
    house = furnished(tables, folder)
    for day in range(4):
        live(house, day, worse="AA")
    yield house
    tables.close()


def furnished(tables: Tables, folder: Path) -> House:
    house = watched(build(tables, folder))
    spec = MonitorSpec(
        segments=["carrier", "gone"], worth={"true_positive": 10.0, "false_positive": -1.0}, currency="EUR"
    )
    house.monitoring.spec = spec
    return house


def performing(house: House) -> Performing:
    return Performing(tables=house.tables, monitoring=house.monitoring, serving=house.serving, data=house.data)


def live(house: House, day: int, rows: int = 300, *, labels: bool = True, worse: str = "") -> list[str]:
    """A day of answers whose scores mean what they say, but for the carrier `worse`."""
    frame = flights(rows, day)
    rng = np.random.default_rng(day)
    ids: list[str] = []
    for place, score in enumerate((0.2, 0.8)):
        part = frame.slice(place * rows // 2, rows // 2)
        found = log(house, part, start=START + day * DAY_US + place, score=score, every_us=DAY_US // rows)
        chance = np.where(part["carrier"].to_numpy() == worse, 1 - score, score)
        truth = (rng.random(part.height) < chance).astype(int).tolist()
        if labels:
            house.serving.feedback("live", [Feedback(name, one) for name, one in zip(found, truth, strict=True)])
        ids += found
    house.monitoring.observe("live")
    return ids


def judged(house: House) -> str:
    """A verdict about version 1 on rows it was not trained on: they say what its scores mean."""
    frame = flights(600, 7)
    late = pl.Series("late", (np.random.default_rng(7).random(600) < 0.5).astype(int))
    made = house.data.ingest("held-out", frame.with_columns(late))
    gates = Gates(tables=house.tables, journal=house.journal, registry=house.registry, data=house.data)
    spec = gates_of({"g": {"checks": [{"metric": "roc_auc", "floor": 0.1}]}})["g"]
    gates.evaluate(
        spec,
        candidate=house.registry.get("late", 1),
        champion=None,
        frame=house.data.frame("held-out", 1).collect(),
        label="late",
        data_ref=made.ref,
    )
    return made.ref


def test_any_hours_of_any_segment_are_a_window(lived: House) -> None:
    performance = performing(lived).performance
    hours = performance("live", by="hour", windows=400)
    assert len(hours.windows) == 48  # the hours of four days in which something was asked
    assert all(one.end - one.start == HOUR_US for one in hours.windows)
    day = performance("live", until=START + DAY_US)
    first = [one for one in hours.windows if one.start < START + DAY_US]
    assert sum(one.labelled for one in first) == day.total.labelled == 300
    since, until = START + 3 * HOUR_US, START + 9 * HOUR_US
    window = performance("live", by="all", since=since, until=until)
    assert window.total.labelled == sum(one.labelled for one in first if 3 <= (one.start - START) // HOUR_US < 9)
    part = performance("live", by="all", segment="carrier=AA", since=since, until=until)
    assert 0 < part.total.labelled < window.total.labelled
    assert (part.total.start, part.total.end) == (since, until)


def test_hours_of_long_ago_are_joined_to_their_days_and_late_labels_still_count(house: House) -> None:
    ids = live(house, 0, labels=False)
    live(house, 20)
    found = performing(house)
    assert [one.start for one in found.performance("live", by="hour").windows if one.start < START + DAY_US] == []
    house.serving.feedback("live", [Feedback(ids[100], 1)])
    house.monitoring.observe("live")
    [day, _] = found.performance("live").windows
    assert (day.start, day.predictions, day.labelled) == (START, 300, 1)
    with house.tables.read() as conn:
        assert len(records.list_outcomes(conn, "live", 1, by_us=HOUR_US)) <= 2 + 24


def test_feedback_has_no_hours(lived: House) -> None:
    with pytest.raises(Invalid, match="no period is called"):
        performing(lived).feedback("live", by="hour")


def test_realized_and_estimated_stand_beside_each_other(house: House) -> None:
    for day in range(5):
        live(house, day, labels=day < 4)
    found = performing(house).performance("live")
    assert [(window.predictions, window.labelled) for window in found.windows] == [(300, 300)] * 4 + [(300, 0)]
    assert found.calibrated_on == "the first 1200 labelled predictions"
    assert found.rests_on == "estimated from: the first 1200 labelled predictions"
    assert replace(found, calibrated_on="not estimable: no labels").rests_on == "not estimable: no labels"
    first, last = found.windows[0], found.windows[-1]
    assert first.estimated["roc_auc"].why == "not estimable: these rows calibrate it"
    assert last.realized["roc_auc"].why == "not estimable: no row has a label"
    estimate = last.estimated["roc_auc"]
    assert estimate.holds(found.total.realized["roc_auc"].value or 0.0)
    assert found.total.realized["value"].value is not None and found.currency == "EUR"
    assert (found.headline, found.loss, found.task) == ("roc_auc", "brier", "binary")
    assert "no concept change" in found.notes[0]
    weeks = performing(house).performance("live", by="week")
    assert sum(window.predictions for window in weeks.windows) == 1_500
    assert [window.start % (7 * DAY_US) for window in weeks.windows] == [4 * DAY_US] * len(weeks.windows)
    assert len(performing(house).performance("live", by="all").windows) == 1


def test_a_version_that_was_judged_is_estimated_from_its_first_row(house: House) -> None:
    ref = judged(house)
    live(house, 0, labels=False)
    found = performing(house).performance("live")
    assert found.calibrated_on == f"600 held-out rows of {ref}"
    assert found.windows[0].estimated["accuracy"].value is not None


def test_where_truth_parts_from_what_scores_promise_there_is_a_gap(house: House) -> None:
    judged(house)
    for day in range(3):
        live(house, day, worse="AA")
    with house.tables.read() as conn:
        watched = records.list_versions(conn, "live")[0]
        found = house.monitoring.calibrations.gaps(conn, watched)
        nothing = house.monitoring.calibrations.gaps(conn, replace(watched, loss="mae"))
    assert [window.rows for window in found] == [300, 300]  # the last day is not over
    assert all(window.realized > window.estimated - window.bound > 0 for window in found)
    assert nothing == ()


def test_rows_are_estimated_by_held_out_rows_that_look_like_them(house: House) -> None:
    gates = Gates(tables=house.tables, journal=house.journal, registry=house.registry, data=house.data)
    rows = RowEstimates(monitoring=house.monitoring, performing=performing(house), serving=house.serving, gates=gates)
    assert rows.estimate("live").why == "not estimable: no gate judged the version, so that there are no held-out rows"
    judged(house)
    assert rows.estimate("live").why == "not estimable: nothing was predicted in that time"
    live(house, 0, labels=False)
    found = rows.estimate("live")
    assert (found.method, found.rows, found.held_out, found.why) == ("weighted", 300, 600, "")
    assert 100 <= found.effective <= 600
    assert found.readings["accuracy"].value is not None
    with house.tables.write() as conn:
        records.put_version(conn, WatchedVersion("live", 1, "late", "multiclass"))
    assert "many classes" in rows.estimate("live").why
    with house.tables.write() as conn:
        records.put_version(conn, WatchedVersion("live", 1, "late", "regression"))
    learned = rows.estimate("live")
    assert (learned.method, learned.why) == ("loss", "")
    assert learned.readings["mae"].value == pytest.approx(0.5, abs=0.1)


def test_segments_are_counted_apart_and_add_up(lived: House) -> None:
    found = {one.segment: one.window for one in performing(lived).segments("live")}
    assert set(found) == {"carrier=AA", "carrier=DL", "carrier=UA"}
    assert sum(window.predictions for window in found.values()) == 1_200
    assert sum(window.labelled for window in found.values()) == 1_200
    worst, other = (found[f"carrier={name}"].realized["brier"].value or 0.0 for name in ("AA", "DL"))
    assert worst > other + 0.1
    alone = performing(lived).performance("live", segment="carrier=AA")
    assert alone.total.labelled == found["carrier=AA"].labelled
    with pytest.raises(NotFound, match='did you mean "carrier=AA"'):
        performing(lived).performance("live", segment="carier=AA")


def test_the_worst_slices_are_found_without_being_declared(lived: House) -> None:
    found = performing(lived).worst("live")
    assert (found.rows, found.loss) == (1_200, "brier")
    assert found.slices[0].name == "carrier is AA"
    assert all("noise" not in one.name for one in found.slices)


def test_what_cannot_be_said_yet_is_said_so(house: House) -> None:
    empty = performing(house).performance("live")
    assert (empty.windows, empty.total.predictions) == ((), 0)
    assert empty.total.realized["f1"].why == "not estimable: no row has a label"
    assert "no gate judged the version" in empty.total.estimated["f1"].why
    assert performing(house).worst("live").why.startswith("not estimable: ")
    assert performing(house).feedback("live") == []
    assert performing(house).segments("live") == []
    with pytest.raises(NotFound, match="answered nothing"):
        performing(house).performance("live", version=9)
    with pytest.raises(NotFound, match="is not watched"):
        performing(house).performance("liev")
    with pytest.raises(Invalid, match="no period"):
        performing(house).performance("live", by="daily")


def test_labels_that_are_odd_twice_or_early_hurt_nothing(house: House) -> None:
    house.serving.feedback("live", [Feedback("early-0", "never"), Feedback("early-1", 1)])
    log(house, flights(40, 3), start=START, prefix="early", score=float("nan"))
    log(house, flights(40, 3), start=START, prefix="fine")
    log(house, flights(40, 3), start=START, prefix="fine")
    house.monitoring.observe("live")
    house.serving.feedback("live", [Feedback("fine-0", 1), Feedback("fine-0", 1)])
    house.monitoring.observe("live")
    total = performing(house).performance("live").total
    assert (total.predictions, total.labelled, total.unread) == (80, 1, 2)
    assert total.realized["roc_auc"].why == "not estimable: no row is of class 0"
    assert "nan" not in json.dumps(str(total)).lower()
    log(house, pl.DataFrame({"hour": [1.0, 2.0, 3.0], "carrier": ["AA", "ZZ", None]}), start=START)
    house.monitoring.observe("live")
    names = [one.segment for one in performing(house).segments("live")]
    assert names[:2] == ["carrier=(missing)", "carrier=(other)"]


def test_ratings_and_corrections_are_counted_once_and_become_training_data(house: House) -> None:
    ids = live(house, 0)
    said = [Feedback(name, 4.0 + place % 2, "rating", START) for place, name in enumerate(ids[:20])]
    said += [Feedback(name, 1, "correction", START) for name in ids[:5]]
    for _ in range(2):
        house.serving.feedback("live", said)
        house.monitoring.observe("live")
    found = performing(house).feedback("live")
    assert [(one.kind, one.rows) for one in found] == [("correction", 5), ("rating", 20)]
    assert found[0].rate.value == pytest.approx(5 / 300)
    assert found[1].mean.value == pytest.approx(4.5)
    made = performing(house).export("live", "live-rows")
    rows = house.data.frame("live-rows", made.number).collect()
    assert made.rows == 300
    corrected = rows.filter(pl.col("prediction_id").is_in(ids[:5]))["label"]
    assert corrected.to_list() == [1.0] * 5


@pytest.fixture
def wiring(lived: House) -> Wiring:
    wiring = Wiring()
    wiring.add(Monitoring, lambda _: lived.monitoring)
    wiring.add(Performing, lambda _: performing(lived))
    wiring.add(Serving, lambda _: lived.serving)
    return wiring


@pytest.fixture
def client(wiring: Wiring) -> Iterator[Client]:
    with TestClient(create_app(wiring, port=80, rooms=["monitoring"]), base_url="http://127.0.0.1") as client:
        yield client


def test_api_commands_and_page_say_the_same(lived: House, wiring: Wiring, client: Client) -> None:
    lived.serving.feedback("live", [Feedback("nobody", 5.0, "rating", START)])
    shown = client.get("/api/v1/monitors/live/performance?by=week").json()
    ran = CliRunner().invoke(group, ["performance", "live", "--by", "week", "--json"], obj=lambda: wiring)
    assert json.loads(ran.output)["total"] == shown["total"]
    assert client.get("/api/v1/monitors/live/performance?by=month").status_code == 400
    assert "roc_auc per hour" in client.get("/monitors/live?by=hour&segment=carrier%3DAA").text
    hour = ["performance", "live", "--by", "hour", "--since", "2013-04-01T03:00:00Z", "--until", "2013-04-01T04:00:00Z"]
    assert "2013-04-01T03:00" in CliRunner().invoke(group, hour, obj=lambda: wiring).output
    assert client.get("/api/v1/monitors/live/performance?windows=0").status_code == 400
    assert client.get("/api/v1/monitors/live/segments").json()[0]["segment"] == "carrier=AA"
    assert client.get("/api/v1/monitors/live/slices").json()["slices"][0]["name"] == "carrier is AA"
    assert client.get("/api/v1/monitors/live/feedback").json()[0]["kind"] == "rating"
    assert client.post("/api/v1/monitors/live/export", json={"dataset": "back"}).json()["rows"] == 1_200
    for command, words in {
        "performance": "estimated from: the first 1200 labelled predictions",
        "segments": "carrier=AA",
        "slices": "carrier is AA",
        "feedback": "rating",
    }.items():
        assert words in CliRunner().invoke(group, [command, "live"], obj=lambda: wiring).output
    assert "rows with a label" in CliRunner().invoke(group, ["export", "live", "b2"], obj=lambda: wiring).output
    lived.monitoring.evaluate("live")
    page = client.get("/monitors/live?slices=true").text
    for words in ("realized", "estimated", "carrier is AA", "carrier=AA", "rating", "first 1200 labelled", "outlined"):
        assert words in page
    assert len(page) < 150_000
    assert ">nan" not in page.lower()
    assert "Look for the rows" in client.get("/monitors/live").text


def test_a_version_of_numbers_is_measured_in_its_unit(house: House) -> None:
    train(house)
    with house.tables.write() as conn:
        records.put_version(conn, WatchedVersion("live", 1, "late", "regression"))
    ids = log(house, flights(60, 2), start=START, score=3.0)
    house.serving.feedback("live", [Feedback(name, 2.0 + place % 2) for place, name in enumerate(ids)])
    house.monitoring.observe("live")
    found = performing(house).performance("live")
    assert found.total.realized["mae"].value == pytest.approx(0.5)
    assert found.total.realized["bias"].value == pytest.approx(0.5)
    assert found.headline == "mae"
    assert found.total.estimated["mae"].value is None
