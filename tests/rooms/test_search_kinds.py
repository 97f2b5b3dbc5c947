"""Searching for experiments and logged models, views of runs, what is loaded, and pages while things come and go."""

from __future__ import annotations

import math

import pytest

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US, ManualClock
from mainspring.core.errors import Invalid
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import LoggedModels, Metric, Search, Tracking
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.model import ModelOrder

START = 1_700_000_000_000_000


class Rooms:
    def __init__(self, tables: Tables) -> None:
        self.clock = ManualClock(START)
        journal = SqlJournal(tables, self.clock)
        self.tracking = Tracking(tables=tables, journal=journal, clock=self.clock)
        self.experiments = Experiments(tables=tables, journal=journal, clock=self.clock)
        self.runs = Runs(tables=tables, journal=journal, clock=self.clock)
        self.models = LoggedModels(tables=tables, journal=journal, clock=self.clock)
        self.search = Search(tables=tables, clock=self.clock)

    def names(self, text: str = "", **more: object) -> list[str]:
        return [run.name for run in self.search.runs(None, text, **more).items]  # type: ignore[arg-type]

    def run(self, name: str, loss: float | None = None, experiment: str = "one", **tags: str) -> str:
        made = self.tracking.create_run(experiment, name=name)
        points = [] if loss is None else [Metric("loss", loss, 0, 1)]
        self.tracking.log_batch(made.id, metrics=points, tags=tags, params={"name": name})
        self.clock.advance(1000)
        return made.id


@pytest.fixture
def rooms(tables: Tables) -> Rooms:
    return Rooms(tables)


def test_missing_values_come_last_and_nan_before_them(rooms: Rooms) -> None:
    for name, loss in (("none", None), ("nan", math.nan), ("two", 2.0), ("inf", math.inf), ("minus", -math.inf)):
        rooms.run(name, loss)
    assert rooms.names(order_by=["metrics.loss"]) == ["minus", "two", "inf", "nan", "none"]
    assert rooms.names(order_by=["metrics.loss DESC"]) == ["inf", "two", "minus", "nan", "none"]
    assert rooms.names("metrics.loss != 2") == ["minus", "inf", "nan"]
    assert rooms.names("NOT metrics.loss = 2") == ["minus", "inf", "nan", "none"]
    assert rooms.names("metrics.loss <= 2 OR metrics.loss IS NULL") == ["minus", "two", "none"]


def test_a_page_stays_in_step_while_runs_come(rooms: Rooms) -> None:
    for number in range(6):
        rooms.run(f"run {number}", float(number))
    for order in (["metrics.loss"], []):
        before = rooms.names(order_by=order)
        first = rooms.search.runs(None, order_by=order, limit=3)
        rooms.run("late", -1.0)
        second = rooms.search.runs(None, order_by=order, limit=3, page_token=first.next_token)
        assert [run.name for run in (*first.items, *second.items)] == before[:6]


def test_a_length_of_time_counts_from_the_first_page_on(rooms: Rooms) -> None:
    for number in range(3):
        rooms.run(f"run {number}")
    text = "started > 1d"
    first = rooms.search.runs(None, text, limit=1)
    rooms.clock.advance(2 * DAY_US)
    rest = rooms.search.runs(None, text, page_token=first.next_token)
    assert [run.name for run in rest.items] == ["run 1", "run 0"]
    assert rooms.names(text) == []


def test_a_token_of_another_search_is_refused(rooms: Rooms) -> None:
    for number in range(3):
        rooms.run(f"run {number}", 1.0)
    token = rooms.search.runs(None, "metrics.loss > 0", limit=1).next_token
    for again in ({"filter": "metrics.loss > 1"}, {"filter": "metrics.loss > 0", "order_by": ["name"]}):
        with pytest.raises(Invalid, match="token"):
            rooms.search.runs(None, page_token=token, **again)
    with calling(Caller(project="other")), pytest.raises(Invalid, match="token"):
        rooms.search.runs(None, "metrics.loss > 0", page_token=token)


