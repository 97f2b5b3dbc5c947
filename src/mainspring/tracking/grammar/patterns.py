"""Which regular expressions `RLIKE` takes: those that mean the same to every database and that none is slow at."""

from __future__ import annotations

import re

MAX_LENGTH = 500
MAX_COUNT = 100
"""How large all counts of a pattern may be together: `{2,5}` counts 5. Each copies what it stands behind."""
MAX_DEPTH = 20
_ESCAPED = r"\\(?:[dwsDWS]|[^\w\s])"
_OF_CLASS = r"\\(?:[dws]|[^\w\s])|[^\\\[\]]"
_TOKEN = re.compile(
    rf"(?P<atom>{_ESCAPED}|\[\^?+(?P<inside>(?:{_OF_CLASS})+)\]|[^\\\[\](){{}}|*+?^$])"
    r"|(?P<open>\((?!\?)|\(\?:)|(?P<close>\))|(?P<mark>[|^$])"
    r"|(?P<often>[*+?]\??|\{(?P<least>\d{1,3})(?P<comma>,(?P<most>\d{0,3}))?\}\??)",
    re.DOTALL,
)
_IN_CLASS = re.compile(_OF_CLASS, re.DOTALL)


def refusal(pattern: str) -> str:
    """Why a pattern is not taken, in words; "" when it is.

    >>> refusal("^late-[0-9]+$"), refusal("(a")
    ('', 'a group is not closed')
    """
    if len(pattern) > MAX_LENGTH:
        return f"it has {len(pattern)} characters, at most {MAX_LENGTH} may be"
    at, depth, counted, before = 0, 0, 0, ""
    while at < len(pattern):
        found = _TOKEN.match(pattern, at)
        if found is None:
            return f"{pattern[at : at + 4]!r} can't be used"
        kind = str(next(name for name in ("atom", "open", "close", "mark", "often") if found[name]))
        depth += (kind == "open") - (kind == "close")
        if not 0 <= depth <= MAX_DEPTH:
            return "a group is closed that is not open" if depth < 0 else f"more than {MAX_DEPTH} groups in one another"
        if kind == "atom" and (reason := _class_refusal(found["inside"] or "")):
            return reason
        if kind == "often":
            if before not in ("atom", "close"):
                return f"{found[0]!r} repeats nothing"
            counted += _count(found)
            if found["least"] and (before == "close" or counted > MAX_COUNT):
                return f"{found[0]!r} may count single characters only, and all counts up to {MAX_COUNT} together"
            if found["most"] and int(found["most"]) < int(found["least"]):
                return f"{found[0]!r} ends before it begins"
        before, at = kind, found.end()
    return "a group is not closed" if depth else ""


def _count(often: re.Match[str]) -> int:
    return max(int(often["least"] or 0), int(often["most"] or 0))


def _class_refusal(inside: str) -> str:
    """Why what stands in brackets is not taken: databases know different operators there."""
    parts = _IN_CLASS.findall(inside)
    for number, part in enumerate(parts):
        if part == "-" and 0 < number < len(parts) - 1:
            low, high = parts[number - 1], parts[number + 1]
            if (
                any(len(end) == 2 and end[1] in "dws" for end in (low, high))
                or low[-1] > high[-1]
                or parts[number - 2] == "-"
            ):
                return f"{low}-{high} is no range of characters"
    doubled = next((pair for pair in ("&&", "--", "~~", "^^") if pair in inside), "")
    return f"{doubled!r} in brackets means something to some databases" if doubled else ""
