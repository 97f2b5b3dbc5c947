"""What is new in a run since one looked last."""

from __future__ import annotations

from mainspring.core.values import dataclass
from mainspring.tracking.model import ENDED, Metric
from mainspring.tracking.service import Tracking


@dataclass(frozen=True, slots=True)
class News:
    """The status of a run, and the latest points of the metrics that moved."""

    status: str
    points: tuple[Metric, ...]

    @property
    def over(self) -> bool:
        """Whether the run has ended, so that nothing more is to be expected."""
        return self.status in ENDED


class Watch:
    """Looks at a run again and again. What was logged between two looks is told by its latest point."""

    def __init__(self, tracking: Tracking, run_id: str) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._known: dict[str, Metric] = {}

    def news(self) -> News:
        """What moved since the look before; at the first look all there is.

        Raises:
            NotFound: No such run.
        """
        status, latest = self._tracking.latest(self._run_id)
        moved = tuple(point for key, point in sorted(latest.items()) if _place(self._known.get(key)) != _place(point))
        self._known = latest
        return News(status, moved)


def _place(point: Metric | None) -> tuple[int, int, str] | None:
    """What tells two points apart, NaN included."""
    return None if point is None else (point.step, point.at, repr(point.value))
