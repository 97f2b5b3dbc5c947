"""Versions, and the aliases and stages that say which is which, now and at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.errors import Invalid, NotFound, Refused, did_you_mean
from mainspring.registry.events import AliasMoved, Described, StageMoved, TagsChanged, VersionDeleted
from mainspring.registry.model import STAGES, AliasChange, Model, ModelVersion, StageChange
from mainspring.registry.records import models, moves, tables, versions
from mainspring.registry.rules import check_alias, check_tags, check_usable, shown, stage_named
from mainspring.registry.shelf import Shelf, refuse_used

if TYPE_CHECKING:
    from sqlalchemy import Connection

LATEST = "latest"
_ARCHIVING = ("Staging", "Production")


class Versions(Shelf):
    """What is kept under a name: finds versions, describes, tags and deletes them, and moves aliases and stages."""

    def get(self, name: str, version: int | str = LATEST) -> ModelVersion:
        """A version by number, alias, or `latest`.

        Raises:
            NotFound: No such model, version or alias.
        """
        with self._tables.read() as conn:
            serial = self._serial(conn, name)
            return self._version(conn, serial, self._number(conn, serial, version))

    def versions(self, name: str, *, limit: int = 100, before: int = 0) -> list[ModelVersion]:
        """Versions of a model, newest first, at most `limit`, those below the number `before`.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            return versions.list_all(conn, self._serial(conn, name), limit=limit, before=before)

    def of_run(self, run_id: str) -> list[ModelVersion]:
        """Versions that a run made, oldest first."""
        with self._tables.read() as conn:
            return versions.of_run(conn, run_id)

    def made_from(self, dataset_ref: str) -> list[ModelVersion]:
        """Versions that name a dataset version as what they were trained on or are compared with, newest first."""
        with self._tables.read() as conn:
            return versions.naming(conn, dataset_ref)

    def newest_by_stage(self, names: Sequence[str]) -> dict[str, list[ModelVersion]]:
        """The greatest version of each stage of models, by name. Models that are not there are left out."""
        with self._tables.read() as conn:
            serials = {name: models.serial_of(conn, name) for name in names}
            found = versions.newest_by_stage(conn, [serial for serial in serials.values() if serial is not None])
        return {name: found.get(serial, []) for name, serial in serials.items() if serial is not None}

    def describe_version(self, name: str, version: int | str, text: str) -> ModelVersion:
        """Say what is special about a version.

        Raises:
            NotFound: No such model or version.
        """
        with self._tables.write() as conn:
            serial, found = self._found(conn, name, version)
            now = self._clock.now()
            versions.change(conn, serial, found.number, description=text, updated_at=now)
            if found.description != text:
                self._journal.append(conn, Described(subject=found.ref, model=found.model, version=found.number))
            return replace(found, description=text, updated_at=now)

    def tag_version(self, name: str, version: int | str, tags: Mapping[str, str]) -> ModelVersion:
        """Set tags of a version.

        Raises:
            NotFound: No such model or version.
            Invalid: A tag is malformed.
        """
        check_tags(tags)
        with self._tables.write() as conn:
            serial, found = self._found(conn, name, version)
            row = versions.serial_of(conn, serial, found.number)
            if tags and row is not None:
                models.set_tags(conn, tables.model_version_tag, row, tags)
            self._journal.append(conn, _tagged(found, tuple(sorted(tags)), removed=False))
            return replace(found, tags=dict(sorted({**found.tags, **tags}.items())))

    def untag_version(self, name: str, version: int | str, key: str) -> bool:
        """Take a tag away from a version. Returns whether there was one.

        Raises:
            NotFound: No such model or version.
        """
        with self._tables.write() as conn:
            serial, found = self._found(conn, name, version)
            row = versions.serial_of(conn, serial, found.number)
            gone = row is not None and models.drop_tag(conn, tables.model_version_tag, row, key)
            if gone:
                self._journal.append(conn, _tagged(found, (key,), removed=True))
            return gone

    def delete_version(self, name: str, version: int | str) -> ModelVersion:
        """Delete a version: aliases that point to it go, its number is never given again, its history stays.

        Raises:
            NotFound: No such model or version.
            Conflict: A deployment serves it.
        """
        with self._tables.write() as conn:
            found = self.hold(conn, name, version)
            serial = self._serial(conn, name)
            for called in self._names(conn, serial):
                refuse_used(found.ref, self._users(called, found.number))
            reason = f"version {found.number} was deleted"
            for alias, number in models.find(conn, serial).aliases.items():
                if number == found.number:
                    self._point(conn, serial, alias, None, reason)
            self._move(conn, serial, found, STAGES[0], reason)
            now = self._clock.now()
            versions.change(conn, serial, found.number, deleted_at=now, updated_at=now)
            models.change(conn, serial, now)
            fact = VersionDeleted(subject=found.ref, model=found.model, version=found.number, digest=found.digest)
            self._journal.append(conn, fact)
            return found

    def hold(self, conn: Connection, name: str, version: int | str) -> ModelVersion:
        """A version that stays until the caller's transaction ends: whoever deletes it waits, and looks who uses it.

        Raises:
            NotFound: No such model or version, or not any more.
        """
        models.lock(conn, self._serial(conn, name))
        return self._found(conn, name, version)[1]

    def set_alias(self, name: str, alias: str, version: int, reason: str = "") -> AliasChange:
        """Point an alias to a version. Pointing it to where it points already changes nothing.

        Raises:
            NotFound: No such model or version.
            Invalid: The alias may not be called that.
        """
        check_alias(alias)
        with self._tables.write() as conn:
            serial, _ = self._found(conn, name, version)
            return self._point(conn, serial, alias, version, reason)

    def promote(self, name: str, version: int | str, *, to: str = "champion", reason: str = "") -> AliasChange:
        """Give a version an alias, once every gate that judges its model has passed it.

        Raises:
            NotFound: No such model or version.
            Refused: A gate has not passed it, or it lacks what it takes to answer.
            Invalid: The alias may not be called that.
        """
        found = check_usable(self.get(name, version))
        against = self.objections(found.model, found.number)
        if against:
            hint = f"mainspring gate run GATE {found.model} {found.number}"
            raise Refused(f"{found.ref} is not promoted: {'; '.join(against)}", where=found.ref, hint=hint)
        return self.set_alias(found.model, to, found.number, reason or "promoted")

    def remove_alias(self, name: str, alias: str, reason: str = "") -> AliasChange:
        """Let an alias point nowhere; its history stays.

        Raises:
            NotFound: No such model or alias.
        """
        with self._tables.write() as conn:
            serial = self._serial(conn, name)
            self._aliased(conn, serial, alias)
            return self._point(conn, serial, alias, None, reason)

    def alias(self, name: str, alias: str) -> int:
        """The version an alias points to.

        Raises:
            NotFound: No such model, or the alias points nowhere.
        """
        with self._tables.read() as conn:
            serial = self._serial(conn, name)
            return self._number(conn, serial, alias) if alias.lower() == LATEST else self._aliased(conn, serial, alias)

    def alias_at(self, name: str, alias: str, at: int) -> int | None:
        """The version an alias pointed to at a time (microseconds UTC), None when nowhere."""
        with self._tables.read() as conn:
            serial = models.serial_of(conn, name)
            change = None if serial is None else moves.last_change(conn, serial, alias, at)
        return None if change is None else change.version

    def alias_history(self, name: str, alias: str = "", *, version: int = 0, limit: int = 100) -> list[AliasChange]:
        """Changes of one alias or of all aliases of a model, newest first; of those that came to or left a version."""
        with self._tables.read() as conn:
            serial = models.serial_of(conn, name)
            return [] if serial is None else moves.list_changes(conn, serial, alias, version, limit)

    def move_to_stage(
        self, name: str, version: int | str, stage: str, *, archive_others: bool = False, reason: str = ""
    ) -> ModelVersion:
        """Move a version to a stage. Moving it to where it is changes nothing.

        Args:
            name: The model.
            version: Number or alias.
            stage: One of `STAGES`, in any case.
            archive_others: Move the versions that are in that stage now to Archived; for Staging and Production.
            reason: Kept in the history.
        Raises:
            NotFound: No such model or version.
            Invalid: No such stage, or others can't be archived from it.
        """
        stage = stage_named(stage)
        if archive_others and stage not in _ARCHIVING:
            hint = "leave it out, or move to " + " or ".join(_ARCHIVING)
            raise Invalid(f"others are not archived when a version moves to {stage}", where="stage", hint=hint)
        with self._tables.write() as conn:
            serial, found = self._found(conn, name, version)
            models.lock(conn, serial)
            if archive_others:
                for other in versions.in_stage(conn, serial, stage):
                    if other.number != found.number:
                        self._move(conn, serial, other, "Archived", f"version {found.number} moved to {stage}")
            now = self._clock.now()
            self._move(conn, serial, found, stage, reason)
            versions.change(conn, serial, found.number, updated_at=now)
            models.change(conn, serial, now)
            return self._version(conn, serial, found.number)

    def in_stage_at(self, name: str, stage: str, at: int) -> list[int]:
        """The versions that were in a stage at a time (microseconds UTC), by number.

        Raises:
            Invalid: No such stage.
        """
        stage = stage_named(stage)
        with self._tables.read() as conn:
            serial = models.serial_of(conn, name)
            if serial is None:
                return []
            moved = moves.stages_at(conn, serial, at)
            living = versions.living_at(conn, serial, at)
        return [number for number in living if moved.get(number, STAGES[0]) == stage]

    def stage_history(self, name: str, version: int = 0, *, limit: int = 100) -> list[StageChange]:
        """Moves of one version between stages, or of all versions of a model, newest first."""
        with self._tables.read() as conn:
            serial = models.serial_of(conn, name)
            return [] if serial is None else moves.list_stages(conn, serial, version, limit)

    def _point(self, conn: Connection, serial: int, alias: str, version: int | None, reason: str) -> AliasChange:
        models.lock(conn, serial)
        last = moves.last_change(conn, serial, alias)
        before = None if last is None else last.version
        if last is not None and before == version:
            return last
        name, at = models.find(conn, serial).name, max(self._clock.now(), 0 if last is None else last.at)
        change = AliasChange(name, alias, version, before, at, caller().actor, reason)
        moves.add_change(conn, serial, change)
        fact = AliasMoved(subject=change.ref, model=name, alias=alias, version=version, before=before, reason=reason)
        self._journal.append(conn, fact)
        return change

    def _move(self, conn: Connection, serial: int, found: ModelVersion, stage: str, reason: str) -> None:
        if found.stage == stage:
            return
        now = self._clock.now()
        versions.change(conn, serial, found.number, stage=stage, updated_at=now)
        moves.add_stage(
            conn, serial, StageChange(found.model, found.number, stage, found.stage, now, caller().actor, reason)
        )
        fact = StageMoved(
            subject=found.ref, model=found.model, version=found.number, stage=stage, before=found.stage, reason=reason
        )
        self._journal.append(conn, fact)

    def _found(self, conn: Connection, name: str, version: int | str) -> tuple[int, ModelVersion]:
        serial = self._serial(conn, name)
        return serial, self._version(conn, serial, self._number(conn, serial, version))

    def _version(self, conn: Connection, serial: int, number: int) -> ModelVersion:
        found = versions.find(conn, serial, number)
        if found is None:
            model = models.find(conn, serial)
            there = f"versions 1 to {model.latest} are there" if model.latest else "register one first"
            gone = versions.list_all(conn, serial, limit=1, before=number + 1) if number <= model.latest else []
            hint = f"the next older one is {gone[0].number}" if gone else there
            raise NotFound(f"model {shown(model.name)!r} has no version {number}", where=model.ref, hint=hint)
        return found

    def _number(self, conn: Connection, serial: int, version: int | str) -> int:
        if isinstance(version, int):
            return version
        digits = version.removeprefix("v")
        if digits.isascii() and digits.isdecimal() and len(digits) < 19:
            return int(digits)
        if version.lower() == LATEST:
            model = models.find(conn, serial)
            if not model.latest:
                raise NotFound(
                    f"model {shown(model.name)!r} has no version", where=model.ref, hint="register one first"
                )
            return model.latest
        return self._aliased(conn, serial, version)

    def _aliased(self, conn: Connection, serial: int, alias: str) -> int:
        model: Model = models.find(conn, serial)
        if alias not in model.aliases:
            hint = did_you_mean(alias, model.aliases) or f"mainspring models alias {model.name} {shown(alias)} NUMBER"
            raise NotFound(f"model {shown(model.name)!r} has no alias {shown(alias)!r}", where=model.ref, hint=hint)
        return model.aliases[alias]


def _tagged(found: ModelVersion, keys: tuple[str, ...], *, removed: bool) -> TagsChanged:
    return TagsChanged(subject=found.ref, model=found.model, version=found.number, keys=keys, removed=removed)
