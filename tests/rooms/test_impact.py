"""So what: alarms and pages put first what the model goes by."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.clock import DAY_US
from mainspring.core.wiring import Wiring
from mainspring.monitoring import Monitoring
from mainspring.monitoring.performing import Performing
from mainspring.server.app import create_app
from mainspring.serving import Serving
from mainspring.storage.ports import Tables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_monitoring import START, House, build, flights, log, train, watched

IMPORTANCE = {"hour": 0.1, "carrier": 0.9}


def pages(house: House) -> TestClient[Litestar]:
    wiring = Wiring()
    performing = Performing(tables=house.tables, monitoring=house.monitoring, serving=house.serving, data=house.data)
    wiring.add(Monitoring, lambda _: house.monitoring)
    wiring.add(Serving, lambda _: house.serving)
    wiring.add(Performing, lambda _: performing)
    return TestClient(create_app(wiring, port=80, rooms=["monitoring"]), base_url="http://127.0.0.1")


@pytest.mark.parametrize("version", [1, 2])
def test_columns_come_in_the_order_of_their_impact_where_importances_are_known(
    sqlite_tables: Tables, tmp_path: Path, version: int
) -> None:
    house = watched(build(sqlite_tables, tmp_path))
    if version == 2:
        train(house, reference=house.data.get("flights", 1).ref, importance=IMPORTANCE)
        house.serving.deploy("live", "late", 2)
    for number in range(3):  # the hour moves further than the carrier
        frame = flights(400, number, shift=12.0).with_columns(
            carrier=pl.when(pl.int_range(400) % 10 < 4).then(pl.lit("AA")).otherwise("carrier")
        )
        log(house, frame, start=START + number * DAY_US, every_us=DAY_US // 400, version=version)
        house.monitoring.observe("live")
        house.monitoring.evaluate("live")
    (alarm,) = house.monitoring.alarms("live")
    columns = alarm.evidence["columns"]
    assert isinstance(columns, list)
    order = [entry["column"] for entry in columns]
    with pages(house) as client:
        page, monitor = client.get(f"/alarms/{alarm.id}").text, client.get("/monitors/live").text
    if version == 1:
        assert order == ["hour", "carrier"]
        assert "impact" not in columns[0]
        for text in (page, monitor):
            assert "he version was registered without importances" in text
    else:
        assert order == ["carrier", "hour"]
        assert columns[0]["impact"] == pytest.approx(0.9 * columns[0]["effect"])
        assert alarm.text.startswith("carrier: ")
        assert alarm.text.endswith("; 100% of what the model goes by")
        assert "Importance: given when it was registered" in page
        assert "90.0 % of what the model goes by" in monitor
        assert monitor.index("</span> carrier") < monitor.index("</span> hour")