def test_deleted_runs_are_seen_when_asked_for(rooms: Rooms) -> None:
    kept, gone = rooms.run("kept"), rooms.run("gone")
    rooms.runs.delete(gone)
    assert rooms.names() == ["kept"]
    assert rooms.names(view="deleted") == ["gone"]
    assert rooms.names(view="all") == ["gone", "kept"]
    assert kept != gone
    with pytest.raises(Invalid, match="view"):
        rooms.names(view="delted")


def test_only_the_asked_experiments_are_searched(rooms: Rooms) -> None:
    for name in ("one", "two", "three"):
        rooms.run(f"in {name}", 1.0, experiment=name)
    ids = {found.name: found.id for found in rooms.search.experiments().items}
    found = rooms.search.runs([ids["three"], ids["one"], "7"], "metrics.loss = 1", order_by=["metrics.loss"])
    assert [run.name for run in found.items] == ["in three", "in one"]
    assert rooms.search.runs([]).items == ()
    assert rooms.search.runs(["7"]).items == ()


def test_a_question_that_names_more_than_a_database_takes_is_refused(rooms: Rooms) -> None:
    many = [str(number) for number in range(50_001)]
    for attempt in (
        lambda: rooms.search.runs(many),
        lambda: rooms.search.logged_models(many),
        lambda: rooms.search.logged_models(None, datasets=[(name, "") for name in many[:101]]),
    ):
        with pytest.raises(Invalid, match=r"50001 ids|101 datasets"):
            attempt()
    assert rooms.search.runs(many[1:]).items == ()


def test_only_the_asked_fields_are_loaded(rooms: Rooms) -> None:
    rooms.run("a", 1.0, color="red", size="big")
    (run,) = rooms.search.runs(None, fields="metrics, tags.color").items
    assert (set(run.metrics), run.params, run.tags) == ({"loss"}, {}, {"color": "red"})
    (run,) = rooms.search.runs(None, fields="name").items
    assert (run.metrics, run.params, run.tags, run.name) == ({}, {}, {}, "a")
    with pytest.raises(Invalid, match="no attribute"):
        rooms.search.runs(None, fields="nam")


def test_runs_are_found_by_the_data_they_read(rooms: Rooms) -> None:
    read, other = rooms.run("read"), rooms.run("other")
    rooms.tracking.log_input(read, "datasets/flights/3")
    rooms.tracking.log_input(other, "datasets/flights/4", "evaluation")
    assert rooms.names("dataset.digest = '3'") == ["read"]
    assert rooms.names("dataset.name = 'flights' AND datasets.context LIKE 'eval%'") == ["other"]
    assert rooms.names("dataset.digest IN ('3', '4')") == ["other", "read"]


def test_mlflows_language_means_what_it_means_there(rooms: Rooms) -> None:
    made = rooms.run("Alpha", 0.5, color="Red")
    rooms.tracking.finish(made, "finished")
    for text in (
        "attributes.status = 'FINISHED'",
        "status LIKE 'FIN%'",
        f"start_time = {START // 1000}",
        "tags.color LIKE 'R%' AND tags.color ILIKE 'r%'",
        f"run_id IN ('{made}')",
        f"artifact_uri LIKE 'mlflow-artifacts:/%/{made}/artifacts'",
        "`run name` = 'Alpha'",
    ):
        assert rooms.names(text, strict=True) == ["Alpha"], text
    for text in ("status = 'finished'", "tags.color LIKE 'r%'", "tags.absent != 'x'", "metrics.absent != 1"):
        assert rooms.names(text, strict=True) == [], text


