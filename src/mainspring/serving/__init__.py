"""Serving: endpoints that answer with a version, rollouts that change it with proof, and the log of every answer.

Nouns: deployment, arm, rollout, decision, prediction, feedback. Invariants: traffic changes whole or not at all; every
answered request is in the log, durably, before its answer leaves, and reaches the table of predictions exactly once;
a rollout is decided from stored rows alone, so the same rows give the same decision.

`mainspring.serving.modelserver` is the data plane, a process of its own that imports neither SQL nor a web framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.serving.client import Client
    from mainspring.serving.model import Arm, Deployment, Feedback, Rollout, Traffic, TrafficChange
    from mainspring.serving.modelserver.plan import Options
    from mainspring.serving.rules.decision import Decision, RolloutSpec
    from mainspring.serving.service import Serving
    from mainspring.serving.supervisor import Supervisor

__all__ = [
    "Arm",
    "Client",
    "Decision",
    "Deployment",
    "Feedback",
    "Options",
    "Rollout",
    "RolloutSpec",
    "Serving",
    "Supervisor",
    "Traffic",
    "TrafficChange",
]

_LAZY = {
    "Client": "client",
    "Options": "modelserver.plan",
    "Decision": "rules.decision",
    "RolloutSpec": "rules.decision",
    "Serving": "service",
    "Supervisor": "supervisor",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY.get(name, 'model')}"), name)
