"""Tensors as bytes: little-endian, row-major. Every size is checked before anything is allocated."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.protocols.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "BF16": "<u2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_SIZES = {"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8}
_SIZES |= {"FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}


def split(body: bytes, header: bytes) -> tuple[bytes, memoryview]:
    """The JSON and the bytes behind it.

    Args:
        body: All of it.
        header: What Inference-Header-Content-Length says.
    Raises: Invalid: That is no size within the body.
    """
    if not (header.isdigit() and len(header) < 12 and int(header) <= len(body)):
        raise Invalid(
            f"Inference-Header-Content-Length {header[:20].decode('latin-1')!r} of a body of {len(body)} bytes"
        )
    size = int(header)
    return body[:size], memoryview(body)[size:]


def fill(tensors: Sequence[Tensor], rest: memoryview) -> None:
    """Give tensors without `data` their bytes, which follow each other in the order of the tensors.

    Raises: Invalid: A size is missing or lies, or bytes are left over.
    """
    sizes = [_said(tensor) for tensor in tensors]
    total = sum(size for size in sizes if size is not None)
    if total != len(rest):
        raise Invalid(f"{len(rest)} bytes follow the header, the inputs' binary_data_size say {total}")
    start = 0
    for tensor, size in zip(tensors, sizes, strict=True):
        if size is not None:
            tensor.data = array_of(tensor, rest[start : start + size])
            start += size


def _said(tensor: Tensor) -> int | None:
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        return None
    if tensor.data is not None:
        raise Invalid(f"input {tensor.name!r} has both data and binary_data_size")
    if type(size) is not int or size < 0:
        raise Invalid(f"input {tensor.name!r} has a binary_data_size that is no size")
    return size


def array_of(tensor: Tensor, raw: memoryview) -> NDArray[np.generic] | list[object]:
    """The values of a tensor from its bytes, as long as they are as many as its shape says.

    Raises: Invalid: They are not, or the datatype is unknown.
    """
    count = math.prod(tensor.shape) if min(tensor.shape, default=0) >= 0 else -1
    if tensor.datatype == "BYTES":
        return _texts(tensor, raw, count)
    size = _SIZES.get(tensor.datatype)
    if size is None:
        raise Invalid(f"input {tensor.name!r} has unknown datatype {tensor.datatype[:20]!r}")
    if len(raw) != count * size:
        says = f"its shape {tensor.shape[:9]} of {tensor.datatype} takes {count * size}"
        raise Invalid(f"input {tensor.name!r} has {len(raw)} bytes, {says}")
    import numpy as np

    values: NDArray[np.generic] = np.frombuffer(raw, dtype=_DTYPES[tensor.datatype])
    if tensor.datatype == "BF16":  # the upper half of a single
        singles: NDArray[np.generic] = np.left_shift(values.astype("<u4"), 16).view("<f4")
        return singles
    if tensor.datatype == "BOOL":
        truths: NDArray[np.generic] = np.not_equal(values.view("u1"), 0)  # any other byte counts as true
        return truths
    return values


def _texts(tensor: Tensor, raw: memoryview, count: int) -> list[object]:
    """Elements that each follow their length, four bytes."""
    found: list[object] = []
    at, end = 0, len(raw)
    while at < end and len(found) <= count:
        size = struct.unpack_from("<I", raw, at)[0] if at + 4 <= end else end
        if at + 4 + size > end:
            raise Invalid(f"input {tensor.name!r} ends within element {len(found)}")
        try:
            found.append(str(raw[at + 4 : at + 4 + size], "utf-8"))
        except UnicodeDecodeError:
            raise Invalid(f"input {tensor.name!r} has an element that is not UTF-8 text") from None
        at += 4 + size
    if len(found) != count or at != end:
        raise Invalid(
            f"input {tensor.name!r} has {len(found)} elements or more, its shape {tensor.shape[:9]} says {count}"
        )
    return found


_OF_DTYPE = {"b1": "BOOL", "f2": "FP16", "f4": "FP32", "f8": "FP64"} | {
    f"{kind}{bits // 8}": f"{name}{bits}" for kind, name in (("i", "INT"), ("u", "UINT")) for bits in (8, 16, 32, 64)
}


def packed(array: NDArray[np.generic]) -> tuple[str, bytes]:
    """An array as its datatype and its bytes; one of texts or other objects travels as text.

    Raises: Invalid: It is of a type that has no datatype.
    """
    name = _OF_DTYPE.get(array.dtype.str[1:])
    if name is not None:
        return name, array.astype(_DTYPES[name], copy=False).tobytes()
    values = array.ravel().tolist()
    if array.dtype.kind not in "UTO" or not all(isinstance(value, str) for value in values):
        raise Invalid(f"an array of {array.dtype} can't travel as bytes", hint="send numbers, truth values or texts")
    return "BYTES", bytes_of("BYTES", values)


def bytes_of(datatype: str, values: Sequence[object]) -> bytes:
    """Flat values of an output as bytes."""
    if datatype == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    import numpy as np

    return np.array(values, dtype=_DTYPES[datatype]).tobytes()
