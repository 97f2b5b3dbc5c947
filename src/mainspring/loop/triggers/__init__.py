"""Triggers: what makes a pipeline run, or a policy begin a cycle, without anybody asking.

Nouns: a *trigger* is declared in `mainspring.toml` and lives once `mainspring apply` made it so; an *occurrence* is
something it watches for, such as an event or a due time; a *fire* is the record of what it did about one, also when
that was nothing.

Invariants: an occurrence is dealt with in one transaction, which stores the fire, puts the run on the queue and moves
the offset or the mark that says so. So it fires exactly once, whatever is killed when, and however many servers look.
"""

from __future__ import annotations

from mainspring.loop.triggers.model import Fire, Trigger, TriggerState, triggers_of

__all__ = ["Fire", "Trigger", "TriggerState", "triggers_of"]
