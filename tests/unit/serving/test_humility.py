"""Rules of humility: what they refuse up front, and what they do to rows on their way through the model server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import spools
from tests.unit.serving.doors import MODEL, PLAIN, Doors, doors, loaded, packages
from tests.unit.serving.plane import plane

from mainspring.core.errors import Invalid, Refused
from mainspring.registry.model import Field
from mainspring.serving.modelserver.columns import Cell
from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import EndpointPlan, Options, Plan, options_of
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table
from mainspring.serving.rules.humility import Rule, Seen, Value, answer_of, check_rules

INPUTS = (Field("delay", "float64"), Field("hour", "int64"), Field("carrier", "string", ("AA", "UA")))
SEEN = {"delay": Seen(-2.0, 2.0), "hour": Seen(0.0, 23.0)}
CLASSES = [0, 1]


def check(*rules: Rule, task: str = "binary", classes: Sequence[object] = CLASSES) -> None:
    check_rules(rules, INPUTS, task=task, classes=classes, seen=SEEN)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"when": "mising", "then": "refuse"}, "missing"),
        ({"when": "missing", "then": "drop"}, "refuse, override"),
        ({"when": "missing", "then": "default"}, "give a value"),
        ({"when": "missing", "then": "override"}, "give a value"),
        ({"when": "missing", "then": "refuse", "value": 1.0}, "gives no value"),
        ({"when": "missing", "then": "refuse", "low": 1.0}, "mean nothing"),
        ({"when": "missing", "then": "refuse", "values": ("a",)}, "unseen"),
        ({"when": "uncertain", "then": "queue"}, "no range"),
        ({"when": "uncertain", "then": "queue", "low": 0.6, "high": 0.4}, "low first"),
        ({"when": "uncertain", "then": "queue", "column": "delay", "low": 0.4}, "leave the column out"),
        ({"when": "uncertain", "then": "default", "low": 0.4, "value": 1.0}, "override"),
        ({"when": "out_of_range", "then": "queue", "high": float("nan")}, "finite"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid) as refused:
        Rule("r", **wrong)  # type: ignore[arg-type]
    assert says in str(refused.value)
    assert "rule 'r'" in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule("r", "missing", "refuse", column="dealy"), 'did you mean "delay"'),
        (Rule("r", "unseen", "refuse", column="delay"), "no text"),
        (Rule("r", "out_of_range", "refuse", column="carrier"), "no number"),
        (Rule("r", "answer_out_of_range", "refuse", low=0.0), 'use when = "uncertain"'),
        (Rule("r", "uncertain", "queue", high=0.6), "open"),
        (Rule("r", "missing", "default", value=1.0), "name its column"),
        (Rule("r", "missing", "default", column="hour", value=1.5), "no int64"),
        (Rule("r", "missing", "default", column="carrier", value=1.0), "no string"),
        (Rule("r", "out_of_range", "default", column="hour", high=22.5), "whole low and high"),
        (Rule("r", "missing", "override", value=7.0), "one of its classes (0, 1)"),
    ],
)
def test_a_rule_a_version_cannot_follow_is_refused_up_front(rule: Rule, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(rule)
    assert says in str(refused.value)


def test_a_range_that_nobody_knows_has_to_be_given() -> None:
    with pytest.raises(Invalid, match="is not known"):
        check_rules(
            [Rule("r", "out_of_range", "refuse", column="delay")], INPUTS, task="binary", classes=CLASSES, seen={}
        )
    with pytest.raises(Invalid, match="two rules have one name"):
        check(Rule("r", "missing", "refuse"), Rule("r", "unseen", "queue"))
    check(Rule("r", "out_of_range", "refuse"), Rule("s", "unseen", "queue"), Rule("t", "missing", "refuse"))


@given(st.floats(0, 1) | st.sampled_from([0, 1, "no"]), st.sampled_from([[0, 1], ["no", "yes"], [False, True]]))
def test_the_label_of_a_given_answer_is_what_its_probability_says(value: Value, classes: list[object]) -> None:
    try:
        answer = answer_of(value, "binary", classes)
    except Invalid:
        assert isinstance(value, str) and value not in classes
        return
    probability = answer["probability"]
    assert isinstance(probability, float)
    assert answer["label"] == classes[int(probability > 0.5)]


def test_many_classes_are_answered_with_one_of_them_and_a_number_with_a_number() -> None:
    said = answer_of("b", "multiclass", ["a", "b", "c"])
    assert said == {"probability": [0.0, 1.0, 0.0], "label": "b"}
    assert answer_of(3, "regression", []) == {"prediction": 3.0}
    with pytest.raises(Invalid):
        answer_of("b", "regression", [])
    with pytest.raises(Invalid):
        answer_of(0.5, "multiclass", ["a", "b", "c"])


def test_options_are_read_from_settings_with_their_rules() -> None:
    read = options_of(
        {"redact": ["delay"], "rules": [{"name": "r", "when": "unseen", "then": "queue"}]}, "deployment.x"
    )
    assert read == Options(redact=("delay",), rules=(Rule("r", "unseen", "queue"),))
    for wrong in (5, {"rules": 5}, {"rules": [{"name": "r", "whem": "unseen"}]}, {"redact": "delay"}, {"deadline": 1}):
        with pytest.raises(Invalid):
            options_of(wrong, "deployment.x")


@pytest.fixture(scope="module")
def late() -> LoadedModel:
    return loaded(packages()[MODEL])


CELLS = st.tuples(
    st.none() | st.floats(-5, 5), st.none() | st.integers(-3, 30), st.none() | st.sampled_from(["AA", "UA", "XX"])
)
RULES = (
    Rule("clip", "out_of_range", "default", column="delay"),
    Rule("fill", "missing", "default", column="delay", value=0.0),
    Rule("night", "out_of_range", "override", column="hour", low=5.0, high=22.0, value=1),
    Rule("hours", "missing", "override", column="hour", value=0),
    Rule("strange", "unseen", "queue"),
    Rule("nobody", "missing", "default", column="carrier", value="AA"),
    Rule("unsure", "uncertain", "override", low=0.4, high=0.6, value=0.5),
)


def judged(late: LoadedModel, rows: Sequence[tuple[Cell, ...]]) -> list[tuple[object, ...]]:
    """Marks and answer of every row. Sums of a matrix differ by the last bits from those of one of its rows."""
    found = Humility(RULES, late, SEEN).judge([list(column) for column in zip(*rows, strict=True)])
    outputs = found.answers(late.predict(found.columns) if found.rows else {})
    answers = zip(outputs["probability"], outputs["label"], strict=True)
    return [
        (tuple(marks), round(float(str(probability)), 9), label)
        for marks, (probability, label) in zip(found.marks, answers, strict=True)
    ]


@given(st.lists(CELLS, min_size=1, max_size=8))
def test_rules_look_at_each_row_by_itself(late: LoadedModel, rows: list[tuple[Cell, ...]]) -> None:
    together = judged(late, rows)
    assert together == [judged(late, [row])[0] for row in rows]
    assert judged(late, rows[::-1]) == together[::-1]


def test_rules_act_in_their_order_and_the_log_says_which(late: LoadedModel) -> None:
    clipped, filled, night, strange = judged(late, [(9.0, 7, "AA"), (None, 7, "AA"), (0.0, 3, "AA"), (-2.0, 8, "ZZ")])
    assert clipped[0] == ("clip:default",)
    assert clipped[1:] == judged(late, [(2.0, 7, "AA")])[0][1:]
    assert filled[0][:1] == ("fill:default",)  # type: ignore[index]
    assert night == (("night:override",), 1.0, 1)
    assert strange[0] == ("strange:queue",)


def test_a_row_that_is_answered_without_the_model_is_not_asked(late: LoadedModel) -> None:
    found = Humility(RULES, late, SEEN).judge([[1.0, 1.0], [3, 7], ["AA", "AA"]])
    assert [list(column) for column in found.columns] == [[1.0], [7], ["AA"]]
    assert found.rows == 1


def test_what_is_missing_without_a_rule_is_refused_as_ever(late: LoadedModel) -> None:
    humility = Humility([Rule("h", "missing", "queue", column="delay")], late, SEEN)
    with pytest.raises(Invalid, match="'delay' has a missing value"):
        humility.judge([[None], [3], ["AA"]])
    with pytest.raises(Refused, match="row 1: input 'hour' is out of range"):
        Humility([Rule("h", "out_of_range", "refuse")], late, SEEN).judge([[1.0, 1.0], [3, 99], ["AA", "AA"]]).check()


def under(served: Doors, *rules: Rule, names: Sequence[str] = (MODEL,)) -> None:
    """Serve models under these rules."""
    plan = Plan(endpoints=[EndpointPlan(name=name, arms=[], options=Options(rules=rules)) for name in names])
    endpoints = {}
    for wanted in plan.endpoints:
        model = served.models[wanted.name]
        arm = ServedArm("champion", 1.0, model, "", "", Humility(rules, model, SEEN))
        endpoints[wanted.name] = Endpoint(wanted.name, (arm,), "", "", plan.options_of(wanted))
    served.app.served.table = Table(plan, endpoints)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("plane")) as made:
        yield made


ROW = {"delay": 0.5, "hour": 7, "carrier": "AA"}


def test_every_protocol_says_which_rules_held(served: Doors) -> None:
    under(served, Rule("strange", "unseen", "queue"), Rule("none", "missing", "default", column="delay", value=0.0))
    rows = [ROW, {**ROW, "carrier": "XX"}, {**ROW, "delay": None}]
    held = "1 strange:queue, 2 none:default"
    for path, body in (
        ("/v1/models/late:predict", {"instances": rows}),
        ("/models/late/invocations", {"dataframe_records": rows}),
    ):
        answer = served.ask("POST", path, body)
        assert answer.status == 200, answer.body
        assert answer.headers["x-rules"] == held
    without = [
        {"name": n, "shape": [1], "datatype": t, "data": [v]}
        for n, t, v in (("hour", "INT64", 7), ("carrier", "BYTES", "AA"))
    ]
    answer = served.ask("POST", "/v2/models/late/infer", {"inputs": without})
    assert answer.json["parameters"] == {"arm": "champion", "rules": "0 none:default"}
    plain = served.ask("POST", "/v1/models/late:predict", {"instances": [ROW]})
    assert "x-rules" not in plain.headers


def test_a_refused_row_is_a_422_in_the_words_of_each_protocol(served: Doors) -> None:
    under(served, Rule("strange", "unseen", "refuse"))
    rows = [{**ROW, "carrier": "XX"}]
    said = "row 0: input 'carrier' is unseen (rule 'strange')"
    answer = served.ask("POST", "/v1/models/late:predict", {"instances": rows})
    assert (answer.status, answer.json) == (422, {"error": said})
    answer = served.ask("POST", "/models/late/invocations", {"dataframe_records": rows})
    assert (answer.status, answer.json) == (422, {"error_code": "BAD_REQUEST", "message": said})


def test_an_answer_out_of_range_is_replaced(served: Doors) -> None:
    under(served, Rule("sane", "answer_out_of_range", "override", low=-5.0, high=5.0, value=0.0), names=(PLAIN,))
    answer = served.ask("POST", "/v1/models/plain:predict", {"instances": [[1.0, 1.0], [100.0, 1.0]]})
    assert answer.status == 200, answer.body
    predictions = answer.json["predictions"]
    assert isinstance(predictions, list)
    assert predictions[0] == pytest.approx(3.0)
    assert predictions[1] == 0.0


def test_the_log_has_what_was_sent_the_answer_that_left_and_the_rules(tmp_path: Path) -> None:
    rules = (Rule("many", "out_of_range", "override", column="x", high=10.0, value=-1.0),)

    async def act() -> None:
        async with plane(tmp_path, options=Options(rules=rules)) as made:
            reply = await made.ask([1.0, 50.0])
            assert reply is not None and reply.status == 200
            assert made.scorer.calls == [[1.0]]
            reply = await made.ask([60.0])
            assert reply is not None and reply.status == 200
            assert made.scorer.calls == [[1.0]]

    asyncio.run(act())
    assert [(row["marks"], row["status"]) for row in spools.read(tmp_path / "spool.sqlite", "m")] == [
        ([], 200),
        (["many:override"], 200),
        (["many:override"], 200),
    ]
