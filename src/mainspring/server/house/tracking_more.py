"""Tracking of a house, besides its runs."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.server.house.floor import CLOCK, blobs, journal, tables
from mainspring.tracking import Files, LoggedModels, Search
from mainspring.tracking.arrivals import Arrivals
from mainspring.tracking.columns import Columns
from mainspring.tracking.evaluation_sets import EvaluationSets
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.histories import Histories
from mainspring.tracking.inputs import Inputs
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.scorers import Scorers
from mainspring.tracking.traces import Traces
from mainspring.tracking.views import Views


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the services are made."""
    wiring.add(Search, lambda w: Search(tables=tables(w), clock=CLOCK))
    wiring.add(Columns, lambda w: Columns(tables=tables(w)))
    wiring.add(Views, lambda w: Views(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(Files, lambda w: _files(w, settings))
    wiring.add(Traces, lambda w: Traces(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(LoggedModels, lambda w: LoggedModels(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(Arrivals, lambda w: Arrivals(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(Experiments, lambda w: Experiments(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(EvaluationSets, lambda w: EvaluationSets(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(Scorers, lambda w: Scorers(tables=tables(w), journal=journal(w), clock=CLOCK))
    wiring.add(Inputs, lambda w: Inputs(tables=tables(w)))
    wiring.add(Histories, lambda w: Histories(tables=tables(w)))
    wiring.add(Runs, lambda w: Runs(tables=tables(w), journal=journal(w), clock=CLOCK))


def _files(w: Wiring, settings: Settings) -> Files:
    return Files(
        tables=tables(w),
        journal=journal(w),
        blobs=blobs(w),
        clock=CLOCK,
        scratch=settings.data_dir / "uploads",
        limit_bytes=settings.storage.max_file_mb * 1024**2,
    )
