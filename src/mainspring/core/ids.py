"""Identifiers: UUIDv7 as 32 hex digits, and the names people choose."""

from __future__ import annotations

import os
import re
import struct
import threading
import time
from collections.abc import Iterator

from mainspring.core.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ID = re.compile(r"[0-9a-f]{32}")
_lock = threading.Lock()
_last = 0
_POOL = struct.Struct("512Q")  # the kernel is asked once for 512 ids: a call costs more than all the rest of an id
_pool: Iterator[int] = iter(())


def _forget_after_fork() -> None:
    global _lock, _last, _pool
    _lock, _last, _pool = threading.Lock(), 0, iter(())


os.register_at_fork(after_in_child=_forget_after_fork)


def new_id() -> str:
    """A new UUIDv7 as 32 hex digits; ids made in one process sort by the order they were made in.

    Source: RFC 9562, sections 5.7 and 6.2 (the 12 bits of rand_a count within a millisecond).
    """
    global _last, _pool
    with _lock:
        _last = stamp = max(int(time.time() * 1000) << 12, _last + 1)
        random = next(_pool, None)
        if random is None:
            _pool = iter(_POOL.unpack(os.urandom(_POOL.size)))
            random = next(_pool)
    variant = random & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    return f"{stamp >> 12:012x}7{stamp & 0xFFF:03x}{variant:016x}"


def is_id(text: str) -> bool:
    """Whether `text` is 32 lower-case hex digits."""
    return _ID.fullmatch(text) is not None


def check_name(text: str, what: str) -> str:
    """Return `text` when it may name a `what`.

    Raises:
        Invalid: It is empty, longer than 100 characters, or has other than letters, digits, `_`, `.` and `-`.
    """
    if _NAME.fullmatch(text) and not text.endswith("."):
        return text
    shown = text if len(text) <= 60 else text[:57] + "..."
    raise Invalid(
        f"{shown!r} can't name a {what}",
        where=what,
        hint="use 1 to 100 letters, digits, '_', '.' or '-', starting with a letter or digit",
    )
