"""The six cells of the loop page: what each stage of the loop shows, read from the rooms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mainspring.core.wiring import Wiring
from mainspring.ui.pages import ago, count


@dataclass(frozen=True, slots=True)
class Cell:
    """One stage of the loop on one card.

    Attributes:
        name: The stage.
        link: The page with more.
        number: The one number, empty when there is nothing yet.
        unit: What it counts.
        state: One word about how it is, may be empty.
        detail: One line about the newest.
        tone: "ok", "warn", "bad" or "".
        command: What fills the cell when it is empty.
    """

    name: str
    link: str
    number: str = ""
    unit: str = ""
    state: str = ""
    detail: str = ""
    tone: str = ""
    command: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show yet."""
        return not self.number


def loop_cells(wiring: Wiring) -> list[Cell]:
    """The cells in the order of the loop."""
    return [make(wiring) for make in _CELLS]


def _data(wiring: Wiring) -> Cell:
    from mainspring.data import Data

    datasets = wiring.get(Data).datasets()
    if not datasets:
        return Cell("Data", "/datasets", detail="No dataset yet.", command="mainspring data ingest NAME FILE.csv")
    return Cell("Data", "/datasets", number=count(len(datasets)), unit="datasets")


_CELLS: tuple[Callable[[Wiring], Cell], ...] = (_data,)
