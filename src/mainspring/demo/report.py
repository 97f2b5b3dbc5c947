"""What the demo says: one line a step with its time and its check, and a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from mainspring.core.clock import iso

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
    low: float
    high: float


def contest(registry: Registry, champion: ModelVersion, stale: ModelVersion, rows: pl.DataFrame, label: str) -> Contest:
    """Score the same rows with both versions. The interval is DeLong's, 95 %, two-sided.

    Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    import numpy as np

    from mainspring.gates.rules.delong import paired_auc

    truth = rows[label].cast(bool).to_numpy()
    scores = [
        np.asarray(registry.load(version.model, version.number).predict(rows)["probability"], dtype=np.float64)
        for version in (champion, stale)
    ]
    found = paired_auc(truth, scores[0], scores[1])
    return Contest(len(truth), found.first, found.second, *cast(tuple[float, float], found.interval(0.05)))
