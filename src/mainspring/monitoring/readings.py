"""What can be said of a measure: a number with its interval, or why there is none."""

from __future__ import annotations

import math

from mainspring.core.values import dataclass

NOT_ESTIMABLE = "not estimable: "


@dataclass(frozen=True, slots=True)
class Reading:
    """A measure of a window.

    Attributes:
        value: What it is; None when it can't be said.
        low: Lower end of its 95 % interval, None where there is none.
        high: Upper end.
        why: "" or why there is no value, beginning with "not estimable: ".
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @classmethod
    def of(cls, value: float, low: float | None = None, high: float | None = None) -> Reading:
        """The reading of a number, or of none where it is not finite.

        >>> Reading.of(float("nan")).why
        'not estimable: the rows do not define it'
        """
        if not math.isfinite(value):
            return unknown("the rows do not define it")
        bounds = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
        return cls(value, low, high) if bounds else cls(value)

    def holds(self, value: float) -> bool:
        """Whether a value lies within the interval."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def text(self, digits: int = 4) -> str:
        """In words.

        >>> Reading(0.71234, 0.7, 0.72).text()
        '0.7123 (0.7 to 0.72)'
        """
        if self.value is None:
            return self.why
        bounds = "" if self.low is None or self.high is None else f" ({self.low:.{digits}g} to {self.high:.{digits}g})"
        return f"{self.value:.{digits}g}{bounds}"


def unknown(reason: str) -> Reading:
    """The reading of a measure that can't be said, with the reason."""
    return Reading(why=NOT_ESTIMABLE + reason)
