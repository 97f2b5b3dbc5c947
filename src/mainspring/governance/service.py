"""The verbs of governance: write a card, add a section to it, read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.caller import caller
from mainspring.core.canonical import canonical_json
from mainspring.core.clock import Clock, SystemClock
from mainspring.core.errors import Conflict, MainspringError, NotFound
from mainspring.core.ids import check_name
from mainspring.governance import records
from mainspring.governance.events import CardWritten
from mainspring.governance.model import Card, CardContent, DatasetFacts, FieldFacts, RunFacts
from mainspring.governance.rules import check_text, gaps, with_attachment
from mainspring.registry.model import CardWords
from mainspring.storage.ports import Blobs, Journal, Tables

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.registry import Field, ModelVersion, Registry
    from mainspring.tracking import Tracking

_ATTEMPTS = 20
_Facts = Callable[[CardContent | None], CardContent]


class Governance:
    """Writes and keeps model cards. Safe to share between threads.

    Args:
        tables: Where the revisions are listed.
        journal: Where `governance.card_written` is written, in the transaction that lists the revision.
        blobs: Where the content is kept under its digest.
        registry: Knows the version.
        tracking: Knows the run that trained it.
        data: Knows the datasets it was trained on.
        clock: Time of the cards.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        blobs: Blobs,
        registry: Registry,
        tracking: Tracking | None = None,
        data: Data | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._tables, self._journal, self._blobs = tables, journal, blobs
        self._registry, self._tracking, self._data = registry, tracking, data
        self._clock = clock or SystemClock()

    def card(
        self, model: str, version: int | str = "latest", *, purpose: str | None = None, limitations: str | None = None
    ) -> Card:
        """The card of a version as of now: written when it is new or when something on it changed, else the stored one.

        Args:
            model: Name of the model.
            version: Number or alias.
            purpose: What the model is for; not given, the words on the newest card of the model stay.
            limitations: What it must not be used for; likewise.
        Raises:
            NotFound: No such model or version.
            Invalid: A text is too long.
        """
        found = self._registry.get(model, version)
        purpose = None if purpose is None else check_text(purpose, "purpose")
        limitations = None if limitations is None else check_text(limitations, "limitations")

        def facts(before: CardContent | None) -> CardContent:
            content = self._now(found, before)
            return replace(
                content,
                purpose=content.purpose if purpose is None else purpose,
                limitations=content.limitations if limitations is None else limitations,
            )

        return self._revise(model, found.number, facts)

    def attach(self, model: str, version: int | str, section: str, payload: Mapping[str, object]) -> Card:
        """Add a section to the card of a version, such as the verdict of a gate, as a new revision.

        Args:
            model: Name of the model.
            version: Number or alias.
            section: Name of the section: letters, digits, `_`, `.` and `-`.
            payload: Plain JSON values; the same section with the same payload is added once.
        Raises:
            NotFound: No such model or version.
            Invalid: The payload is not plain JSON.
        """
        check_name(section, "section")
        plain: dict[str, object] = json.loads(canonical_json(dict(payload)))
        found = self._registry.get(model, version)

        def facts(before: CardContent | None) -> CardContent:
            return with_attachment(before or self._now(found, None), section, plain)

        return self._revise(model, found.number, facts)

    def read(self, model: str, version: int | str = "latest", *, revision: int | None = None) -> Card:
        """A stored card, the newest revision by default; its bytes are checked against its digest.

        Raises:
            NotFound: No such version, or nobody wrote a card for it.
            Corrupt: The stored bytes do not match the digest.
        """
        number = self._registry.get(model, version).number
        rows = self.revisions(model, number)
        chosen = [row for row in rows if revision in (None, row.revision)]
        if not chosen:
            what = "has no card" if not rows else f"has no revision {revision} of its card"
            raise NotFound(f"{model} {number} {what}", where="card", hint=f"mainspring card {model} {number}")
        return self._card(chosen[0])

    def words(self, model: str, version: int) -> CardWords | None:
        """What people wrote on the newest card of a version, and what is missing on it; None when it has no card."""
        with self._tables.read() as conn:
            row = records.newest(conn, caller().project, model, version)
        if row is None:
            return None
        content = self._card(row).content
        lacks = tuple(gaps(content))
        return CardWords(content.purpose, content.limitations, lacks, row.revision, row.created_at, row.actor)

    def revisions(self, model: str, version: int) -> list[records.Row]:
        """The revisions of the card of a version, newest first."""
        with self._tables.read() as conn:
            return records.revisions(conn, caller().project, model, version)

    def _revise(self, model: str, number: int, facts: _Facts) -> Card:
        """Write what `facts` makes of the newest revision, as the next one; begin again when another was quicker."""
        for _ in range(_ATTEMPTS):
            with self._tables.read() as conn:
                row = records.newest(conn, caller().project, model, number)
            before = None if row is None else self._card(row)
            content = facts(None if before is None else before.content)
            data = canonical_json(msgspec.to_builtins(content))
            digest = self._blobs.put(data)
            if before is not None and before.digest == digest:
                return before
            made = records.Row(
                model=model,
                version=number,
                revision=1 if row is None else row.revision + 1,
                digest=digest,
                created_at=self._clock.now(),
                actor=caller().actor,
            )
            if self._add(made, content):
                return Card(
                    content=content,
                    revision=made.revision,
                    digest=digest,
                    created_at=made.created_at,
                    actor=made.actor,
                )
        raise Conflict(f"the card of {model} {number} is being changed by others", hint="try again")

    def _add(self, row: records.Row, content: CardContent) -> bool:
        with self._tables.write() as conn:
            if not records.add(conn, caller().project, row):
                return False
            written = CardWritten(
                subject=f"models/{row.model}/{row.version}",
                model=row.model,
                version=row.version,
                revision=row.revision,
                digest=row.digest,
                sections=tuple(entry.section for entry in content.attachments),
            )
            self._journal.append(conn, written)
        return True

    def _card(self, row: records.Row) -> Card:
        content = msgspec.json.decode(self._blobs.get(row.digest), type=CardContent)
        return Card(
            content=content, revision=row.revision, digest=row.digest, created_at=row.created_at, actor=row.actor
        )

    def _last_card(self, model: str) -> CardContent | None:
        with self._tables.read() as conn:
            row = records.newest(conn, caller().project, model)
        return None if row is None else self._card(row).content

    def _now(self, version: ModelVersion, before: CardContent | None) -> CardContent:
        """What is on record now, with the sections of this card and the words of it or of the model's newest card."""
        words = before or self._last_card(version.model)
        return CardContent(
            purpose="" if words is None else words.purpose,
            limitations="" if words is None else words.limitations,
            attachments=() if before is None else before.attachments,
            model=version.model,
            version=version.number,
            model_digest=version.digest,
            signed_by=version.signed_by,
            registered_at=version.created_at,
            registered_by=version.created_by,
            task=version.task,
            flavour=version.flavour,
            classes=tuple(str(name) for name in version.classes),
            size_bytes=version.size_bytes,
            inputs=tuple(_field(entry) for entry in version.inputs),
            outputs=tuple(_field(entry) for entry in version.outputs),
            metrics=dict(version.metrics),
            datasets=self._datasets(version),
            run=self._run(version.run_id),
            environment=dict(version.environment),
        )

    def _datasets(self, version: ModelVersion) -> tuple[DatasetFacts, ...]:
        refs = [ref for ref in dict.fromkeys((version.reference, *version.datasets)) if ref]
        return tuple(self._dataset(ref, "training" if ref == version.reference else "input") for ref in refs)

    def _dataset(self, ref: str, role: str) -> DatasetFacts:
        name, _, number = ref.removeprefix("datasets/").partition("/")
        if self._data is None or not number.isdecimal():
            return DatasetFacts(ref, role)
        try:
            found = self._data.get(name, int(number))
        except NotFound:
            return DatasetFacts(ref, role)
        missing = {column.name: column.nulls / found.rows for column in found.columns if column.nulls and found.rows}
        return DatasetFacts(
            ref,
            role,
            rows=found.rows,
            quarantined=found.quarantined,
            digest=found.digest,
            profile=found.profile,
            missing=missing,
            columns=len(found.columns),
        )

    def _run(self, run_id: str) -> RunFacts | None:
        if not run_id:
            return None
        if self._tracking is None:
            return RunFacts(run_id)
        try:
            run = self._tracking.get(run_id)
        except MainspringError:  # the run was deleted, or lives elsewhere: the id alone is still a fact
            return RunFacts(run_id)
        return RunFacts(
            run_id,
            experiment=run.experiment,
            status=run.status,
            seed=run.seed,
            code="" if run.code is None else run.code.commit + (" with changes" if run.code.dirty else ""),
            params=dict(run.params),
        )


def _field(entry: Field) -> FieldFacts:
    return FieldFacts(entry.name, entry.dtype, len(entry.levels))
