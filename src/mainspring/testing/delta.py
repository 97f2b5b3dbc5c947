"""What every `Delta` and `DeltaUpkeep` does. Subclass the contracts and give them a fixture `delta`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.errors import Invalid, NotFound
from mainspring.storage.ports import Delta, DeltaUpkeep

TABLE = "predictions/flights-delay"
_ROWS = pl.DataFrame({"n": [1, 2]})
Kept = Callable[[], bytes]
"""Everything that a store tells about its tables without reading rows: logs, and footers of data files."""
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def numbers(delta: Delta, table: str = TABLE, version: int | None = None) -> list[int | None]:
    """Column n of a table, sorted."""
    return delta.scan(table, version).select(pl.col("n").sort()).collect()["n"].to_list()


class DeltaContract:
    """The behaviour of Delta tables. Fixture: `delta`, without tables."""

    def test_it_is_the_port(self, delta: Delta) -> None:
        assert isinstance(delta, Delta)

    def test_an_absent_table_has_no_version_no_batch_and_no_rows(self, delta: Delta) -> None:
        assert delta.version(TABLE) is None
        assert delta.batch(TABLE, "compactor") == -1
        assert delta.names() == []
        with pytest.raises(NotFound, match="there is no table"):
            delta.scan(TABLE)

    def test_appended_rows_are_there_and_each_append_is_a_version(self, delta: Delta) -> None:
        assert delta.append(TABLE, _ROWS, app="compactor", batch=0) == 0
        assert delta.append(TABLE, pl.DataFrame({"n": [3]}), app="compactor", batch=1) == 1
        assert delta.version(TABLE) == 1
        assert delta.batch(TABLE, "compactor") == 1
        assert numbers(delta) == [1, 2, 3]
        assert numbers(delta, version=0) == [1, 2]

    def test_a_replayed_batch_changes_nothing(self, delta: Delta) -> None:
        delta.append(TABLE, _ROWS, app="compactor", batch=5)
        assert delta.append(TABLE, _ROWS, app="compactor", batch=5) is None
        assert delta.append(TABLE, _ROWS, app="compactor", batch=4) is None
        assert delta.append(TABLE, _ROWS, app="another", batch=5) == 1
        assert numbers(delta) == [1, 1, 2, 2]

    def test_a_new_column_widens_the_table_and_older_rows_read_as_null(self, delta: Delta) -> None:
        delta.append(TABLE, _ROWS, app="a", batch=0)
        delta.append(TABLE, pl.DataFrame({"n": [3], "label": ["late"]}), app="a", batch=1)
        delta.append(TABLE, pl.DataFrame({"n": [4]}), app="a", batch=2)
        found = delta.scan(TABLE).sort("n").collect()
        assert found["label"].to_list() == [None, None, "late", None]

    def test_a_new_field_of_a_struct_widens_the_table(self, delta: Delta) -> None:
        delta.append(TABLE, pl.DataFrame({"n": [1], "inputs": [{"x": 1.0}]}), app="a", batch=0)
        delta.append(TABLE, pl.DataFrame({"n": [2], "inputs": [{"x": 2.0, "y": "new"}]}), app="a", batch=1)
        delta.append(TABLE, pl.DataFrame({"n": [3], "inputs": [{"y": "only"}]}), app="a", batch=2)
        found = delta.scan(TABLE).sort("n").collect()["inputs"].to_list()
        assert found == [{"x": 1.0, "y": None}, {"x": 2.0, "y": "new"}, {"x": None, "y": "only"}]

    @pytest.mark.parametrize("value", [1.5, "one", 2**70, [1]])
    def test_a_value_the_column_cannot_hold_is_refused_and_named(self, delta: Delta, value: object) -> None:
        delta.append(TABLE, _ROWS, app="a", batch=0)
        with pytest.raises(Invalid, match="column 'n'"):
            delta.append(TABLE, pl.DataFrame({"n": [value]}), app="a", batch=1)
        assert delta.batch(TABLE, "a") == 0
        assert numbers(delta) == [1, 2]

    def test_whole_floats_fit_a_column_of_integers(self, delta: Delta) -> None:
        delta.append(TABLE, _ROWS, app="a", batch=0)
        delta.append(TABLE, pl.DataFrame({"n": [3.0, float("nan")]}), app="a", batch=1)
        assert delta.scan(TABLE).collect()["n"].sort().to_list() == [None, 1, 2, 3]

    def test_nan_is_written_as_null_at_every_depth(self, delta: Delta) -> None:
        nan = float("nan")
        rows = pl.DataFrame({"n": [1], "x": [nan], "s": [{"y": nan}], "l": [[1.0, nan]], "deep": [[{"z": nan}]]})
        for table in (TABLE, "datasets/flights"):
            delta.append(TABLE, rows, app="a", batch=0)
            delta.replace("datasets/flights", rows)
            found = delta.scan(table).collect().to_dicts()[0]
            assert found == {"n": 1, "x": None, "s": {"y": None}, "l": [1.0, None], "deep": [{"z": None}]}

    def test_types_without_a_place_in_delta_become_their_nearest(self, delta: Delta) -> None:
        rows = pl.DataFrame(
            {
                "u": pl.Series([2**40], dtype=pl.UInt64),
                "c": pl.Series(["a"], dtype=pl.Categorical),
                "t": pl.Series([datetime(2013, 1, 1)], dtype=pl.Datetime("ns")),
                "z": pl.Series([datetime(2013, 7, 1, 12)], dtype=pl.Datetime("ms", "America/New_York")),
                "none": [None],
            }
        )
        delta.replace(TABLE, rows)
        assert delta.scan(TABLE).collect().rows() == [
            (2**40, "a", datetime(2013, 1, 1), datetime(2013, 7, 1, 12, tzinfo=UTC), None)
        ]

    def test_replace_makes_a_version_and_the_old_one_stays_readable(self, delta: Delta) -> None:
        first = delta.replace(TABLE, _ROWS)
        second = delta.replace(TABLE, pl.DataFrame({"n": [datetime(2013, 1, 1)], "other": ["schema"]}))
        assert second > first
        assert numbers(delta, version=first) == [1, 2]
        assert delta.scan(TABLE).collect().columns == ["n", "other"]

    def test_replace_keeps_the_order_of_frames_and_rows(self, delta: Delta) -> None:
        delta.replace(TABLE, (pl.DataFrame({"n": [7 - i, i * 3]}) for i in range(5)))
        assert delta.scan(TABLE).collect()["n"].to_list() == [7, 0, 6, 3, 5, 6, 4, 9, 3, 12]

    def test_a_replayed_replace_gives_the_current_version(self, delta: Delta) -> None:
        first = delta.replace(TABLE, _ROWS, app="ingest", batch=1)
        assert delta.replace(TABLE, _ROWS.head(1), app="ingest", batch=1) == first
        assert numbers(delta) == [1, 2]

    def test_an_empty_frame_with_columns_is_a_version_without_rows(self, delta: Delta) -> None:
        delta.replace(TABLE, _ROWS.clear())
        assert delta.scan(TABLE).collect().schema == _ROWS.schema
        with pytest.raises(Invalid, match="no columns"):
            delta.replace(TABLE, iter([]))

    def test_compacting_keeps_rows_batches_and_older_versions(self, delta: Delta) -> None:
        for batch in range(6):
            delta.append(TABLE, pl.DataFrame({"n": [batch]}), app="a", batch=batch)
        delta.compact(TABLE)
        assert numbers(delta) == [0, 1, 2, 3, 4, 5]
        assert numbers(delta, version=2) == [0, 1, 2]
        assert delta.batch(TABLE, "a") == 5
        assert delta.append(TABLE, _ROWS, app="a", batch=5) is None

    def test_names_are_listed_and_near_names_are_offered(self, delta: Delta) -> None:
        delta.replace("datasets/flights", _ROWS)
        delta.append(TABLE, _ROWS, app="a", batch=0)
        assert delta.names() == ["datasets/flights", TABLE]
        with pytest.raises(NotFound) as caught:
            delta.scan("datasets/flihgts")
        assert caught.value.hint == 'did you mean "datasets/flights"?'
        with pytest.raises(NotFound, match="no version 9"):
            delta.scan(TABLE, 9)

    @pytest.mark.parametrize("table", ["", "../up", "a//b", "/etc", "a/_delta_log", "a b"])
    def test_what_cannot_name_a_table_is_refused(self, delta: Delta, table: str) -> None:
        with pytest.raises(Invalid, match="can't name a table"):
            delta.append(table, _ROWS, app="a", batch=0)

    @settings(max_examples=6, deadline=None, suppress_health_check=_SHARED)
    @given(batches=st.lists(st.integers(0, 4), min_size=1, max_size=8))
    def test_any_order_of_batches_lands_as_their_growing_part(self, delta: Delta, batches: list[int]) -> None:
        table = f"property/t{len(delta.names())}"
        expected: list[int] = []
        for batch in batches:
            landed = delta.append(table, pl.DataFrame({"n": [batch]}), app="a", batch=batch)
            assert (landed is not None) == (not expected or batch > expected[-1])
            if landed is not None:
                expected.append(batch)
        assert numbers(delta, table) == expected

    def test_eight_writers_at_once_all_land_exactly_once(self, delta: Delta) -> None:
        def write(writer: int) -> None:
            for batch in range(2):
                for _ in range(2):
                    rows = pl.DataFrame({"n": [writer * 10 + batch]})
                    delta.append(TABLE, rows, app=f"writer-{writer}", batch=batch)

        _together([lambda w=w: write(w) for w in range(8)])  # type: ignore[misc]
        assert numbers(delta) == [w * 10 + b for w in range(8) for b in range(2)]

    def test_writers_that_replay_the_same_batch_at_once_land_it_once(self, delta: Delta) -> None:
        _together([lambda: delta.append(TABLE, _ROWS, app="same", batch=1)] * 5)
        assert numbers(delta) == [1, 2]


class DeltaUpkeepContract:
    """The behaviour of upkeep of tables. Fixtures: `delta`, an empty store that has it, and `everything`, a `Kept`."""

    def test_it_is_the_port_of_upkeep(self, delta: Delta) -> None:
        assert isinstance(delta, DeltaUpkeep)

    def test_small_files_are_counted_until_they_are_merged(self, delta: Delta) -> None:
        assert _upkeep(delta).small_files(TABLE) == 0
        for batch in range(4):
            delta.append(TABLE, _ROWS, app="a", batch=batch)
        assert _upkeep(delta).small_files(TABLE) == 4
        delta.compact(TABLE)
        assert _upkeep(delta).small_files(TABLE) == 1

    def test_files_that_no_version_needs_go_and_the_newest_stays(self, delta: Delta) -> None:
        for batch in range(4):
            delta.append(TABLE, pl.DataFrame({"n": [batch]}), app="a", batch=batch)
        delta.compact(TABLE)
        assert _upkeep(delta).vacuum(TABLE, older_than_h=1) == (0, 0)
        count, size = _upkeep(delta).vacuum(TABLE, older_than_h=0, dry_run=True)
        assert (count, size > 1000) == (4, True)
        assert _upkeep(delta).vacuum(TABLE, older_than_h=0) == (count, size)
        assert _upkeep(delta).vacuum(TABLE, older_than_h=0) == (0, 0)
        assert numbers(delta) == [0, 1, 2, 3]

    def test_versions_that_are_kept_stay_readable_for_ever(self, delta: Delta) -> None:
        versions = [delta.replace("p/datasets/flights", pl.DataFrame({"n": [number]})) for number in range(5)]
        kept = [versions[1], versions[3]]
        for _ in range(2):
            _upkeep(delta).vacuum("p/datasets/flights", older_than_h=0, keep=kept)
            versions.append(delta.replace("p/datasets/flights", pl.DataFrame({"n": [9]})))
        _upkeep(delta).vacuum("p/datasets/flights", older_than_h=0, keep=kept)
        assert [delta.scan("p/datasets/flights", version).collect()["n"].to_list() for version in kept] == [[1], [3]]
        assert delta.scan("p/datasets/flights").collect()["n"].to_list() == [9]
        with pytest.raises(Exception):  # noqa: B017  whatever the engine says of a file that is gone
            delta.scan("p/datasets/flights", versions[0]).collect()

    def test_a_batch_lands_once_through_compaction_and_vacuum(self, delta: Delta) -> None:
        for batch in range(6):
            assert delta.append(TABLE, pl.DataFrame({"n": [batch]}), app="a", batch=batch) is not None
            if batch % 2:
                delta.compact(TABLE)
                _upkeep(delta).vacuum(TABLE, older_than_h=0)
            for replay in range(batch + 1):
                assert delta.append(TABLE, pl.DataFrame({"n": [replay]}), app="a", batch=replay) is None
        assert delta.batch(TABLE, "a") == 5
        assert numbers(delta) == [0, 1, 2, 3, 4, 5]

    def test_writers_beside_compaction_and_vacuum_land_everything_once(self, delta: Delta) -> None:
        def write(writer: int) -> None:
            for batch in range(4):
                for _ in range(2):
                    rows = pl.DataFrame({"n": [writer * 10 + batch]})
                    delta.append(TABLE, rows, app=f"writer-{writer}", batch=batch)

        def tidy() -> None:
            for _ in range(3):
                delta.compact(TABLE)
                _upkeep(delta).vacuum(TABLE, older_than_h=1)

        delta.append(TABLE, pl.DataFrame({"n": [99]}), app="first", batch=0)
        _together([*(lambda w=w: write(w) for w in range(4)), tidy])
        assert numbers(delta) == [w * 10 + b for w in range(4) for b in range(4)] + [99]

    def test_no_least_and_greatest_values_are_kept_of_personal_columns(self, delta: Delta, everything: Kept) -> None:
        rows = pl.DataFrame({"n": [1], "inputs": [{"name": "Adalovelace"}], "town": ["Marylebone"]})
        for batch in range(3):
            delta.append(TABLE, rows, app="a", batch=batch, personal=["inputs"])
        wider = rows.with_columns(pl.lit("Babbagecharles").alias("later"))
        delta.append(TABLE, wider, app="a", batch=3, personal=["inputs"])
        delta.compact(TABLE)
        delta.replace("p/datasets/people", rows, personal=["inputs"])
        told = everything()
        assert b"Adalovelace" not in told
        assert b"Babbagecharles" not in told
        assert b"Marylebone" in told
        assert delta.scan(TABLE).filter(pl.col("town") == "Marylebone").collect().height == 4


def _upkeep(delta: Delta) -> DeltaUpkeep:
    assert isinstance(delta, DeltaUpkeep)
    return delta


def footer_of(data: bytes) -> bytes:
    """The footer of a Parquet file, where statistics are; all of what is no Parquet file."""
    if data[-4:] != b"PAR1":
        return data
    return data[-8 - int.from_bytes(data[-8:-4], "little") :]


def _together(works: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(len(works)) as pool:
        for landed in [pool.submit(work) for work in works]:
            landed.result()
