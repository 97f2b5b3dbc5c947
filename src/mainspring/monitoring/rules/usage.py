"""What one worker of the model server used of the machine."""

from __future__ import annotations

from mainspring.core.values import dataclass


@dataclass(frozen=True, slots=True)
class UsageWindow:
    """Five minutes of one worker of the model server.

    Attributes:
        start: First microsecond, wall time.
        worker: Name of the worker; one that was started again has another.
        pid: Its process.
        seconds: How much of the window it was looked at.
        cores: How many cores it kept busy, on average.
        memory_mb: The most memory it held.
        models: What it had loaded, as a text that changes when that does.
    """

    start: int
    worker: str
    pid: int
    seconds: float
    cores: float
    memory_mb: float
    models: str = ""
