"""What the model server itself says about a version on trial: whether it loads, lives, and keeps within memory."""

from __future__ import annotations

import os
from pathlib import Path

from mainspring.serving.modelserver.plan import Applied, deaths_since, read_applied, read_plan
from mainspring.serving.modelserver.usage import resident_mb
from mainspring.serving.rules.decision import RolloutSpec

MANY_DEATHS = 3
"""So many deaths of the model server since a rollout began are no accident."""


def trouble_of(folder: Path, endpoint: str, spec: RolloutSpec, *, since: int) -> str:
    """Why a version on trial has to go at once; "" when there is nothing.

    Args:
        folder: The plan folder.
        endpoint: Where it is on trial, as the model server calls it.
        spec: Its limits.
        since: When the rollout began, microseconds.
    """
    generation, workers = read_plan(folder).generation, living(folder)
    for worker in workers:
        problem = worker.problems.get(endpoint)
        if problem and worker.generation == generation:
            return f"it could not be loaded: {problem}"
    deaths = deaths_since(folder, since)
    if deaths >= MANY_DEATHS:
        return f"the model server died {deaths} times since the rollout began"
    most = max((resident_mb(worker.pid) for worker in workers), default=0.0)
    if spec.max_memory_mb and most > spec.max_memory_mb:
        return f"a worker holds {most:.0f} MB of memory, the limit is {spec.max_memory_mb}"
    return ""


def living(folder: Path) -> list[Applied]:
    """What the workers over a plan folder say that are alive."""
    return [worker for worker in read_applied(folder) if is_alive(worker.pid)]


def is_alive(pid: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
