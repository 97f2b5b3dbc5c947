"""Waits for a database that is away, held by another or on a full disk, so that a step need not die of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mainspring.core.errors import NoRoom, Overloaded, Unavailable

T = TypeVar("T")
AGAIN_S = 0.25
PASSING = (Unavailable, Overloaded, NoRoom)
"""What may be over a moment later, when the storage says it."""


class Patience:
    """For how long one run bears with its storage.

    Args:
        most_s: Seconds from the first failure until it is enough.
        look: Called between two tries: raises when there is no reason to wait any more.
    """

    def __init__(self, most_s: float, look: Callable[[], None]) -> None:
        self._most_s = most_s
        self._look = look
        self._since: float | None = None

    def until_it_works(self, work: Callable[[bool], T]) -> T:
        """Do something, again and again while it fails of what may pass.

        Args:
            work: Hears whether this is another try: then the one before may have been stored and not answered.
        Raises:
            Unavailable, Overloaded, NoRoom: It took too long.
        """
        again = False
        while True:
            try:
                found = work(again)
            except PASSING as reason:
                if not self.bears(reason):
                    raise
            else:
                self._since = None
                return found
            again = True
            time.sleep(AGAIN_S)
            self._look()

    def bears(self, reason: Exception) -> bool:
        """Whether a failure is to be waited out. One that nothing outside has caused is not."""
        now = time.monotonic()
        self._since = self._since or now
        return reason.__cause__ is not None and now - self._since < self._most_s

    def is_well(self) -> None:
        """It works again."""
        self._since = None
