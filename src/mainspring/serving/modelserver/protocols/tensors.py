"""Tensors of the Open Inference Protocol, however they travel: as JSON, as bytes behind JSON, in protobuf."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import msgspec

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.asking import Context, context
from mainspring.serving.modelserver.columns import Column, Declared, Features, Raw, kind_of

EXTENSIONS = ["binary_tensor_data", "model_repository", "prediction_log", "versions"]
"""What the server can beyond the protocol's core, in its metadata."""
DATATYPES = frozenset(
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "BYTES"]
)
"""Datatypes whose values may be written as JSON."""
_OF_DTYPE = {"float32": "FP32", "float64": "FP64", "bool": "BOOL", "string": "BYTES"}
_OF_KIND = {"float": "FP64", "int": "INT64", "bool": "BOOL", "text": "BYTES"}
_OF_TYPE: dict[type, str] = {bool: "BOOL", int: "INT64", str: "BYTES"}


class Tensor(msgspec.Struct):
    """One input: a column, or the whole matrix. `data` is a list, nested or flat; what came as bytes is an array."""

    name: str
    shape: list[int]
    datatype: str
    data: object = None
    parameters: dict[str, object] | None = None


class Wanted(msgspec.Struct):
    """One output that is asked for."""

    name: str
    parameters: dict[str, object] | None = None


class InferRequest(msgspec.Struct):
    """An inference request; fields it does not know are left alone."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, object] | None = None
    outputs: list[Wanted] | None = None


class Inference:
    """An inference request as a question.

    Raises: Invalid: Its id, routing key, event time or deadline is not what it should be.
    """

    __slots__ = ("_request", "about", "wanted")

    def __init__(self, request: InferRequest, fresh_id: Callable[[], str]) -> None:
        self._request = request
        self.about: Context = context(request.id, request.parameters, fresh_id)
        self.wanted = [entry.name for entry in request.outputs] if request.outputs else None

    def columns(self, features: Features) -> list[Column]:
        """Checked columns in the signature's order.

        One input of rank 2 whose name is no feature is a matrix (`content_type` "np"); else every input is a column
        of shape [n] or [n, 1] ("pd").

        Raises: Invalid: Counts, shapes, types or names do not fit.
        """
        tensors = self._request.inputs
        if not tensors:
            raise Invalid("a request has at least one input", hint="send one value for each input of the model")
        first = tensors[0]
        if len(tensors) == 1:
            style = (self._request.parameters or {}).get("content_type") or (first.parameters or {}).get("content_type")
            if style == "np" or (len(first.shape) == 2 and first.name not in features.names):
                return features.from_flat(_flat(first), first.shape, f"input {first.name!r}")
        return features.from_named(_named(tensors, features))


def _named(tensors: Sequence[Tensor], features: Features) -> dict[str, Raw]:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise Invalid("two inputs have the same name")
    found: dict[str, Raw] = {}
    for tensor in tensors:
        field = features.by_name.get(tensor.name)
        if field is None:
            found[tensor.name] = ()  # no feature: left alone
            continue
        shape = tensor.shape
        if len(shape) != 1 and (len(shape) != 2 or shape[1] != 1):
            raise Invalid(f"input {tensor.name!r} has shape {shape[:9]}, expected [n] or [n, 1] of {field.expects}")
        features.check_rows(shape[0])
        found[tensor.name] = _flat(tensor)
    return found


def _flat(tensor: Tensor) -> Raw:
    """The data of a tensor in row-major order, whether it came nested or flat."""
    data = tensor.data
    if type(data) is not list:
        return _array(tensor)
    if tensor.datatype not in DATATYPES:
        hint = "FP16 and BF16 travel in binary only" if tensor.datatype in ("FP16", "BF16") else ""
        raise Invalid(f"input {tensor.name!r} has unknown datatype {tensor.datatype[:20]!r}", hint=hint)
    size = math.prod(tensor.shape)
    if len(tensor.shape) > 1 and data and isinstance(data[0], list):
        data = _unnested(tensor, data)
    if len(data) != size or min(tensor.shape, default=0) < 0:
        raise Invalid(f"input {tensor.name!r} has {len(data)} values, its shape {tensor.shape[:9]} says {size}")
    if tensor.datatype == "BYTES" and (tensor.parameters or {}).get("content_type") == "base64":
        return [_from_base64(tensor.name, value) for value in data]
    return data


def _unnested(tensor: Tensor, data: list[object]) -> list[object]:
    for length in tensor.shape[1:]:
        rows = [row for row in data if isinstance(row, list) and len(row) == length]
        if len(rows) != len(data):
            raise Invalid(f"input {tensor.name!r} is nested unlike its shape {tensor.shape[:9]}")
        data = list(chain.from_iterable(rows))
    return data


def _array(tensor: Tensor) -> Raw:
    import numpy as np

    if isinstance(tensor.data, np.ndarray):
        return tensor.data
    found = "no data" if tensor.data is None else f"data of type {type(tensor.data).__name__}"
    raise Invalid(f"input {tensor.name!r} has {found}, expected a list of {math.prod(tensor.shape)} values")


def _from_base64(name: str, value: object) -> object:
    try:
        return base64.b64decode(value, validate=True).decode() if isinstance(value, str) else value
    except (binascii.Error, ValueError):
        raise Invalid(f"input {name!r} is not base64 of UTF-8 text") from None


def described(fields: Sequence[Declared]) -> list[dict[str, object]]:
    """Signature columns as metadata tensors."""
    return [
        {
            "name": field.name,
            "datatype": datatype_of(field),
            "shape": [-1] if field.size == 1 else [-1, field.size],
        }
        for field in fields
    ]


def datatype_of(field: Declared) -> str:
    """The datatype of a column of a signature.

    >>> from mainspring.registry.model import Field
    >>> datatype_of(Field("age", "uint8"))
    'UINT8'
    """
    dtype = field.dtype.lower()
    named = dtype.upper() if dtype.startswith(("int", "uint")) else ""
    return _OF_DTYPE.get(dtype) or (named if named in DATATYPES else _OF_KIND[kind_of(dtype)])


def tensors(outputs: Mapping[str, list[object]]) -> list[dict[str, object]]:
    """Answers as output tensors."""
    return [_tensor(name, values) for name, values in outputs.items()]


def _tensor(name: str, values: list[object]) -> dict[str, object]:
    first, shape = values[0], [len(values)]
    if isinstance(first, list):
        shape.append(len(first))
        values = list(chain.from_iterable(row for row in values if isinstance(row, list)))
        first = values[0] if values else None
    return {"name": name, "datatype": _OF_TYPE.get(type(first), "FP64"), "shape": shape, "data": values}
