"""Requests that a deployment answered, or did not, counted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import field

from mainspring.core.values import dataclass

CELLS_PER_OCTAVE = 4


@dataclass(frozen=True, slots=True)
class ServiceCounts:
    """Requests of a stretch of wall time, counted; merging is adding.

    Attributes:
        requests: All that were asked and came as far as the model.
        failed: Of these, those the server could not answer (status 500 and above).
        refused: Of these, those it would not (status 400 to 499).
        latency: How many took how long: requests by cell of a quarter of an octave of microseconds.
    """

    requests: int = 0
    failed: int = 0
    refused: int = 0
    latency: dict[int, int] = field(default_factory=dict)

    def merge(self, other: ServiceCounts) -> ServiceCounts:
        """The counts of both stretches."""
        return ServiceCounts.total((self, other))

    @staticmethod
    def total(parts: Iterable[ServiceCounts]) -> ServiceCounts:
        """The counts of any number of stretches, also none."""
        every = list(parts)
        latency: dict[int, int] = {}
        for part in every:
            for cell, count in part.latency.items():
                latency[cell] = latency.get(cell, 0) + count
        return ServiceCounts(
            sum(part.requests for part in every),
            sum(part.failed for part in every),
            sum(part.refused for part in every),
            latency,
        )

    def slower(self, limit_us: float) -> int:
        """Requests in cells above the one that the limit lies in."""
        return sum(count for cell, count in self.latency.items() if cell > latency_cell(limit_us))

    def quantile_us(self, share: float) -> float | None:
        """The upper edge of the cell in which this share of the requests is reached; None without requests."""
        reached, total = 0, sum(self.latency.values())
        for cell in sorted(self.latency):
            reached += self.latency[cell]
            if reached >= share * total:
                return float(2 ** ((cell + 1) / CELLS_PER_OCTAVE))
        return None


def latency_cell(micros: float) -> int:
    """The cell of a latency.

    >>> latency_cell(1000), latency_cell(2000)
    (39, 43)
    """
    return math.floor(CELLS_PER_OCTAVE * math.log2(max(micros, 1.0)) + 1e-9)
