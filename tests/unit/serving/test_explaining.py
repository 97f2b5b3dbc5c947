"""Reason codes through the doors of the model server: who gets them, what they are of, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest
from tests import spools
from tests.unit.serving.doors import MEANS, MODEL, PLAIN, Doors, doors
from tests.unit.serving.plane import Doubling, model_of

from mainspring.serving.frames import frame_of
from mainspring.serving.modelserver.explaining import MAX_ROWS
from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Options, Plan
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table
from mainspring.serving.rules.humility import Rule

ROWS: dict[str, list[object]] = {"a": [1.0, 3.0], "b": [2.0, -1.0]}
CODES = [[0.0, 6.0], [2.0, 0.0]]  # the model is a + 2 b, the means are 1 and -1
BASE = [-1.0, -1.0]
LATE: dict[str, object] = {"delay": 0.5, "hour": 3, "carrier": "AA"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("doors")) as made:
        yield made


def infer(columns: Mapping[str, list[object]], **about: object) -> dict[str, object]:
    inputs = [
        {"name": name, "shape": [len(values)], "datatype": "FP64", "data": values} for name, values in columns.items()
    ]
    return {"inputs": inputs, **about}


def outputs(found: Mapping[str, object]) -> dict[str, dict[str, object]]:
    return {entry["name"]: entry for entry in cast("list[dict[str, object]]", found["outputs"])}  # type: ignore[misc]


def test_codes_come_as_two_more_outputs_whatever_outputs_are_wanted(served: Doors) -> None:
    asked = infer(ROWS, parameters={"explain": True}, outputs=[{"name": "prediction"}])
    answer = served.ask("POST", f"/v2/models/{PLAIN}/infer", asked)
    found = outputs(answer.json)
    assert answer.json["parameters"] == {
        "arm": "champion",
        "reasons_scale": "prediction",
        "reasons_columns": ["a", "b"],
    }
    assert found["reasons"]["shape"] == [2, 2]
    assert found["reasons"]["data"] == pytest.approx(np.ravel(CODES).tolist(), abs=1e-9)
    assert found["reasons_base"]["data"] == pytest.approx(BASE)
    assert found["prediction"]["data"] == pytest.approx([5.0, 1.0])
    assert list(outputs(served.ask("POST", f"/v2/models/{PLAIN}/infer", infer(ROWS)).json)) == ["prediction"]


def test_doors_that_answer_row_by_row_name_the_inputs(served: Doors) -> None:
    instances = [{"a": 1.0, "b": 2.0}]
    explained = served.ask("POST", f"/v1/models/{PLAIN}:explain", {"instances": instances}).json["explanations"]
    invoked = served.ask(
        "POST", f"/models/{PLAIN}/invocations", {"instances": instances, "params": {"explain": True}}
    ).json["predictions"]
    assert explained == invoked
    (row,) = cast("list[dict[str, dict[str, object]]]", explained)
    assert row["prediction"] == pytest.approx(5.0)
    assert row["reasons"]["contributions"] == pytest.approx({"a": 0.0, "b": 6.0}, abs=1e-9)
    assert (row["reasons"]["base"], row["reasons"]["scale"]) == (pytest.approx(-1.0), "prediction")


def test_codes_of_a_classifier_add_up_to_its_log_odds(served: Doors) -> None:
    rows = [LATE, {**LATE, "carrier": "UA", "delay": -1.0}]
    found = served.ask("POST", f"/v1/models/{MODEL}:explain", {"instances": rows}).json["explanations"]
    for row in cast("list[dict[str, object]]", found):
        reasons = cast("dict[str, object]", row["reasons"])
        codes = cast("dict[str, float]", reasons["contributions"])
        assert reasons["scale"] == "log-odds"
        assert set(codes) <= set(MEANS)
        total = cast(float, reasons["base"]) + sum(codes.values())
        assert 1 / (1 + np.exp(-total)) == pytest.approx(row["probability"])


def test_what_can_t_be_explained_is_refused_and_says_why(served: Doors) -> None:
    many: dict[str, list[object]] = {"a": [1.0] * (MAX_ROWS + 1), "b": [1.0] * (MAX_ROWS + 1)}
    answer = served.ask("POST", f"/v2/models/{PLAIN}/infer", infer(many, parameters={"explain": True}))
    assert (answer.status, f"at most {MAX_ROWS} rows" in str(answer.json["error"])) == (400, True)
    answer = served.ask("POST", f"/v2/models/{PLAIN}/infer", infer(ROWS, parameters={"explain": "maybe"}))
    assert (answer.status, "explain" in str(answer.json["error"])) == (400, True)
    served.models["doubling"] = model_of(Doubling())
    served.serve_only("doubling")
    try:
        rows = [{"x": 1.0, "name": "anna"}]
        answer = served.ask("POST", "/v1/models/doubling:explain", {"instances": rows})
        assert (answer.status, "a model of format doubling" in str(answer.json["error"])) == (422, True)
        assert served.ask("POST", "/v1/models/doubling:predict", {"instances": rows}).status == 200
    finally:
        served.serve_only(MODEL, PLAIN)


def test_codes_are_kept_on_request_and_nothing_of_redacted_inputs_is(tmp_path: Path) -> None:
    with doors(tmp_path) as served:
        options = Options(redact=("a",), rules=(Rule("gap", "missing", "override", column="b", value=7.0),))
        model = served.models[PLAIN]
        plan = Plan(
            endpoints=[EndpointPlan(name=PLAIN, arms=[ArmPlan(name="champion", version=1, share=1.0, folder="")])]
        )
        arm = ServedArm("champion", 1.0, model, "", "", Humility(options.rules, model, {}))
        served.app.served.table = Table(
            plan, {PLAIN: Endpoint(PLAIN, (arm,), "", "", replace(options, deadline_ms=9000))}
        )
        asked = infer({"a": [1.0, 3.0], "b": [2.0, None]}, id="kept", parameters={"explain": "keep"})
        found = outputs(served.ask("POST", f"/v2/models/{PLAIN}/infer", asked).json)
        assert found["prediction"]["data"] == pytest.approx([5.0, 7.0])
        assert found["reasons"]["data"] == [pytest.approx(0.0, abs=1e-9), pytest.approx(6.0), None, None]
        assert found["reasons_base"]["data"] == [pytest.approx(-1.0), None]
        served.ask("POST", f"/v2/models/{PLAIN}/infer", infer(ROWS, id="told", parameters={"explain": True}))
        rows = spools.read(tmp_path / "spool.sqlite", PLAIN)
    frame = frame_of(
        PLAIN, {name: [row[name] for row in rows] for name in rows[0]}, {1: [("a", "float"), ("b", "float")]}
    )
    kept = frame.filter(pl.col("request_id") == "kept")
    assert kept["reasons"].to_list() == [[{"column": "b", "contribution": pytest.approx(6.0)}], None]
    assert kept["reasons_base"].to_list() == [pytest.approx(-1.0), None]
    assert frame.filter(pl.col("request_id") == "told")["reasons"].null_count() == 2
