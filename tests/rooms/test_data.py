"""The data room on real storage: immutable versions, quarantine, idempotent keys, kill -9, a full disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Invalid, NotFound
from mainspring.data import Check, Data
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Tables

FLIGHTS = pl.DataFrame(
    {"flight": [1545, 1714, 725], "dep_delay": [2.0, 4.0, float("nan")], "origin": ["EWR", "LGA", None]}
)


def open_data(tables: Tables, folder: Path) -> Data:
    journal = SqlJournal(tables, ManualClock(1_000))
    blobs, delta = open_blobs("", folder), open_delta("", folder)
    return Data(tables=tables, journal=journal, delta=delta, blobs=blobs, clock=ManualClock(1_000))


@pytest.fixture
def data(tables: Tables, tmp_path: Path) -> Data:
    return open_data(tables, tmp_path / "data")


def test_a_version_has_rows_schema_profile_and_parents(data: Data) -> None:
    made = data.ingest("flights", FLIGHTS, parents=["datasets/weather/1"])
    assert (made.ref, made.rows, made.quarantined, made.parents) == (
        "datasets/flights/1",
        3,
        0,
        ("datasets/weather/1",),
    )
    assert [(c.name, c.dtype, c.nulls) for c in made.columns] == [
        ("flight", "Int64", 0),
        ("dep_delay", "Float64", 1),
        ("origin", "String", 1),
    ]
    assert data.frame("flights").collect().rows() == [(1545, 2.0, "EWR"), (1714, 4.0, "LGA"), (725, None, None)]
    assert data.profile("flights").sketch.rows == 3
    assert data.get("flights", 1) == data.get("flights") == data.resolve("datasets/flights/1") == made
    assert [(d.name, d.latest, d.rows) for d in data.datasets()] == [("flights", 1, 3)]


def test_a_version_never_changes(data: Data) -> None:
    first = data.ingest("flights", FLIGHTS)
    second = data.ingest("flights", FLIGHTS.head(1).with_columns(pl.lit("x").alias("flight")))
    assert [v.number for v in data.versions("flights")] == [2, 1]
    assert data.frame("flights", 1).collect().height == 3
    assert data.frame("flights", 2).collect()["flight"].to_list() == ["x"]
    assert data.get("flights", 1) == first
    assert second.digest != first.digest


def test_the_fact_is_in_the_log_with_the_version(data: Data, tables: Tables) -> None:
    with calling(Caller(actor="ada", request_id="r-1")):
        made = data.ingest("flights", FLIGHTS, checks=[Check("origin", "not_null")])
    (event,) = SqlJournal(tables).read()
    assert (event.kind, event.subject, event.actor) == ("data.version_added", made.ref, "ada")
    assert (event.payload["rows"], event.payload["quarantined"]) == (2, 1)


def test_rows_that_fail_are_kept_apart_with_the_reason(data: Data) -> None:
    made = data.ingest("flights", FLIGHTS, checks=[Check("dep_delay", "not_null"), Check("origin", "not_null")])
    assert (made.rows, made.quarantined) == (2, 1)
    assert data.quarantined("flights").rows() == [(725, None, None, "dep_delay not_null; origin not_null")]
    data.ingest("flights", FLIGHTS)
    assert data.quarantined("flights").height == 0
    assert data.quarantined("flights", 1).height == 1


def test_quarantines_of_versions_need_not_have_the_same_types(data: Data) -> None:
    for values in ([1.5, None], ["text", None], [True, None]):
        data.ingest("odd", pl.DataFrame({"v": values}), checks=[Check("v", "not_null")])
    assert [data.quarantined("odd", number).height for number in (1, 2, 3)] == [1, 1, 1]


def test_a_key_gives_the_same_version_and_one_event_however_often(data: Data, tables: Tables) -> None:
    first = data.ingest("flights", FLIGHTS, key="2013-01")
    assert data.ingest("flights", FLIGHTS.head(1), key="2013-01") == first
    assert data.ingest("flights", FLIGHTS, key="2013-02").number == 2
    assert data.ingest("other", FLIGHTS, key="2013-01").number == 1
    assert len(SqlJournal(tables).read()) == 3


def test_eight_threads_get_eight_numbers_without_gaps_and_each_its_own_rows(data: Data) -> None:
    def ingest(n: int) -> tuple[int, int]:
        return data.ingest("flights", pl.DataFrame({"n": [n]}), key=f"k{n % 4}" if n >= 4 else "").number, n

    with ThreadPoolExecutor(8) as pool:
        numbered = dict(pool.map(ingest, range(8)))
    assert sorted(numbered) == list(range(1, 9))
    for number, n in numbered.items():
        assert data.frame("flights", number).collect()["n"].to_list() == [n]


def test_threads_with_one_key_make_one_version(data: Data) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: data.ingest("flights", pl.DataFrame({"n": [n]}), key="same"), range(4)))
    assert {version.number for version in made} == {1}
    assert len(data.versions("flights")) == 1


def test_projects_do_not_see_each_other(data: Data) -> None:
    data.ingest("flights", FLIGHTS)
    with calling(Caller(project="other")):
        assert data.datasets() == []
        with pytest.raises(NotFound):
            data.get("flights")
        data.ingest("flights", FLIGHTS.head(1))
    assert data.frame("flights").collect().height == 3


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.one_of(st.none(), st.floats()), min_size=1, max_size=20), at=st.integers(0, 20))
def test_equal_rows_have_equal_digests_however_they_are_held(data: Data, values: list[float | None], at: int) -> None:
    whole = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    parts = pl.concat([whole.head(at), whole.slice(at)], rechunk=False).with_columns(pl.col("x").fill_nan(None))
    assert data.ingest("digests", whole).digest == data.ingest("digests", parts).digest


def test_the_time_column_is_that_of_the_version_before_or_of_a_parent(data: Data) -> None:
    days = [datetime(2026, 1, day) for day in range(1, 4)]
    two = pl.DataFrame({"x": [1.0, 2.0, 3.0], "at": days, "known": days})
    assert data.ingest("untold", two).time_column == ""
    first = data.ingest("told", two, time_column="known")
    assert data.ingest("told", two.head(2)).time_column == "known"
    assert data.ingest("part", two.head(1), parents=["datasets/gone/3", first.ref]).time_column == "known"
    assert data.ingest("part", two.drop("known")).time_column == "at"


def test_the_only_time_is_the_time_column_and_its_days_are_in_the_profile(data: Data) -> None:
    start = datetime(2013, 1, 1)
    frame = pl.DataFrame({"at": [start + timedelta(minutes=5 * n) for n in range(900)], "n": range(900)})
    assert data.ingest("timed", frame).time_column == "at"
    assert len(data.profile("timed").windows) >= 2
    with pytest.raises(Invalid, match="no column 'att'") as caught:
        data.ingest("timed", frame, time_column="att")
    assert caught.value.hint == 'did you mean "at"?'


def test_missing_things_are_named_with_the_next_step(data: Data) -> None:
    with pytest.raises(NotFound) as caught:
        data.get("flights")
    assert caught.value.hint == "mainspring data ingest flights FILE"
    data.ingest("flights", FLIGHTS)
    with pytest.raises(NotFound) as caught:
        data.frame("fligths")
    assert caught.value.hint == 'did you mean "flights"?'
    with pytest.raises(NotFound, match="flights has no version 2"):
        data.get("flights", 2)
    with pytest.raises(Invalid, match="names no dataset version"):
        data.resolve("datasets/flights/one")


def test_a_table_of_which_no_row_passes_makes_no_version(data: Data) -> None:
    with pytest.raises(Invalid, match="none of 3 rows passes") as caught:
        data.ingest("flights", FLIGHTS, checks=[Check("dep_delay", "in_range", low=1e6), Check("origin", "not_null")])
    assert caught.value.hint.startswith("the first fails: dep_delay in_range")
    assert data.datasets() == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "x" * 101])
def test_what_cannot_name_a_dataset_is_refused(data: Data, name: str) -> None:
    with pytest.raises(Invalid, match="can't name a dataset"):
        data.ingest(name, FLIGHTS)


_CHILD = """
import sys, polars as pl
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mainspring.core.clock import SystemClock
from mainspring.core.errors import MainspringError
from mainspring.data import Data
from mainspring.storage import open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
tables, folder = open_tables("", Path(sys.argv[2])), Path(sys.argv[3])
journal, delta, blobs = SqlJournal(tables), open_delta("", folder), open_blobs("", folder)
data = Data(tables=tables, journal=journal, delta=delta, blobs=blobs, clock=SystemClock())
"""


@pytest.fixture
def child(sqlite_tables: Tables, tmp_path: Path) -> Callable[[str], list[str]]:
    """The command of another process that has the data room open on the same storage."""
    return lambda script: [
        sys.executable,
        "-c",
        _CHILD + script,
        str(Path(__file__).parent),
        str(tmp_path / "tables"),
        str(tmp_path / "data"),
    ]


def test_a_kill_in_the_middle_of_ingests_leaves_only_whole_versions(
    child: Callable[[str], list[str]], sqlite_tables: Tables, tmp_path: Path
) -> None:
    script = (
        "for n in range(1, 10**6):\n"
        "    made = data.ingest('flights', pl.DataFrame({'n': [n] * 20_000}), key=str(n))\n"
        "    print(made.number, flush=True)"
    )
    with subprocess.Popen(child(script), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "5":
            assert process.poll() is None
        process.kill()
    data = open_data(sqlite_tables, tmp_path / "data")
    versions = data.versions("flights")
    assert len(versions) >= 5
    for version in versions:
        assert data.frame("flights", version.number).collect()["n"].to_list() == [version.number] * 20_000
        assert data.profile("flights", version.number).sketch.rows == 20_000
    assert [event.subject for event in SqlJournal(sqlite_tables).read()] == [v.ref for v in reversed(versions)]
    assert data.ingest("flights", pl.DataFrame({"n": [0]}), key="after").number == len(versions) + 1


def test_a_full_disk_is_a_plain_error_and_no_version(
    child: Callable[[str], list[str]], sqlite_tables: Tables, tmp_path: Path
) -> None:
    script = (
        "import numpy as np, resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "try: data.ingest('flights', pl.DataFrame({'n': np.random.default_rng(1).integers(0, 2**60, 200_000)}))\n"
        "except MainspringError as reason: print(reason)"
    )
    done = subprocess.run(child(script), capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "the disk is full; nothing was stored"
    assert len(lines) == 3
    assert open_data(sqlite_tables, tmp_path / "data").datasets() == []
