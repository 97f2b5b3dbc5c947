from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from mainspring.core.errors import Invalid
from mainspring.storage.schema import Flag, Id, Json, Micros, Real, metadata

SQLITE: Dialect = sqlite.dialect()
POSTGRES: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(VALUES.filter(lambda value: value is not None))
def test_json_comes_back_from_text_as_it_was(value: object) -> None:
    text = Json().process_bind_param(value, SQLITE)
    assert isinstance(text, str)
    assert Json().process_result_value(text, SQLITE) == value


def test_json_is_left_to_the_driver_on_postgres() -> None:
    assert Json().process_bind_param({"a": 1}, POSTGRES) == {"a": 1}
    assert Json().process_result_value("text", POSTGRES) == "text"


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES], ids=["sqlite", "postgres"])
@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": object()}, "\x00", {"\x00": 1}, "\\\x00"])
def test_what_one_database_would_refuse_is_refused_on_both(value: object, dialect: Dialect) -> None:
    with pytest.raises(Invalid):
        Json().process_bind_param(value, dialect)


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000"])
def test_text_that_only_looks_like_a_nul_is_kept(text: str) -> None:
    assert Json().process_result_value(Json().process_bind_param(text, SQLITE), SQLITE) == text


@pytest.mark.parametrize(
    ("kind", "on_sqlite", "on_postgres"),
    [
        (Micros(), "INTEGER", "BIGINT"),
        (Id(), "TEXT", 'VARCHAR COLLATE "C"'),
        (Real(), "REAL", "FLOAT"),
        (Flag(), "INTEGER", "SMALLINT"),
        (Json(), "TEXT", "JSONB"),
    ],
)
def test_each_type_has_a_name_that_strict_tables_accept(kind: Id, on_sqlite: str, on_postgres: str) -> None:
    assert kind.compile(SQLITE) == on_sqlite
    assert kind.compile(POSTGRES) == on_postgres


def test_flags_are_kept_as_numbers_and_read_as_flags() -> None:
    assert [Flag().process_bind_param(value, SQLITE) for value in (True, False, None)] == [1, 0, None]
    assert [Flag().process_result_value(value, SQLITE) for value in (1, 0, None)] == [True, False, None]


def test_every_index_has_a_name_below_the_limit_of_postgres() -> None:
    names = [str(index.name) for table in metadata.sorted_tables for index in table.indexes]
    assert [name for name in names if len(name) > 63] == []
