"""Expressions over columns: what they compute, and that nothing else than the language is read."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.core.expressions import FUNCTIONS, Expression

ROWS = pl.DataFrame({"a": [4.0, -9.0, None], "b": [2, 0, 5], "c": ["AA", "ua", None], "d": [True, False, None]})


def values(text: str) -> list[object]:
    return ROWS.select(Expression(text).polars().alias("x"))["x"].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * 2", [8.0, -9.0, None]),
        ("-a if a < 0 else a", [4.0, 9.0, None]),
        ("sqrt(abs(a)) // 1", [2.0, 3.0, None]),
        ("max(a, b)", [4.0, 0.0, 5.0]),
        ("coalesce(a, 1)", [4.0, -9.0, 1.0]),
        ("0 < b <= 2", [True, False, False]),
        ('c in ["AA", "UA"] or d', [True, False, None]),
        ('lower(c) == "ua" and not d', [False, True, None]),
        ("is_missing(a)", [False, False, True]),
        ('length(col("c"))', [2, 2, None]),
        ("round(a / 3, 1)", [1.3, -3.0, None]),
        ("b ** 2 % 3", [1, 0, 1]),
    ],
)
def test_an_expression_computes_what_it_says_and_missing_values_stay_missing(text: str, expected: list[object]) -> None:
    assert values(text) == expected


def test_it_knows_the_columns_it_looks_at() -> None:
    assert Expression('a / max(b, 1) + col("dep delay") * a').names == ("a", "b", "dep delay")


@pytest.mark.parametrize(
    "text",
    [
        "", "a +", "__import__('os')", "a.b", "a[0]", "lambda: 1", "(yield)", "[a for a in b]", "print(a)", "f'{a}'",
        "abs(a, b)", "a if b", "b'x'", "1j", "a := 1", "abs(x=1)", "abs(*a)", "a @ b", "a << 1", "a is b", "c in b",
        "c in [a]", "9" * 30, "col(a)", "col('a', 'b')", "(" * 300 + "a" + ")" * 300, "+".join("a" * 400),
        "-" * 60 + "a", "a" * 3000, "...", "{a}", "'\\0' == c if",
    ],
)  # fmt: skip
def test_what_is_none_of_the_language_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(Invalid):
        Expression(text)


def test_a_slip_in_the_name_of_a_function_is_named() -> None:
    with pytest.raises(Invalid, match="coalesc") as refused:
        Expression("coalesc(a, b)")
    assert 'did you mean "coalesce"' in str(refused.value)


@given(st.text(alphabet="abc019.+-*/%()[]<>=!,'\" _\\{}:@\n" + "".join(FUNCTIONS), max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        made = Expression(text)
    except Invalid:
        return
    assert isinstance(made.polars(), pl.Expr)
    assert Expression(text).names == made.names
