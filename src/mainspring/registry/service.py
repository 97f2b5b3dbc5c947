"""The verbs of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.canonical import digest as digest_of
from mainspring.core.clock import Clock
from mainspring.core.errors import Corrupt, NotFound, did_you_mean
from mainspring.core.ids import check_name
from mainspring.registry import records
from mainspring.registry.events import AliasMoved, VersionRegistered
from mainspring.registry.model import AliasChange, Model, ModelVersion, Signature
from mainspring.registry.packages import MANIFEST, Manifest, Package, Predictor, Seal, build, load_folder, write_folder
from mainspring.registry.rules import check_alias
from mainspring.registry.signing import Signer, is_signed, key_id, statement

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.storage.ports import Blobs, Journal, Tables

LATEST = "latest"


class Registry:
    """Keeps models as immutable, signed versions, and says which version an alias means, now and at any time.

    Args:
        tables: Where rows are kept.
        journal: The event log.
        blobs: Where the files of packages are kept.
        clock: Tells the time.
        folder: Holds `keys/` with the signing key, and `models/` with packages that were unpacked for loading.
    """

    def __init__(self, *, tables: Tables, journal: Journal, blobs: Blobs, clock: Clock, folder: Path) -> None:
        self._tables = tables
        self._journal = journal
        self._blobs = blobs
        self._clock = clock
        self._signer = Signer(folder / "keys")
        self._unpacked = folder / "models"

    @property
    def public_key(self) -> bytes:
        """The Ed25519 key, 32 bytes, that packages of this instance are checked with."""
        return self._signer.public

    def register(
        self,
        name: str,
        model: object,
        *,
        example: pl.DataFrame,
        signature: Signature | None = None,
        run_id: str = "",
        datasets: Sequence[str] = (),
        reference: str = "",
        metrics: Mapping[str, float] | None = None,
        encoding: Mapping[str, Sequence[str]] | None = None,
        key: str = "",
    ) -> ModelVersion:
        """Keep a fitted model as the next version of `name`.

        Args:
            name: Name of the model.
            model: A fitted LightGBM or scikit-learn model, or the path of a model file that is no pickle.
            example: Some rows of its inputs, before encoding.
            signature: Its inputs; taken from the example when absent.
            run_id: The run that trained it.
            datasets: References of the datasets it was trained and tested on.
            reference: The dataset version that drift is measured against.
            metrics: What was measured at training.
            encoding: For each encoded text column its levels, in the order of their codes.
            key: With the same key the same version is given back, whatever the model is.
        Raises:
            Invalid: The model is of no known format, not fitted, or does not fit the example.
            Refused: It is a pickle, or holds types that are not trusted.
        """
        check_name(name, "model")
        known = self._known(name, key)
        if known is not None:
            return known
        package = build(model, example, signature=signature, levels=encoding)
        for data in (*package.files.values(), package.manifest.to_bytes()):
            self._blobs.put(data)

        origin = _Origin(run_id, tuple(datasets), reference, dict(metrics or {}))
        try:
            with self._tables.write() as conn:
                return self._keep(conn, name, package, origin, key)
        except _RegisteredMeanwhile as meanwhile:
            return meanwhile.version

    def get(self, name: str, version: int | str = LATEST) -> ModelVersion:
        """A version by number, alias, or `latest`.

        Raises:
            NotFound: No such model, version or alias.
        """
        with self._tables.read() as conn:
            number = self._number(conn, name, version)
            found = records.find_version(conn, name, number)
            if found is None:
                model = self._model(conn, name)
                raise NotFound(
                    f"model {name!r} has no version {number}",
                    where=model.ref,
                    hint=f"versions 1 to {model.latest} are there" if model.latest else "register one first",
                )
            return found

    def model(self, name: str) -> Model:
        """One model.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            return self._model(conn, name)

    def models(self, *, limit: int = 100, after: str = "") -> list[Model]:
        """Models by name, at most `limit`, those after the name `after`."""
        with self._tables.read() as conn:
            return records.list_models(conn, limit=limit, after=after)

    def versions(self, name: str, *, limit: int = 100, before: int = 0) -> list[ModelVersion]:
        """Versions of a model, newest first, at most `limit`, those below the number `before`.

        Raises:
            NotFound: No such model.
        """
        with self._tables.read() as conn:
            self._model(conn, name)
            return records.list_versions(conn, name, limit=limit, before=before)

    def set_alias(self, name: str, alias: str, version: int, reason: str = "") -> AliasChange:
        """Point an alias to a version. Pointing it to where it points already changes nothing.

        Raises:
            NotFound: No such model or version.
            Invalid: The alias may not be called that.
        """
        check_alias(alias)
        self.get(name, version)
        return self._move(name, alias, version, reason)

    def remove_alias(self, name: str, alias: str, reason: str = "") -> AliasChange:
        """Let an alias point nowhere; its history stays.

        Raises:
            NotFound: No such model or alias.
        """
        self.alias(name, alias)
        return self._move(name, alias, None, reason)

    def alias(self, name: str, alias: str) -> int:
        """The version an alias points to.

        Raises:
            NotFound: No such model, or the alias points nowhere.
        """
        with self._tables.read() as conn:
            return self._number(conn, name, alias)

    def alias_at(self, name: str, alias: str, at: int) -> int | None:
        """The version an alias pointed to at a time (microseconds UTC), None when nowhere."""
        with self._tables.read() as conn:
            change = records.last_change(conn, name, alias, at)
        return None if change is None else change.version

    def alias_history(self, name: str, alias: str = "", *, limit: int = 100) -> list[AliasChange]:
        """Changes of one alias, or of all aliases of a model, newest first."""
        with self._tables.read() as conn:
            return records.list_changes(conn, name, alias, limit)

    def materialize(self, name: str, version: int | str, to: Path) -> Path:
        """Write a version's package to the folder `to`, checked against its digest and signature.

        Raises:
            NotFound: No such model or version.
            Corrupt: A stored file does not have its digest, or the row was tampered with.
            Conflict: The folder holds something else.
        """
        found = self.get(name, version)
        with self._tables.read() as conn:
            manifest, signature = records.sealed(conn, name, found.number)
        text = manifest.encode()
        signed = statement(name, found.number, found.digest)
        if digest_of(text) != found.digest or not is_signed(signed, signature, self.public_key):
            raise Corrupt("the registered manifest was changed", where=found.ref, hint="mainspring audit verify")
        files = {entry: self._blobs.get(key) for entry, (key, _) in Manifest.from_bytes(text).files.items()}
        seal = Seal(name, found.number, found.digest, found.signed_by, signature)
        return write_folder(Path(to), text, files, seal)

    def files(self, name: str, version: int | str) -> list[str]:
        """Names of the files of a version's package.

        Raises:
            NotFound: No such model or version.
        """
        return [MANIFEST, *sorted(self._manifest(name, version).files)]

    def file(self, name: str, version: int | str, file: str) -> bytes:
        """One file of a version's package, checked against its digest.

        Raises:
            NotFound: No such model, version or file.
            Corrupt: It does not have its digest.
        """
        manifest = self._manifest(name, version)
        if file == MANIFEST:
            return manifest.to_bytes()
        if file not in manifest.files:
            hint = did_you_mean(file, manifest.files) or "files: " + ", ".join(sorted(manifest.files))
            raise NotFound(f"the package has no file {file!r}", where=f"models/{name}/{version}", hint=hint)
        return self._blobs.get(manifest.files[file][0])

    def load(self, name: str, version: int | str = LATEST) -> Predictor:
        """A version ready to predict, after every byte of it was checked.

        Raises:
            NotFound: No such model or version.
            Corrupt: A file was changed.
        """
        found = self.get(name, version)
        folder = self._unpacked / f"{caller().project}-{name}-{found.number}-{found.digest[:12]}"
        if not folder.exists():
            self.materialize(name, found.number, folder)
        return load_folder(folder, public_key=self.public_key, expected=found.digest)

    def verify(self, name: str, version: int | str = LATEST) -> ModelVersion:
        """Check manifest, signature and the stored files of a version, without unpacking it.

        Raises:
            NotFound: No such model or version, or a file is gone.
            Corrupt: Something was changed.
        """
        import tempfile

        found = self.get(name, version)
        with tempfile.TemporaryDirectory(prefix="mainspring-verify-") as place:
            folder = self.materialize(name, found.number, Path(place) / "package")
            load_folder(folder, public_key=self.public_key, expected=found.digest)
        return found

    def _manifest(self, name: str, version: int | str) -> Manifest:
        found = self.get(name, version)
        with self._tables.read() as conn:
            return Manifest.from_bytes(records.sealed(conn, name, found.number)[0].encode())

    def _known(self, name: str, key: str) -> ModelVersion | None:
        if not key:
            return None
        with self._tables.read() as conn:
            return records.by_key(conn, name, key)

    def _keep(self, conn: Connection, name: str, package: Package, origin: _Origin, key: str) -> ModelVersion:
        now = self._clock.now()
        number = records.next_number(conn, name, now)
        known = records.by_key(conn, name, key) if key else None
        if known is not None:
            raise _RegisteredMeanwhile(known)
        version = _version(name, number, package, origin)
        version = replace(version, signed_by=key_id(self.public_key), created_at=now, created_by=caller().actor)
        manifest = package.manifest.to_bytes().decode()
        seal = self._signer.sign(statement(name, number, package.digest))
        records.add_version(conn, version, key=key, manifest=manifest, seal=seal)
        self._journal.append(conn, _registered(version))
        return version

    def _move(self, name: str, alias: str, version: int | None, reason: str) -> AliasChange:
        with self._tables.write() as conn:
            records.lock_model(conn, name)
            last = records.last_change(conn, name, alias)
            before = None if last is None else last.version
            if last is not None and before == version:
                return last
            at = max(self._clock.now(), 0 if last is None else last.at)
            change = AliasChange(name, alias, version, before, at, caller().actor, reason)
            records.add_change(conn, change)
            fact = AliasMoved(
                subject=change.ref, model=name, alias=alias, version=version, before=before, reason=reason
            )
            self._journal.append(conn, fact)
            return change

    def _number(self, conn: Connection, name: str, version: int | str) -> int:
        if isinstance(version, int):
            return version
        if version.removeprefix("v").isdecimal():
            return int(version.removeprefix("v"))
        model = self._model(conn, name)
        if version == LATEST and model.latest:
            return model.latest
        if version not in model.aliases:
            hint = did_you_mean(version, model.aliases) or f"mainspring models alias {name} {version} NUMBER"
            raise NotFound(f"model {name!r} has no alias {version!r}", where=model.ref, hint=hint)
        return model.aliases[version]

    def _model(self, conn: Connection, name: str) -> Model:
        found = records.find_model(conn, name)
        if found is None:
            known = [entry.name for entry in records.list_models(conn, limit=500, after="")]
            hint = did_you_mean(name, known) or "mainspring models ls"
            raise NotFound(f"there is no model {name!r}", where="models", hint=hint)
        return found


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a model comes from."""

    run_id: str
    datasets: tuple[str, ...]
    reference: str
    metrics: Mapping[str, float]


def _version(name: str, number: int, package: Package, origin: _Origin) -> ModelVersion:
    manifest = package.manifest
    return ModelVersion(
        model=name,
        number=number,
        digest=package.digest,
        signature=manifest.signature,
        flavour=manifest.flavour,
        task=manifest.trait.task,
        classes=manifest.trait.classes,
        example=package.example,
        run_id=origin.run_id,
        datasets=origin.datasets,
        reference=origin.reference,
        metrics={entry: float(value) for entry, value in origin.metrics.items()},
        size_bytes=package.size_bytes,
        environment=dict(manifest.environment),
        signed_by="",
        created_at=0,
    )


class _RegisteredMeanwhile(Exception):
    """Another registered the key first; undo the number that was taken."""

    def __init__(self, version: ModelVersion) -> None:
        super().__init__(version.ref)
        self.version = version


def _registered(version: ModelVersion) -> VersionRegistered:
    return VersionRegistered(
        subject=version.ref,
        model=version.model,
        version=version.number,
        digest=version.digest,
        flavour=version.flavour,
        run_id=version.run_id,
        datasets=version.datasets,
        reference=version.reference,
    )
