"""One figure of a measurement, and how to take it."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was found, with its unit, and the limit it is held against (None: just shown). `more` is better or worse."""

    what: str
    found: float
    unit: str
    limit: float | None = None
    more_is_better: bool = False

    @property
    def held(self) -> bool:
        if self.limit is None:
            return True
        return self.found >= self.limit if self.more_is_better else self.found <= self.limit

    def limit_text(self) -> str:
        return "" if self.limit is None else f"{'>=' if self.more_is_better else '<='} {self.limit:g} {self.unit}"

    def line(self) -> str:
        mark = "" if self.limit is None else ("  held" if self.held else "  FALLS SHORT")
        return f"{self.what:<64} {self.found:>10.4g} {self.unit:<10} {self.limit_text()}{mark}"

    def row(self) -> str:
        held = "" if self.limit is None else ("yes" if self.held else "**no**")
        return f"| {self.what} | {self.found:.4g} {self.unit} | {self.limit_text()} | {held} |"


@dataclass(frozen=True)
class LeftOut:
    """What was not measured, and why. It stands among the figures, and holds nothing back."""

    what: str
    why: str
    held: bool = True

    def line(self) -> str:
        return f"{self.what:<64} left out: {self.why}"

    def row(self) -> str:
        return f"| {self.what} | left out: {self.why.replace('|', '/')} |  |  |"


def cpu_seconds(command: Sequence[str], *, runs: int = 7) -> float:
    """Median CPU seconds (user and system) of a whole process, after one run that is not counted."""
    found = []
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found[1:])


def wall(repeat: int, work: object) -> list[float]:
    """Seconds of each of `repeat` calls, after one that is not counted."""
    assert callable(work)
    work()
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found
