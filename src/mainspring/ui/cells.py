"""The six cells of the loop page: what each stage of the loop shows, read from the services of the rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainspring.core.wiring import Wiring
from mainspring.ui.pages import ago, count

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.gates import Gates
    from mainspring.loop import Loop
    from mainspring.monitoring import Monitoring
    from mainspring.serving import Serving
    from mainspring.tracking import Tracking


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
    from mainspring.data import Data
    from mainspring.gates import Gates
    from mainspring.loop import Loop
    from mainspring.monitoring import Monitoring
    from mainspring.serving import Serving
    from mainspring.tracking import Tracking

    serving = wiring.get(Serving)
    return [
        _data(wiring.get(Data)),
        _train(wiring.get(Tracking)),
        _gate(wiring.get(Gates)),
        _deploy(serving),
        _watch(wiring.get(Monitoring), serving),
        _retrain(wiring.get(Loop)),
    ]


def _data(data: Data) -> Cell:
    datasets = data.datasets()
    if not datasets:
        return Cell("Data", "/datasets", detail="No dataset yet.", command="mainspring data ingest NAME FILE.csv")
    return Cell("Data", "/datasets", number=count(len(datasets)), unit=_plural(len(datasets), "dataset"))


def _train(tracking: Tracking) -> Cell:
    runs = tracking.search(limit=100)
    if not runs:
        return Cell("Train", "/runs", detail="No run yet.", command="mainspring pipeline run FILE.py:FUNCTION")
    return Cell("Train", "/runs", number=count(len(runs)), unit=_plural(len(runs), "run"))


def _gate(gates: Gates) -> Cell:
    verdicts = gates.verdicts(limit=100)
    if not verdicts:
        return Cell("Gate", "/gates", detail="No verdict yet.", command="mainspring gate run GATE MODEL VERSION")
    newest = verdicts[0]
    return Cell(
        "Gate",
        "/gates",
        number=count(sum(verdict.outcome == "pass" for verdict in verdicts)),
        unit=f"of {len(verdicts)} passed",
        state=newest.outcome,
        detail=f"{newest.model} {newest.version}, {ago(newest.created_at)}",
        tone={"pass": "ok", "undecided": "warn"}.get(newest.outcome, "bad"),
    )


def _deploy(serving: Serving) -> Cell:
    deployments = serving.deployments()
    if not deployments:
        return Cell("Deploy", "/deployments", detail="Nothing is live.", command="mainspring deploy NAME MODEL VERSION")
    return Cell("Deploy", "/deployments", number=count(len(deployments)), unit="live", tone="ok", state="live")


def _watch(monitoring: Monitoring, serving: Serving) -> Cell:
    alarms = [alarm for deployment in serving.deployments() for alarm in monitoring.alarms(deployment.name)]
    return Cell("Watch", "/monitors", number=count(len(alarms)), unit=_plural(len(alarms), "alarm"))


def _retrain(loop: Loop) -> Cell:
    cycles = loop.cycles()
    if not cycles:
        return Cell("Retrain", "/loop", detail="No cycle yet.", command="mainspring loop start POLICY")
    return Cell("Retrain", "/loop", number=count(len(cycles)), unit=_plural(len(cycles), "cycle"))


def _plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
