"""The six cells of the loop page: what each stage of the loop shows, read from the services of the rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.values import dataclass
from mainspring.core.wiring import Wiring
from mainspring.monitoring.model import UNSEEN_STATES
from mainspring.ui.pages import ago, count, percent, time

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.gates import Gates
    from mainspring.loop import Loop
    from mainspring.monitoring import Monitoring
    from mainspring.serving import Serving
    from mainspring.tracking import Search, Tracking


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
    from mainspring.tracking import Search, Tracking

    serving = wiring.get(Serving)
    return [
        _data(wiring.get(Data)),
        _train(wiring.get(Tracking), wiring.get(Search)),
        _gate(wiring.get(Gates)),
        _deploy(serving),
        _watch(wiring.get(Monitoring)),
        _retrain(wiring.get(Loop)),
    ]


def _data(data: Data) -> Cell:
    datasets = data.datasets()
    if not datasets:
        return Cell("Data", "/datasets", detail="No dataset yet.", command="mainspring data ingest NAME FILE.csv")
    newest = max(datasets, key=lambda dataset: dataset.changed_at)
    return Cell(
        "Data",
        "/datasets",
        number=_many(len(datasets)),
        unit=_plural(len(datasets), "dataset"),
        state=f"version {newest.latest}",
        detail=f"of {newest.name}, {count(newest.rows)} rows, {ago(newest.changed_at)}",
    )


def _train(tracking: Tracking, search: Search) -> Cell:
    experiments = tracking.experiments()
    newest = search.runs(None, limit=1, fields="status").items
    if not newest:
        return Cell("Train", "/runs", detail="No run yet.", command="mainspring pipeline run train.py:FUNCTION")
    number = sum(experiment.runs for experiment in experiments)
    run = newest[0]
    return Cell(
        "Train",
        "/runs",
        number=count(number),
        unit=_plural(number, "run"),
        state=run.status,
        detail=f"{run.experiment}, {ago(run.ended_at or run.started_at)}",
        tone=TONES.get(run.status, ""),
    )


def _gate(gates: Gates) -> Cell:
    verdicts = gates.verdicts(limit=100)
    if not verdicts:
        return Cell(
            "Gate", "/gates", detail="No verdict yet.", command="mainspring gate run GATE MODEL 1 --data DATASET"
        )
    newest = verdicts[0]
    return Cell(
        "Gate",
        "/gates",
        number=count(sum(verdict.outcome == "pass" for verdict in verdicts)),
        unit=f"of {_many(len(verdicts))} passed",
        state=newest.outcome,
        detail=f"{newest.model} {newest.version}, {ago(newest.created_at)}",
        tone=TONES.get(newest.outcome, ""),
    )


def _deploy(serving: Serving) -> Cell:
    deployments = serving.deployments()
    if not deployments:
        return Cell("Deploy", "/deployments", detail="Nothing is live.", command="mainspring deploy MODEL --version 1")
    newest = max(deployments, key=lambda deployment: deployment.updated_at)
    canary = newest.traffic.arms[1:]
    return Cell(
        "Deploy",
        f"/deployments/{newest.name}" if len(deployments) == 1 else "/deployments",
        number=f"v{newest.champion}",
        unit=f"live at {newest.name}" + (f", {len(deployments) - 1} more" if len(deployments) > 1 else ""),
        state=", ".join(f"{arm.name} v{arm.version} {percent(arm.share, 0)}" for arm in canary[:2]) or "live",
        detail=f"since {ago(newest.updated_at)}",
        tone="warn" if canary else "ok",
    )


def _watch(monitoring: Monitoring) -> Cell:
    monitors = monitoring.monitors()
    if not monitors:
        return Cell("Watch", "/monitors", detail="Nothing is watched.", command="mainspring deploy MODEL --version 1")
    alarms = monitoring.alarms(states=UNSEEN_STATES)
    seen = max(monitors, key=lambda monitor: monitor.watermark)
    until = f", seen up to {time(seen.watermark)[:16]}" if seen.watermark else ""
    return Cell(
        "Watch",
        f"/monitors/{seen.deployment}" if len(monitors) == 1 else "/monitors",
        number=_many(len(alarms)),
        unit=_plural(len(alarms), "open alarm"),
        state=alarms[0].cause if alarms else "ok" if seen.predictions else "waiting",
        detail=f"{count(sum(monitor.predictions for monitor in monitors))} predictions{until}",
        tone="bad" if alarms else "ok" if seen.predictions else "",
    )


def _retrain(loop: Loop) -> Cell:
    cycles = loop.cycles()
    if not cycles:
        policy = next(iter(loop.policies), "POLICY")
        return Cell("Retrain", "/cycles", detail="No cycle yet.", command=f"mainspring loop start {policy}")
    newest = cycles[0]
    return Cell(
        "Retrain",
        "/cycles",
        number=_many(len(cycles)),
        unit=_plural(len(cycles), "cycle"),
        state=newest.state.replace("_", " "),
        detail=newest.reason or f"{newest.model}, {ago(newest.started_at)}",
        tone=TONES.get(newest.state, ""),
    )


TONES = {
    "finished": "ok",
    "pass": "ok",
    "promoted": "ok",
    "deployed": "ok",
    "undecided": "warn",
    "canary": "warn",
    "gating": "warn",
    "training": "warn",
    "refused": "warn",
    "fail": "bad",
    "error": "bad",
    "failed": "bad",
    "rolled_back": "bad",
}
"""How a state looks."""


def _many(number: int) -> str:
    """A count of a list that ends at 100."""
    return "100+" if number >= 100 else str(number)


def _plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
