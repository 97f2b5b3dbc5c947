"""Whether a request would be answered in time: by how many are under way, and how quickly one after the other ends."""

from __future__ import annotations

import time
from math import exp

from mainspring.core.errors import Overloaded

FEW = 64
"""So many may be under way however long it takes: what one takes alone says little of what many take together."""
_REMEMBERED_S = 2.0
"""By time and not by number: what a model answered at once ends at once, after all of them waited for it."""


class Pressure:
    """Counts requests under way and the time between their ends. Used on the loop only.

    What waits for a model is known beforehand, see `Batcher`; what reading rows, the log and a busy machine add is only
    known by looking. Those under way times the time from end to end is how long a new one takes (Little 1961).

    Args:
        max_wait_s: New requests are refused while they would take longer than this.
    """

    def __init__(self, max_wait_s: float) -> None:
        self.under_way = 0
        self.each_s = 0.0
        self._max_wait_s = max_wait_s
        self._ended_at = 0.0
        self._busy_s = 0.0
        self._ends = 0.0

    @property
    def wait_s(self) -> float:
        """How long a request would take that came now."""
        return self.under_way * self.each_s

    def enter(self) -> float:
        """Let a request in. Returns when, for `leave`.

        Raises: Overloaded: It would take too long.
        """
        if self.under_way >= FEW and self.wait_s > self._max_wait_s:
            raise Overloaded(f"a prediction would take {self.wait_s:.1f} s", hint="send it again in a second")
        self.under_way += 1
        return time.perf_counter()

    def leave(self, entered_at: float) -> None:
        """A request ended, however it did."""
        now = time.perf_counter()
        took = now - max(entered_at, self._ended_at)
        kept = exp(-took / _REMEMBERED_S)
        self._busy_s, self._ends = kept * self._busy_s + took, kept * self._ends + 1.0
        self.each_s = self._busy_s / self._ends
        self.under_way -= 1
        self._ended_at = now
