"""Runs data checks, pipeline and gate here and now, in this order, and stops at the first that fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import MainspringError
from mainspring.loop.ci.model import ERROR, FAILED, PASSED, SKIPPED, Case, CiSpec, Report, Table

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.gates import Gates, Verdict
    from mainspring.pipelines import PipelineRun, Pipelines

_STATES = {"pass": PASSED, "fail": FAILED, "undecided": FAILED, "error": ERROR, "skipped": SKIPPED}
_RETURNS = ("model", "version", "evaluation", "label")


class Ci:
    """Continuous integration on the working tree.

    Args:
        data: Takes the tables.
        pipelines: Runs the pipeline, in this process.
        gates: Judges.
        root: Folder that files start from.
    """

    def __init__(self, *, data: Data, pipelines: Pipelines, gates: Gates, root: Path) -> None:
        self._data, self._pipelines, self._gates, self._root = data, pipelines, gates, root

    def run(self, spec: CiSpec) -> Report:
        """Run it all.

        Raises:
            NotFound: There is no such gate or pipeline.
            Invalid: The gate or the pipeline is wrong, before anything ran.
        """
        began = time.monotonic()
        gate = self._gates.spec(spec.gate)
        self._pipelines.load(spec.pipeline).draw(spec.params)
        cases = [self._ingested(table) for table in spec.data]
        bad = [case for case in cases if case.state != PASSED]
        if bad:
            return Report("failed", f"data: {bad[0].note}", tuple(cases), time.monotonic() - began)
        run = self._pipelines.run_inline(spec.pipeline, spec.params)
        cases += _steps(run)
        problem = run.error or _missing(run.result)
        if problem or not isinstance(run.result, Mapping):
            cases += [Case("pipeline", run.pipeline, FAILED, problem)] if not run.error else []
            return Report("failed", f"pipeline: {problem}", tuple(cases), time.monotonic() - began)
        model, version = str(run.result["model"]), int(str(run.result["version"]))
        ref, data = f"models/{model}/{version}", str(run.result["evaluation"]).removeprefix("datasets/")
        try:
            found = self._gates.run(gate.name, model, version, data=data, label=str(run.result["label"]))
        except MainspringError as error:
            cases.append(Case("gate", gate.name, ERROR, str(error)))
            return Report("failed", f"gate: {error.what}", tuple(cases), time.monotonic() - began, ref)
        return _judged(found, cases, ref, time.monotonic() - began)

    def _ingested(self, table: Table) -> Case:
        began = time.monotonic()
        try:
            made = self._data.ingest(table.name, self._root / table.file, checks=table.checks)
        except MainspringError as error:
            return Case("data", table.name, FAILED, str(error), time.monotonic() - began)
        whole, took = made.rows + made.quarantined, time.monotonic() - began
        note = f"{made.ref}: {made.rows} rows, {made.quarantined} of {whole} in quarantine"
        if made.quarantined > table.most_quarantined * whole:
            return Case("data", table.name, FAILED, f"{note}; at most {table.most_quarantined:.1%} may be", took)
        return Case("data", table.name, PASSED, note, took)


def _steps(run: PipelineRun) -> list[Case]:
    states = {"finished": PASSED, "cached": PASSED, "failed": FAILED, "cancelled": ERROR}
    return [
        Case(
            "pipeline",
            step.id,
            states.get(str(step.state), SKIPPED),
            step.error or ("" if str(step.state) == "finished" else str(step.state)),
            step.seconds or 0.0,
        )
        for step in run.steps
    ]


def _missing(result: object) -> str:
    known = result if isinstance(result, Mapping) else {}
    missing = [name for name in _RETURNS if name not in known]
    return f"it did not return {', '.join(missing)}, which the gate needs" if missing else ""


def _judged(found: Verdict, cases: list[Case], ref: str, seconds: float) -> Report:
    from mainspring.gates.report import markdown

    checks = [Case("gate", each.title, _STATES[each.outcome], each.note) for each in found.checks]
    outcome = {"pass": "passed", "error": "failed"}.get(found.outcome, "refused")
    reason = f"gate {found.gate} said {found.outcome}: {found.reason}"
    return Report(outcome, reason, (*cases, *checks), seconds, ref, markdown(found))
