"""What one model takes and gives as an OpenAPI document: exact types from its signature, and requests that work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as release
from typing import TYPE_CHECKING
from urllib.parse import quote

from mainspring.serving.modelserver.columns import Cell, Declared, Feature, Features
from mainspring.serving.modelserver.protocols.rows import predictions
from mainspring.serving.modelserver.protocols.tensors import datatype_of, described, tensors

if TYPE_CHECKING:
    from mainspring.serving.modelserver.models import LoadedModel
    from mainspring.serving.modelserver.traffic import ServedArm

Schema = Mapping[str, object]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SHOWN_ROWS = 2
_SHOWN_LEVELS = 20
_TYPES = {"float": "number", "int": "integer", "bool": "boolean", "text": "string"}
_BESIDE = {"low": "FP64", "high": "FP64", "label_set": "BYTES"}
_OF_DATATYPE = {"BOOL": "boolean", "BYTES": "string", "FP32": "number", "FP64": "number"}
_TEXT: Schema = {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"}
_ABOUT: Schema = {
    "type": "object",
    "properties": {
        "routing_key": {**_TEXT, "description": "Whoever has the same key is answered by the same arm."},
        "event_time": {
            "description": "When the thing happened, ISO 8601 or microseconds since 1970.",
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
        },
        "timeout_ms": {"type": "integer", "minimum": 1, "maximum": 3_600_000},
        "explain": {
            "description": "Answer with reason codes, where the model has exact ones; `keep` puts them into the log.",
            "enum": [True, False, "keep"],
        },
    },
}
_REFUSALS = {
    "400": "The rows do not fit; the text names the column and what it takes.",
    "404": "There is no such model or version.",
    "413": "The body is too large.",
    "422": "A rule of the endpoint refuses to answer; the text names it.",
    "429": "Too much waits already; nothing was done. Come back after Retry-After.",
    "503": "The model is not loaded, or the log can't be written; nothing was done.",
    "504": "The deadline passed first.",
}


def document(name: str, arm: ServedArm, *, version: str | None, alone: bool) -> dict[str, object]:
    """The OpenAPI 3.1 document of a model.

    Args:
        name: Of the endpoint.
        arm: The version whose signature it has, with what is looked up for it and what its rules let be missing.
        version: The version that was named; None lets the server choose at each request.
        alone: Whether this is the only model of the server, so that `/invocations` means it.
    """
    model = arm.model
    shown, answers = _shown(arm)
    rows = [list(row) for row in zip(*shown.values(), strict=True)]
    given = {"predictions": predictions({key: list(values) for key, values in answers.items()})} if answers else None
    base = f"/models/{quote(name, safe='')}" + ("" if version is None else f"/versions/{version}")
    paths: dict[str, object] = {f"/v2{base}/infer": {"post": _infer(name, model, shown, answers)}}
    for path in [f"{base}/invocations", *(["/invocations"] if alone and version is None else [])]:
        paths[path] = {"post": _invocation(path, shown, rows, given)}
    if version is None:
        instances = {"application/json": {"schema": _ref("PredictRequest"), "example": {"instances": rows}}}
        answered = _answer("Predictions", given)
        paths[f"/v1{base}:predict"] = {"post": _predict(f"/v1{base}", "KServe v1", instances, answered)}
    paths[f"/v2{base}"] = {"get": _get(f"/v2{base}", "Metadata", "Names and types of inputs and outputs.")}
    paths[f"/v2{base}/ready"] = {"get": _get(f"/v2{base}/ready", "Ready", "Whether it can answer.")}
    task = model.predictor.task
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": _DIALECT,
        "info": {
            "title": name,
            "version": str(model.version),
            "summary": f"A {task} model, version {model.version}, served by Mainspring {release('mainspring')}.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(arm)},
    }


def _shown(arm: ServedArm) -> tuple[dict[str, list[Cell]], dict[str, list[object]]]:
    """Rows of the example that may be sent, and what is answered to them: by the model when it was packaged."""
    model = arm.model
    given, fields = model.shown(), model.features.fields
    count = min(len(values) for values in given.values())
    fits = [i for i in range(count) if all(given[f.name][i] is not None or f.takes_missing for f in fields)]
    picked = (fits or [0])[:_SHOWN_ROWS]
    told = model.predictor.example.outputs if fits else {}
    answers = {name: [told[name][i] for i in picked] for name in model.outputs if name in told}
    shown = {name: [values[i] for i in picked] for name, values in given.items()}
    if arm.humility is None or not answers:
        return shown, answers
    judged = arm.humility.judge(model.features.from_named(shown))
    whole = judged.answers({name: [values[row] for row in judged.asked] for name, values in answers.items()})
    return shown, {} if judged.refusals else whole


def _infer(
    name: str, model: LoadedModel, shown: Mapping[str, list[Cell]], answers: Mapping[str, list[object]]
) -> dict[str, object]:
    inputs = [
        {
            "name": field.name,
            "shape": [len(shown[field.name])],
            "datatype": datatype_of(field),
            "data": shown[field.name],
        }
        for field in model.predictor.signature.inputs
    ]
    answer = {
        "model_name": name,
        "model_version": str(model.version),
        "id": "my-id-1",
        "parameters": {"arm": "champion"},
        "outputs": tensors({key: list(values) for key, values in answers.items()}),
    }
    content = {
        "application/json": {"schema": _ref("InferRequest"), "example": {"id": "my-id-1", "inputs": inputs}},
        "application/octet-stream": {
            "schema": {"type": "string", "contentMediaType": "application/octet-stream"},
            "x-header": "Inference-Header-Content-Length: bytes of JSON before the tensors",
        },
    }
    answered = _answer("InferResponse", answer if answers else None)
    return _predict("infer", "Open Inference Protocol v2", content, answered)


def _invocation(
    path: str, shown: Mapping[str, list[Cell]], rows: Sequence[Sequence[Cell]], given: object
) -> dict[str, object]:
    asked = {"dataframe_split": {"columns": list(shown), "data": rows}}
    content = {
        "application/json": {"schema": _ref("Invocation"), "example": asked},
        "text/csv": {"schema": {"type": "string"}, "example": _csv(shown, rows)},
    }
    return _predict(path, "MLflow's scoring server", content, _answer("Predictions", given), error="ScoringError")


def _csv(shown: Mapping[str, list[Cell]], rows: Sequence[Sequence[Cell]]) -> str:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(shown), *rows])
    return text.getvalue()


def _predict(
    path: str, protocol: str, content: Mapping[str, object], answered: object, *, error: str = "Error"
) -> dict[str, object]:
    return {
        "operationId": _operation_id("post", path),
        "summary": f"Predict ({protocol})",
        "parameters": [
            _header("Request-Timeout", "Seconds the client waits.", {"type": "number", "exclusiveMinimum": 0}),
            _header("X-Caller", "A name the client gives itself, for the log.", _TEXT),
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answered, **_refused(error)},
    }


def _operation_id(method: str, path: str) -> str:
    return method + "".join(letter if letter.isalnum() else "_" for letter in f"/{path.lstrip('/')}")


def _header(name: str, text: str, schema: Schema) -> dict[str, object]:
    return {"name": name, "in": "header", "description": text, "schema": schema}


def _answer(schema: str, example: object) -> dict[str, object]:
    shown = {"example": example} if example is not None else {}
    return {"description": "The answer.", "content": {"application/json": {"schema": _ref(schema), **shown}}}


def _refused(error: str) -> dict[str, object]:
    content = {"application/json": {"schema": _ref(error)}}
    return {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}


def _get(path: str, schema: str, text: str) -> dict[str, object]:
    answers = {"200": _answer(schema, None), "404": {"description": _REFUSALS["404"]}}
    return {"operationId": _operation_id("get", path), "summary": text, "responses": answers}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(arm: ServedArm) -> dict[str, Schema]:
    model, limit = arm.model, arm.features.max_rows
    signature = model.predictor.signature
    values = {
        field.name: _value(field, entry.levels)
        for field, entry in zip(arm.features.fields, signature.inputs, strict=True)
    }
    keys = [key for key in arm.features.keys if key.name not in values]
    values |= {key.name: _value(Feature(key), ()) for key in keys}
    taken: list[Declared] = [*signature.inputs, *keys]
    wanted = _Wanted(arm.features, [entry.name for entry in signature.inputs])
    row = wanted.as_object(values)
    listed = [values[entry.name] for entry in signature.inputs]
    rows = _many({"anyOf": [_ref("Row"), _ref("RowList")]}, limit)
    outputs, beside = described(signature.outputs), [] if arm.humility is None else arm.humility.beside
    outputs += [{"name": name, "datatype": _BESIDE[name], "shape": [-1]} for name in beside]
    return {
        "Row": row,
        "RowList": {"type": "array", "prefixItems": listed, "minItems": len(listed), "maxItems": len(listed)},
        "Columns": wanted.as_object({name: _many(value, limit) for name, value in values.items()}),
        "InferRequest": _infer_request(taken, values, wanted, limit, model.outputs),
        "InferResponse": _infer_response(outputs),
        "PredictRequest": {
            "type": "object",
            "properties": {"instances": rows, "inputs": _ref("Columns"), "parameters": _ABOUT},
            "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
        },
        "Invocation": _invocations(row, wanted, rows, limit),
        "Predictions": _predictions(outputs),
        "Metadata": {"type": "object", "required": ["name", "inputs", "outputs"]},
        "Ready": {"type": "object", "required": ["name", "ready"], "properties": {"ready": {"type": "boolean"}}},
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
        "ScoringError": {
            "type": "object",
            "required": ["error_code", "message"],
            "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
        },
    }


class _Wanted:
    """Which names a request has to have: those that nothing stands in for, and of a feature view its inputs or keys.

    Args:
        features: What is taken.
        inputs: The model's inputs in their order.
    """

    def __init__(self, features: Features, inputs: Sequence[str]) -> None:
        self.names = [name for name in inputs if name not in features.may_lack]
        self._either = features.either

    def as_object(self, properties: Mapping[str, Schema]) -> Schema:
        """An object with these properties."""
        choices = self._choices(lambda names: {"required": list(names)})
        whole: dict[str, object] = {"type": "object", "required": self.names, "properties": properties}
        return {**whole, "allOf": choices} if choices else whole

    def as_array(self, one: Callable[[str], Schema]) -> list[Schema]:
        """Conditions of an array with what `one` says of each name."""
        return _all(one, self.names) + self._choices(lambda names: {"allOf": _all(one, names)})

    def _choices(self, has: Callable[[Sequence[str]], Schema]) -> list[Schema]:
        return [{"anyOf": [has(names), has(keys)]} for names, keys in self._either]


def _all(one: Callable[[str], Schema], names: Sequence[str]) -> list[Schema]:
    return [{"contains": one(name)} for name in names]


def _value(field: Feature, levels: Sequence[str]) -> Schema:
    """One cell of a column: its type, its range, and whether it may be missing."""
    kind = _TYPES[field.kind]
    made: dict[str, object] = {"type": [kind, "null"] if field.takes_missing else kind}
    if field.kind == "float":
        made |= {"minimum": -field.largest, "maximum": field.largest}
    if field.kind == "int":
        made |= {"minimum": field.lowest, "maximum": field.highest}
    if levels:
        made |= {"examples": list(levels[:_SHOWN_LEVELS]), "description": "Another text counts as missing."}
    return made


def _many(value: Schema, limit: int) -> Schema:
    return {"type": "array", "items": value, "minItems": 1, "maxItems": limit}


def _infer_request(
    taken: Sequence[Declared], values: Mapping[str, Schema], wanted: _Wanted, limit: int, outputs: Sequence[str]
) -> Schema:
    size = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": limit}, "minItems": 1, "maxItems": 1}
    columns = [
        {
            "type": "object",
            "required": ["name", "shape", "datatype", "data"],
            "properties": {
                "name": {"const": field.name},
                "shape": size,
                "datatype": {"const": datatype_of(field)},
                "data": _many(values[field.name], limit),
            },
        }
        for field in taken
    ]
    every = wanted.as_array(lambda name: {"properties": {"name": {"const": name}}, "required": ["name"]})
    output = {"type": "object", "required": ["name"], "properties": {"name": {"enum": list(outputs)}}}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {**_TEXT, "description": "Key for late labels; one is made when it is absent."},
            "parameters": _ABOUT,
            "inputs": {
                "type": "array",
                "items": {"oneOf": columns},
                "minItems": 1,
                "maxItems": len(columns),
                "allOf": every,
            },
            "outputs": {"type": "array", "items": output},
        },
    }


def _infer_response(outputs: Sequence[Schema]) -> Schema:
    tensors = [
        {
            "type": "object",
            "required": ["name", "shape", "datatype", "data"],
            "properties": {
                "name": {"const": entry["name"]},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "datatype": {"const": entry["datatype"]},
                "data": {"type": "array", "items": {"type": _json_type(entry["datatype"])}},
            },
        }
        for entry in outputs
    ]
    return {
        "type": "object",
        "required": ["model_name", "model_version", "id", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object", "properties": {"arm": {"type": "string"}, "rules": {"type": "string"}}},
            "outputs": {"type": "array", "items": {"oneOf": tensors}},
        },
    }


def _json_type(datatype: object) -> str:
    return _OF_DATATYPE.get(str(datatype), "integer")


def _invocations(row: Schema, wanted: _Wanted, rows: Schema, limit: int) -> Schema:
    data = {"type": "array", "items": {"type": "array"}, "minItems": 1, "maxItems": limit}
    every = wanted.as_array(lambda name: {"const": name})
    split: Schema = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "allOf": every},
            "data": data,
        },
    }
    forms: dict[str, Schema] = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "items": row, "minItems": 1, "maxItems": limit},
        "instances": rows,
        "inputs": {"anyOf": [_ref("Columns"), rows]},
    }
    return {
        "type": "object",
        "properties": {**forms, "params": _ABOUT},
        "oneOf": [{"required": [form]} for form in forms],
    }


def _predictions(outputs: Sequence[Schema]) -> Schema:
    """One entry a row: the value of a single output, else an object with all of them."""
    found: dict[str, Schema] = {}
    for entry in outputs:
        one: Schema = {"type": _json_type(entry["datatype"])}
        found[str(entry["name"])] = one if entry["shape"] == [-1] else {"type": "array", "items": one}
    each: Schema = {"type": "object", "required": list(found), "properties": found}
    if len(found) == 1:
        each = next(iter(found.values()))
    return {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array", "items": each}},
    }
