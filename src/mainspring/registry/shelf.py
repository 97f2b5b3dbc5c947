"""Models: the names that versions are kept under."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, NotFound, did_you_mean
from mainspring.registry.events import Described, ModelCreated, ModelDeleted, ModelRenamed, TagsChanged
from mainspring.registry.model import CardWords, Model
from mainspring.registry.records import models, tables, versions
from mainspring.registry.rules import check_model_name, check_tags, shown
from mainspring.registry.signing import Signer, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

Users = Callable[[str, "int | None"], Sequence[str]]
"""Who uses a model, or one of its versions: references of deployments."""
Judges = Callable[[Sequence[str], int], Sequence[str]]
"""What speaks against a version of a model with these names: sentences, such as "gate promote: fail"."""
Cards = Callable[[str, int], "CardWords | None"]
"""What is on the card of a version of a model; None when it has none."""


def _nobody(model: object, version: int | None) -> Sequence[str]:
    return ()


def _no_card(model: str, version: int) -> CardWords | None:
    return None


class Shelf:
    """Keeps the names of models: makes, describes, renames and deletes them."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock, signer: Signer) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock
        self._signer = signer
        self._users: Users = _nobody
        self._judges: Judges = _nobody
        self._cards: Cards = _no_card

    @property
    def public_key(self) -> bytes:
        """The Ed25519 key, 32 bytes, that packages of this instance are checked with."""
        return self._signer.public

    def tell_users(self, users: Users) -> None:
        """Learn who uses models: a room above says so, as nothing is deleted that is in use."""
        self._users = users

    def tell_judges(self, judges: Judges) -> None:
        """Learn what speaks against a version: a room above says so, as nothing is promoted that a gate refused."""
        self._judges = judges

    def tell_cards(self, cards: Cards) -> None:
        """Learn what is on the cards of versions: a room above writes them."""
        self._cards = cards

    def card(self, name: str, version: int) -> CardWords | None:
        """What people wrote on the card of a version; None when nobody did."""
        return next((found for each in self.names(name) if (found := self._cards(each, version))), None)

    def objections(self, name: str, version: int) -> Sequence[str]:
        """What gates have against a version, under any name of its model; nothing when all that judge it passed it.

        Raises:
            NotFound: No such model.
        """
        return self._judges(self.names(name), version)

    def users(self, name: str, version: int | None = None) -> Sequence[str]:
        """References of the deployments that serve a model, or one version of it, under any of its names.

        Raises:
            NotFound: No such model.
        """
        return sorted({ref for each in self.names(name) for ref in self._users(each, version)})

    def names(self, name: str) -> list[str]:
        """The name of a model, then those it had before that still find it.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            return self._names(conn, self._serial(conn, name))

    def create_model(self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> Model:
        """Make a name for versions. A name that was given up is free again, but its numbers are not given twice.

        Raises:
            Invalid: The name or a tag is malformed.
            Conflict: There is a model of this name, or a deployment still looks for one under it.
        """
        check_model_name(name)
        check_tags(tags or {})
        with self._tables.write() as conn:
            serial = self._create(conn, name, description)
            if serial is None:
                hint = f"mainspring models show {name}"
                raise Conflict(f"there is a model {shown(name)!r} already", where=f"models/{name}", hint=hint)
            if tags:
                models.set_tags(conn, tables.model_tag, serial, tags)
            return models.find(conn, serial)

    def model(self, name: str) -> Model:
        """One model, by its name or by one that it had before.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            return models.find(conn, self._serial(conn, name))

    def models(self, *, limit: int = 100, after: str = "", prompts: bool = False) -> list[Model]:
        """Models by name, at most `limit`, those after the name `after`; `prompts` too when asked for."""
        with self._tables.read() as conn:
            return models.list_all(conn, limit=limit, after=after, prompts=prompts)

    def describe(self, name: str, text: str) -> Model:
        """Say what a model is for.

        Raises:
            NotFound: No such model.
        """
        with self._tables.write() as conn:
            serial = self._serial(conn, name)
            before = models.find(conn, serial)
            now = self._clock.now()
            models.change(conn, serial, now, description=text)
            if before.description != text:
                self._journal.append(conn, Described(subject=before.ref, model=before.name, version=None))
            return replace(before, description=text, updated_at=now)

    def tag_model(self, name: str, tags: Mapping[str, str]) -> Model:
        """Set tags of a model.

        Raises:
            NotFound: No such model.
            Invalid: A tag is malformed.
        """
        check_tags(tags)
        with self._tables.write() as conn:
            serial = self._serial(conn, name)
            if tags:
                models.set_tags(conn, tables.model_tag, serial, tags)
            found = models.find(conn, serial)
            self._journal.append(conn, _tagged(found, tuple(sorted(tags)), removed=False))
            return found

    def untag_model(self, name: str, key: str) -> bool:
        """Take a tag away from a model. Returns whether there was one.

        Raises:
            NotFound: No such model.
        """
        with self._tables.write() as conn:
            serial = self._serial(conn, name)
            gone = models.drop_tag(conn, tables.model_tag, serial, key)
            if gone:
                self._journal.append(conn, _tagged(models.find(conn, serial), (key,), removed=True))
            return gone

    def rename(self, name: str, to: str) -> Model:
        """Give a model another name. The old one still finds it; every version is signed anew.

        Raises:
            NotFound: No such model.
            Invalid: The new name is malformed.
            Conflict: There is a model of the new name, or a deployment still looks for one under it.
        """
        check_model_name(to)
        with self._tables.write() as conn:
            serial = self._serial(conn, name)
            models.lock(conn, serial)
            before = models.find(conn, serial).name
            if before == to:
                return models.find(conn, serial)
            taken = models.serial_of(conn, to, redirected=False)
            if taken is not None:
                raise Conflict(
                    f"there is a model {shown(to)!r} already", where=f"models/{to}", hint="take another name"
                )
            self._check_free(conn, to, serial)
            now = self._clock.now()
            models.forget_redirect(conn, to)
            models.redirect(conn, before, serial, now)
            models.change(conn, serial, now, name=to)
            for number, digest in versions.packaged(conn, serial):
                versions.seal(conn, serial, number, self._signer.sign(statement(to, number, digest)))
            self._journal.append(conn, ModelRenamed(subject=f"models/{to}", model=to, before=before))
            return models.find(conn, serial)

    def delete_model(self, name: str) -> None:
        """Delete a model with its versions, aliases and old names. Its history stays on record.

        Raises:
            NotFound: No such model.
            Conflict: A deployment serves it.
        """
        with self._tables.write() as conn:
            serial = self._serial(conn, name, redirected=False)
            models.lock(conn, serial)
            found, now = models.find(conn, serial), self._clock.now()
            for called in self._names(conn, serial):
                refuse_used(found.ref, self._users(called, None))
                models.forget_redirect(conn, called)
            gone = tuple(versions.delete_all(conn, serial, now))
            models.change(conn, serial, now, deleted_at=now)
            self._journal.append(conn, ModelDeleted(subject=found.ref, model=found.name, versions=gone))

    def _create(self, conn: Connection, name: str, description: str = "") -> int | None:
        """Add a model in the caller's transaction; None when there is one."""
        if models.serial_of(conn, name, redirected=False) is None:
            self._check_free(conn, name, None)
        serial = models.add(conn, name, description, self._clock.now())
        if serial is not None:
            self._journal.append(conn, ModelCreated(subject=f"models/{name}", model=name))
        return serial

    def _check_free(self, conn: Connection, name: str, own: int | None) -> None:
        """A name that a deployment finds another model under may not be given to a new one."""
        held = models.serial_of(conn, name)
        if held is not None and held != own:
            refuse_used(f"models/{name}", self._users(name, None))

    def _names(self, conn: Connection, serial: int) -> list[str]:
        return [models.find(conn, serial).name, *models.former_names(conn, serial)]

    def _serial(self, conn: Connection, name: str, *, redirected: bool = True) -> int:
        found = models.serial_of(conn, name, redirected=redirected)
        if found is None:
            hint = did_you_mean(name, models.names(conn)) or "mainspring models ls"
            raise NotFound(f"there is no model {shown(name)!r}", where="models", hint=hint)
        return found


def refuse_used(ref: str, users: Sequence[str]) -> None:
    """Raises `Conflict` when somebody uses `ref`."""
    if users:
        raise Conflict(
            f"{', '.join(users[:3])} serves it",
            where=ref,
            hint="deploy another version there, or delete the deployment",
        )


def _tagged(found: Model, keys: tuple[str, ...], *, removed: bool) -> TagsChanged:
    return TagsChanged(subject=found.ref, model=found.name, version=None, keys=keys, removed=removed)
