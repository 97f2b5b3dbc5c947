"""Identifiers: UUIDv7 as 32 hex digits, and the names people choose."""

from __future__ import annotations

import os
import re
import threading
import time

from mainspring.core.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ID = re.compile(r"[0-9a-f]{32}")
_lock = threading.Lock()
_last = 0
_pool = b""
_POOL_BYTES = 4096  # the kernel is asked once for 512 ids: a call costs more than all the rest of an id


def _forget_after_fork() -> None:
    global _lock, _last, _pool
    _lock, _last, _pool = threading.Lock(), 0, b""


os.register_at_fork(after_in_child=_forget_after_fork)


def new_id() -> str:
    """A new UUIDv7 as 32 hex digits; ids made in one process sort by the order they were made in.

    Source: RFC 9562, sections 5.7 and 6.2 (the 12 bits of rand_a count within a millisecond).
    """
    global _last, _pool
    with _lock:
        _last = max(int(time.time() * 1000) << 12, _last + 1)
        stamp = _last
        pool = _pool or os.urandom(_POOL_BYTES)
        _pool = pool[8:]
    random = int.from_bytes(pool[:8], "big") & 0x3FFF_FFFF_FFFF_FFFF
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0x2 << 62 | random
    return f"{value:032x}"


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
