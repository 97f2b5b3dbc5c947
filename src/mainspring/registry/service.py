"""The verbs of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.canonical import digest as digest_of
from mainspring.core.clock import Clock
from mainspring.core.errors import Corrupt, Invalid, NotFound, Refused, did_you_mean
from mainspring.registry.events import VersionRegistered
from mainspring.registry.flavours.composed import NAME as COMPOSED
from mainspring.registry.flavours.composed import Composition
from mainspring.registry.flavours.onnx import NAME as ONNX
from mainspring.registry.flavours.pickle import FILE as PICKLE_FILE
from mainspring.registry.flavours.pickle import NAME as PICKLE
from mainspring.registry.flavours.pickle import PickleFile
from mainspring.registry.folders import model_in, package_of
from mainspring.registry.grants import Grant, GrantRequest, Grants
from mainspring.registry.importance import importance_of, with_importance
from mainspring.registry.manifests import MANIFEST, Manifest, Seal
from mainspring.registry.model import Example, Importance, ModelVersion, Origin, Signature
from mainspring.registry.packages import (
    Package,
    Predictor,
    build,
    load_folder,
    read_folder,
    to_frame,
    write_folder,
)
from mainspring.registry.packing import packed
from mainspring.registry.pickles import require_safe, scan, scan_file
from mainspring.registry.records import models, tables, versions
from mainspring.registry.rules import check_model_name, check_tags, check_usable, folder_name
from mainspring.registry.signing import Signer, is_signed, key_id, statement
from mainspring.registry.versions import LATEST, Versions
from mainspring.tracking.model import Artifact

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.registry.converting import Parity
    from mainspring.storage.ports import Blobs, Journal, Tables


class Registry(Versions):
    """Keeps models as immutable, signed versions, and says which version an alias means, now and at any time.

    Args:
        tables: Where rows are kept.
        journal: The event log.
        blobs: Where the files of packages are kept.
        clock: Tells the time.
        folder: Holds `keys/` with the signing key, and `models/` with packages that were unpacked for loading.
    """

    def __init__(self, *, tables: Tables, journal: Journal, blobs: Blobs, clock: Clock, folder: Path) -> None:
        super().__init__(tables=tables, journal=journal, clock=clock, signer=Signer(folder / "keys"))
        self._blobs = blobs
        self._unpacked = folder / "models"
        self.grants = Grants(tables=tables, journal=journal, clock=clock, signer=self._signer, names=self.names)

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
        grant: GrantRequest | None = None,
        importance: Mapping[str, float] | None = None,
    ) -> ModelVersion:
        """Keep a fitted model as the next version of `name`.

        Args:
            name: Name of the model.
            model: A fitted model of a known format, or the path of a model file, which is read in a process of its own:
                a damaged one may crash what reads it.
            example: Some rows of its inputs, before encoding.
            signature: Its inputs; taken from the example when absent.
            run_id: The run that trained it.
            datasets: References of the datasets it was trained and tested on.
            reference: The dataset version that drift is measured against.
            metrics: What was measured at training.
            encoding: For each encoded text column its levels, in the order of their codes.
            key: With the same key the same version is given back, whatever the model is.
            grant: For the path of a pickle: why it may be loaded, by whoever asks. It is loaded in a process of its
                own, here to try it and later to answer.
            importance: How much each input matters, on any positive scale; when absent, what trees say themselves, or
                of an example of 30 rows or more how far answers move when a column is shuffled.
        Raises:
            Invalid: The model is of no known format, not fitted, or does not fit the example.
            Corrupt: Its file is damaged.
            Refused: It is a pickle without a grant or one that the scan calls unsafe, or holds types not trusted.
        """
        check_model_name(name)
        known = self._known(name, key)
        if known is not None:
            return known
        report = None if grant is None else scan_file(_path(model))
        if report is not None and grant is not None:
            if not grant.despite_scan:
                require_safe(report, name)
            model = PickleFile(_path(model).read_bytes(), despite_scan=report.verdict == "unsafe")
        if isinstance(model, (str, Path)):
            package = packed(Path(model), example, signature=signature, levels=encoding, importance=importance)
        else:
            package = build(model, example, signature=signature, levels=encoding)
            package = with_importance(package, model, example, importance)
        for data in package.files.values():
            self._blobs.put(data)
        measured = {entry: float(value) for entry, value in (metrics or {}).items()}
        origin = Origin(run_id=run_id, datasets=tuple(datasets), reference=reference, metrics=measured)
        made = self._keep(name, package, origin, key=key)
        if report is not None and grant is not None:
            self.grants.give(made, grant, scan=report.said(), safe=report.verdict == "safe")
        return made

    def compose(
        self, name: str, composition: Composition, *, example: pl.DataFrame | None = None, key: str = ""
    ) -> ModelVersion:
        """Keep registered versions, with steps before and after, as the next version of `name`.

        Args:
            name: Name of the model.
            composition: What it is made of.
            example: Some rows of its inputs; taken from the examples of its parts when absent.
            key: With the same key the same version is given back.
        Raises:
            NotFound: A part is not there.
            Invalid: The parts do not fit each other, or the example does not fit them.
            Refused: A part is a pickle, composed itself, or lacks what it takes to answer.
        """
        from mainspring.registry.composing import compose

        model, signature, rows = compose(self, composition, example)
        parts = [self.get(*ref.rsplit("/", 1)) for ref in model.composition.models]
        references = {part.reference for part in parts}
        return self.register(
            name,
            model,
            example=rows,
            signature=signature,
            datasets=list(dict.fromkeys(ref for part in parts for ref in part.datasets)),
            reference=references.pop() if len(references) == 1 else "",
            key=key,
        )

    def to_onnx(self, name: str, version: int | str, rows: pl.DataFrame, *, data: str) -> Package:
        """The package of a version of scikit-learn as ONNX, if it says the same of every row.

        Args:
            name: The model.
            version: Number or alias.
            rows: By which both are compared.
            data: The reference of these rows, for the record.
        Raises:
            NotFound: No such model or version.
            Refused: It is of another format, can't be converted, or what comes of it says something else.
            Unavailable: The packages of the extra `onnx` are not here.
        """
        from mainspring.registry.converting import convert, require_convertible
        from mainspring.registry.flavours import sklearn

        found = require_convertible(self.get(name, version))
        model = sklearn.read(self.file(name, found.number, sklearn.FILE))
        return convert(found, self.load(name, found.number), model, rows, data)

    def accelerate(self, name: str, version: int | str, rows: pl.DataFrame, *, data: str) -> ModelVersion:
        """Keep a version of scikit-learn as ONNX, too, as the next version; done twice, it is the same version.

        Args and errors as `to_onnx`.
        """
        found = self.get(name, version)
        package = self.to_onnx(name, found.number, rows, data=data)
        for content in package.files.values():
            self._blobs.put(content)
        origin = Origin(
            run_id=found.run_id, datasets=found.datasets, reference=found.reference, metrics=dict(found.metrics)
        )
        return self._keep(name, package, origin, key=f"onnx:{found.digest}", description=f"{found.ref} as ONNX")

    def parity(self, version: ModelVersion) -> Parity | None:
        """How a version that was converted to ONNX compares with what it was made of; None of any other."""
        from mainspring.registry.converting import parity_in

        manifest = self.manifest(version.model, version.number) if version.flavour == ONNX else None
        return parity_in(manifest.notes) if manifest else None

    def composition(self, version: ModelVersion) -> list[str]:
        """What a composed version is made of, a line each; nothing of any other."""
        manifest = self.manifest(version.model, version.number) if version.flavour == COMPOSED else None
        lines = manifest.notes.get("composition_text") if manifest else []
        return [str(line) for line in lines] if isinstance(lines, list) else []

    def importance(self, version: ModelVersion) -> Importance | None:
        """How much each input matters to a version; None when it was registered without."""
        return importance_of(self._manifest(version.model, version.number)) if version.digest else None

    def grant(self, name: str, version: int | str, request: GrantRequest) -> Grant:
        """Allow to load the pickle of a version that is here, anew or for the first time.

        Raises:
            NotFound: No such model or version.
            Invalid: It is no pickle.
            Refused: The scan says unsafe, and the request does not say despite it.
        """
        found = self.get(name, version)
        if found.flavour != PICKLE:
            hint = "grants are for pickles alone"
            raise Invalid(f"a {found.flavour or 'missing'} package needs no grant", where=found.ref, hint=hint)
        report = scan(self.file(name, found.number, PICKLE_FILE), name=PICKLE_FILE)
        return self.grants.give(found, request, scan=report.said(), safe=report.verdict == "safe")

    def add_version(
        self,
        name: str,
        origin: Origin,
        *,
        files: Sequence[Artifact] = (),
        same_as: ModelVersion | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        key: str = "",
        number: int = 0,
    ) -> ModelVersion:
        """Keep what a run made as the next version of a model, from files that are here already, or from none.

        Args:
            name: The model, which is made when it is not there.
            origin: Where the version comes from.
            files: Its files, by their paths below its folder; they are listed with their digests and not copied.
                Nothing of them is run: of a folder of MLflow its `MLmodel` is read. Without files the version has no
                package, and can be neither gated nor served.
            same_as: A version whose package it has too, in place of files.
            description: What is special about it.
            tags: Its tags.
            key: With the same key the same version is given back.
            number: Its number in the registry it comes from; 0, or a number that was given already, is the next one.
        Raises:
            Invalid: The name or a tag is malformed.
        """
        check_model_name(name)
        check_tags(tags or {})
        known = self._known(name, key)
        if known is not None:
            return known
        package = package_of(files, self._blobs.get) if files else None
        if same_as is not None:
            package = self._package(same_as)
        return self._keep(name, package, origin, key=key, description=description, tags=tags or {}, least=number)

    def adopt(self, name: str, version: int | str) -> ModelVersion:
        """Make a version of our own of a folder of MLflow whose model is kept as data, so that it can serve.

        The file is read in a process of its own by the format that knows it, as by `register`: no pickle is. The new
        version must answer the input example of the folder. Adopting twice gives the same version.

        Raises:
            NotFound: No such model or version.
            Corrupt: The file is damaged.
            Refused: It has no signature or example, or none of its files is of a known format.
        """
        found = self.get(name, version)
        manifest = self._manifest(found.model, found.number)
        has = {"a package": manifest, "a signature": found.signature, "an input example": found.example.rows}
        lacks = [what for what, there in has.items() if not there]
        if manifest is None or lacks:
            hint = "log it with signature=infer_signature(inputs, outputs) and input_example=inputs.head()"
            raise Refused(f"it can't be adopted without {' and '.join(lacks)}", where=found.ref, hint=hint)
        key = f"adopted:{found.digest}"
        known = self._known(found.model, key)
        if known is not None:
            return known
        data = model_in(manifest, self._blobs.get, where=found.ref)
        example = to_frame(found.example.inputs, found.inputs)
        with TemporaryDirectory(prefix="mainspring-adopting-") as place:
            file = Path(place) / "model"
            file.write_bytes(data)
            package = packed(file, example, signature=found.signature, where=found.ref)
        for data in package.files.values():
            self._blobs.put(data)
        origin = Origin(
            source=found.ref,
            run_id=found.run_id,
            run_link=found.run_link,
            datasets=found.datasets,
            reference=found.reference,
            metrics=found.metrics,
        )
        return self._keep(found.model, package, origin, key=key, description=found.description, tags=found.tags)

    def copy(
        self, name: str, version: int | str, *, to: str = "", project: str = "", reason: str = "", key: str = ""
    ) -> ModelVersion:
        """Give a version a place under another name, or in another project. Its bytes are kept once.

        Args:
            name: The model.
            version: Number or alias.
            to: The name it gets; "" = the same.
            project: The project it goes to; "" = this one.
            reason: Kept as the description of the copy; "" = the one of the original.
            key: With the same key the same copy is given back.
        Raises:
            NotFound: No such model or version.
            Invalid: It would be copied onto itself, or the name is malformed.
        """
        here = caller()
        found = self.get(name, version)
        target, where = to or found.model, project or here.project
        check_model_name(target)
        if (target, where) == (found.model, here.project):
            raise Invalid("a version is not copied onto its own model", where=found.ref, hint="--to NAME or --project")
        package = self._package(found)
        origin = Origin(
            source=found.ref if where == here.project else f"{found.ref} of project {here.project}",
            location=found.location if where == here.project else "",
            run_id=found.run_id if where == here.project else "",
            datasets=found.datasets if where == here.project else (),
            reference=found.reference if where == here.project else "",
            metrics=found.metrics,
        )
        with calling(Caller(here.actor, where, here.request_id)):
            return self._keep(
                target, package, origin, key=key, description=reason or found.description, tags=found.tags
            )

    def materialize(self, name: str, version: int | str, to: Path) -> Path:
        """Write a version's package to the folder `to`, checked against its digest and signature.

        Raises:
            NotFound: No such model or version.
            Corrupt: A stored file does not have its digest, or the row was tampered with.
            Conflict: The folder holds something else.
        """
        found = self.get(name, version)
        self._check_kept(found)
        with self._tables.read() as conn:
            serial = self._serial(conn, name)
            manifest, signature = versions.sealed(conn, serial, found.number)
        text = manifest.encode()
        signed = statement(found.model, found.number, found.digest)
        if digest_of(text) != found.digest or not is_signed(signed, signature, self.public_key):
            raise Corrupt("the registered manifest was changed", where=found.ref, hint="mainspring audit verify")
        files = {entry: self._blobs.get(key) for entry, (key, _) in Manifest.from_bytes(text).files.items()}
        seal = Seal(found.model, found.number, found.digest, found.signed_by, signature)
        return write_folder(Path(to), text, files, seal)

    def files(self, name: str, version: int | str) -> list[Artifact]:
        """The files of a version's package, its manifest first; none when it has no package.

        Raises:
            NotFound: No such model or version.
        """
        found, manifest = self.get(name, version), self._manifest(name, version)
        if manifest is None:
            return []
        listed = {MANIFEST: (found.digest, len(manifest.to_bytes())), **dict(sorted(manifest.files.items()))}
        return [Artifact(path, digest, size, found.created_at) for path, (digest, size) in listed.items()]

    def find_file(self, name: str, version: int | str, file: str) -> Artifact:
        """One file of a version's package; its content is kept under its digest.

        Raises:
            NotFound: No such model, version or file.
        """
        files = {entry.path: entry for entry in self.files(name, version)}
        where = f"models/{name}/{version}"
        if not files:
            raise NotFound("the version has no package", where=where, hint="its files are elsewhere")
        if file not in files:
            hint = did_you_mean(file, files) or "files: " + ", ".join([*files][:20])
            raise NotFound(f"the package has no file {file[:200]!r}", where=where, hint=hint)
        return files[file]

    def by_digest(self, digest: str) -> ModelVersion | None:
        """The newest version whose package has this digest; None when there is none."""
        with self._tables.read() as conn:
            return versions.by_digest(conn, digest)

    def manifest(self, name: str, version: int | str) -> Manifest | None:
        """What is in a version's package, with the digest of every file; None when it has no package.

        Raises:
            NotFound: No such model or version.
        """
        return self._manifest(name, version)

    def file(self, name: str, version: int | str, file: str) -> bytes:
        """One file of a version's package, checked against its digest.

        Raises:
            NotFound: No such model, version or file.
            Corrupt: It does not have its digest.
        """
        return self._blobs.get(self.find_file(name, version, file).digest)

    def load(self, name: str, version: int | str = LATEST) -> Predictor:
        """A version ready to predict, after every byte of it was checked.

        Raises:
            NotFound: No such model or version.
            Corrupt: A file was changed.
            Refused: It has no package, or one that can't be read without running its code.
        """
        found = check_usable(self.get(name, version))
        folder = self._unpacked / f"{caller().project}-{folder_name(found.model)}-{found.number}-{found.digest[:12]}"
        if not folder.exists():
            self.materialize(name, found.number, folder)
        return load_folder(folder, public_key=self.public_key, expected=found.digest, grant=self.permit(found))

    def permit(self, found: ModelVersion) -> str:
        """The signed line that lets a model server load a granted pickle; "" for everything else."""
        return self.grants.line(found) if found.flavour == PICKLE else ""

    def verify(self, name: str, version: int | str = LATEST) -> ModelVersion:
        """Check manifest, signature and the stored files of a version, without unpacking it.

        Raises:
            NotFound: No such model or version, or a file is gone.
            Corrupt: Something was changed.
            Refused: It has no package.
        """
        found = self.get(name, version)
        with TemporaryDirectory(prefix="mainspring-verify-") as place:
            folder = self.materialize(name, found.number, Path(place) / "package")
            read_folder(folder, public_key=self.public_key, expected=found.digest)
        return found

    def _package(self, found: ModelVersion) -> Package | None:
        manifest = self._manifest(found.model, found.number)
        return None if manifest is None else Package(manifest, {}, found.example)

    def _check_kept(self, found: ModelVersion) -> None:
        if not found.digest:
            place = f"at {found.source}" if found.source else "at no place that is known"
            hint = "register it from files that are kept here"
            raise Refused(f"the files of this version are {place}, not here", where=found.ref, hint=hint)

    def _manifest(self, name: str, version: int | str) -> Manifest | None:
        with self._tables.read() as conn:
            serial, found = self._found(conn, name, version)
            text = versions.sealed(conn, serial, found.number)[0]
        return Manifest.from_bytes(text.encode()) if text else None

    def _known(self, name: str, key: str) -> ModelVersion | None:
        if not key:
            return None
        with self._tables.read() as conn:
            serial = models.serial_of(conn, name)
            return None if serial is None else versions.by_key(conn, serial, key)

    def _keep(
        self,
        name: str,
        package: Package | None,
        origin: Origin,
        *,
        key: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        least: int = 0,
    ) -> ModelVersion:
        """Store a version under the next number, at least `least`; the one stored under `key` when there is one."""
        manifest = b"" if package is None else package.manifest.to_bytes()
        if manifest:
            self._blobs.put(manifest)
        made = replace(_version(package, origin), description=description, tags=dict(tags or {}))
        try:
            with self._tables.write() as conn:
                serial = models.serial_of(conn, name) or self._create(conn, name) or self._serial(conn, name)
                return self._number_and_add(conn, serial, made, manifest=manifest.decode(), key=key, least=least)
        except _RegisteredMeanwhile as meanwhile:
            return meanwhile.version

    def _number_and_add(
        self, conn: Connection, serial: int, made: ModelVersion, *, manifest: str, key: str, least: int = 0
    ) -> ModelVersion:
        now = self._clock.now()
        number = models.next_number(conn, serial, now, least)
        known = versions.by_key(conn, serial, key) if key else None
        if known is not None:
            raise _RegisteredMeanwhile(known)
        name = models.find(conn, serial).name
        made = replace(made, model=name, number=number, created_at=now, updated_at=now, created_by=caller().actor)
        seal = ""
        if made.digest:
            made = replace(made, signed_by=key_id(self.public_key))
            seal = self._signer.sign(statement(name, number, made.digest))
        row = versions.add(conn, serial, made, key=key, manifest=manifest, seal=seal)
        if made.tags:
            models.set_tags(conn, tables.model_version_tag, row, made.tags)
        self._journal.append(conn, _registered(made))
        return made


def _version(package: Package | None, origin: Origin) -> ModelVersion:
    """What is known of a version before it has a number."""
    manifest = None if package is None else package.manifest
    return ModelVersion(
        model="",
        number=0,
        digest="" if package is None else package.digest,
        signature=None if manifest is None else manifest.signature,
        flavour="" if manifest is None else manifest.flavour,
        task="" if manifest is None else manifest.trait.task,
        classes=() if manifest is None else manifest.trait.classes,
        example=Example({}) if package is None else package.example,
        run_id=origin.run_id,
        datasets=origin.datasets,
        reference=origin.reference,
        metrics=origin.metrics,
        size_bytes=0 if package is None else package.size_bytes,
        environment={} if manifest is None else dict(manifest.environment),
        signed_by="",
        created_at=0,
        source=origin.source,
        location=origin.location,
        run_link=origin.run_link,
        model_id=origin.model_id,
    )


def _path(model: object) -> Path:
    if not isinstance(model, (str, Path)) or not Path(model).is_file():
        raise Invalid("a grant is for the path of a pickle that is there", where="grant", hint="register(name, path)")
    return Path(model)


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
        source=version.source,
    )
