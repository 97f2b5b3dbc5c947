"""The figures behind an alarm that is not about columns, as pairs of words, for its page."""

from __future__ import annotations

from collections.abc import Mapping


def figures_of(cause: str, evidence: Mapping[str, object]) -> list[tuple[str, str]]:
    """What was seen, what is accepted, and the evidence: names and texts, in the order they are read.

    >>> figures_of("errors", {"share": 0.2, "bad": 40, "requests": 200, "bar": 0.01, "m": 90, "level": 80})[0]
    ('Failed', '20.0 % (40 of 200 requests)')
    """
    match cause:
        case "errors" | "latency":
            found = _requests(cause, evidence)
        case "stale":
            found = [("Requests", "none"), ("Usual in such an hour", f"{_number(evidence, 'usual'):.0f}")]
        case "resources":
            found = _resources(evidence)
        case "gap":
            found = _gap(evidence)
        case "coverage":
            found = _coverage(evidence)
        case _:
            return []
    return [*found, *_proof(evidence)]


def _requests(cause: str, evidence: Mapping[str, object]) -> list[tuple[str, str]]:
    share, bad, requests = (_number(evidence, name) for name in ("share", "bad", "requests"))
    what = "Failed" if cause == "errors" else "Slow"
    found = [(what, f"{100 * share:.1f} % ({bad:.0f} of {requests:.0f} requests)")]
    if cause == "latency":
        found.append(("Slow is", f"longer than {_number(evidence, 'limit_ms'):.0f} ms"))
        found += [("99th percentile", f"{_number(evidence, 'p99_ms'):.0f} ms")] if evidence.get("p99_ms") else []
    return [*found, ("Accepted", f"{100 * _number(evidence, 'bar'):.1f} %")]


def _resources(evidence: Mapping[str, object]) -> list[tuple[str, str]]:
    signals = evidence.get("signals")
    found = []
    for name, figures in signals.items() if isinstance(signals, dict) else ():
        used, limit = (_amount(str(name), _number(figures, key)) for key in ("used", "limit"))
        found += [(str(name).capitalize(), f"{used} by process {_number(figures, 'pid'):.0f}"), ("Accepted", limit)]
        found.append(("Evidence", _far(_number(figures, "m"), _number(figures, "level"))))
    return [*found, ("Workers", f"{_number(evidence, 'workers'):.0f}")]


def _gap(evidence: Mapping[str, object]) -> list[tuple[str, str]]:
    realized, estimated, bound = (_number(evidence, name) for name in ("realized", "estimated", "bound"))
    rows = f"{_number(evidence, 'rows'):.0f} labelled rows"
    return [
        (f"Realized {evidence.get('loss', 'loss')}", f"{realized:.4g} of {rows}"),
        ("Estimated", f"{estimated:.4g}, between {estimated - bound:.4g} and {estimated + bound:.4g}"),
        ("Gap", f"{realized - estimated:.4g}"),
    ]


def _coverage(evidence: Mapping[str, object]) -> list[tuple[str, str]]:
    realized, promised, bar, rows = (_number(evidence, name) for name in ("realized", "reference", "bar", "rows"))
    return [
        ("Outside their interval", f"{100 * realized:.1f} % of {rows:.0f} values"),
        ("Promised", f"{100 * promised:.1f} %, accepted up to {100 * bar:.1f} %"),
    ]


def _proof(evidence: Mapping[str, object]) -> list[tuple[str, str]]:
    level = _number(evidence, "alarm_level") or _number(evidence, "level")
    return [("Evidence", _far(_number(evidence, "m"), level))] if evidence.get("m") else []


def _far(m: float, level: float) -> str:
    return f"{m:.3g}, an alarm from {level:.4g}"


def _amount(name: str, value: float) -> str:
    return f"{value:.0f} MB" if name == "memory" else f"{value:.2f} cores"


def _number(evidence: object, name: str) -> float:
    value = evidence.get(name) if isinstance(evidence, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else 0.0
