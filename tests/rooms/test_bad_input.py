"""Whatever comes in, the loop of counting and judging goes on, and no page shows a number that is none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests import spools

from mainspring.core.clock import DAY_US, HOUR_US
from mainspring.core.errors import Conflict
from mainspring.core.ids import new_id
from mainspring.monitoring.model import MonitorStatus
from mainspring.serving import Feedback
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.sqlite import SqliteTables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_impact import pages
from tests.rooms.test_monitoring import COLUMNS, START, House, build, flights, train, watched

ROWS = 250
_NONE = re.compile(r">\s*(nan|inf|-inf|none)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("bad")
    tables = SqliteTables(folder / "tables.db")
    tables.migrate()
    yield watched(build(tables, folder))
    tables.close()


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[TestClient[Litestar]]:
    with pages(house) as client:
        yield client


class Watched:
    """A deployment of its own, and what becomes of what it is asked."""

    def __init__(self, house: House, client: TestClient[Litestar], name: str, version: int = 1) -> None:
        self._house, self._client, self.name, self._version = house, client, name, version
        house.serving.deploy(name, "late", version)
        house.monitoring.watch(name)

    def asked(
        self, frame: pl.DataFrame, day: int = 0, *, ids: list[str] | None = None, text: bool = False, status: int = 200
    ) -> list[str]:
        """Answers to the rows of a frame over a day."""
        spool, start = new_id(), START + day * DAY_US
        names = ids or [f"{spool}-{i}" for i in range(frame.height)]
        step = DAY_US // max(frame.height, 1)
        rows = [
            {
                "id": names[i],
                "request_id": names[i],
                "key": names[i],
                "status": status,
                "inputs": row,
                "at": start + i * step,
                "event_at": start + i * step,
                "outputs": {"probability": 0.2, "label": 0},
            }
            for i, row in enumerate(frame.iter_rows())
        ]
        columns = [("hour", "text"), ("carrier", "text")] if text else COLUMNS
        path = self._house.folder / "serving" / SPOOLS / f"{spool}.sqlite"
        spools.write(path, rows, columns=columns, version=self._version, deployment=self.name)
        self._house.serving.compact()
        return names

    def said(self, names: list[str], value: float = 0) -> int:
        """Labels of predictions. Returns how many were new."""
        return self._house.serving.feedback(self.name, [Feedback(name, value) for name in names])

    def seen(self) -> MonitorStatus:
        """What the loop and the pages make of it."""
        self._house.monitoring.observe(self.name)
        self._house.monitoring.evaluate(self.name)
        status = self._house.monitoring.status(self.name)
        for path in (f"/monitors/{self.name}", "/monitors", *(f"/alarms/{alarm.id}" for alarm in status.alarms)):
            page = self._client.get(path)
            assert page.status_code == 200
            assert not _NONE.search(page.text), (path, _NONE.search(page.text))
        assert self._client.get(f"/api/v1/monitors/{self.name}").status_code == 200
        return status


@pytest.fixture
def live(house: House, client: TestClient[Litestar]) -> Watched:
    return Watched(house, client, f"d-{new_id()[-10:]}")


def test_a_column_without_any_value_is_told_to_be_missing(live: Watched) -> None:
    for day in range(3):
        live.asked(flights(ROWS, day).with_columns(hour=pl.lit(None, pl.Float64)), day)
    (alarm,) = live.seen().alarms
    assert alarm.cause == "missing"
    assert "every value is missing" in alarm.text


def test_a_constant_column_is_told_with_its_value(live: Watched) -> None:
    for day in range(3):
        live.asked(flights(ROWS, day).with_columns(hour=pl.lit(5.0)), day)
    (alarm,) = live.seen().alarms
    assert "every value is 5" in alarm.text


def test_levels_nobody_saw_and_values_that_are_no_number_are_told_by_name(live: Watched) -> None:
    odd = {"carrier": pl.lit("XX"), "hour": pl.lit(float("nan"))}
    for day in range(3):
        live.asked(flights(ROWS, day).with_columns(**odd), day)
    found = {alarm.cause: alarm.text for alarm in live.seen().alarms}
    assert "'XX'" in found["drift"]
    assert "every value is missing" in found["missing"]


def test_one_row_waits_for_more(live: Watched) -> None:
    live.asked(flights(1, 0))
    live.asked(flights(1, 1), 4)
    status = live.seen()
    assert (status.state, status.monitor.predictions, status.windows) == ("ok", 2, ())


def test_a_column_of_a_type_nobody_saw_is_told_to_be_unreadable(live: Watched) -> None:
    for day in range(3):
        live.asked(flights(ROWS, day).with_columns(hour=pl.lit("noon")), day, text=True)
    assert {alarm.cause for alarm in live.seen().alarms} == {"missing"}


def test_a_reference_with_other_columns_says_what_is_not_judged(house: House, client: TestClient[Litestar]) -> None:
    made = house.data.ingest("half", flights(500, 3).select("hour", something=pl.lit(1)))
    number = train(house, reference=made.ref)
    live = Watched(house, client, "half", number)
    for day in range(3):
        live.asked(flights(ROWS, day, shift=9.0).with_columns(carrier=pl.lit("XX")), day)
    status = live.seen()
    assert set(status.windows[0].details) == {"hour"}


def test_time_zones_are_one_time(house: House) -> None:
    east = timezone(timedelta(hours=9))
    frame = flights(2_400, 5)
    utc = [datetime(2013, 3, 1, tzinfo=UTC) + timedelta(minutes=18 * i) for i in range(2_400)]
    profiles = []
    for name, times in (("in-utc", utc), ("in-tokyo", [at.astimezone(east) for at in utc])):
        zone = "UTC" if name == "in-utc" else "Asia/Tokyo"
        made = house.data.ingest(name, frame.with_columns(at=pl.Series(times, dtype=pl.Datetime("us", zone))))
        profiles.append(house.data.profile(made.dataset, made.number))
    assert [window.start for window in profiles[0].windows] == [window.start for window in profiles[1].windows]
    assert len(profiles[0].windows) == 10


def test_a_prediction_with_an_id_that_is_known_counts_once(live: Watched) -> None:
    names = live.asked(flights(ROWS, 0))
    live.asked(flights(ROWS, 1), ids=names)
    live.asked(flights(2, 1), ids=["same", "same"])
    assert live.seen().monitor.predictions == ROWS + 1


def test_labels_before_their_predictions_are_kept_for_them(live: Watched) -> None:
    names = [new_id() for _ in range(ROWS)]
    live.said(names)
    assert live.seen().monitor.labels == 0
    live.asked(flights(ROWS, 0), ids=names)
    status = live.seen()
    assert (status.monitor.labels, status.awaiting_labels) == (ROWS, 0)


def test_labels_said_twice_count_once_and_another_value_is_refused(live: Watched) -> None:
    names = live.asked(flights(ROWS, 0))
    assert [live.said(names), live.said(names)] == [ROWS, 0]
    with pytest.raises(Conflict, match="has the label"):
        live.said(names[:1], 1)
    assert live.seen().monitor.labels == ROWS


def test_days_without_rows_are_passed_over_and_rows_without_answers_are_no_window(live: Watched) -> None:
    live.asked(flights(ROWS, 0))
    live.asked(flights(ROWS, 1), 1, status=500)
    live.asked(flights(ROWS, 2), 5)
    live.asked(flights(ROWS, 3), 6)
    drift = [window for window in live.seen().windows if window.cause == "drift"]
    assert [window.window_start for window in drift] == [START, START + 5 * DAY_US]
    assert drift[0].window_end - drift[0].window_start <= DAY_US + HOUR_US
