"""Rows as a Delta table can hold them: no NaN, no unsigned integers, and the types the table already has.

Imported with the Delta backend only, because it needs Polars.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mainspring.core.errors import Invalid

_WIDER: dict[type[pl.DataType] | pl.DataType, pl.DataType] = {
    pl.UInt8: pl.Int16(),
    pl.UInt16: pl.Int32(),
    pl.UInt32: pl.Int64(),
    pl.UInt64: pl.Int64(),
    pl.Int128: pl.Int64(),
    pl.UInt128: pl.Int64(),
    pl.Float16: pl.Float32(),
    pl.Categorical: pl.String(),
    pl.Enum: pl.String(),
    pl.Time: pl.String(),
    pl.Duration: pl.Int64(),
    pl.Null: pl.String(),
}


def storable_type(dtype: pl.DataType, *, where: str = "") -> pl.DataType:
    """The type in which a column of `dtype` is kept.

    Raises:
        Invalid: No table can hold it (Python objects, structs without fields).

    >>> storable_type(pl.UInt32()), storable_type(pl.Datetime("ns", "Europe/Paris"))
    (Int64, Datetime(time_unit='us', time_zone='UTC'))
    """
    if isinstance(dtype, pl.Struct) and dtype.fields:
        fields = {f.name: storable_type(_made(f.dtype), where=f"{where}.{f.name}") for f in dtype.fields}
        return pl.Struct(fields)
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(storable_type(_made(dtype.inner), where=where))
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if dtype == pl.Object or isinstance(dtype, pl.Struct):
        raise Invalid(
            f"values of type {dtype} cannot be stored in a table", where=where, hint="make them text or numbers"
        )
    return _WIDER.get(type(dtype), dtype)


def storable(frame: pl.DataFrame, held: Mapping[str, pl.DataType] | None = None) -> pl.DataFrame:
    """The rows as a table keeps them: NaN is null, and columns that the table has get the table's types.

    Columns without any type (all null) are left out when the table decides their type later.

    Args:
        held: The columns of the table; None for a new one, which takes the types as they come.
    Raises:
        Invalid: A column holds what the table's column cannot hold without loss.
    """
    if held is not None:
        frame = frame.drop([name for name, dtype in frame.schema.items() if dtype == pl.Null and name not in held])
    schema = frame.schema
    wanted = {name: _wanted(dtype, (held or {}).get(name), name) for name, dtype in schema.items()}
    changes = [
        _kept(pl.col(name), dtype, wanted[name], name).alias(name)
        for name, dtype in schema.items()
        if wanted[name] != dtype or _has_nan(frame[name])
    ]
    try:
        kept = frame.with_columns(changes) if changes else frame
    except pl.exceptions.PolarsError as reason:
        raise _lossy(frame, wanted, str(reason)) from None
    for name, dtype in schema.items():
        if wanted[name] != dtype and _may_lose(dtype, wanted[name]) and not _same(frame[name], kept[name]):
            raise _refused(name, dtype, wanted[name])
    return kept


def storable_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    """As `storable`, for rows that are not in memory and a table that takes their types."""
    schema = rows.collect_schema()
    wanted = {name: storable_type(dtype, where=name) for name, dtype in schema.items()}
    return rows.with_columns(
        _kept(pl.col(n), schema[n], wanted[n], n).alias(n) for n in schema if _changes(schema, wanted, n)
    )


def _changes(schema: Mapping[str, pl.DataType], wanted: Mapping[str, pl.DataType], name: str) -> bool:
    return wanted[name] != schema[name] or _has_floats(wanted[name])


def _wanted(dtype: pl.DataType, held: pl.DataType | None, name: str) -> pl.DataType:
    return storable_type(dtype, where=name) if held is None else _joined(dtype, held, name)


def _joined(new: pl.DataType, held: pl.DataType, name: str, *, nested: bool = False) -> pl.DataType:
    """The table's type for a new column; structs may gain fields, numbers may change type while no value does."""
    if isinstance(new, pl.Struct) and isinstance(held, pl.Struct):
        old = {f.name: _made(f.dtype) for f in held.fields}
        fresh = {f.name: _made(f.dtype) for f in new.fields}
        both = {n: _joined(fresh[n], d, f"{name}.{n}", nested=True) if n in fresh else d for n, d in old.items()}
        added = {n: storable_type(d, where=f"{name}.{n}") for n, d in fresh.items() if n not in old}
        return pl.Struct({**both, **added})
    if isinstance(new, (pl.List, pl.Array)) and isinstance(held, pl.List):
        return pl.List(_joined(_made(new.inner), _made(held.inner), name, nested=True))
    plain = storable_type(new, where=name)
    numbers = plain.is_numeric() and held.is_numeric() and not (nested and plain.is_float() and not held.is_float())
    dates = isinstance(plain, (pl.Date, pl.Datetime)) and isinstance(held, pl.Datetime)
    if new == pl.Null or plain == held or numbers or dates:
        return held
    raise _refused(name, new, held)


