"""Open Inference Protocol v2 over JSON: bytes in, checked typed columns out, and back."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

import msgspec

from mainspring.core.clock import micros
from mainspring.core.errors import Invalid, did_you_mean

Kind = Literal["float", "int", "bool", "text"]
Cell = float | int | bool | str | None
DATATYPES = frozenset(
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "BYTES"]
)
_OF_KIND: dict[str, str] = {"float": "FP64", "int": "INT64", "bool": "BOOL", "text": "BYTES"}
_MAX_ID = 200


class Tensor(msgspec.Struct):
    """One input: a column, or the whole matrix."""

    name: str
    shape: list[int]
    datatype: str
    data: list[object]
    parameters: dict[str, object] | None = None


class Wanted(msgspec.Struct):
    """One output that is asked for."""

    name: str


class InferRequest(msgspec.Struct):
    """The body of an inference request; fields it does not know are left alone."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, object] | None = None
    outputs: list[Wanted] | None = None


class Declared(Protocol):
    """A column of a model's signature."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def dtype(self) -> str:
        """Its type, such as Float64 or String."""

    @property
    def size(self) -> int:
        """How many values it has for each row."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a request says beside its rows: its id, its routing key, its event time and its deadline."""

    request_id: str
    key: str
    event_at: int | None
    timeout_ms: int | None


_decoder = msgspec.json.Decoder(InferRequest)


def kind_of(dtype: str) -> Kind:
    """How values of a column type travel.

    >>> kind_of("Float32"), kind_of("UInt8"), kind_of("Categorical")
    ('float', 'int', 'text')
    """
    lower = dtype.lower()
    if lower.startswith(("float", "double", "decimal", "fp")):
        return "float"
    if lower.startswith(("int", "uint")):
        return "int"
    return "bool" if lower.startswith("bool") else "text"


