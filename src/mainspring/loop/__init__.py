"""The closed loop: what happens on an event, from alarm to promotion.

Nouns: a *policy* says which pipeline, gate and deployment belong together and when to act; a *cycle* is one turn of the
loop under a policy, from the reason it began to its outcome; the *switch* stops all policies or one.

Invariants: drift alone never retrains, performance evidence does. At most one cycle of a deployment is open. Every
decision, also the decision to do nothing, is an event. The whole loop is read on one page: `policies.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.loop.model import Cycle, Policy, Switch, Turn, Why

if TYPE_CHECKING:
    from mainspring.loop.service import Loop

__all__ = ["Cycle", "Loop", "Policy", "Switch", "Turn", "Why"]


def __getattr__(name: str) -> object:
    if name != "Loop":  # it needs SQL, which a file that declares policies must not load
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.loop.service import Loop

    return Loop
