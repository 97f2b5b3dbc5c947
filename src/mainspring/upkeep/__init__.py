"""Upkeep: what a house does about what it no longer needs.

Its nouns: garbage (a blob that no row names), the trash it waits in, and the grace, the time in which everything taken
away can be brought back. What is registered and not deleted is never touched; the event log never shrinks.
"""

from mainspring.upkeep.model import Collected, Report
from mainspring.upkeep.service import Upkeep

__all__ = ["Collected", "Report", "Upkeep"]
