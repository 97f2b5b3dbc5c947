"""What is declared in `mainspring.toml`, what lives, and how the one becomes the other.

Nouns: an *object* is one declared thing, such as a gate; the *plan* says what an apply would change; *drift* is what
somebody changed by hand since the last apply.

Invariants: until the first apply of a project the file itself counts, from then on what was applied. One apply works at
a time. Each object is changed whole or not at all, in an order in which what it needs is there before it.
"""

from __future__ import annotations

from mainspring.loop.planning.model import KINDS, Change, Drift, Object, Plan

__all__ = ["KINDS", "Change", "Drift", "Object", "Plan"]
