"""Regular expressions for SQLite, which has none. Python's own can take hours for a text of a few kilobytes and let no
other thread run meanwhile; those of Polars take time in proportion to the text.
"""

from __future__ import annotations

from functools import lru_cache

_SHORT = 200
"""Names come again and again; longer texts would fill the memory."""


def found(pattern: str, text: str | None) -> bool:
    """Whether a part of a text matches; a dot stands for any character, the end of a line too.

    >>> found("^late-[0-9]+$", "late-12"), found("late", None)
    (True, False)
    """
    if text is None:
        return False
    return _remembered(pattern, text) if len(text) <= _SHORT else _found(pattern, text)


@lru_cache(maxsize=4096)
def _remembered(pattern: str, text: str) -> bool:
    return _found(pattern, text)


def _found(pattern: str, text: str) -> bool:
    import polars  # slow to load, and only such searches need it

    return bool(polars.Series([text]).str.contains(f"(?s:{pattern})")[0])
