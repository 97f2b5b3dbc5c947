"""What the machine of a worker has, and what of it the steps that run there have taken."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mainspring.pipelines.model import Resources


class Machine:
    """Gives out cores, memory and graphics cards to steps that asked for them. Safe to share between threads.

    Args:
        has: What there is to give out; found out when it is None.
    """

    def __init__(self, has: Resources | None = None) -> None:
        self.has = has or find_out()
        self._left = self.has
        self._cards = list(range(self.has.gpu))
        self._taken: dict[tuple[str, str], tuple[Resources, list[int]]] = {}
        self._lock = threading.Lock()

    def take(self, run: str, step: str, wanted: Resources) -> list[int] | None:
        """Take what a step wants: the numbers of its graphics cards, or None when that much is not free now."""
        with self._lock:
            if (run, step) in self._taken:
                return self._taken[run, step][1]
            if self._left.lacks(wanted):
                return None
            cards = self._cards[: wanted.gpu]
            del self._cards[: wanted.gpu]
            self._left -= wanted
            if wanted != Resources():
                self._taken[run, step] = (wanted, cards)
            return cards

    def free(self, run: str, step: str = "") -> None:
        """Give back what a step of a run took; with no step, what all of them took."""
        with self._lock:
            for key in [key for key in self._taken if key[0] == run and step in ("", key[1])]:
                wanted, cards = self._taken.pop(key)
                self._left += wanted
                self._cards = sorted(self._cards + cards)


def find_out() -> Resources:
    """The processors that this process may use, the machine's memory, and its graphics cards."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cards = sum(each.name[6:].isdigit() for each in Path("/dev").glob("nvidia[0-9]*"))
    return Resources(float(cores), memory, cards)
