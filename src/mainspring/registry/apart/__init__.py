"""Models that are code, each in a process of its own: a deadline, a limit on memory, no secrets in its environment.

The process keeps code and unpickled objects out of the server, and a model that hangs, crashes or eats memory ends
alone. It runs as the same user and is no sandbox against an enemy: what this user may read and reach, the code may too.
"""

from __future__ import annotations

from mainspring.registry.apart.process import Apart, Job, Own

__all__ = ["Apart", "Job", "Own"]
