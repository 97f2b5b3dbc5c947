"""What the demo says: one line a step with its time and its check, and a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US, iso
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from mainspring.registry import ModelVersion, Registry


@dataclass
class Report:
    """Prints steps as they end, and remembers whether every check held."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    failed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def step(self, name: str, text: str, *, held: bool = True) -> None:
        """One step is over; `held` says whether its check did."""
        now = time.monotonic() - self.started
        self.seconds[name] = now - sum(self.seconds.values())
        mark = "[green]ok[/]   " if held else "[red]FAILED[/]"
        self.console.print(f"{now:6.1f} s  {mark} [bold]{name:<9}[/] {text}", highlight=False)
        if not held:
            self.failed.append(name)

    def live(self, text: str) -> None:
        """Progress, on one line that is written over; nothing when nobody watches."""
        if self.console.is_terminal:
            self.console.print(f"{time.monotonic() - self.started:6.1f} s  {text}", end="\r", highlight=False)

    def tables(self, sections: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """The final tables: a title and rows of cells each, the first row as head."""
        from rich.table import Table

        for title, rows in sections.items():
            made = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
            for cell in rows[0]:
                made.add_column(cell)
            for row in rows[1:]:
                made.add_row(*row)
            self.console.print()
            self.console.print(made)


def make_console() -> Console:
    """A console on standard output; wide enough for the tables where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, soft_wrap=False)


def day(at: int) -> str:
    """The date of an event time."""
    return iso(at)[:10]


@dataclass(frozen=True, slots=True)
class Contest:
    """Champion against the stale version on the same labelled flights, with a paired interval of the difference."""

    flights: int
    champion: float
    stale: float
    difference: float
    low: float
    high: float


def contest(registry: Registry, champion: ModelVersion, stale: ModelVersion, rows: pl.DataFrame) -> Contest:
    """Score the same rows, as `Serving.labelled` gives them, with both versions.

    The interval of the difference is two-sided at 95 %, with flights of one day as one cluster.

    Source: DeLong, DeLong and Clarke-Pearson 1988; for clusters Obuchowski 1997.
    """
    import numpy as np

    from mainspring.gates.rules.bootstrap import Grouping
    from mainspring.gates.rules.delong import compare_auc, placements

    truth = rows["label"].to_numpy().astype(np.float64)
    first, second = (
        np.asarray(registry.load(version.model, version.number).predict(rows)["probability"], dtype=np.float64)
        for version in (champion, stale)
    )
    days = np.unique(rows["event_at"].to_numpy() // DAY_US, return_inverse=True)[1]
    grouping = Grouping(cluster=days.astype(np.int64))
    found = compare_auc(truth, first, second, threshold=0.0, alpha=0.025, grouping=grouping)
    areas = [placements(truth, scores).auc for scores in (first, second)]
    return Contest(len(truth), areas[0], areas[1], found.value, found.low, found.high)
