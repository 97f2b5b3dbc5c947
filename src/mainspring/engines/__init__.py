"""Where work runs: one port (`Engine`), one file per engine: `inline` in this process, `process` in a child of its own,
`ray` in such a child on a node of a cluster.

A task names a function by an import string; the function may ask its watcher questions while it runs, and the watcher
may stop it at any time.
"""

from __future__ import annotations

from mainspring.engines.inline import InlineEngine
from mainspring.engines.port import Ask, Engine, Message, Outcome, OutcomeState, Task, Wants, Watch
from mainspring.engines.process import ProcessEngine
from mainspring.engines.ray import RayEngine

__all__ = [
    "Ask",
    "Engine",
    "InlineEngine",
    "Message",
    "Outcome",
    "OutcomeState",
    "ProcessEngine",
    "RayEngine",
    "Task",
    "Wants",
    "Watch",
]
