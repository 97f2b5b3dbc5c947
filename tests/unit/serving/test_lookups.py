"""Inputs that requests leave out, looked up by entity: in every protocol, by the rule that was declared, and logged."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from tests import spools
from tests.unit.serving.doors import MODEL, Doors, doors

from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Invalid, NotFound
from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.lookups import Lookup
from mainspring.serving.modelserver.plan import EndpointPlan, Input, Options, Plan, ViewPlan, ViewUse, options_of
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table
from mainspring.serving.rules.humility import Rule
from mainspring.storage.keyed import write_keyed

HOUR_US = 3_600 * SECOND_US


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("lookups")) as made:
        yield made


def materialize(path: Path, number: int = 1, delay: float = 2.0, *, age_us: int = 60 * SECOND_US) -> ViewPlan:
    """A view "flights": delay and hour by flight and day, of which (7, "mo") is known."""
    at = time.time_ns() // 1000 - age_us
    write_keyed(path, {"id": f"m{number}"}, [([7, "mo"], [at, delay, 8]), ([9, "tu"], [at, None, 23])])
    return ViewPlan(
        name="flights",
        number=number,
        path=str(path),
        keys=[Input(name="flight", dtype="Int64"), Input(name="day", dtype="String")],
        names=["delay", "hour"],
        ttl_us=HOUR_US,
    )


def serve(app: Doors, view: ViewPlan, *rules: Rule, use: str = "refuse", **given: object) -> None:
    """Serve the classifier behind that view."""
    defaults = given.pop("defaults", {})
    plan = ViewPlan(
        **{name: getattr(view, name) for name in view.__struct_fields__} | {"otherwise": use, "defaults": defaults}
    )
    options = Options(**given)  # type: ignore[arg-type]
    wanted = EndpointPlan(name=MODEL, arms=[], options=options, views=[plan])
    model = app.models[MODEL]
    humility = Humility(rules, model, {}) if rules else None
    arm = ServedArm("champion", 1.0, model, "", "", humility, None, [Lookup(plan)])
    table = Plan(endpoints=[wanted])
    app.app.served.table = Table(table, {MODEL: Endpoint(MODEL, (arm,), "", "", table.options_of(wanted))})


def infer(**columns: list[object]) -> dict[str, object]:
    types = {int: "INT64", float: "FP64", str: "BYTES"}
    return {
        "inputs": [
            {"name": name, "shape": [len(values)], "datatype": types[type(values[0])], "data": values}
            for name, values in columns.items()
        ]
    }


def probability(app: Doors, *given: Mapping[str, list[object]], **more: list[object]) -> object:
    columns = {name: values for part in (*given, more) for name, values in part.items()}
    answer = app.ask("POST", f"/v2/models/{MODEL}/infer", infer(**columns))
    assert answer.status == 200, answer.body
    return answer.json["outputs"][0]["data"]  # type: ignore[index]


WHOLE: Mapping[str, list[object]] = {"delay": [2.0], "hour": [8], "carrier": ["UA"]}
KEYED: Mapping[str, list[object]] = {"flight": [7], "day": ["mo"], "carrier": ["UA"]}


def test_a_request_with_the_entity_alone_is_answered_like_one_with_the_inputs_in_every_protocol(
    app: Doors, tmp_path: Path
) -> None:
    serve(app, materialize(tmp_path / "a.keyed"))
    expected = probability(app, WHOLE)
    assert probability(app, KEYED) == expected
    row = {name: values[0] for name, values in KEYED.items()}
    for path, body in (
        (f"/v1/models/{MODEL}:predict", {"instances": [row]}),
        (f"/v1/models/{MODEL}:predict", {"inputs": dict(KEYED)}),
        (f"/models/{MODEL}/invocations", {"dataframe_records": [row]}),
        (f"/models/{MODEL}/invocations", {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}),
    ):
        found = app.ask("POST", path, body)
        assert found.status == 200, found.body
        assert [one["probability"] for one in found.json["predictions"]] == expected  # type: ignore[attr-defined]
    file = io.BytesIO()
    pl.DataFrame(dict(KEYED)).write_parquet(file)
    for kind, raw in (
        ("text/csv", b"flight,day,carrier\n7,mo,UA\n"),
        ("application/vnd.apache.parquet", file.getvalue()),
    ):
        found = app.ask("POST", f"/models/{MODEL}/invocations", raw, headers={"content-type": kind})
        assert [one["probability"] for one in found.json["predictions"]] == expected, kind  # type: ignore[attr-defined]
    parts = {"flight": np.array([7], "<i8").tobytes(), "day": b"\2\0\0\0mo", "carrier": b"\2\0\0\0UA"}
    head = infer(**KEYED)
    for tensor in head["inputs"]:  # type: ignore[attr-defined]
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(parts[tensor["name"]])}
    text = json.dumps(head).encode()
    length = {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}
    found = app.ask("POST", f"/v2/models/{MODEL}/infer", text + b"".join(parts.values()), headers=length)
    assert found.json["outputs"][0]["data"] == expected  # type: ignore[index]


def test_grpc_looks_up_as_http_does(app: Doors, tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    from tests.unit.serving.test_rpc import Ask, talk

    serve(app, materialize(tmp_path / "a.keyed"))
    expected = probability(app, WHOLE)

    async def story(ask: Ask, channel: object) -> None:
        kinds = {"flight": ("INT64", "int64_contents"), "day": ("BYTES", "bytes_contents")}
        kinds["carrier"] = kinds["day"]
        inputs = []
        for name, (value,) in KEYED.items():
            datatype, field = kinds[name]
            told = value.encode() if isinstance(value, str) else value
            inputs.append({"name": name, "datatype": datatype, "shape": [1], "contents": {field: [told]}})
        found = await ask("ModelInfer", model_name=MODEL, inputs=inputs)
        assert list(found.outputs[0].contents.fp64_contents) == expected

    talk(app, story)


def test_the_document_of_the_endpoint_says_what_may_be_left_out_and_for_what(app: Doors, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    serve(app, materialize(tmp_path / "a.keyed"))
    about = app.ask("GET", f"/v2/models/{MODEL}/docs").json

    def fits(schema: str, value: object) -> bool:
        root = {"$ref": f"#/components/schemas/{schema}", "components": about["components"]}
        return bool(jsonschema.Draft202012Validator(root).is_valid(value))

    mixed: list[Mapping[str, list[object]]] = [WHOLE, KEYED, {**KEYED, "delay": [1.0]}, {**WHOLE, **KEYED}]
    short = [{name: columns[name] for name in columns if name != gone} for columns, gone in
             ((WHOLE, "delay"), (KEYED, "day"), (KEYED, "carrier"))]  # fmt: skip
    for columns in [*mixed, *short]:
        row = {name: values[0] for name, values in columns.items()}
        works = columns in mixed
        for path, schema, body in (
            (f"/v2/models/{MODEL}/infer", "InferRequest", infer(**columns)),
            (f"/v1/models/{MODEL}:predict", "PredictRequest", {"instances": [row]}),
            (f"/v1/models/{MODEL}:predict", "PredictRequest", {"inputs": dict(columns)}),
            (f"/models/{MODEL}/invocations", "Invocation", {"dataframe_records": [row]}),
            (f"/models/{MODEL}/invocations", "Invocation",
             {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}),
        ):  # fmt: skip
            assert fits(schema, body) == works, (schema, columns)
            assert app.ask("POST", path, body).status == (200 if works else 400), (path, columns)


def test_an_input_that_is_sent_is_taken_as_it_is_and_the_others_are_looked_up(app: Doors, tmp_path: Path) -> None:
    serve(app, materialize(tmp_path / "a.keyed"))
    assert probability(app, KEYED, delay=[-1.0]) == probability(app, WHOLE, delay=[-1.0])


@pytest.mark.parametrize(
    ("row", "age_us", "says"),
    [
        ({"flight": 8, "day": "mo"}, 0, "row 0: feature view 'flights' knows nothing of flight=8, day='mo'"),
        ({"flight": None, "day": "mo"}, 0, "knows nothing of flight=None"),
        ({"flight": 7, "day": "mo"}, 2 * HOUR_US, "is 7200 s old, and holds for 3600 s"),
    ],
)
def test_what_is_not_known_or_holds_no_more_is_refused_in_the_shape_of_each_protocol(
    app: Doors, tmp_path: Path, row: dict[str, object], age_us: int, says: str
) -> None:
    serve(app, materialize(tmp_path / "a.keyed", age_us=age_us))
    for path, body, said in (
        (f"/v1/models/{MODEL}:predict", {"instances": [{**row, "carrier": "UA"}]}, "error"),
        (f"/models/{MODEL}/invocations", {"dataframe_records": [{**row, "carrier": "UA"}]}, "message"),
    ):
        found = app.ask("POST", path, body)
        assert found.status == 422
        assert says in str(found.json[said])


def test_without_the_entity_the_input_that_lacks_is_named_with_what_would_bring_it(app: Doors, tmp_path: Path) -> None:
    serve(app, materialize(tmp_path / "a.keyed"))
    found = app.ask("POST", f"/v2/models/{MODEL}/infer", infer(carrier=["UA"], flight=[7]))
    assert found.status == 400
    assert "input 'delay' is missing" in str(found.json["error"])
    assert "or send 'day' as a text" in str(found.json["error"])
    wrong = app.ask("POST", f"/v2/models/{MODEL}/infer", infer(carrier=["UA"], flight=["x"], day=["mo"]))
    assert (wrong.status, "'flight'" in str(wrong.json["error"])) == (400, True)
    uneven = app.ask("POST", f"/v2/models/{MODEL}/infer", infer(carrier=["UA"], flight=[7, 7], day=["mo"]))
    assert uneven.status == 400


def test_a_default_takes_the_place_of_what_is_not_known(app: Doors, tmp_path: Path) -> None:
    serve(app, materialize(tmp_path / "a.keyed"), use="default", defaults={"delay": 2.0, "hour": 8})
    twice = probability(app, {name: values * 2 for name, values in WHOLE.items()})
    assert probability(app, flight=[1, 7], day=["mo", "mo"], carrier=["UA", "UA"]) == twice


def test_what_is_not_known_may_be_missing_and_rules_say_what_that_means(app: Doors, tmp_path: Path) -> None:
    view = materialize(tmp_path / "a.keyed")
    unknown: dict[str, list[object]] = {**KEYED, "flight": [1]}
    serve(app, view, use="null")
    found = app.ask("POST", f"/v2/models/{MODEL}/infer", infer(**unknown))
    assert (found.status, "'delay' has a missing value" in str(found.json["error"])) == (400, True)
    serve(app, view, Rule("known", "missing", "default", value=2.0), use="null")
    assert probability(app, unknown) == probability(app, delay=[2.0], hour=[2], carrier=["UA"])


def test_the_log_has_the_values_their_ages_and_where_they_were_looked_up(app: Doors, tmp_path: Path) -> None:
    view = materialize(tmp_path / "a.keyed", 3)
    serve(app, view, use="default", defaults={"delay": 0.5, "hour": 1}, redact=("hour",))
    for number, sent in enumerate([{}, {"delay": [4.0, 4.0]}]):
        body = infer(flight=[7, 1], day=["mo", "mo"], carrier=["UA", "AA"], **sent)  # type: ignore[arg-type]
        assert app.ask("POST", f"/v2/models/{MODEL}/infer", {"id": f"logged{number}", **body}).status == 200
    probability(app, WHOLE)
    rows = {str(row["id"]): row for row in spools.read(app.spool.path, MODEL)}
    known, unknown = rows["logged0.0"], rows["logged0.1"]
    assert (known["inputs"], unknown["inputs"]) == ([2.0, None, "UA"], [0.5, None, "AA"])
    one, other = cast("list[Any]", known["features"])[0], cast("list[Any]", unknown["features"])[0]
    assert (one[:4], one[6:]) == (["flights", 3, "m3", [7, "mo"]], ["fresh", ["delay", "hour"]])
    assert 60 * SECOND_US <= one[4] - one[5] < 120 * SECOND_US
    assert (other[3], other[5:7]) == ([1, "mo"], [None, "missing"])
    assert rows["logged1.0"]["features"][0][7] == ["hour"]  # type: ignore[index]
    assert spools.read(app.spool.path, MODEL)[-1]["features"] == []
    serve(app, view, redact=("flight",))
    assert app.ask("POST", f"/v2/models/{MODEL}/infer", {"id": "hidden", **infer(**KEYED)}).status == 200
    assert spools.read(app.spool.path, MODEL)[-1]["features"][0][3] is None  # type: ignore[index]


def test_a_new_materialization_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.keyed"
    lookup = Lookup(materialize(path))
    now = time.time_ns() // 1000
    assert lookup.file(now).about["id"] == "m1"
    materialize(path, 2)
    assert lookup.file(now + 1).about["id"] == "m1"  # it looks a few times a second, not for every request
    assert lookup.file(now + SECOND_US).about["id"] == "m2"
    other = tmp_path / "b.keyed"
    other.write_bytes(b"none")
    other.replace(path)
    assert lookup.file(now + 2 * SECOND_US).about["id"] == "m2"
    path.unlink()
    assert lookup.file(now + 3 * SECOND_US).about["id"] == "m2"


def test_a_view_that_was_not_materialized_is_no_endpoint(tmp_path: Path) -> None:
    view = materialize(tmp_path / "a.keyed")
    (tmp_path / "a.keyed").unlink()
    with pytest.raises(NotFound):
        Lookup(view)


def test_a_matrix_has_all_inputs_also_where_some_may_be_missing(app: Doors, tmp_path: Path) -> None:
    serve(app, materialize(tmp_path / "a.keyed"), Rule("known", "missing", "default", value=2.0))
    rows = [[2.0, 8.0, "UA"]]
    found = app.ask("POST", f"/v1/models/{MODEL}:predict", {"instances": rows})
    assert found.status == 200, found.body
    matrix = {"inputs": [{"name": "m", "shape": [1, 3], "datatype": "FP64", "data": [2.0, 8.0, 1.0]}]}
    wrong = app.ask("POST", f"/v2/models/{MODEL}/infer", matrix)
    assert (wrong.status, "'carrier'" in str(wrong.json["error"])) == (400, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("carriers", ViewUse("carriers")),
        ("carriers/2:null", ViewUse("carriers/2", "null")),
        ("carriers:delay=1.5,name=AA", ViewUse("carriers", "default", {"delay": 1.5, "name": "AA"})),
    ],
)
def test_a_view_is_named_in_one_word_or_as_a_table(text: str, expected: ViewUse) -> None:
    assert ViewUse.of(text) == expected
    table = {"view": expected.view, "otherwise": expected.otherwise, "defaults": expected.defaults}
    assert options_of({"features": [text]}, "x") == options_of({"features": [table]}, "x")


@pytest.mark.parametrize("wrong", ["", "carriers:drop", 3, {"view": "a", "otherwise": "default"}, {"viw": "a"}])
def test_a_use_of_a_view_that_means_nothing_is_refused(wrong: object) -> None:
    with pytest.raises(Invalid):
        options_of({"features": [wrong]}, "deployment.late")