def decode(body: bytes) -> InferRequest:
    """Read a request. NaN and Infinity, which Python clients send although JSON has none, are let through here.

    Raises: Invalid: Not JSON, or not an inference request.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as reason:
        raise Invalid(f"not an inference request: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as reason:
        if b"NaN" not in body and b"Infinity" not in body:
            raise Invalid(f"the body is not JSON: {reason}") from None
    try:
        return msgspec.convert(json.loads(body), InferRequest)
    except msgspec.ValidationError as reason:
        raise Invalid(f"not an inference request: {reason}") from None
    except (ValueError, RecursionError) as reason:
        raise Invalid(f"the body is not JSON: {reason}") from None


def context(request: InferRequest, fresh_id: Callable[[], str]) -> Context:
    """The id (a fresh one when absent), routing key (default: the id), event time and deadline of a request.

    Raises: Invalid: One of them is not what it should be.
    """
    given = request.parameters or {}
    request_id = request.id or fresh_id()
    key = given.get("routing_key", request_id)
    event, timeout = given.get("event_time"), given.get("timeout_ms")
    for what, text in (("id", request_id), ("routing_key", str(key))):
        if len(text) > _MAX_ID or not text.isprintable():
            raise Invalid(f"{what} is longer than {_MAX_ID} characters or not printable")
    if timeout is not None and not (isinstance(timeout, int) and 0 < timeout <= 3_600_000):
        raise Invalid("timeout_ms is not a whole number from 1 to 3600000")
    return Context(request_id, str(key), _event_at(event), timeout)


def _event_at(event: object) -> int | None:
    if event is None:
        return None
    if isinstance(event, bool) or not isinstance(event, int | str):
        raise Invalid("event_time is neither ISO 8601 text nor microseconds")
    try:
        at = micros(event)
    except (OverflowError, ValueError):
        at = -(1 << 62)
    if not -(1 << 61) < at < (1 << 61):
        raise Invalid("event_time is out of range")
    return at


class Features:
    """The columns a model asks for, and how a request becomes them."""

    def __init__(self, inputs: Sequence[Declared], *, max_rows: int = 10_000) -> None:
        self.names = [field.name for field in inputs]
        self.kinds: list[Kind] = [kind_of(field.dtype) for field in inputs]
        self._max_rows = max_rows

    def columns(self, request: InferRequest) -> list[list[Cell]]:
        """Checked values, one list for each feature, in the signature's order.

        One input of rank 2 whose name is no feature is a matrix (`content_type` "np"); else every input is a column
        of shape [n] or [n, 1] ("pd"). Inputs that are no feature are left alone; a missing one is refused.

        Raises: Invalid: Counts, shapes, types or names do not fit.
        """
        tensors = request.inputs
        if not tensors:
            raise Invalid("a request has at least one input")
        style = (request.parameters or {}).get("content_type") or (tensors[0].parameters or {}).get("content_type")
        lone = len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].name not in self.names
        raw = self._matrix(tensors[0]) if len(tensors) == 1 and (style == "np" or lone) else self._named(tensors)
        return [_CHECKS[kind](name, values) for name, kind, values in zip(self.names, self.kinds, raw, strict=True)]

    def _matrix(self, tensor: Tensor) -> list[list[object]]:
        flat, width = _flat(tensor), len(self.names)
        if len(tensor.shape) != 2 or tensor.shape[1] != width:
            raise Invalid(f"input {tensor.name!r} has shape {tensor.shape}, the model takes [n, {width}]")
        self._check_rows(tensor.shape[0])
        return [flat[i::width] for i in range(width)]

    def _named(self, tensors: list[Tensor]) -> list[list[object]]:
        by_name = {tensor.name: tensor for tensor in tensors}
        if len(by_name) != len(tensors):
            raise Invalid("two inputs have the same name")
        rows = tensors[0].shape[0] if tensors[0].shape else 0
        self._check_rows(rows)
        found = []
        for name in self.names:
            tensor = by_name.get(name)
            if tensor is None:
                extra = [other for other in by_name if other not in self.names]
                raise Invalid(f"input {name!r} is missing", hint=did_you_mean(name, extra))
            if tensor.shape not in ([rows], [rows, 1]):
                raise Invalid(f"input {name!r} has shape {tensor.shape}, expected [{rows}] or [{rows}, 1]")
            found.append(_flat(tensor))
        return found

    def _check_rows(self, rows: int) -> None:
        if not 1 <= rows <= self._max_rows:
            raise Invalid(f"a request has 1 to {self._max_rows} rows, found {rows}")


def _flat(tensor: Tensor) -> list[object]:
    """The data of a tensor in row-major order, whether it came nested or flat."""
    if tensor.datatype not in DATATYPES:
        hint = "FP16 and BF16 travel in binary only" if tensor.datatype in ("FP16", "BF16") else ""
        raise Invalid(f"input {tensor.name!r} has unknown datatype {tensor.datatype[:20]!r}", hint=hint)
    size = math.prod(tensor.shape)
    data: list[object] = tensor.data
    if len(tensor.shape) > 1 and data and isinstance(data[0], list):
        for length in tensor.shape[1:]:
            rows = [row for row in data if isinstance(row, list) and len(row) == length]
            if len(rows) != len(data):
                raise Invalid(f"input {tensor.name!r} is nested unlike its shape {tensor.shape}")
            data = list(chain.from_iterable(rows))
    if len(data) != size or min(tensor.shape, default=0) < 0:
        raise Invalid(f"input {tensor.name!r} has {len(data)} values, its shape {tensor.shape} says {size}")
    if tensor.datatype == "BYTES" and (tensor.parameters or {}).get("content_type") == "base64":
        return [_from_base64(tensor.name, value) for value in data]
    return data


def _from_base64(name: str, value: object) -> object:
    try:
        return base64.b64decode(value, validate=True).decode() if isinstance(value, str) else value
    except (binascii.Error, ValueError):
        raise Invalid(f"input {name!r} is not base64 of UTF-8 text") from None


def _floats(name: str, values: list[object]) -> list[Cell]:
    out: list[Cell] = []
    for value in values:
        if type(value) is float or type(value) is int:
            number = _as_float(value, name)
            out.append(number if number == number else None)
        elif value is None:
            out.append(None)
        else:
            raise _wrong(name, value, "a number")
    return out


def _as_float(value: float | int, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise Invalid(f"input {name!r} has a value that is not finite")
    return number


def _ints(name: str, values: list[object]) -> list[Cell]:
    out: list[Cell] = []
    for value in values:
        if type(value) is float and value == value:
            if not value.is_integer():
                raise _wrong(name, value, "a whole number")
            value = int(value)
        if type(value) is int:
            if not -(1 << 63) <= value < (1 << 63):
                raise _wrong(name, value, "a 64-bit whole number")
            out.append(value)
        elif value is None or value != value:
            out.append(None)
        else:
            raise _wrong(name, value, "a whole number")
    return out


def _bools(name: str, values: list[object]) -> list[Cell]:
    for value in values:
        if value is not None and type(value) is not bool and value not in (0, 1):
            raise _wrong(name, value, "true or false")
    return [None if value is None else bool(value) for value in values]


def _texts(name: str, values: list[object]) -> list[Cell]:
    out: list[Cell] = []
    for value in values:
        if value is not None and not isinstance(value, str):
            raise _wrong(name, value, "a text")
        out.append(value)
    return out


def _wrong(name: str, value: object, wanted: str) -> Invalid:
    return Invalid(f"input {name!r} has a {type(value).__name__} where it takes {wanted}")


_CHECKS: dict[Kind, Callable[[str, list[object]], list[Cell]]] = {
    "float": _floats,
    "int": _ints,
    "bool": _bools,
    "text": _texts,
}


def described(fields: Sequence[Declared]) -> list[dict[str, object]]:
    """Signature columns as metadata tensors."""
    return [
        {
            "name": field.name,
            "datatype": _OF_KIND[kind_of(field.dtype)],
            "shape": [-1] if field.size == 1 else [-1, field.size],
        }
        for field in fields
    ]


def tensors(outputs: dict[str, list[object]], wanted: Sequence[Wanted] | None) -> list[dict[str, object]]:
    """Answers as output tensors, those asked for or all."""
    names = list(outputs) if wanted is None else [entry.name for entry in wanted]
    return [_tensor(name, outputs[name]) for name in names]


def _tensor(name: str, values: list[object]) -> dict[str, object]:
    first, shape = values[0], [len(values)]
    if isinstance(first, list):
        shape.append(len(first))
        values = list(chain.from_iterable(row for row in values if isinstance(row, list)))
        first = values[0] if values else None
    kinds: dict[type, str] = {bool: "BOOL", int: "INT64", str: "BYTES"}
    return {"name": name, "datatype": kinds.get(type(first), "FP64"), "shape": shape, "data": values}
