"""Feature views on real storage: versions, history and lookups that say the same of any moment, and their doors."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.clock import SECOND_US, micros
from mainspring.core.errors import Corrupt, Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data, Feature, FeatureViews, ViewSpec, point_in_time_join
from mainspring.data.feature_commands import group
from mainspring.data.features.latest import AT, latest, pieces
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage.ports import Journal

DAY = timedelta(days=1)
START = datetime(2013, 1, 1, tzinfo=UTC)
DELAYS = pl.DataFrame(
    {
        "carrier": ["AA", "UA", "AA", "AA"],
        "day": [START, START, START + 5 * DAY, START],
        "loaded": [START, START, START + 6 * DAY, START + 2 * DAY],  # the last one corrects the first
        "delay": [10.0, 20.0, 30.0, 11.0],
        "flights": [2, 0, 3, 2],
    }
)
SPEC = ViewSpec(
    "delays", ("carrier",), "day", (Feature("delay"), Feature("each", "delay / flights")), "loaded", ttl_s=4 * 86_400.0
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    made.get(Data).ingest("delays", DELAYS, time_column="day")
    made.get(FeatureViews).add("carriers", SPEC)
    yield made
    made.close()


@pytest.fixture
def views(house: Wiring) -> FeatureViews:
    return house.get(FeatureViews)


@pytest.fixture(scope="module")
def http(house: Wiring) -> Iterator[TestClient[Litestar]]:
    app = create_app(house, rooms=("data",))
    with TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as made:
        yield made


def at(days: float) -> int:
    return micros(START + timedelta(days=days))


def run(house: Wiring, *arguments: str) -> str:
    done = CliRunner().invoke(group, list(arguments), obj=lambda: house, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_view_is_a_version_that_never_changes_and_the_same_said_again_is_the_same_version(
    house: Wiring, views: FeatureViews
) -> None:
    first = views.add("growing", SPEC)
    assert (first.number, first.ref) == (1, "feature-views/growing/1")
    assert [(c.name, c.dtype) for c in (*first.keys, *first.columns)] == [
        ("carrier", "String"), ("delay", "Float64"), ("each", "Float64"),
    ]  # fmt: skip
    assert views.add("growing", SPEC) == first
    second = views.add("growing", ViewSpec("delays", ("carrier",), "day", (Feature("flights"),)))
    assert second.number == 2
    assert views.get("growing") == second
    assert views.resolve("growing/1") == first
    assert [view.number for view in views.versions("growing")] == [2, 1]
    assert ("growing", 2) in [(view.name, view.number) for view in views.views()]
    kinds = [event.kind for event in house.get(Journal).read(after=0, limit=1000)]  # type: ignore[type-abstract]
    assert kinds.count("data.feature_view_added") >= 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"entity": ("carier",)}, 'did you mean "carrier"'),
        ({"time": "delay", "features": (Feature("flights"),)}, "is no time"),
        ({"created": "when"}, "no column 'when'"),
        ({"features": (Feature("x", "dealy + 1"),)}, 'did you mean "delay"'),
        ({"features": (Feature("x", "lower(delay)"),)}, "does not fit"),
        ({"features": (Feature("loaded"),)}, "models take numbers"),
        ({"entity": ("delay",)}, "entities are texts"),
    ],
)
def test_a_view_that_does_not_fit_its_dataset_is_refused(
    views: FeatureViews, changes: dict[str, object], says: str
) -> None:
    said = {"dataset": "delays", "entity": ("carrier",), "time": "day", "features": (Feature("delay"),)}
    if changes.get("entity") == ("delay",):
        said["features"] = (Feature("flights"),)
    with pytest.raises(Invalid) as refused:
        views.add("wrong", ViewSpec(**said | changes))  # type: ignore[arg-type]
    assert says in str(refused.value)


def test_history_gives_every_row_what_was_known_at_its_time_in_its_place(views: FeatureViews) -> None:
    rows = pl.DataFrame(
        {
            "id": range(7),
            "carrier": ["AA", "AA", "AA", "AA", "UA", "ZZ", None],
            "when": [START + days * DAY for days in (1, 3, 5.5, 6, 1, 1, 1)],
        }
    )
    found = views.history(rows, ["carriers"], on="when")
    assert found.select(rows.columns).equals(rows)
    # the correction counts from the second day on, and nothing does after four days; 20 / 0 is nothing, too
    assert found["delay"].to_list() == [10.0, 11.0, None, 30.0, 20.0, None, None]
    assert found["each"].to_list() == [5.0, 5.5, None, 10.0, None, None, None]
    with pytest.raises(Invalid, match="in both"):
        views.history(found, ["carriers"], on="when")


def test_a_lookup_finds_what_was_known_when_it_was_made_and_nothing_that_is_too_old(views: FeatureViews) -> None:
    made = views.materialize("carriers", as_of=at(3))
    assert (made.entities, made.dataset) == (2, "datasets/delays/1")
    found = views.lookup("carriers", ["AA"], at=at(3))
    assert (found.state, found.values, found.age_s) == ("fresh", {"delay": 11.0, "each": 5.5}, 3 * 86_400.0)
    assert found.materialization == made.id
    assert views.lookup("carriers", ["AA"], at=at(4)).state == "expired"
    assert views.lookup("carriers", ["AA"], at=at(4) - 1).state == "fresh"
    assert views.lookup("carriers", ["ZZ"]).state == "missing"
    views.materialize("carriers", as_of=at(6))
    assert views.lookup("carriers", ["AA"], at=at(6)).values["delay"] == 30.0
    assert [entry.as_of for entry in views.materializations("carriers")][:2] == [at(6), at(3)]


times = st.none() | st.integers(0, 9)


@settings(max_examples=60, deadline=None)
@given(
    facts=st.lists(st.tuples(st.sampled_from(["a", "b", None]), times, times, st.integers(0, 99)), max_size=12),
    moment=st.integers(0, 10),
    size=st.integers(1, 5),
)
def test_what_is_looked_up_is_what_the_join_says_of_that_moment_however_facts_are_read(
    facts: list[tuple[str | None, int | None, int | None, int]], moment: int, size: int
) -> None:
    schema = {"who": pl.String, "t": pl.Int64, "made": pl.Int64, "x": pl.Int64}
    frame = pl.DataFrame(facts, schema=schema, orient="row")
    rows = pl.DataFrame({"who": ["a", "b"], "t": [moment, moment]})
    joined = point_in_time_join(rows, frame, on="t", by=["who"], created="made")
    parts = list(pieces(frame.lazy(), frame.height, size=size)) or [frame]
    found = latest(parts, on="t", by=["who"], created="made", as_of=moment)
    known = dict(found.select("who", "x").iter_rows())
    assert [known.get(who) for who in ("a", "b")] == joined["x"].to_list()
    assert found.height == found["who"].n_unique()
    assert all(at <= moment for at in found[AT])


def test_a_view_that_was_not_materialized_says_how_to(views: FeatureViews) -> None:
    views.add("idle", SPEC)
    with pytest.raises(NotFound, match="features materialize idle"):
        views.lookup("idle", ["AA"])
    with pytest.raises(NotFound, match="carriers"):
        views.get("cariers")
    with pytest.raises(NotFound, match="1 to 1"):
        views.get("idle", 7)


def test_a_file_for_lookups_that_is_broken_is_said_to_be(views: FeatureViews) -> None:
    view = views.add("torn", SPEC)
    views.materialize("torn", as_of=at(3))
    path: Path = views.path(view)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Corrupt, match="make it anew"):
        views.lookup("torn", ["AA"])


def test_feature_views_are_added_shown_and_looked_up_over_http(http: TestClient[Litestar]) -> None:
    body = {"dataset": "delays", "entity": ["carrier"], "time": "day", "features": [{"name": "delay"}], "ttl_s": 60}
    made = http.post("/api/v1/feature-views/web", json=body)
    assert (made.status_code, made.json()["number"]) == (201, 1)
    assert http.get("/api/v1/feature-views/web").json() == [made.json()]
    assert "web" in [view["name"] for view in http.get("/api/v1/feature-views").json()]
    assert http.get("/api/v1/feature-views/web/lookup?key=AA").status_code == 404
    done = http.post("/api/v1/feature-views/web/materializations", json={})
    assert (done.status_code, done.json()["entities"]) == (201, 2)
    found = http.get("/api/v1/feature-views/web/lookup", params={"key": "AA"}).json()
    assert (found["state"], found["values"]) == ("expired", {"delay": None})
    wrong = http.post("/api/v1/feature-views/web", json={**body, "features": [{"name": "x", "expression": "a.b"}]})
    assert wrong.status_code == 400
    rows = io.BytesIO()
    pl.DataFrame({"carrier": ["UA"], "t": [at(0) + SECOND_US]}).write_parquet(rows)
    joined = http.post("/api/v1/feature-views/web/history?on=t", content=rows.getvalue())
    assert pl.read_parquet(io.BytesIO(joined.content))["delay"].to_list() == [20.0]
    assert http.post("/api/v1/feature-views/web/history?on=t", content=b"PAR1xx").status_code == 400


def test_pages_show_a_view_and_whether_it_is_ready(http: TestClient[Litestar], views: FeatureViews) -> None:
    assert "feature-views/carriers/1" in http.get("/feature-views").text
    views.add("paged", SPEC)
    page = http.get("/feature-views/paged/1").text
    assert "delay / flights" in page
    assert "4 days" in page
    assert "mainspring features materialize paged" in page
    views.materialize("paged", as_of=at(1))
    assert "2013-01-02 00:00:00" in http.get("/feature-views/paged/1").text
    assert http.get("/feature-views/paged/9").status_code == 404


def test_commands_add_show_materialize_look_up_and_join(house: Wiring, tmp_path: Path) -> None:
    about = ("--dataset", "delays/1", "--entity", "carrier", "--time", "day", "--created", "loaded", "--ttl", "4d")
    said = run(house, "add", "told", *about, "--feature", "delay", "--feature", "late=delay > 15")
    assert "feature-views/told/1" in said
    assert "told" in run(house, "ls")
    run(house, "materialize", "told", "--as-of", "2013-01-02T00:00:00+00:00")
    assert "late=delay > 15  Boolean" in run(house, "show", "told")
    found = json.loads(run(house, "get", "told", "UA", "--json"))
    assert (found["state"], found["at"]) == ("expired", at(0))
    rows = tmp_path / "rows.csv"
    rows.write_text("carrier,when\nAA,2013-01-02\nUA,2013-01-03\n")
    out = tmp_path / "out.parquet"
    assert "2 features added" in run(house, "history", str(rows), str(out), "--view", "told", "--time", "when")
    assert pl.read_parquet(out)["late"].to_list() == [False, True]
