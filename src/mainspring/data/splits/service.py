"""The verbs of splits: make, look up, hand out rows, and open what is sealed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.canonical import digest
from mainspring.core.clock import Clock
from mainspring.core.errors import Corrupt, Invalid, NotFound, did_you_mean
from mainspring.core.ids import check_name
from mainspring.data import records
from mainspring.data.events import SplitMade, TestOpened
from mainspring.data.service import Data
from mainspring.data.splits.model import TEST, Part, Split, SplitSpec, TestUse, Uses, manifest_of

if TYPE_CHECKING:
    from mainspring.data.splits.rules import Assignment
    from mainspring.storage.ports import Blobs, Journal, Tables


class Splits:
    """Keeps splits of dataset versions, named and numbered beside the dataset.

    Args:
        tables: Where splits and their uses are named.
        journal: The event log.
        blobs: Where manifests and assignments are.
        data: The rows.
        clock: Tells the time.
    """

    def __init__(self, *, tables: Tables, journal: Journal, blobs: Blobs, data: Data, clock: Clock) -> None:
        self._tables, self._journal, self._blobs, self._data, self._clock = tables, journal, blobs, data, clock

    def make(self, dataset: str, spec: SplitSpec, *, name: str = "") -> Split:
        """Split a dataset version; the same wish on the same rows gives the split that is there.

        Args:
            dataset: Reference of the version, such as `datasets/flights/3`.
            spec: The wish.
            name: Name of the split; that of the dataset by default.
        Raises:
            NotFound: No such dataset or version.
            Invalid: The rows cannot be split so.
        """
        from mainspring.data.splits.rules import assign

        version = self._data.resolve(dataset)
        name = check_name(name or version.dataset, "split")
        known = [column.name for column in version.columns]
        if spec.column and spec.column not in known:
            hint = did_you_mean(spec.column, known) or "columns are " + ", ".join(known[:20])
            raise Invalid(f"no column {spec.column!r}", where="split column", hint=hint)
        rows = self._data.frame(version.dataset, version.number).select(spec.column or known[0])
        found = assign(rows.collect(), spec)
        parts = _parts(found, spec.folds)
        manifest = self._blobs.put(manifest_of(version.digest, spec, parts))
        made = Split(
            name=name,
            number=0,
            dataset=version.ref,
            dataset_digest=version.digest,
            spec=spec,
            parts=parts,
            digest=manifest,
            assignment=self._blobs.put(zlib.compress(found.tobytes())),
            created_at=self._clock.now(),
        )
        with self._tables.write() as conn:
            stored, is_new = records.add_split(conn, made)
            if is_new:
                fact = SplitMade(subject=stored.ref, dataset=stored.dataset, how=spec.kind, digest=stored.digest)
                self._journal.append(conn, fact)
        return stored

    def get(self, name: str, number: int | None = None) -> Split:
        """A split, the newest of its name by default.

        Raises:
            NotFound: No such split.
        """
        with self._tables.read() as conn:
            found = records.find_split(conn, name, number)
            known = [] if found else [split.name for split in records.newest_splits(conn, "", limit=1000)]
        if found is None:
            hint = did_you_mean(name, known) or "mainspring data split DATASET"
            raise NotFound(f"no split {name!r}" + (f" {number}" if number else ""), where="splits", hint=hint)
        return found

    def resolve(self, ref: str) -> Split:
        """The split of a reference: `splits/flights/3`, `flights/3` or `flights`.

        Raises:
            Invalid: It is no such reference.
            NotFound: No such split.
        """
        name, _, number = ref.removeprefix("splits/").partition("/")
        if number and not number.isdecimal():
            raise Invalid(f"{ref!r} names no split", where="split", hint="write splits/NAME/NUMBER")
        return self.get(name, int(number) if number else None)

    def splits(self, dataset: str = "", *, limit: int = 100) -> list[Split]:
        """Splits, newest first, of the dataset of this name or of all."""
        with self._tables.read() as conn:
            return records.newest_splits(conn, dataset, limit=max(1, min(limit, 1000)))

    def assignment(self, split: Split) -> Assignment:
        """For each row of the dataset version the number of its fold, `TEST` or `HISTORY`. Sealed rows stay shut:
        whoever wants them calls `open_test`.

        Raises:
            Corrupt: The stored rows are not those of the manifest.
        """
        import numpy as np

        found = np.frombuffer(zlib.decompress(self._blobs.get(split.assignment)), dtype=np.uint8)
        if _parts(found, split.spec.folds) != split.parts:
            raise Corrupt("the rows are not those of the manifest", where=split.ref, hint="make the split again")
        return found

    def open_test(self, split: Split, purpose: str) -> TestUse:
        """Count a use of the sealed rows, and say the how-manieth it is. To be called before they are looked at.

        Raises:
            Invalid: The split has none.
        """
        if split.part("test") is None:
            raise Invalid("no rows are sealed in this split", where=split.ref, hint="split with test above 0")
        with self._tables.write() as conn:
            use = TestUse(0, caller().actor, purpose[:500], self._clock.now())
            counted = records.add_use(conn, split, use)
            self._journal.append(conn, TestOpened(subject=split.ref, use=counted.number, purpose=counted.purpose))
        return counted

    def uses(self, split: Split) -> Uses:
        """How often the sealed rows were opened, by whom and what for; a test set wears out."""
        with self._tables.read() as conn:
            return Uses(split.ref, tuple(records.uses_of(conn, split)))


def _parts(found: Assignment, folds: int) -> tuple[Part, ...]:
    import numpy as np

    from mainspring.data.splits.rules import part_names

    parts = []
    for number, name in part_names(folds).items():
        ids = np.flatnonzero(found == number).astype("<u8")
        if len(ids) or number not in (TEST, 255):
            parts.append(Part(name, len(ids), digest(ids.tobytes())))
    return tuple(parts)
