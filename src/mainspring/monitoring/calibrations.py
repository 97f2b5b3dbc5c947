"""What the scores of versions mean, by rows they did not learn from, and the gap between estimate and truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US
from mainspring.core.values import dataclass
from mainspring.monitoring import records
from mainspring.monitoring.model import MonitorSpec, WatchedVersion
from mainspring.monitoring.readings import unknown
from mainspring.monitoring.rules.performance import Outcomes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.gates import Gates
    from mainspring.gates.model import HeldOut
    from mainspring.monitoring.rules.estimating.calibrating import Calibration, Counted
    from mainspring.monitoring.rules.gap import GapWindow

_CALIBRATE_ON = 1_000
_OF_A_CLASS = 30
_LOSSES = {"brier": "brier", "error": "accuracy"}
"""Losses that are estimated from scores, and the measure they follow from."""


@dataclass(frozen=True, eq=False)
class Meaning:
    """What the scores of a version mean.

    Attributes:
        calibration: The probability behind each score, or why it is not known.
        source: In words, what it rests on.
        until: Labelled rows before this event time were used for it; 0 when none were.
        classes: Of many classes the probability behind the scores of each, or why it is not known.
        classes_until: As `until`, for these.
    """

    calibration: Calibration | str
    source: str
    until: int = 0
    classes: Sequence[Calibration] | str = "of two classes or numbers there is one score"
    classes_until: int = 0


class Calibrations:
    """Finds what scores mean, and keeps what it found: held-out rows of a version never change.

    Args:
        gates: Know what versions said to rows they did not learn from.
        spec: The visible settings.
    """

    def __init__(self, gates: Gates | None, spec: MonitorSpec) -> None:
        self._gates, self._spec = gates, spec
        self._held_out: dict[tuple[str, str, int], HeldOut] = {}
        self._of_classes: dict[tuple[str, str, str, int, float], Sequence[Calibration] | str] = {}
        self._fitted: dict[tuple[str, str, str, int, float], Calibration | str] = {}

    def of(self, conn: Connection, watched: WatchedVersion) -> Meaning:
        """What the scores of a version mean: by its held-out rows, else by the first of its predictions with labels."""
        found = self._of_score(conn, watched)
        return self._with_classes(conn, watched, found) if watched.task == "multiclass" else found

    def _with_classes(self, conn: Connection, watched: WatchedVersion, found: Meaning) -> Meaning:
        """The same with what the scores of each class mean, by the first labelled predictions."""
        from mainspring.monitoring.rules.areas import calibrate_classes

        first, until = first_labelled(records.outcomes_after(conn, watched.deployment, watched.version))
        if not until:
            return replace(found, classes=f"fewer than {_CALIBRATE_ON} predictions have labels")
        key = (caller().project, watched.deployment, watched.model, watched.version, float(first.rows))
        if key not in self._of_classes:
            self._of_classes[key] = calibrate_classes(first.classed, seed=watched.version)
        return replace(found, classes=self._of_classes[key], classes_until=until)

    def _of_score(self, conn: Connection, watched: WatchedVersion) -> Meaning:
        if watched.task == "regression":
            return Meaning("errors of numbers need rows: mainspring monitor estimate", "")
        held_out = self._rows_of_a_gate(watched)
        if held_out is not None:
            from mainspring.monitoring.rules.estimating.calibrating import Counted

            source = f"{held_out.rows} held-out rows of {held_out.data_ref}"
            return Meaning(self._calibrated(watched, Counted.of(held_out.scores)), source)
        first, until = first_labelled(records.outcomes_after(conn, watched.deployment, watched.version))
        if not until:
            reason = f"no gate judged the version and fewer than {_CALIBRATE_ON} of its predictions have labels"
            return Meaning(reason, unknown(reason).why)
        return Meaning(
            self._calibrated(watched, counted_of(first)), f"the first {first.rows} labelled predictions", until
        )

    def gaps(self, conn: Connection, watched: WatchedVersion) -> Sequence[GapWindow]:
        """The closed windows that were not judged yet, with their realized loss and the one their scores promise.

        Both are of the labelled rows, so that labels that come for some rows only make no gap.
        """
        if watched.loss not in _LOSSES:
            return ()
        from mainspring.monitoring.rules.windows import closed_labels

        gap = watched.state.get("gap")
        done = int(gap.get("until", 0)) if isinstance(gap, dict) else 0
        monitor = records.find_monitor(conn, watched.deployment)
        days = records.list_outcomes(conn, watched.deployment, watched.version, since=done)
        windows, _ = closed_labels(days, monitor.watermark if monitor else 0, self._spec)
        if not windows:
            return ()
        meaning = self.of(conn, watched)
        if isinstance(meaning.calibration, str):
            return ()
        found = [
            _gap(window.start, window.end, window.outcomes, watched.loss, meaning.calibration)
            for window in windows
            if window.start >= meaning.until
        ]
        return [window for window in found if window is not None]

    def _rows_of_a_gate(self, watched: WatchedVersion) -> HeldOut | None:
        key = (caller().project, watched.model, watched.version)
        if key not in self._held_out and self._gates is not None:
            found = self._gates.held_out(watched.model, watched.version)
            if found is not None and found.scores:
                self._held_out[key] = found
        return self._held_out.get(key)

    def _calibrated(self, watched: WatchedVersion, counted: Counted) -> Calibration | str:
        from mainspring.monitoring.rules.estimating.calibrating import calibrate

        rows = float(counted.rows.sum())
        key = (caller().project, watched.deployment, watched.model, watched.version, rows)
        if key not in self._fitted:
            self._fitted[key] = calibrate(counted, seed=watched.version)
        return self._fitted[key]


def first_labelled(days: Iterable[tuple[int, Outcomes]]) -> tuple[Outcomes, int]:
    """The first days with enough labels of both classes to calibrate on, and their end; 0 when there are too few."""
    gathered: list[Outcomes] = []
    rows = no = yes = 0
    for at, found in days:
        gathered.append(found)
        rows += found.rows
        no += sum(pair[0] for pair in found.counts.values())
        yes += sum(pair[1] for pair in found.counts.values())
        if rows >= _CALIBRATE_ON and min(no, yes) >= _OF_A_CLASS:
            return Outcomes.total(gathered), at + DAY_US
    return Outcomes(), 0


def counted_of(outcomes: Outcomes) -> Counted:
    """Labelled rows per cell of their score."""
    from mainspring.monitoring.rules.estimating.calibrating import Counted

    cells = {str(cell): (no, yes, outcomes.scores.get(cell, 0.0)) for cell, (no, yes) in outcomes.counts.items()}
    return Counted.of(cells)


def _gap(start: int, end: int, outcomes: Outcomes, loss: str, calibration: Calibration) -> GapWindow | None:
    from mainspring.monitoring.rules.estimating.classes import estimate, estimate_right
    from mainspring.monitoring.rules.gap import GapWindow

    labelled, realized = counted_of(outcomes), outcomes.mean_loss
    if loss == "brier":
        reading = estimate(labelled.rows, labelled.sums, calibration)["brier"]
    else:
        reading = estimate_right(labelled.rows, labelled.sums, calibration)
    if reading.value is None or reading.low is None or reading.high is None or realized is None:
        return None
    estimated = reading.value if loss == "brier" else 1 - reading.value
    return GapWindow(start, end, realized, estimated, (reading.high - reading.low) / 2, outcomes.rows)
