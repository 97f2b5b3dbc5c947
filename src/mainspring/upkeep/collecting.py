"""Collecting garbage among blobs, in two steps with a grace before each.

Step one moves to the trash what was put longer than the grace ago and is named by no row. Step two deletes what was in
the trash for the grace and is still named by none; what a row names is put back.

Why no blob is lost that a row is about to name: whoever puts a blob was told so by a store that had it in place. If it
is moved to the trash at any moment after that, the row has the whole grace to be committed, as every reader looks into
the trash too, and deletion asks for the rows anew. So the only assumption is that a row is committed within the grace
after its blob was put or, by whoever copies another row, found in place. Two collectors at once do no harm: what is
deleted is one entry of the trash, never the blob in place nor a later entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from mainspring.core.clock import Clock
from mainspring.storage.ports import BlobTrash, StoredBlob, TrashedBlob
from mainspring.upkeep.model import Collected

BATCH = 200_000
"""How many blobs are held in memory at once; the rows are read once for each batch."""

References = Callable[[], Iterable[str]]
B = TypeVar("B", StoredBlob, TrashedBlob)


def _nothing() -> None:
    return


class Collector:
    """Collects the garbage of one store.

    Args:
        trash: The store.
        references: Gives the digests that rows name now; called after the blobs were listed.
        clock: Tells the time; the store's own may differ by less than the grace.
        pause: Called now and then: raises when the work is to stop.
    """

    def __init__(
        self, trash: BlobTrash, references: References, clock: Clock, pause: Callable[[], None] = _nothing
    ) -> None:
        self._trash, self._references, self._clock, self._pause = trash, references, clock, pause

    def collect(self, grace_us: int, *, dry_run: bool = False) -> Collected:
        """Do both steps, deletion first. With `dry_run` only count."""
        before = self._clock.now() - grace_us
        emptied = self._empty(before, dry_run)
        count, size = self._discard(before, dry_run)
        swept = 0 if dry_run else self._trash.sweep(before)
        return Collected(**emptied, discarded=count, discarded_bytes=size, swept=swept)

    def _empty(self, before: int, dry_run: bool) -> dict[str, int]:
        done = dict.fromkeys(("restored", "purged", "purged_bytes", "waiting", "waiting_bytes"), 0)
        for batch, unnamed in self._batches(self._trash.trashed()):
            for entry in batch:
                self._pause()
                is_old = entry.at <= before
                if entry.digest not in unnamed:
                    done["restored"] += 1
                    if not dry_run and self._trash.restore(entry.digest) and is_old:
                        self._trash.purge(entry)  # an entry that is left over: the blob is in place
                elif is_old:
                    done["purged"], done["purged_bytes"] = done["purged"] + 1, done["purged_bytes"] + entry.size_bytes
                    if not dry_run:
                        self._trash.purge(entry)
                else:
                    done["waiting"] += 1
                    done["waiting_bytes"] += entry.size_bytes
        return done

    def _discard(self, before: int, dry_run: bool) -> tuple[int, int]:
        count = size = 0
        old = (entry for entry in self._trash.stored() if entry.put_at <= before)
        for batch, unnamed in self._batches(old):
            for entry in batch:
                self._pause()
                if entry.digest in unnamed:
                    count, size = count + 1, size + entry.size_bytes
                    if not dry_run:
                        self._trash.discard(entry.digest, self._clock.now())
        return count, size

    def _batches(self, entries: Iterable[B]) -> Iterator[tuple[list[B], set[str]]]:
        """The entries by batches, each with its digests that no row names; the rows are read after the list."""
        rest = iter(entries)
        while batch := list(islice(rest, BATCH)):
            unnamed = {entry.digest for entry in batch}
            for digest in self._references():
                unnamed.discard(digest)
            yield batch, unnamed
