from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serving.doors import MODEL, PLAIN, Answer, Doors, doors

INFER, INVOKE, PREDICT = f"/v2/models/{MODEL}/infer", f"/models/{MODEL}/invocations", f"/v1/models/{MODEL}:predict"
ROWS: dict[str, list[object]] = {"delay": [0.5, -1.0], "hour": [3, 4], "carrier": ["AA", "UA"]}
CSV, PARQUET = {"content-type": "text/csv"}, {"content-type": "application/vnd.apache.parquet"}
SIZE = "inference-header-content-length"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("doors")) as made:
        yield made


def records(columns: Mapping[str, list[object]]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def tensor(name: str, values: Sequence[object]) -> dict[str, object]:
    datatype = {str: "BYTES", int: "INT64", bool: "BOOL"}.get(type(values[0]) if values else float, "FP64")
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values}


def infer(columns: Mapping[str, Sequence[object]], **more: object) -> dict[str, object]:
    return {"inputs": [tensor(name, values) for name, values in columns.items()], **more}


def expected(served: Doors) -> list[dict[str, object]]:
    """What the model itself says, as records."""
    found = served.models[MODEL].predictor.predict_columns(ROWS)  # type: ignore[arg-type]
    return records({name: values.tolist() for name, values in found.items()})


def packed(inputs: Sequence[tuple[str, str, Sequence[int], bytes]], **more: object) -> tuple[bytes, dict[str, str]]:
    """A request whose tensors are bytes behind its JSON: (name, datatype, shape, bytes)."""
    head = [
        {"name": name, "datatype": kind, "shape": list(shape), "parameters": {"binary_data_size": len(raw)}}
        for name, kind, shape, raw in inputs
    ]
    text = json.dumps({"inputs": head, **more}).encode()
    body = text + b"".join(raw for *_, raw in inputs)
    return body, {SIZE: str(len(text)), "content-type": "application/octet-stream"}


def texts(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def in_bytes(**more: object) -> tuple[bytes, dict[str, str]]:
    delay, hour = np.array(ROWS["delay"], "<f8").tobytes(), np.array(ROWS["hour"], "<i8").tobytes()
    inputs = [("delay", "FP64", [2], delay), ("hour", "INT64", [2], hour), ("carrier", "BYTES", [2], texts("AA", "UA"))]
    return packed(inputs, **more)


FORMS: dict[str, tuple[str, object]] = {
    "v1 instances of objects": (PREDICT, {"instances": records(ROWS)}),
    "v1 instances of lists": (PREDICT, {"instances": [list(row) for row in zip(*ROWS.values(), strict=True)]}),
    "v1 inputs": (PREDICT, {"inputs": ROWS}),
    "dataframe_split": (
        INVOKE,
        {
            "dataframe_split": {
                "columns": list(ROWS),
                "index": [0, 1],
                "data": [list(row) for row in zip(*ROWS.values(), strict=True)],
            }
        },
    ),
    "dataframe_records": (INVOKE, {"dataframe_records": records(ROWS)}),
    "instances": (INVOKE, {"instances": records(ROWS), "params": {"routing_key": "k"}}),
    "inputs": (INVOKE, {"inputs": {name: [[value] for value in values] for name, values in ROWS.items()}}),
}


@pytest.mark.parametrize(("path", "body"), FORMS.values(), ids=FORMS)
def test_every_form_of_the_same_rows_gets_the_same_predictions(served: Doors, path: str, body: object) -> None:
    answer = served.ask("POST", path, body)
    assert answer.json == {"predictions": expected(served)}
    assert answer.headers["x-model-version"] == "1"


def test_csv_and_parquet_get_the_same_predictions(served: Doors) -> None:
    text, file = io.StringIO(), io.BytesIO()
    csv.writer(text).writerows([list(ROWS), *zip(*ROWS.values(), strict=True)])
    pl.DataFrame(ROWS).write_parquet(file)
    for body, headers in ((text.getvalue().encode(), CSV), (file.getvalue(), PARQUET)):
        assert served.ask("POST", INVOKE, body, headers=headers).json == {"predictions": expected(served)}


def test_one_wanted_output_is_answered_as_plain_values(served: Doors) -> None:
    labels = [row["label"] for row in expected(served)]
    body = {"dataframe_records": records(ROWS), "params": {"outputs": ["label"]}}
    assert served.ask("POST", INVOKE, body).json == {"predictions": labels}


def test_tensors_travel_as_bytes_in_both_directions(served: Doors) -> None:
    body, headers = in_bytes(id="b-1", parameters={"binary_data_output": True})
    answer = served.ask("POST", INFER, body, headers=headers)
    size = int(answer.headers[SIZE])
    head = json.loads(answer.body[:size])
    assert (answer.kind, head["id"], head["model_version"]) == ("application/octet-stream", "b-1", "1")
    assert [entry["parameters"]["binary_data_size"] for entry in head["outputs"]] == [16, 16]
    found = np.frombuffer(answer.body[size : size + 16]), np.frombuffer(answer.body[size + 16 :], "<i8")
    assert records({"probability": found[0].tolist(), "label": found[1].tolist()}) == expected(served)


def test_what_an_output_says_of_its_form_overrides_the_request(served: Doors) -> None:
    wanted = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probability"}]
    body, headers = in_bytes(parameters={"binary_data_output": True}, outputs=wanted)
    answer = served.ask("POST", INFER, body, headers=headers)
    head = json.loads(answer.body[: int(answer.headers[SIZE])])
    assert [("data" in entry, entry["name"]) for entry in head["outputs"]] == [(True, "label"), (False, "probability")]


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [(f"{kind}{size}", f"<{kind[0].lower()}{size // 8}") for kind in ("INT", "UINT") for size in (8, 16, 32, 64)]
    + [("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8"), ("BF16", "bf16")],
)
def test_every_datatype_of_numbers_arrives_as_its_numbers(served: Doors, datatype: str, dtype: str) -> None:
    wanted = [1.0, 2.0, 3.0, 4.0]
    raw = np.array(wanted, "<f4").view("<u4") >> 16 if dtype == "bf16" else np.array(wanted)
    body, headers = packed([("m", datatype, [2, 2], raw.astype("<u2" if dtype == "bf16" else dtype).tobytes())])
    found = json.loads(served.ask("POST", f"/v2/models/{PLAIN}/infer", body, headers=headers).body)
    np.testing.assert_allclose(found["outputs"][0]["data"], [5.0, 11.0])


