"""Wiring: each service is built once, when it is first asked for, from makers that the roof hands in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar, cast

from mainspring.core.errors import MainspringError, NotFound

T = TypeVar("T")


class Wiring:
    """Builds services on first use and closes them in the opposite order. Safe to share between threads.

    Args:
        furnish: Adds the makers of the types of a module. Called once with its name ("tracking.service" for
            `mainspring.tracking.service`), when a type of it is asked for that nobody said how to make.

    >>> wiring = Wiring()
    >>> wiring.add(int, lambda w: 42)
    >>> wiring.get(int)
    42
    """

    def __init__(self, furnish: Callable[[str], None] | None = None) -> None:
        self._furnish = furnish
        self._furnished: set[str] = set()
        self._makers: dict[type, Callable[[Wiring], object]] = {}
        self._built: dict[type, object] = {}
        self._lock = threading.RLock()

    def add(self, kind: type[T], make: Callable[[Wiring], T]) -> None:
        """Say how a `kind` is made. A later maker replaces an earlier one that was not used yet."""
        with self._lock:
            if kind in self._built:
                raise MainspringError(f"{kind.__name__} is built already", hint="add makers before the first get")
            self._makers[kind] = make

    def get(self, kind: type[T]) -> T:
        """The one instance of `kind`, built now if it was not.

        Raises:
            NotFound: Nobody said how to make one.
        """
        found = self._built.get(kind)
        if found is None:
            with self._lock:
                if kind not in self._makers:
                    self._look_for(kind)
                if kind not in self._makers:
                    raise NotFound(f"nothing makes a {kind.__name__}", where="wiring")
                if kind not in self._built:
                    self._built[kind] = self._makers[kind](self)
                found = self._built[kind]
        return cast(T, found)

    def _look_for(self, kind: type) -> None:
        module = kind.__module__.partition(".")[2]
        if self._furnish is not None and module and module not in self._furnished:
            self._furnished.add(module)
            self._furnish(module)

    def close(self) -> None:
        """Close what was built and has a `close`, last built first."""
        with self._lock:
            built, self._built = list(self._built.values()), {}
        for service in reversed(built):
            close = getattr(service, "close", None)
            if callable(close):
                close()
