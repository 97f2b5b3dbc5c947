"""What rollouts are judged by, gathered turn by turn: a turn reads the rows and labels that are new.

Nothing of it is stored. Who starts anew reads all of a rollout's rows once, and finds the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TYPE_CHECKING

import polars as pl

from mainspring.core.values import dataclass
from mainspring.serving.counting import ROW_COLUMNS, Gathered, labels_frame
from mainspring.serving.log import after

if TYPE_CHECKING:
    from mainspring.serving.model import Rollout, StoredFeedback
    from mainspring.serving.rules.decision import Evidence

LabelsAfter = Callable[[int], Iterable["StoredFeedback"]]
"""Gives the labels of the endpoint above a number, in the order of arrival."""


@dataclass(slots=True)
class _Turn:
    """How far the log and the labels of a rollout are read, and what was found so far."""

    bad: tuple[object, ...]
    gathered: Gathered
    position: dict[str, int] = field(default_factory=dict)
    label: int = 0


class Gatherer:
    """Evidence of rollouts. Safe to share between threads: they take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    def evidence(self, found: Rollout, log: pl.LazyFrame, labels: LabelsAfter, *, trouble: str = "") -> Evidence:
        """What is known of a rollout by now.

        Args:
            found: The rollout.
            log: The predictions of its endpoint, at one version of their table.
            labels: The labels of its endpoint.
            trouble: What a hard guard found.
        """
        bad = (found.spec.latency_us, found.spec.bad_rules)
        with self._lock:
            turn = self._turns.pop(found.id, None)  # comes back whole, or what broke off begins anew
            if turn is None or turn.bad != bad:
                turn = _Turn(bad, Gathered(found.spec, found.weight))
            _read(turn, log.filter(pl.col("rollout") == found.id), labels_frame(labels(turn.label)))
            evidence = turn.gathered.evidence(found.spec, share=found.share, trouble=trouble)
            if not found.is_final:
                self._turns[found.id] = turn
        return evidence


def _read(turn: _Turn, log: pl.LazyFrame, labels: pl.DataFrame) -> None:
    """Take in what is new: a spool's rows come in order."""
    rows = log.filter(after(turn.position)).select("spool", "seq", *ROW_COLUMNS).collect()
    missing = turn.gathered.missing(labels)
    again = log.filter(pl.col("id").is_in(missing)).select(ROW_COLUMNS).collect() if missing else None
    turn.gathered.add(rows.select(ROW_COLUMNS), labels, again)
    turn.position |= dict(rows.group_by("spool").agg(pl.col("seq").max()).iter_rows())
    turn.label = max([turn.label, *labels["seq"].tail(1)])
