"""The audit chain over the event log: seal ranges of events under signed checkpoints, and verify them offline."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mainspring.access import records, rules
from mainspring.access.keys import PublicKey, pinned_key, signing_key
from mainspring.access.model import AuditReport, Checkpoint, Fault
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid
from mainspring.core.events import Event
from mainspring.storage.ports import Journal, Tables

log = logging.getLogger(__name__)

RANGE = 1000
"""Most events under one checkpoint; also how closely a fault is located."""


class Audit:
    """Seals and verifies the event log.

    Args:
        tables: Where the checkpoints are.
        journal: The event log.
        clock: Tells when a checkpoint was made.
        folder: Holds the signing key, the pinned public key, and `head`, the digest of the newest checkpoint. Whoever
            can write both this folder and the database can rewrite history; a copy of the head kept elsewhere and
            given to `verify` finds that too.
    """

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock, folder: Path) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock
        self._folder = folder

    def seal(self) -> list[Checkpoint]:
        """Seal every event that is not sealed yet. Several processes may do so at once: one of them wins each range."""
        made: list[Checkpoint] = []
        while (checkpoint := self._seal_next()) is not None:
            made.append(checkpoint)
        return made

    def checkpoints(self, *, after: int = 0, limit: int = 1000) -> list[Checkpoint]:
        """Checkpoints with a number above `after`, oldest first."""
        with self._tables.read() as conn:
            return records.checkpoints(conn, after=after, limit=limit)

    def verify(self, *, head: str = "") -> AuditReport:
        """Read the whole log and the whole chain, and say what does not add up.

        An edit, deletion, insertion or reordering of sealed events is found, and so is a gap among those not sealed
        yet. A chain whose end was cut off is found by the head that was noted in the folder, or by `head`.

        Args:
            head: Digest of a checkpoint that was kept elsewhere.
        Raises:
            NotFound: Nothing was ever sealed here, so that there is no key to trust.
        """
        if head and (len(head) != 64 or set(head) - set("0123456789abcdef")):
            raise Invalid(f"{head!r} is not the digest of a checkpoint", hint="mainspring audit ls shows them")
        key = pinned_key(self._folder)
        faults: list[Fault] = []
        digests: list[str] = []
        before, sealed = None, 0
        for checkpoint in self._all_checkpoints():
            faults += rules.link_faults(before, checkpoint, lambda c: _is_signed(c, key))
            faults += self._range_faults(before.last_seq if before else 0, checkpoint)
            digests.append(checkpoint.digest())
            before, sealed = checkpoint, sealed + checkpoint.count
        unsealed, tail = self._tail_faults(before.last_seq if before else 0)
        faults += [*tail, *rules.head_faults(self._noted_head(), digests), *rules.head_faults(head, digests)]
        return AuditReport(len(digests), sealed, unsealed, digests[-1] if digests else "", tuple(faults))

    def _seal_next(self) -> Checkpoint | None:
        with self._tables.read() as conn:
            before = records.last_checkpoint(conn)
        events = self._journal.read(before.last_seq if before else 0, limit=RANGE)
        if not events:
            return None
        key = signing_key(self._folder)
        draft = Checkpoint(
            number=before.number + 1 if before else 1,
            first_seq=events[0].seq,
            last_seq=events[-1].seq,
            count=len(events),
            root=rules.events_root(events),
            previous=before.digest() if before else "",
            at=self._clock.now(),
            key=key.public.id,
            signature="",
        )
        signed = replace(draft, signature=key.sign(draft.body()))
        with self._tables.write() as conn:
            won = records.add_checkpoint(conn, signed)
        if won:
            self._note_head(signed.digest())
        return signed if won else self._seal_next()

    def _all_checkpoints(self) -> Iterator[Checkpoint]:
        page = self.checkpoints()
        while page:
            yield from page
            page = self.checkpoints(after=page[-1].number)

    def _range_faults(self, after: int, checkpoint: Checkpoint) -> list[Fault]:
        tree, seqs = rules.MerkleTree(), []
        for event in self._events(after, checkpoint.last_seq):
            seqs.append(event.seq)
            tree.add(rules.event_bytes(event))
        return rules.range_faults(checkpoint, seqs, tree.root().hex())

    def _tail_faults(self, after: int) -> tuple[int, list[Fault]]:
        count, expected, faults = 0, after + 1, []
        for event in self._events(after, None):
            if event.seq != expected:
                faults.append(Fault(0, f"events {expected}-{event.seq - 1} are gone; they were not sealed yet"))
            count, expected = count + 1, event.seq + 1
        return count, faults

    def _events(self, after: int, upto: int | None) -> Iterator[Event]:
        start = after if after else -(2**62)  # a row put in below number 1 is seen, too
        while page := self._journal.read(start, limit=RANGE):
            for event in page:
                if upto is not None and event.seq > upto:
                    return
                yield event
            start = page[-1].seq

    def _note_head(self, digest: str) -> None:
        part = self._folder / f".head-{os.getpid()}-{threading.get_ident()}"
        part.write_text(digest + "\n")
        os.replace(part, self._folder / "head")

    def _noted_head(self) -> str:
        path = self._folder / "head"
        return path.read_text().strip() if path.exists() else ""


class Sealer:
    """Seals in the background of a server, every `every_s` seconds and once more when it stops."""

    def __init__(self, audit: Audit, *, every_s: float = 60) -> None:
        self._audit = audit
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Seal what is left and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            stopping = self._stopping.wait(self._every_s)
            try:
                self._audit.seal()
            except Exception:
                log.exception("audit.seal_failed")
            if stopping:
                return


def _is_signed(checkpoint: Checkpoint, key: PublicKey) -> bool:
    return checkpoint.key == key.id and key.holds(checkpoint.body(), checkpoint.signature)
