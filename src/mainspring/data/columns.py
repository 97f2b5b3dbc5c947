"""What type a column of text is. Decided on every value, never on the first rows, and never by losing one."""

from __future__ import annotations

import polars as pl

from mainspring.data.model import COLUMN_KINDS, ColumnKind

MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
"""Words that mean "no value" where the other values are numbers, times or truth values. In text they are words."""

_INTEGER = r"^[+-]?(?:0|[1-9][0-9]*)$"
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?:inf|Inf|nan|NaN)$"
_CODE = r"^[+-]?0[0-9]+$"
_TRUTH = r"^(?:true|false|True|False|TRUE|FALSE)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_NAIVE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?$"
_ZONED = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})$"


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """A table of text with each column in the narrowest type that holds all of its values.

    Whole numbers with leading zeros stay text: they are codes. A word that means "no value" in a column of numbers,
    such as NA, means it in the text columns of the same table too; otherwise it is a word there.

    >>> typed(pl.DataFrame({"age": ["41", "NA"], "zip": ["02139", "94110"], "day": ["2013-01-01", ""]})).schema
    Schema([('age', Int64), ('zip', String), ('day', Date)])
    """
    known = {name: _known(frame[name]) for name in frame.columns}
    kinds = {name: guess_kind(column) for name, column in known.items()}
    used = {word for name, kind in kinds.items() if kind != "text" for word in _words(frame[name])}
    columns = [
        _without(frame[name], used) if kinds[name] == "text" else parse(known[name], kinds[name])
        for name in frame.columns
    ]
    return pl.DataFrame(columns)


def guess_kind(column: pl.Series) -> ColumnKind:
    """The kind of a column of text: the first that reads every value; `text` when none does or there is no value."""
    values = column.drop_nulls()
    if values.is_empty() or values.str.contains(_CODE).any():
        return "text"
    for kind in COLUMN_KINDS:
        if kind == "text" or parse(values, kind).null_count() == 0:
            return kind
    return "text"


def parse(column: pl.Series, kind: ColumnKind) -> pl.Series:
    """A column of text as a kind; null where a value is none of it.

    >>> parse(pl.Series(["7", "seven"]), "integer").to_list()
    [7, None]
    """
    if kind == "text":
        return column
    values = column.str.strip_chars()
    if kind == "boolean":
        truth = values.str.to_lowercase() == "true"
        return _where(truth, values.str.contains(_TRUTH))
    if kind == "integer":
        return _where(values, values.str.contains(_INTEGER)).cast(pl.Int64, strict=False)
    if kind == "number":
        return _where(values, values.str.contains(_NUMBER)).cast(pl.Float64, strict=False).fill_nan(None)
    if kind == "date":
        return _where(values, values.str.contains(_DATE)).str.to_date("%Y-%m-%d", strict=False)
    return _parse_times(values)


def _parse_times(values: pl.Series) -> pl.Series:
    plain = values.str.replace("T", " ", literal=True)
    zoned = values.str.contains(_ZONED)
    if zoned.any():
        plain = plain.str.replace("Z$", "+00:00").str.replace("([+-][0-9]{2})([0-9]{2})$", "$1:$2")
        whole = plain.str.replace("^(.{16})([+-])", "$1:00$2")
        return _where(whole, zoned).str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="us", strict=False)
    whole = plain.str.replace("^(.{16})$", "$1:00")
    seconds = _where(whole, values.str.contains(_NAIVE))
    return seconds.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)


def _known(column: pl.Series) -> pl.Series:
    return _without(column, {"", *MISSING})


def _words(column: pl.Series) -> set[str]:
    return set(column.filter(column.is_in(list(MISSING))).unique().to_list())


def _without(column: pl.Series, words: set[str]) -> pl.Series:
    return _where(column, ~column.is_in(sorted(words | {""})))


def _where(column: pl.Series, right: pl.Series) -> pl.Series:
    return column.zip_with(right.fill_null(False), pl.Series([None], dtype=column.dtype)).alias(column.name)