def test_outputs_that_are_wanted_come_in_that_order_and_the_id_comes_back(served: Doors) -> None:
    found = served.ask("POST", INFER, infer(ROWS, id="mine", outputs=[{"name": "label"}, {"name": "probability"}])).json
    assert isinstance(found["outputs"], list)
    assert (found["id"], [entry["name"] for entry in found["outputs"]]) == ("mine", ["label", "probability"])


def test_the_repository_lists_what_is_served_and_leaves_it_to_deployments(served: Doors) -> None:
    listed = json.loads(served.ask("POST", "/v2/repository/index", {"ready": True}).body)
    assert [(entry["name"], entry["version"], entry["state"]) for entry in listed] == [
        (MODEL, "1", "READY"),
        (PLAIN, "1", "READY"),
    ]
    assert served.ask("POST", f"/v2/repository/models/{MODEL}/load").status == 200
    assert served.ask("POST", "/v2/repository/models/other/load").status == 404
    refused = served.ask("POST", f"/v2/repository/models/{MODEL}/unload")
    assert refused.status == 400
    assert "deployments" in str(refused.json["error"])


def test_metadata_names_the_type_of_every_column(served: Doors) -> None:
    found = served.ask("GET", f"/v2/models/{MODEL}/versions/1").json
    assert isinstance(found["inputs"], list)
    assert [entry["datatype"] for entry in found["inputs"]] == ["FP64", "INT64", "BYTES"]
    assert served.ask("GET", f"/v2/models/{MODEL}/versions/2").status == 404


def test_events_are_answered_with_events_of_the_same_mode(served: Doors) -> None:
    event = {"specversion": "1.0", "id": "e-1", "source": "s", "type": "t", "data": {"instances": records(ROWS)}}
    kind = {"content-type": "application/cloudevents+json"}
    structured = served.ask("POST", PREDICT, json.dumps(event).encode(), headers=kind)
    assert (structured.kind, structured.json["id"]) == ("application/cloudevents+json", "e-1")
    assert structured.json["data"] == {"predictions": expected(served)}
    head = {"ce-id": "e-2", "ce-specversion": "1.0", "ce-source": "s", "ce-type": "t"}
    binary = served.ask("POST", PREDICT, {"instances": records(ROWS)}, headers=head)
    assert (binary.headers["ce-id"], binary.headers["ce-source"]) == ("e-2", f"io.kserve.inference.{MODEL}")
    assert binary.json == {"predictions": expected(served)}


