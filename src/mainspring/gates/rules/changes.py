"""Rows with something changed in them on purpose: what robustness and behaviour tests show to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.gates.rules.disturbance import Disturbance

_VERBS = ("set", "add", "times", "text", "missing")
_TEXTS = ("upper", "lower", "typo")


def disturbed(rows: pl.DataFrame, by: Disturbance, columns: Sequence[str], *, seed: int) -> pl.DataFrame:
    """The rows with those of `columns` disturbed that this can be done to.

    Args:
        rows: Any rows.
        by: What happens.
        columns: Names of the inputs.
        seed: Seed of what is drawn.
    Raises: Invalid: None of the columns can be disturbed so.
    """
    fitting = [name for name in columns if _fits(by.kind, rows.schema[name])]
    if not fitting:
        what = "text" if by.kind == "typo" else "numbers"
        raise Invalid(f"{by.kind} needs inputs of {what}, and there are none", hint="take it out of this gate")
    return rows.with_columns(
        _column(rows[name], by, np.random.default_rng([seed, place])) for place, name in enumerate(fitting)
    )


def _fits(kind: str, dtype: pl.DataType) -> bool:
    if kind == "missing":
        return True
    return dtype == pl.String if kind == "typo" else dtype.is_numeric()


def _column(values: pl.Series, by: Disturbance, generator: np.random.Generator) -> pl.Series:
    if by.kind == "scale":
        return _rounded(values * by.amount, values.dtype)
    if by.kind == "noise":
        noise = pl.Series(generator.normal(0, by.amount * _spread(values), len(values)))
        return _rounded(values + noise, values.dtype)
    hit = pl.Series(generator.random(len(values)) < by.amount)
    empty = pl.Series(values.name, [None], dtype=values.dtype)
    changed = empty.new_from_index(0, len(values)) if by.kind == "missing" else misspelt(values)
    return values.zip_with(~hit, changed)


def misspelt(values: pl.Series) -> pl.Series:
    """Texts with their first two letters swapped, or, where that changes nothing, with the last one twice.

    >>> misspelt(pl.Series(["north", "aa", "", None])).to_list()
    ['onrth', 'aaa', '', None]
    """
    texts = [text if not text else _swapped(text) for text in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)


def _swapped(text: str) -> str:
    other = text[1:2] + text[:1] + text[2:]
    return other if other != text else text + text[-1]


def _spread(values: pl.Series) -> float:
    known = values.cast(pl.Float64).drop_nulls().drop_nans()
    found = known.std() if len(known) > 1 else 0.0
    return float(found) if isinstance(found, (int, float)) else 0.0


def _rounded(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Back in the type it had; an unsigned number does not become negative."""
    if dtype.is_float():
        return values.cast(dtype)
    whole = values.cast(pl.Float64).round()
    whole = whole.clip(0) if dtype.is_unsigned_integer() else whole
    return whole.cast(dtype, strict=False)


def check_change(change: Mapping[str, object]) -> None:
    """Return when `{wind = {add = 10}, region = "north"}` is something that can be done to rows.

    Raises: Invalid: It changes nothing, or a verb is unknown.
    """
    if not change:
        raise Invalid("change names no column", hint="change = {wind = {add = 10}}")
    for column, done in change.items():
        if not isinstance(done, Mapping):
            continue
        verb, amount = next(iter(done.items()), ("", None))
        if len(done) != 1 or verb not in _VERBS:
            hint = did_you_mean(str(verb), _VERBS) or f"one of {', '.join(_VERBS)}: {{add = 10}}"
            raise Invalid(f"the change of {column!r} is not one of the known", hint=hint)
        if verb in ("add", "times") and (isinstance(amount, bool) or not isinstance(amount, (int, float))):
            raise Invalid(f"{column} cannot be changed by {amount!r}", hint="give a number")
        if verb == "text" and amount not in _TEXTS:
            raise Invalid(f"unknown change of text {amount!r}", hint=f"one of {', '.join(_TEXTS)}")


def changed(rows: pl.DataFrame, change: Mapping[str, object]) -> pl.DataFrame:
    """The rows after a change that `check_change` let pass; a plain value sets the column to it.

    Raises: Invalid: There is no such column, or its type does not allow the change.
    """
    found = rows
    for column, done in change.items():
        if column not in rows.columns:
            hint = did_you_mean(column, rows.columns) or f"columns: {', '.join(rows.columns[:20])}"
            raise Invalid(f"the evaluation rows have no column {column!r}", hint=hint)
        verb, amount = next(iter(done.items())) if isinstance(done, Mapping) else ("set", done)
        found = found.with_columns(_done(rows[column], str(verb), amount))
    return found


def _done(values: pl.Series, verb: str, amount: object) -> pl.Series:
    if verb == "missing" or amount is None:
        return pl.Series(values.name, [None] * len(values), dtype=values.dtype)
    if verb == "set":
        try:
            return pl.Series(values.name, [amount], dtype=values.dtype, strict=True).new_from_index(0, len(values))
        except (TypeError, pl.exceptions.PolarsError):
            raise Invalid(
                f"{amount!r} is no {values.dtype}", where=values.name, hint="give a value of the type"
            ) from None
    if verb == "text":
        if values.dtype != pl.String:
            raise Invalid(f"{values.name} is {values.dtype}, not text", hint="change a column of text")
        if amount == "typo":
            return misspelt(values)
        return values.str.to_uppercase() if amount == "upper" else values.str.to_lowercase()
    if not values.dtype.is_numeric() or not isinstance(amount, (int, float)):
        raise Invalid(f"{values.name} is {values.dtype}, not a number", hint="change a column of numbers")
    return _rounded(values + amount if verb == "add" else values * amount, values.dtype)
