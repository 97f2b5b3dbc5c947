"""One byte form for a value, so that equal values have equal digests."""

from __future__ import annotations

import json

from mainspring.core.errors import Invalid

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces, as UTF-8.

    Raises:
        Invalid: The value is not plain JSON, or holds NaN or an infinity.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError) as reason:
        raise Invalid(
            f"not plain JSON: {reason}", hint="use text, numbers, booleans, null, lists and objects"
        ) from None
    return text.encode()


def digest(data: bytes) -> str:
    """BLAKE3 of `data` as 64 hex digits."""
    from blake3 import blake3

    return blake3(data).hexdigest()