def test_experiments_are_found_by_name_time_and_tags(rooms: Rooms) -> None:
    for name in ("Default", "alpha", "Beta", "gone"):
        made = rooms.experiments.named(name) if name == "Default" else rooms.experiments.create(name)
        rooms.experiments.set_tag(made.id, "team", name.upper())
        rooms.clock.advance(1000)
        if name == "gone":
            rooms.experiments.delete(made.id)

    def names(text: str = "", **more: object) -> list[str]:
        return [found.name for found in rooms.search.experiments(text, **more).items]  # type: ignore[arg-type]

    assert names() == ["Beta", "alpha", "Default"]
    assert names(view="deleted") == ["gone"]
    assert names(order_by=["name"], strict=True) == ["Beta", "Default", "alpha"]
    assert names(order_by=["experiment_id"], strict=True)[0] == "Default"
    assert names("name ILIKE 'b%' OR tags.team = 'ALPHA'") == ["Beta", "alpha"]
    assert names(f"creation_time > {START // 1000}", strict=True) == ["Beta", "alpha"]
    assert names("experiment_id IN ('0')", strict=True) == ["Default"]
    pages: list[str] = []
    token = ""
    while token or not pages:
        page = rooms.search.experiments(order_by=["tags.team DESC"], view="all", limit=1, page_token=token)
        pages += [found.name for found in page.items]
        token = page.next_token
    assert pages == ["gone", "Default", "Beta", "alpha"]
    with calling(Caller(project="other")):
        assert names() == []


def test_logged_models_are_found_by_what_was_measured_of_them(rooms: Rooms) -> None:
    run = rooms.run("maker")
    owner = rooms.tracking.get(run).experiment_id
    made = {}
    for name, score in (("low", 0.1), ("high", 0.9), ("nan", math.nan)):
        made[name] = rooms.models.create(owner, name=name, kind="tree", run_id=run, params={"depth": name})
        rooms.models.measure(made[name].id, run, [Metric("acc", score, 1, 1)], dataset=("flights", "d1"))
        rooms.models.measure(made[name].id, run, [Metric("acc", 0.5, 2, 2)], dataset=("weather", "d2"))
        rooms.clock.advance(1000)
    made["bare"] = rooms.models.create(owner, name="bare")
    rooms.models.finalize(made["low"].id, "ready")

    def names(text: str = "", **more: object) -> list[str]:
        return [found.name for found in rooms.search.logged_models([owner], text, **more).items]  # type: ignore[arg-type]

    flights = [("flights", "")]
    assert names() == ["bare", "nan", "high", "low"]
    assert names("metrics.acc = 0.5", strict=True) == ["nan", "high", "low"]
    assert names("metrics.acc > 0.5", datasets=flights, strict=True) == ["high"]
    assert names(datasets=flights, strict=True) == ["nan", "high", "low"]
    assert names(datasets=[("flights", "other")]) == []
    assert names("status = 'READY' AND params.depth = 'low'", strict=True) == ["low"]
    assert names("model_type = 'tree' AND name LIKE 'h%'", strict=True) == ["high"]
    by_flights = [ModelOrder("metrics.acc", descending=True, dataset=("flights", "d1"))]
    assert names(order_by=by_flights, strict=True) == ["high", "low", "nan", "bare"]
    found: list[str] = []
    token = ""
    while token or not found:
        page = rooms.search.logged_models(None, order_by=by_flights, limit=1, page_token=token)
        found += [model.name for model in page.items]
        token = page.next_token
    assert found == ["high", "low", "nan", "bare"]
    for text in ("status = 'READ'", "metrics.acc LIKE 'x'", "colour = 'x'"):
        with pytest.raises(Invalid):
            names(text, strict=True)


def test_tags_of_mlflow_that_are_attributes_here_are_searched_like_tags(rooms: Rooms) -> None:
    parent = rooms.run("parent")
    child = rooms.tracking.create_run("one", name="child", parent=parent).id
    key = "tags.`mlflow.parentRunId`"
    assert rooms.names(f"{key} = '{parent}'", strict=True) == ["child"]
    assert rooms.names(f"{key} != 'x'", strict=True) == ["child"]
    assert rooms.names(f"{key} IS NULL", strict=True) == ["parent"]
    assert rooms.names("tags.mlflow.runName LIKE 'p%'", strict=True) == ["parent"]
    for order, expected in (("ASC", ["child", "parent"]), ("DESC", ["child", "parent"])):
        first = rooms.search.runs(None, order_by=[f"{key} {order}"], limit=1)
        rest = rooms.search.runs(None, order_by=[f"{key} {order}"], page_token=first.next_token)
        assert [run.name for run in (*first.items, *rest.items)] == expected
    assert rooms.search.runs(None, f"parent = '{parent}'").items[0].id == child
