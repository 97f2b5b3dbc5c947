"""Training a version again with other seeds, through the pipeline it came from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.errors import MainspringError, NotFound
from mainspring.gates.rules.finding import NotApplicable

if TYPE_CHECKING:
    from mainspring.pipelines import PipelineRun, Pipelines
    from mainspring.registry import ModelVersion, Registry

SEED = "seed"
"""The parameter of a pipeline that says the seed of its training."""
_POLL_S = 0.2


class Retraining:
    """Runs the pipeline of a version again, once for each seed; asked again, it finds the runs that are there.

    Args:
        registry: Knows the versions.
        pipelines: Gives the room that runs pipelines.
    """

    def __init__(self, registry: Registry, pipelines: Callable[[], Pipelines]) -> None:
        self._registry, self._pipelines = registry, pipelines

    def __call__(self, version: ModelVersion, seeds: int, wait_s: float) -> Sequence[ModelVersion] | NotApplicable:
        """The versions that the pipeline makes with the seeds 1, 2, ..., or why there are none.

        Args:
            version: The version to train again.
            seeds: How many times.
            wait_s: How long to wait for the runs in seconds; they go on after that.
        """
        pipelines = self._pipelines()
        try:
            origin = pipelines.get(version.run_id)
        except NotFound:
            return NotApplicable("not estimable: no pipeline of this house made the version")
        try:
            runs = [
                pipelines.submit(origin.target, {**origin.params, SEED: seed}, key=f"seeds/{version.digest}/{seed}")
                for seed in range(1, seeds + 1)
            ]
        except MainspringError as reason:
            return NotApplicable(f"not estimable: its pipeline cannot be run again: {reason.what}")
        return self._made(version, _waited(pipelines, runs, wait_s))

    def _made(self, version: ModelVersion, runs: Sequence[PipelineRun]) -> Sequence[ModelVersion] | NotApplicable:
        done = [run for run in runs if run.state.is_final]
        if len(done) < len(runs):
            return NotApplicable(f"{len(done)} of {len(runs)} retrainings are done: judge again later")
        failed = next((run for run in runs if run.state != "finished"), None)
        if failed is not None:
            return NotApplicable(f"not estimable: retraining {failed.ref} {failed.state}: {failed.error}"[:500])
        return self._versions(version, [run.result for run in runs])

    def _versions(self, version: ModelVersion, results: Sequence[object]) -> Sequence[ModelVersion] | NotApplicable:
        found = []
        for result in results:
            if not isinstance(result, Mapping) or "version" not in result:
                return NotApplicable("not estimable: its pipeline does not return the version it made")
            model, number = str(result.get("model", version.model)), str(result["version"])
            try:
                found.append(self._registry.get(model, number))
            except NotFound as reason:
                return NotApplicable(f"not estimable: {reason.what}")
        return found


def _waited(pipelines: Pipelines, runs: Sequence[str], wait_s: float) -> list[PipelineRun]:
    until = time.monotonic() + wait_s
    while True:
        found = [pipelines.get(run) for run in runs]
        if all(run.state.is_final for run in found) or time.monotonic() >= until:
            return found
        time.sleep(_POLL_S)
