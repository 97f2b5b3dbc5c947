"""The language of searches: what is written comes back, MLflow's part of it, and errors that say where."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US, HOUR_US
from mainspring.core.errors import Invalid
from mainspring.tracking.grammar import (
    EXPERIMENTS,
    LOGGED_MODELS,
    RUNS,
    Mark,
    fingerprint,
    mark_of,
    read_fields,
    read_filter,
    read_order,
    token_of,
)
from mainspring.tracking.grammar.parsing import parse, parse_order
from mainspring.tracking.grammar.tree import (
    And,
    Compare,
    Field,
    Node,
    Not,
    Or,
    Order,
    Span,
    all_of,
    any_of,
    written,
    written_order,
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
keys = texts.filter(bool) | st.sampled_from(["loss", "a b", "a.b", "and", "`", '"', "it's", "1", "-"])
names = st.builds(Field, st.sampled_from(["metrics", "params", "tags", "datasets", "attributes"]), keys)
numbers = st.integers() | st.floats(allow_nan=False)
spans = st.integers(0, 10**15).map(Span)
plain = texts | numbers | spans
comparisons = (
    st.builds(Compare, names, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "NOT LIKE"]), plain)
    | st.builds(Compare, names, st.sampled_from(["IN", "NOT IN"]), st.lists(plain, min_size=1, max_size=3).map(tuple))
    | st.builds(Compare, names, st.sampled_from(["IS NULL", "IS NOT NULL"]))
)
trees = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(all_of)
        | st.lists(inner, min_size=2, max_size=3).map(any_of)
    ),
    max_leaves=8,
)


@given(trees)
def test_a_filter_that_is_written_down_reads_the_same(tree: Node) -> None:
    assert parse(written(tree)) == tree


@given(st.builds(Order, names, st.booleans()))
def test_an_order_that_is_written_down_reads_the_same(order: Order) -> None:
    assert parse_order(written_order(order)) == (order,)


@given(st.text(alphabet="metrics.a 'x'\"`()<>=!,;0123dANDORNOTIN\n", max_size=40), st.booleans())
def test_any_text_is_a_filter_or_an_error_that_says_what_to_do(text: str, strict: bool) -> None:
    try:
        read_filter(text, RUNS, strict=strict)
    except Invalid as reason:
        assert reason.where.startswith("filter")


@given(st.lists(comparisons, min_size=1, max_size=4))
def test_strict_mode_reads_what_is_joined_by_and_alone(parts: list[Compare]) -> None:
    text = " AND ".join(written(part) for part in parts)
    if any(isinstance(value, Span) for p in parts for value in (p.value if isinstance(p.value, tuple) else (p.value,))):
        with pytest.raises(Invalid):
            parse(text, strict=True)
    else:
        assert parse(text, strict=True) == all_of(parts)


@pytest.mark.parametrize("text", ["a = '1' OR b = '2'", "(a = '1')", "NOT a = '1'", "a = '1'; b = '2'", "a > 7d"])
def test_strict_mode_knows_no_more_than_mlflow(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text, strict=True)


LOSS, NAME = Field("metrics", "loss"), Field("attributes", "name")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss < .5", Compare(LOSS, "<", 0.5)),
        ("metric.loss>=-1e-3", Compare(LOSS, ">=", -0.001)),
        ('metrics."loss" = 2', Compare(LOSS, "=", 2)),
        ("`metrics`.`loss` != 2", Compare(LOSS, "!=", 2)),
        ("tags.my.tag like '%x'", Compare(Field("tags", "my.tag"), "LIKE", "%x")),
        ('tags.`a b` = "it\'s"', Compare(Field("tags", "a b"), "=", "it's")),
        ("parameter.lr is not null", Compare(Field("params", "lr"), "IS NOT NULL")),
        ("attributes.`Run Name` = 'x'", Compare(NAME, "=", "x")),
        ("run.run_name ILIKE 'x'", Compare(NAME, "ILIKE", "x")),
        ("run_id IN ('a', 'b')", Compare(Field("attributes", "id"), "IN", ("a", "b"))),
        ("run_id NOT IN ('a',)", Compare(Field("attributes", "id"), "NOT IN", ("a",))),
        ("dataset.digest = 'd'", Compare(Field("datasets", "digest"), "=", "d")),
        ("status = 'FINISHED'", Compare(Field("attributes", "status"), "=", "finished")),
        ("start_time > 5", Compare(Field("attributes", "started_at"), ">=", 6000)),
        ("created <= 5", Compare(Field("attributes", "started_at"), "<", 6000)),
        ("end_time < 5.5", Compare(Field("attributes", "ended_at"), "<", 6000)),
    ],
)
def test_mlflows_ways_to_write_things(text: str, expected: Node) -> None:
    assert read_filter(text, RUNS, strict=True) == expected


def test_a_whole_millisecond_is_a_range_of_microseconds() -> None:
    started = Field("attributes", "started_at")
    low, high = Compare(started, ">=", 5000), Compare(started, "<", 6000)
    assert read_filter("start_time = 5", RUNS) == And((low, high))
    assert read_filter("start_time != 5", RUNS) == Or((Compare(started, "<", 5000), Compare(started, ">=", 6000)))
    assert read_filter("start_time = 5.5", RUNS) == Or(())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("started > 7d", Compare(Field("attributes", "started_at"), ">", 10 * DAY_US - 7 * DAY_US)),
        ('ended < "1970-01-02"', Compare(Field("attributes", "ended_at"), "<", DAY_US)),
        ("started_at = 12", Compare(Field("attributes", "started_at"), "=", 12)),
        ("duration > 1h30m", Compare(Field("attributes", "duration"), ">", 1.5 * HOUR_US)),
        ("duration > 90", Compare(Field("attributes", "duration"), ">", 90e6)),
        ("metrics.loss IN (1, 2)", Or((Compare(LOSS, "=", 1), Compare(LOSS, "=", 2)))),
        ("metrics.loss NOT IN (1, 2)", And((Compare(LOSS, "!=", 1), Compare(LOSS, "!=", 2)))),
        ("NOT status = 'Failed'", Not(Compare(Field("attributes", "status"), "=", "failed"))),
        (
            "name = 'a' OR name = 'b' AND metrics.loss < 1",
            Or((Compare(NAME, "=", "a"), And((Compare(NAME, "=", "b"), Compare(LOSS, "<", 1))))),
        ),
    ],
)
def test_what_mlflow_does_not_have(text: str, expected: Node) -> None:
    assert read_filter(text, RUNS, now=10 * DAY_US) == expected
    with pytest.raises(Invalid):
        read_filter(text, RUNS, strict=True)


@pytest.mark.parametrize(
    ("text", "what", "where", "hint"),
    [
        ("metrics.loss << 5", "a value was expected, found '<'", 'character 15: "< 5"', "write it like"),
        ("name = 'a' AND loss < 5", "no attribute 'loss'", 'character 16: "loss < 5"', "metrics.loss or params.loss"),
        ("stats = 'a'", "no attribute 'stats'", "character 1", 'did you mean "status"'),
        ("mtrics.loss > 5", "'mtrics' is nothing", "character 1", 'did you mean "metrics"'),
        ("params.a = 5", "params.a is text", "character 1", "quotes"),
        ("metrics.a = 'x'", "needs a number", "character 1", "without quotes"),
        ("status = 'finishd'", "no status", "character 1", 'did you mean "finished"'),
        ("tags.a = 'x", "the quote ' is not closed", "character 10", ""),
        ("metrics.a > ", "found the end", "at its end", "write it like"),
        ("metrics.a == 1", "an operator was expected", "character 11", "write ="),
        ("started > 5", "needs a date", "character 1", "2026-03-01"),
        ("started > " + "9" * 400 + "d", "is not a span of time", "character 11", "7d"),
        ("started > 'soon'", "'soon' is no time", "character 1", "2026"),
        ("metrics.a LIKE 'x'", "LIKE can't be used on metrics.a", "character 1", "use one of ="),
        ("metrics.a > 1 metrics.b > 2", "AND or OR was expected", "character 15", ""),
    ],
)
def test_an_error_says_where_and_what_to_do(text: str, what: str, where: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_filter(text, RUNS)
    assert what in caught.value.what
    assert where in caught.value.where
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "params.a IN ('x')",
        "status IN ('FINISHED')",
        "run_name IS NULL",
        "metrics.a IS NULL",
        "started_at > 5",
        "duration > 5",
        "seed = 1",
        "start_time > '2026-01-01'",
        "datasets.source = 'x'",
    ],
)
def test_strict_mode_refuses_what_mlflow_refuses_on_a_field(text: str) -> None:
    with pytest.raises(Invalid):
        read_filter(text, RUNS, strict=True)


def test_mlflow_means_a_status_in_capitals_only() -> None:
    assert read_filter("status = 'finished'", RUNS, strict=True) != read_filter(
        "status = 'FINISHED'", RUNS, strict=True
    )
    assert read_filter("status = 'finished'", RUNS) == read_filter("status = 'FINISHED'", RUNS)


@pytest.mark.parametrize(
    "items",
    [
        ["metrics.a", "metric.a DESC"],
        ["start_time", "created"],
        ["a"],
        ["metrics.a down"],
        ["metrics.a desc asc"],
        [""],
        ["dataset.name"],
    ],
)
def test_an_order_that_makes_no_sense_is_refused(items: list[str]) -> None:
    with pytest.raises(Invalid):
        read_order(items, RUNS, strict=True)


def test_an_order_may_have_many_items_in_one_text() -> None:
    assert read_order(["metrics.a desc, name"], RUNS) == read_order(["metrics.a DESC", "run_name"], RUNS)


def test_other_kinds_have_their_own_attributes() -> None:
    assert read_filter("creation_time > 1 AND tags.a = 'x'", EXPERIMENTS, strict=True)
    assert read_filter("model_type = 'x' AND metrics.a > 1", LOGGED_MODELS, strict=True)
    for text in ("metrics.a > 1", "status = 'READY'"):
        with pytest.raises(Invalid):
            read_filter(text, EXPERIMENTS, strict=True)


def test_a_filter_can_not_be_made_so_large_that_it_hurts() -> None:
    for text in (
        "(" * 60 + "name = 'a'" + ")" * 60,
        " AND ".join(["name = 'a'"] * 201),
        "name = '" + "x" * 100_001 + "'",
    ):
        with pytest.raises(Invalid):
            parse(text)
    with pytest.raises(Invalid):
        read_filter(f"tags.a LIKE '{'%' * 5001}'", RUNS)


def test_fields_name_what_an_answer_should_have() -> None:
    assert read_fields("metrics, params.lr, name, code", RUNS, ("code",)) == (
        Field("metrics", ""),
        Field("params", "lr"),
        Field("attributes", "name"),
        Field("code", ""),
    )
    assert read_fields("", RUNS) == ()
    with pytest.raises(Invalid, match="no"):
        read_fields("code", EXPERIMENTS)


marks = st.builds(
    Mark,
    st.integers(0, 2**62),
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), texts),
)


@given(marks)
def test_a_page_token_gives_back_its_mark(mark: Mark) -> None:
    question = fingerprint("runs", ["a"])
    assert mark_of(token_of(question, mark), question, (int, float, str)) == mark


@given(marks)
def test_a_page_token_is_of_one_search(mark: Mark) -> None:
    token = token_of(fingerprint("runs", "x"), mark)
    for question, types in (
        (fingerprint("runs", "y"), (int, float, str)),
        (fingerprint("runs", "x"), (int, float, int)),
    ):
        with pytest.raises(Invalid):
            mark_of(token, question, types)


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "bnVsbA==", "W10=", "eyJvZmZzZXQiOiAxfQ==", "W" * 70_000])
def test_rubbish_is_no_page_token(token: str) -> None:
    with pytest.raises(Invalid, match="page token"):
        mark_of(token, "q", (int,))


@given(st.text(max_size=30) | st.binary(max_size=40).map(lambda data: __import__("base64").b64encode(data).decode()))
def test_no_text_breaks_the_reading_of_page_tokens(token: str) -> None:
    with pytest.raises(Invalid):
        mark_of(token, "question", (int, float))


def test_infinity_can_be_written() -> None:
    assert parse("metrics.a < 1e999") == Compare(Field("metrics", "a"), "<", math.inf)
