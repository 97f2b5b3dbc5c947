"""The form that asks an endpoint: one row, filled with the version's example, and the same request to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from urllib.parse import parse_qsl

from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.values import dataclass
from mainspring.registry.model import Field, ModelVersion, Scalar
from mainspring.serving.client import Prediction
from mainspring.serving.model import Deployment
from mainspring.serving.modelserver.columns import Features, kind_of
from mainspring.serving.modelserver.protocols.rows import of_texts
from mainspring.serving.modelserver.protocols.tensors import datatype_of

MAX_FIELDS = 100
"""A model of more columns than this gets one field for all of them, as JSON."""
_PREFIX = "in."
_WHOLE = "row"
_MAX_LEVELS = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of the form: the column, its text, and how it is entered (number, choice or text)."""

    name: str
    column: str
    dtype: str
    text: str
    kind: str
    step: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """The form as the page shows it: its fields, what came of it, and the request to copy."""

    entries: list[Entry]
    whole: str
    curl: str
    python: str
    schema: str
    answer: Prediction | None = None
    error: MainspringError | None = None
    explain: bool = False


def form_of(
    url: str,
    deployment: Deployment,
    version: ModelVersion,
    row: Mapping[str, Scalar],
    *,
    answer: Prediction | None = None,
    error: MainspringError | None = None,
    explain: bool = False,
) -> Form:
    """The form, filled with a row.

    Args:
        url: The model server, as clients reach it.
        deployment: Whom it asks.
        version: Whose columns it has.
        row: Values of one row.
        answer: What the endpoint said to it, if it was asked.
        error: Why it did not.
        explain: Whether it was asked for reason codes.
    """
    wide = len(version.inputs) > MAX_FIELDS
    return Form(
        [] if wide else [_entry(field, row.get(field.name)) for field in version.inputs],
        json.dumps(dict(row), indent=2) if wide else "",
        curl_of(url, deployment, version, row),
        python_of(url, deployment, row),
        f"{url}/v2/models/{deployment.endpoint}/docs",
        answer,
        error,
        explain,
    )


def _entry(field: Field, value: Scalar) -> Entry:
    kind = kind_of(field.dtype)
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    name = _PREFIX + field.name
    if kind in ("float", "int"):
        return Entry(name, field.name, field.dtype, text, "number", "any" if kind == "float" else "1")
    choices = ("true", "false") if kind == "bool" else field.levels
    if not choices or len(choices) > _MAX_LEVELS:
        return Entry(name, field.name, field.dtype, text, "text")
    more = () if text in ("", *choices) else (text,)
    return Entry(name, field.name, field.dtype, text, "choice", "", ("", *choices, *more))


def example_row(version: ModelVersion) -> dict[str, Scalar]:
    """The first row of a version's example; without one, a row of missing values."""
    shown = version.example.inputs
    return {name: shown[name][0] if shown.get(name) else None for name in version.columns}


def fields_of(body: bytes) -> dict[str, str]:
    """What was sent with the form, by the names of its fields.

    Raises: Invalid: It is not the form.
    """
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=10_000))
    except ValueError as reason:
        raise Invalid(f"not the form of this page: {reason}", where="body") from None


def row_of(pairs: Mapping[str, str], version: ModelVersion) -> dict[str, Scalar]:
    """The row in the fields of the form, each text read as its column's type; an empty field is a missing value.

    Raises: Invalid: A text is not of its column's type.
    """
    if _WHOLE in pairs:
        return _whole(pairs[_WHOLE])
    texts = {name.removeprefix(_PREFIX): [text] for name, text in pairs.items() if name.startswith(_PREFIX)}
    features = Features(version.inputs)
    columns = of_texts(texts)(features)
    return {name: _plain(column[0]) for name, column in zip(features.names, columns, strict=True)}


def _whole(text: str) -> dict[str, Scalar]:
    try:
        found = json.loads(text)
    except ValueError as reason:
        raise Invalid(f"the row is not JSON: {reason}", where="row") from None
    if not isinstance(found, dict):
        raise Invalid(f"the row is a {type(found).__name__}, expected an object", where="row", hint='{"distance": 300}')
    return {str(name): _plain(value) for name, value in found.items()}


def _plain(value: object) -> Scalar:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise Invalid(f"a value is a {type(value).__name__}, expected a number, a text, true or false", where="row")


def curl_of(url: str, deployment: Deployment, version: ModelVersion, row: Mapping[str, Scalar]) -> str:
    """A command that asks the endpoint for a row."""
    inputs = [
        {"name": field.name, "shape": [1], "datatype": datatype_of(field), "data": [row.get(field.name)]}
        for field in version.inputs
    ]
    text = shlex.quote(json.dumps({"id": "my-id-1", "inputs": inputs}))
    return f"curl {url}/v2/models/{deployment.endpoint}/infer -H 'content-type: application/json' -d {text}"


def python_of(url: str, deployment: Deployment, row: Mapping[str, Scalar]) -> str:
    """The same in Python."""
    columns = {name: [value] for name, value in row.items()}
    return (
        "from mainspring.serving import Client\n\n"
        f'with Client("{url}") as client:\n'
        f'    print(client.predict("{deployment.endpoint}", {columns!r}))'
    )