def test_a_server_of_one_model_is_a_container_for_sagemaker(served: Doors) -> None:
    assert served.ask("POST", "/invocations", {"inputs": {"a": [1.0], "b": [2.0]}}).status == 404
    served.serve_only(PLAIN)
    try:
        assert (served.ask("GET", "/ping").body, served.ask("GET", "/health").status) == (b"\n", 200)
        rows = [{"a": 1.0, "b": float(i % 7)} for i in range(9_000)]
        answer = served.ask("POST", "/invocations", {"dataframe_records": rows, "params": {"note": "x" * 6_000_000}})
        found = answer.json["predictions"]
        assert isinstance(found, list)
        np.testing.assert_allclose(found[:3], [1.0, 3.0, 5.0], atol=1e-9)
        key = {"x-amzn-sagemaker-inference-id": "sm-1"}
        answer = served.ask("POST", "/invocations", {"inputs": {"a": 1.0, "b": 2.0}}, headers=key)
        assert answer.headers["x-request-id"] == "sm-1"
    finally:
        served.serve_only(MODEL, PLAIN)


# What does not fit. Each case is a change to good rows, the words that must be in the answer, and it is sent in every
# form that can hold it.
Columns = dict[str, list[object]]
BAD: dict[str, tuple[Columns, list[str]]] = {
    "text for a number": ({**ROWS, "delay": ["x", 1.0]}, ["delay", "float64"]),
    "true for a number": ({**ROWS, "delay": [True, 1.0]}, ["delay", "float64"]),
    "a list for a number": ({**ROWS, "delay": [[1.0, 2.0], [3.0, 4.0]]}, ["delay"]),
    "an object for a number": ({**ROWS, "delay": [{"a": 1}, 1.0]}, ["delay", "float64"]),
    "a fraction for a whole number": ({**ROWS, "hour": [1.5, 2]}, ["hour", "int64"]),
    "too large for 64 bits": ({**ROWS, "hour": [2**63, 2]}, ["hour", "int64"]),
    "a number for text": ({**ROWS, "carrier": [7, "UA"]}, ["carrier", "string"]),
    "a column is missing": ({"delay": [1.0, 2.0], "carrier": ["AA", "UA"]}, ["hour", "int64"]),
    "a name is misspelt": ({"delay": [1.0], "huor": [1], "carrier": ["AA"]}, ["hour", "huor"]),
    "null where none is taken": ({**ROWS, "delay": [None, 1.0]}, ["delay", "missing", "float64"]),
    "NaN where none is taken": ({**ROWS, "delay": [math.nan, 1.0]}, ["delay", "missing", "float64"]),
    "infinity": ({**ROWS, "delay": [math.inf, 1.0]}, ["delay", "finite", "float64"]),
    "beyond doubles": ({**ROWS, "delay": [10**400, 1.0]}, ["delay", "finite", "float64"]),
    "no rows": ({"delay": [], "hour": [], "carrier": []}, ["rows"]),
    "too many rows": ({"delay": [1.0] * 10_001, "hour": [1] * 10_001, "carrier": ["AA"] * 10_001}, ["10001", "rows"]),
}


def forms(columns: Columns) -> list[tuple[str, object]]:
    data = [list(row) for row in zip(*columns.values(), strict=True)]
    return [
        (INFER, infer(columns)),
        (PREDICT, {"instances": records(columns)}),
        (PREDICT, {"inputs": columns}),
        (INVOKE, {"dataframe_split": {"columns": list(columns), "data": data}}),
        (INVOKE, {"dataframe_records": records(columns)}),
        (INVOKE, {"instances": records(columns)}),
        (INVOKE, {"inputs": columns}),
    ]


