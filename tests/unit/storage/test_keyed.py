"""Files of records by key: what was written is found, by whoever reads and while it is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.errors import Corrupt, NotFound
from mainspring.storage.keyed import KeyedFile, write_keyed

keys = st.tuples(st.text(max_size=5), st.integers(-(2**63), 2**63 - 1))
cells = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4) | st.integers(-(2**40), 2**40)


@settings(max_examples=40)
@given(records=st.dictionaries(keys, st.lists(cells, max_size=3), max_size=30), other=keys)
def test_every_record_is_found_under_its_key_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, records: dict[tuple[str, int], list[object]], other: tuple[str, int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.keyed"
    assert write_keyed(path, {"n": len(records)}, records.items()) == len(records)
    file = KeyedFile(path)
    assert (len(file), file.about) == (len(records), {"n": len(records)})
    assert {key: file.get(list(key)) for key in records} == records
    assert file.get(list(other)) == records.get(other)


def test_who_reads_a_file_keeps_it_while_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.keyed"
    write_keyed(path, {}, [(["AA"], [1])])
    before = KeyedFile(path)
    newest = [before.is_newest]
    write_keyed(path, {}, [(["AA"], [2])])
    newest.append(before.is_newest)
    assert (before.get(["AA"]), KeyedFile(path).get(["AA"])) == ([1], [2])
    path.unlink()
    assert [*newest, before.is_newest] == [True, False, True]
    assert before.get(["AA"]) == [1]


def test_what_breaks_off_while_it_is_written_leaves_the_file_before_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.keyed"
    write_keyed(path, {}, [(["AA"], [1])])

    def broken() -> object:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_keyed(path, {}, ((["AA"], broken()) for _ in range(1)))
    assert KeyedFile(path).get(["AA"]) == [1]
    assert [one.name for one in tmp_path.iterdir()] == ["a.keyed"]


@pytest.mark.parametrize("keep", [0, 1, 20, -1, -9])
def test_a_part_of_a_file_is_no_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.keyed"
    write_keyed(path, {}, [(["AA"], [1]), (["UA"], [2])])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Corrupt):
        KeyedFile(path)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        KeyedFile(tmp_path / "a.keyed")