def _kept(value: pl.Expr, have: pl.DataType, want: pl.DataType, name: str) -> pl.Expr:
    """`value` as `want`, with NaN as null at every depth; a null struct stays null."""
    if isinstance(have, pl.Struct) and isinstance(want, pl.Struct):
        known = {f.name: _made(f.dtype) for f in have.fields}
        parts = []
        for f in want.fields:
            dtype = _made(f.dtype)
            inner = value.struct.field(f.name) if f.name in known else None
            part = pl.lit(None, dtype=dtype) if inner is None else _kept(inner, known[f.name], dtype, f.name)
            parts.append(part.alias(f.name))
        return pl.when(value.is_null()).then(None).otherwise(pl.struct(parts))
    if isinstance(have, (pl.List, pl.Array)) and isinstance(want, pl.List):
        if isinstance(have, pl.Array):
            value = value.arr.to_list()
        return value.list.eval(_kept(pl.element(), _made(have.inner), _made(want.inner), name))
    if isinstance(have, pl.Duration):
        value = value.dt.total_microseconds()
    elif isinstance(have, pl.Datetime) and isinstance(want, pl.Datetime) and have.time_zone != want.time_zone:
        value = value.dt.convert_time_zone("UTC") if have.time_zone else value.dt.replace_time_zone("UTC")
        value = value if want.time_zone else value.dt.replace_time_zone(None)
    elif have.is_float():
        value = value.fill_nan(None)
    return value if have == want else value.cast(want)


def _has_floats(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_has_floats(_made(f.dtype)) for f in dtype.fields)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _has_floats(_made(dtype.inner))
    return dtype.is_float()


def _has_nan(values: pl.Series) -> bool:
    """Whether there is one at any depth: to look costs a twentieth of making the column anew."""
    if isinstance(values.dtype, pl.Struct):
        return _has_floats(values.dtype) and any(map(_has_nan, values.struct.unnest()))
    if isinstance(values.dtype, (pl.List, pl.Array)):
        return _has_floats(values.dtype) and values.null_count() < len(values) and _has_nan(values.explode())
    return values.dtype.is_float() and bool(values.is_nan().any())


def _may_lose(have: pl.DataType, want: pl.DataType) -> bool:
    return have.is_numeric() and want.is_numeric() and not (have.is_float() and want.is_float())


def _same(before: pl.Series, after: pl.Series) -> bool:
    cleaned = before.fill_nan(None) if before.dtype.is_float() else before
    return cleaned.equals(after.cast(before.dtype, strict=False), null_equal=True)


def _lossy(frame: pl.DataFrame, wanted: Mapping[str, pl.DataType], reason: str) -> Invalid:
    for name, dtype in frame.schema.items():
        if wanted[name] != dtype and (f'"{name}"' in reason or f"'{name}'" in reason):
            return _refused(name, dtype, wanted[name])
    return Invalid("a column holds what the table cannot", hint=reason.split("\n", 1)[0][:200])


def _refused(name: str, dtype: pl.DataType, held: pl.DataType) -> Invalid:
    return Invalid(
        f"column {name!r} is {dtype}, the table holds {held}",
        where=name,
        hint=f"cast it to {held}, or write it under another name",
    )


def _made(dtype: object) -> pl.DataType:
    if isinstance(dtype, pl.DataType):
        return dtype
    if isinstance(dtype, type) and issubclass(dtype, pl.DataType):
        return dtype()
    raise TypeError(f"not a type of Polars: {dtype!r}")
