"""Pipelines: plain typed functions become steps; runs are durable, cached by content, and resumable.

Nouns: a pipeline draws a graph of steps; a pipeline run executes it; a step run stores its result as an artifact under
a cache key. Invariants: a step's result is stored in the transaction that renews the lease, so each step of a run
finishes once and a late worker is refused; a result is reused only when everything its key names is the same.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mainspring.pipelines.context import StepContext, context
from mainspring.pipelines.decorators import Pipeline, Step, pipeline, step
from mainspring.pipelines.model import Dataset, PipelineRun, RunState, StepRun, StepState, Why

if TYPE_CHECKING:
    from mainspring.pipelines.service import Pipelines

__all__ = [
    "Dataset",
    "Pipeline",
    "PipelineRun",
    "Pipelines",
    "RunState",
    "Step",
    "StepContext",
    "StepRun",
    "StepState",
    "Why",
    "context",
    "pipeline",
    "step",
]


def __getattr__(name: str) -> object:
    if name == "Pipelines":  # it needs SQL, which a step's module must not load
        return importlib.import_module("mainspring.pipelines.service").Pipelines
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