def said(answer: Answer) -> str:
    """The words of a refusal, which has the shape of its protocol and shows no stack."""
    assert 400 <= answer.status < 500, answer.body
    found = answer.json
    assert set(found) in ({"error"}, {"error_code", "message"})
    text = str(found.get("error") or found["message"])
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(("columns", "words"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_by_every_protocol_with_the_column_and_its_type(
    served: Doors, columns: Columns, words: list[str]
) -> None:
    for path, body in forms(columns):
        text = said(served.ask("POST", path, body))
        assert all(word in text for word in words), (path, body.keys() if isinstance(body, dict) else "", text)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "word"),
    [
        (INFER, b'{"inputs": [', {}, 400, "JSON"),
        (INFER, b"", {}, 400, "JSON"),
        (INFER, b"[" * 100_000, {}, 400, "not"),
        (INFER, b"{}", {"content-type": "text/plain"}, 415, "application/json"),
        (INFER, b"{}", {"content-type": "application/json; charset=utf-16"}, 400, "UTF-8"),
        (INFER, b"{}", {"content-encoding": "gzip"}, 415, "compressed"),
        (INFER, b"{}", {"content-length": str(100 * 1024 * 1024)}, 413, "bytes"),
        ("/v2/models/other/infer", infer(ROWS), {}, 404, "other"),
        (f"/v2/models/{MODEL}/versions/9/infer", infer(ROWS), {}, 404, "9"),
        (INFER, infer(ROWS, outputs=[{"name": "probabilty"}]), {}, 400, "probability"),
        (INFER, infer(ROWS, parameters={"timeout_ms": -1}), {}, 400, "timeout_ms"),
        (INFER, infer({**ROWS, "hour": [3]}), {}, 400, "hour"),
        (PREDICT, b"{", {}, 400, "JSON"),
        (PREDICT, {"instances": [[1.0]], "inputs": [[1.0]]}, {}, 400, "instances or inputs"),
        (PREDICT, {"instances": [{"delay": 1.0}, [1.0]]}, {}, 400, "row 1"),
        (PREDICT, {"instances": [[1.0, 2]]}, {}, 400, "takes 3"),
        (PREDICT, b"{}", {"content-type": "text/csv"}, 415, "application/json"),
        (PREDICT, b"{}", {"content-type": "application/cloudevents+json"}, 400, "CloudEvent"),
        ("/v1/models/other:predict", {"instances": [[1.0]]}, {}, 404, "other"),
        (INVOKE, b"{", {}, 400, "JSON"),
        (INVOKE, {"instances": [[1.0]], "inputs": [[1.0]]}, {}, 400, "exactly one"),
        (INVOKE, {"messages": []}, {}, 400, "exactly one"),
        (INVOKE, {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, {}, 400, "two columns"),
        (INVOKE, {"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}, {}, 400, "row 0"),
        (INVOKE, {"inputs": 3}, {}, 400, "inputs"),
        (INVOKE, {"inputs": ROWS, "params": {"outputs": 3}}, {}, 400, "outputs"),
        (INVOKE, b"<a/>", {"content-type": "application/xml"}, 415, "text/csv"),
        (INVOKE, b"", CSV, 400, "empty"),
        (INVOKE, b"delay,hour\n1.0,2\n", CSV, 400, "carrier"),
        (INVOKE, b"delay,hour,carrier\nlate,2,AA\n", CSV, 400, "delay"),
        (INVOKE, b"delay,hour,carrier\n1.0,2\n", CSV, 400, "row 0"),
        (INVOKE, b'delay,hour,carrier\n1.0,2,"AA\n', CSV, 400, "CSV"),
        (INVOKE, b"\xff\xfe\x00", CSV, 400, "UTF-8"),
        (INVOKE, b"a\n" + b"\n" * 1_000_000, CSV, 400, "rows"),
        (INVOKE, b"PAR1nothingPAR1", PARQUET, 400, "Parquet"),
        (INVOKE, b"delay,hour", PARQUET, 400, "Parquet"),
        (f"/models/{MODEL}/versions/9/invocations", {"inputs": ROWS}, {}, 404, "9"),
    ],
)
def test_what_is_no_request_is_refused_in_the_protocol_s_own_shape(
    served: Doors, path: str, body: object, headers: dict[str, str], status: int, word: str
) -> None:
    answer = served.ask("POST", path, body, headers=headers)
    assert word in said(answer)
    assert answer.status == status


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size": "99999"}, "Header-Content-Length"),
        ({"size": "-1"}, "Header-Content-Length"),
        ({"size": "0"}, "JSON"),
        ({"inputs": [("m", "FP64", [2, 2], b"\0" * 24)]}, "takes 32"),
        ({"inputs": [("m", "FP64", [2**40, 2], b"\0" * 32)]}, "rows|takes"),
        ({"inputs": [("m", "FP64", [-2, -2], b"\0" * 32)]}, "takes"),
        ({"inputs": [("m", "FP128", [2, 2], b"\0" * 32)]}, "datatype"),
        ({"inputs": [("m", "BYTES", [2, 2], texts("a", "b"))]}, "elements"),
        ({"inputs": [("m", "BYTES", [2, 2], struct.pack("<I", 2**32 - 1))]}, "ends within"),
        ({"inputs": [("m", "BYTES", [2, 2], struct.pack("<I", 1) + b"\xff")]}, "UTF-8"),
        ({"inputs": [("m", "FP64", [1, 2], np.array([np.nan, 1.0]).tobytes())]}, "'a'.*missing"),
        ({"inputs": [("m", "FP64", [1, 2], np.array([np.inf, 1.0]).tobytes())]}, "'a'.*finite"),
        ({"inputs": [("m", "BOOL", [1, 2], b"\1\0")]}, "'a'.*float64"),
        ({"inputs": [("m", "BYTES", [1, 2], texts("a", "b"))]}, "'a'.*float64"),
        ({"cut": 8}, "follow the header"),
        ({"more": b"xx"}, "follow the header"),
        ({"said": -1}, "binary_data_size"),
        ({"said": "16"}, "binary_data_size"),
    ],
)
def test_sizes_of_bytes_that_lie_are_refused(served: Doors, change: dict[str, object], word: str) -> None:
    good = [("m", "FP64", [2, 2], b"\0" * 32)]
    body, headers = packed(change.get("inputs", good))  # type: ignore[arg-type]
    if "said" in change:
        text = body[: int(headers[SIZE])].replace(b": 32}", b": " + json.dumps(change["said"]).encode() + b"}")
        body, headers = text + b"\0" * 32, {**headers, SIZE: str(len(text))}
    body = body[: len(body) - int(str(change.get("cut", 0)))] + bytes(change.get("more", b""))  # type: ignore[call-overload]
    headers = {**headers, SIZE: str(change.get("size", headers[SIZE]))}
    answer = served.ask("POST", f"/v2/models/{PLAIN}/infer", body, headers=headers)
    assert re.search(word, said(answer)), answer.body


def test_a_small_parquet_file_that_expands_to_much_is_refused(served: Doors) -> None:
    file = io.BytesIO()
    pl.DataFrame({"carrier": ["x" * 80_000_000]}).write_parquet(file, compression="zstd")
    assert len(file.getvalue()) < 100_000
    answer = served.ask("POST", INVOKE, file.getvalue(), headers=PARQUET)
    assert (answer.status, "expands" in said(answer)) == (413, True)


KEYS = st.sampled_from([
    "inputs", "instances", "dataframe_split", "dataframe_records", "columns", "data", "name", "shape", "datatype",
    "parameters", "params", "outputs", "id", "delay", "hour", "carrier",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(body=st.dictionaries(KEYS, ANYTHING, max_size=4), path=st.sampled_from([INFER, PREDICT, INVOKE]))
def test_no_json_makes_the_server_fail(served: Doors, body: dict[str, object], path: str) -> None:
    answer = served.ask("POST", path, json.dumps(body).encode())
    assert answer.status == 200 or said(answer)


@given(st.data())
def test_no_damage_to_a_body_of_bytes_makes_the_server_fail(served: Doors, data: st.DataObject) -> None:
    file = io.BytesIO()
    pl.DataFrame(ROWS).write_parquet(file)
    good, headers = in_bytes()
    body, path, headers = data.draw(st.sampled_from([(good, INFER, headers), (file.getvalue(), INVOKE, PARQUET)]))
    at, value = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(body), at]))
    damaged = (body[:at] + bytes([value]) + body[at + 1 :])[:end]
    answer = served.ask("POST", path, damaged, headers=headers)
    assert answer.status == 200 or said(answer)
