"""Rankings, forecasts and risks over time are watched from the first request, by what their version says it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from tests import spools

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.core.ids import new_id
from mainspring.monitoring import MonitorSpec
from mainspring.monitoring.model import Judgement
from mainspring.serving import Feedback
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.ports import Tables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_impact import pages
from tests.rooms.test_monitoring import START, House, build

COLUMNS = [("query", "float"), ("horizon", "float")]


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    return build(sqlite_tables, tmp_path)


def deployed(house: House, metrics: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"query": rng.normal(size=20), "horizon": rng.normal(size=20)})
    model = LinearRegression().fit(frame.to_numpy(), rng.normal(size=20))
    house.registry.register("late", model, example=frame.head(3), metrics=metrics)
    house.serving.deploy("live", "late", 1)
    house.monitoring.watch("live")


Day = tuple[list[dict[str, float]], list[float | None]]
"""Answers, each with its inputs, score and interval, and what turned out to be true of them."""


def live(house: House, days: Sequence[Day]) -> None:
    """Days of answers with their labels, counted and judged at once."""
    spool, entries, known = new_id(), list[dict[str, object]](), list[Feedback]()
    for number, (rows, labels) in enumerate(days):
        for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
            name, at = f"{spool}-{number}-{i}", START + number * DAY_US + i * (DAY_US // len(rows))
            given: dict[str, object] = {
                "id": name,
                "request_id": name,
                "key": name,
                "at": START + 30 * DAY_US,
                "event_at": at,
            }
            outputs = {key: row[key] for key in ("prediction", "low", "high") if key in row}
            entries.append({**given, "inputs": (row["query"], row["horizon"]), "outputs": outputs})
            known += [] if label is None else [Feedback(name, label)]
    spools.write(house.folder / "serving" / SPOOLS / f"{spool}.sqlite", entries, columns=COLUMNS, version=1)
    house.serving.compact()
    house.serving.feedback("live", known)
    house.monitoring.observe("live")
    house.monitoring.evaluate("live")


def measured(window: Judgement, name: str, part: str = "") -> float | None:
    found = window.details["parts"] if part else window.details["measures"]
    assert isinstance(found, Mapping)
    value = (found[part] if part else found)[name]["value"]
    assert value is None or isinstance(value, float)
    return value


def ranked(seed: int, *, good: bool) -> Day:
    """Forty queries of five items; one is relevant, of the others nobody says anything."""
    rng = np.random.default_rng(seed)
    rows, labels = [], list[float | None]()
    for query in range(40):
        best = int(rng.integers(5))
        for item in range(5):
            score = float(item == best) if good else float(rng.random())
            rows.append({"query": 1000.0 * seed + query, "horizon": 0.0, "prediction": score})
            labels.append(1.0 if item == best else None)
    return rows, labels


def test_a_ranking_that_gets_worse_raises_an_alarm_about_performance(house: House) -> None:
    house.monitoring.spec = MonitorSpec(packs={"live": {"group": "query"}})
    deployed(house, {"ndcg@5": 0.95})
    live(house, [ranked(number, good=number < 3) for number in range(13)])
    windows = house.monitoring.windows("live", "ranking")
    assert [measured(windows[0], name) for name in ("ndcg@5", "map@5", "recall@5")] == [1, 1, 1]
    assert (windows[0].rows, windows[0].window_end) == (40, START + DAY_US)
    last = measured(windows[-1], "ndcg@5")
    assert last is not None and last < 0.8
    alarms = house.monitoring.alarms("live")
    assert {alarm.cause for alarm in alarms} == {"performance"}
    assert alarms[-1].text.startswith("1 - ndcg@5 0.")
    assert "0.050 at validation" in alarms[-1].text and alarms[-1].text.endswith("groups")
    assert house.journal.read(kinds=["monitoring.alarm_raised"])[0].payload["performance_evidence"] is True
    again = house.monitoring.replay("live", {}).alarms
    assert [alarm.cause for alarm in again] == ["performance"] * len(again)
    assert {alarm.window_end for alarm in alarms} <= {alarm.window_end for alarm in again}
    with pages(house) as client:
        page = client.get("/monitors/live").text
        assert "<h2>Ranking</h2>" in page and "<th>recall@5</th>" in page
        assert ">nan" not in page.lower()
        assert client.get(f"/alarms/{alarms[-1].id}").status_code == 200


def test_forecasts_are_measured_by_horizon_and_intervals_that_no_longer_hold_raise_an_alarm(house: House) -> None:
    house.monitoring.spec = MonitorSpec(packs={"live": {"coverage": 0.9}})
    deployed(house, {"mae": 1.0, "mase": 0.5})
    rng = np.random.default_rng(1)
    said = {"query": 0.0, "prediction": 10.0, "low": 8.35, "high": 11.65}
    rows = [{**said, "horizon": float(1 + i % 3)} for i in range(150)]
    widths = [1.0] * 3 + [3.0] * 9
    live(house, [(rows, [float(10 + width * rng.normal()) for _ in rows]) for width in widths])
    windows = house.monitoring.windows("live", "forecasting")
    assert measured(windows[0], "coverage") == pytest.approx(0.9, abs=0.06)
    assert measured(windows[0], "mase") == pytest.approx(0.4, abs=0.06)
    assert measured(windows[0], "mae", "2.0") == pytest.approx(0.8, abs=0.2)
    causes = {alarm.cause: alarm for alarm in house.monitoring.alarms("live")}
    assert "0.100 promised" in causes["coverage"].text
    with pages(house) as client:
        assert "<h2>Forecasting</h2>" in client.get("/monitors/live").text
        assert "Outside their interval" in client.get(f"/alarms/{causes['coverage'].id}").text


def test_the_order_of_risks_is_measured_where_some_outcomes_are_not_known_and_its_reference_is_learnt(
    house: House,
) -> None:
    house.monitoring.spec = MonitorSpec(packs={"live": {"kind": "survival"}})
    deployed(house, {"r2": 0.1})
    rng = np.random.default_rng(2)
    days = list[Day]()
    for number in range(10):
        risks = rng.normal(size=120)
        times = np.exp(-(2.0 if number < 4 else -2.0) * risks + 0.3 * rng.normal(size=120))
        seen = rng.random(120) < 0.7  # a time below zero: nothing had happened until then
        rows = [{"query": 0.0, "horizon": 0.0, "prediction": float(risk)} for risk in risks]
        days.append((rows, [float(time if known else -time) for time, known in zip(times, seen, strict=True)]))
    live(house, days)
    windows = house.monitoring.windows("live", "survival")
    assert (measured(windows[0], "concordance") or 0) > 0.85
    assert "reference" not in windows[0].details
    assert "in its first labels" in house.monitoring.alarms("live")[-1].text


def test_a_window_without_labels_says_so_and_is_not_judged(house: House) -> None:
    deployed(house, {"ndcg@5": 0.9})
    rows, labels = ranked(1, good=True)
    live(house, [(rows, [None] * len(labels))] * 5)
    assert house.monitoring.windows("live", "ranking") == []
    assert house.monitoring.alarms("live") == []


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        ({"kind": "sorting"}, "no kind"),
        ({"groop": "query"}, "did you mean"),
        ({"k": 0}, "0 items"),
        ({"group": 3}, "no name of an input"),
        ({"naive_error": -1.0}, "no error"),
        ({"coverage": 90}, "no share"),
        ("ranking", "no table"),
    ],
)
def test_a_pack_that_is_none_is_refused(pack: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        MonitorSpec(packs={"live": pack})
