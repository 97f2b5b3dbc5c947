"""Whether the metrics of two runs are the same: to the bit, or within a tolerance that somebody declared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.tracking.model import Metric

SAME, WITHIN, DIFFERS, MISSING, NEW = "same", "within", "differs", "missing", "new"
_EVERY = "*"
_OF_THE_MACHINE = "system/"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of a run beside that of its reproduction.

    Args:
        key: Its name.
        verdict: "same" to the bit, "within" the tolerance, "differs", "missing" now, or "new" now.
        recorded: The last value then, None when there was none.
        now: The last value now.
        points: How many points it had then.
        difference: The greatest difference of two values, divided by the recorded one.
        tolerance: What was allowed.
    """

    key: str
    verdict: str
    recorded: float | None
    now: float | None
    points: int
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the metric was reproduced."""
        return self.verdict in (SAME, WITHIN)


def compare(
    recorded: Mapping[str, Sequence[Metric]], now: Mapping[str, Sequence[Metric]], allowed: Mapping[str, float]
) -> list[Comparison]:
    """Hold metrics side by side, point by point; when a point was logged does not matter.

    Metrics of the machine (`system/`) are left out: they are never the same.

    Args:
        recorded: Every point of every metric of the run, in order.
        now: The same of its reproduction.
        allowed: Greatest relative difference by metric; `*` is for all others; without it: none.

    >>> then, now = {"loss": [Metric("loss", 1.0)]}, {"loss": [Metric("loss", 1.1)]}
    >>> [compare(then, now, allowed)[0].verdict for allowed in ({}, {"*": 0.2}, {"loss": 0.01, "*": 0.2})]
    ['differs', 'within', 'differs']
    """
    keys = sorted(key for key in {*recorded, *now} if not key.startswith(_OF_THE_MACHINE))
    return [
        _one(key, recorded.get(key, ()), now.get(key, ()), allowed.get(key, allowed.get(_EVERY, 0.0))) for key in keys
    ]


def tolerances(text: str) -> dict[str, float]:
    """What a run declared, as its tag holds it.

    Raises:
        Invalid: It is no mapping of names to numbers.
    """
    try:
        return {str(key): float(value) for key, value in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        hint = 'run.tolerance({"loss": 0.01}) sets it'
        raise Invalid(f"{text[:60]!r} is no tolerance", where="tag mainspring.tolerance", hint=hint) from None


def _one(key: str, then: Sequence[Metric], now: Sequence[Metric], tolerance: float) -> Comparison:
    last_then, last_now = (side[-1].value if side else None for side in (then, now))
    if not then or not now:
        verdict = NEW if not then else MISSING
        return Comparison(key, verdict, last_then, last_now, len(then), math.inf, tolerance)
    steps = [point.step for point in then] == [point.step for point in now]
    difference = max(_apart(a.value, b.value) for a, b in zip(then, now, strict=True)) if steps else math.inf
    if difference == 0:
        verdict = SAME
    else:
        verdict = WITHIN if steps and difference <= tolerance else DIFFERS
    return Comparison(key, verdict, last_then, last_now, len(then), difference, tolerance)


def _apart(then: float, now: float) -> float:
    """The relative difference; NaN is like NaN, an infinity only like itself.

    >>> _apart(2.0, 2.5), _apart(float("nan"), float("nan")), _apart(0.0, 1e-300)
    (0.25, 0.0, inf)
    """
    if then == now or (math.isnan(then) and math.isnan(now)):
        return 0.0
    if not (math.isfinite(then) and math.isfinite(now)) or then == 0:
        return math.inf
    return abs(now - then) / abs(then)
