"""What people say of predictions besides labels: ratings, corrections, clicks, counted by the day."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mainspring.core.clock import day_of
from mainspring.core.values import dataclass
from mainspring.monitoring.readings import Reading, unknown

if TYPE_CHECKING:
    from mainspring.serving.model import StoredFeedback

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Said:
    """Feedback of one kind and day; adding is merging.

    Attributes:
        kind: Such as "rating", "correction" or "click".
        start: First microsecond of the day at which it became known.
        rows: How many.
        numbers: How many of them are numbers.
        total: Sum of the numbers.
        squares: Sum of their squares.
    """

    kind: str
    start: int
    rows: int
    numbers: int
    total: float
    squares: float

    @property
    def mean(self) -> Reading:
        """Mean of the numbers, with a 95 % interval."""
        if not self.numbers:
            return unknown("no value is a number")
        mean = self.total / self.numbers
        if self.numbers < 2:
            return Reading(mean)
        spread = max(0.0, self.squares / self.numbers - mean * mean) / (self.numbers - 1)
        reach = _Z95 * math.sqrt(spread)
        return Reading.of(mean, mean - reach, mean + reach)


def said_of(items: Iterable[StoredFeedback]) -> list[Said]:
    """Feedback other than labels by kind and day."""
    found: dict[tuple[str, int], list[float]] = {}
    for item in items:
        if item.kind != "label":
            number = float(item.value) if isinstance(item.value, (int, float)) else None
            usable = number is not None and abs(number) < 1e100
            sums = found.setdefault((item.kind, day_of(max(item.at, 0))), [0.0, 0.0, 0.0, 0.0])
            more = (1.0, 1.0, number, number * number) if usable and number is not None else (1.0, 0.0, 0.0, 0.0)
            for place, value in enumerate(more):
                sums[place] += value
    return [
        Said(kind, start, int(rows), int(numbers), total, squares)
        for (kind, start), (rows, numbers, total, squares) in sorted(found.items())
    ]
