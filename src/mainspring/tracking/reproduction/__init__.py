"""Running a run again: its commit with its changes, its packages, its arguments; then its metrics held side by side.

What is needed was recorded when the run started. When a part of it is missing, the run can't be reproduced, and the
error names that part.
"""

from __future__ import annotations

from mainspring.tracking.reproduction.comparing import Comparison, compare, tolerances
from mainspring.tracking.reproduction.rebuilding import differing, rebuild, rebuilt, unlike
from mainspring.tracking.reproduction.worktree import missing, worktree

__all__ = ["Comparison", "compare", "differing", "missing", "rebuild", "rebuilt", "tolerances", "unlike", "worktree"]
