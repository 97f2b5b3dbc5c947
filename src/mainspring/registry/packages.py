"""Model packages: a handful of files with a manifest that names the digest of each, and a signature over the manifest.

A package has no code in it, but for Python functions and granted pickles, which run in processes of their own. The
digest of a package is the BLAKE3 of `manifest.json`; since the manifest lists every other file with its digest, it
stands for all bytes. `signature.json` is no part of it: it binds that digest to a model and a number. This module needs
neither SQL nor a web framework, because model servers import it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Conflict, Corrupt, Invalid, NotFound, Refused, TooLarge
from mainspring.core.values import dataclass
from mainspring.registry.flavours import (
    Preparing,
    Trait,
    Unloaded,
    explainer_of,
    flavour,
    flavour_for,
    names,
    pickle,
    python,
)
from mainspring.registry.grants import Permit
from mainspring.registry.manifests import MANIFEST, Manifest, Seal
from mainspring.registry.model import Example, Field, Label, Scalar, Signature
from mainspring.registry.pickles import require_safe, scan
from mainspring.registry.reasons import Cells, Explainer, Means, Reasons, of_chosen, refused, typical
from mainspring.registry.rules import in_order, infer_inputs, is_pickle, outputs_of
from mainspring.registry.signing import is_signed, statement

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.apart import Own
    from mainspring.registry.encoding import Encoder
    from mainspring.registry.flavours import Flavour, Scorer

SEAL = "signature.json"
EXAMPLE = "example.json"
EXAMPLE_ROWS = 5
MAX_FILE = 2 * 1024**3
_MAX_NOTE = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Package:
    """A manifest and its files in memory."""

    manifest: Manifest
    files: Mapping[str, bytes]
    example: Example

    @property
    def digest(self) -> str:
        """BLAKE3 of the manifest, 64 hex digits."""
        return digest(self.manifest.to_bytes())

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.manifest.files.values())


class Predictor:
    """A loaded model: typed columns in, NumPy arrays out. Safe to share between threads."""

    def __init__(
        self,
        manifest: Manifest,
        scorer: Scorer,
        *,
        digest: str = "",
        example: Example | None = None,
        explainer: Callable[[Sequence[Cells] | None], Explainer] | None = None,
    ) -> None:
        from mainspring.registry.encoding import Encoder

        if manifest.signature is None:
            raise Refused("the model has no signature", where=manifest.flavour, hint="log it with a signature")
        self.signature = manifest.signature
        self.task = manifest.trait.task
        self.classes: tuple[Label, ...] = manifest.trait.classes
        self._classes: NDArray[np.generic] | None = None
        self.flavour = manifest.flavour
        self._manifest = manifest
        self.digest = digest
        self.waits: bool = getattr(scorer, "waits", True)
        self.example = example or Example({})
        self._scorer = scorer
        self._explainer = explainer
        self._encoder = Encoder(self.signature.inputs)
        self._wants_frame = manifest.trait.wants_frame and not getattr(scorer, "takes_matrix", False)

    def emptied(self) -> Predictor:
        """The same without the model: it says what it takes and gives, and can't answer."""
        return Predictor(self._manifest, Unloaded(), digest=self.digest, example=self.example)

    @property
    def takes_matrix(self) -> bool:
        """Whether the model is asked with a matrix of numbers, and not with a frame."""
        return not self._wants_frame

    @property
    def encoder(self) -> Encoder:
        """How its columns become numbers; training on the same encoder cannot differ from serving."""
        return self._encoder

    def prepare(self) -> None:
        """Make at once what some formats otherwise make for the first call with many rows."""
        if isinstance(self._scorer, Preparing):
            self._scorer.prepare()

    def predict(self, frame: pl.DataFrame) -> dict[str, NDArray[np.generic]]:
        """Answer each row.

        Args:
            frame: One column for each input of the signature; others are ignored. An unknown level counts as missing.
        Returns: Binary: `probability` of the second class, float64 (rows,), and `label` (rows,). Multiclass: the same
            with `probability` (rows, classes). Regression: `prediction`, float64 (rows,).
        Raises:
            Invalid: A column is missing or has another type.
        """
        if frame.height == 0:
            self._encoder.check(frame)
            return self._answer(self._no_scores())
        return self._answer(self._scorer.score(self.inputs_from(frame)))

    def inputs_from(self, frame: pl.DataFrame) -> NDArray[np.float64] | pl.DataFrame:
        """A frame in the form that the model is asked with. Raises as `predict`."""
        return self._encoder.frame(frame) if self._wants_frame else self._encoder.matrix(frame)

    def predict_columns(self, columns: Mapping[str, Sequence[Scalar]]) -> dict[str, NDArray[np.generic]]:
        """The same for columns of plain values, such as they come in JSON.

        Raises:
            Invalid: A column is missing, of another length, or has a value of another type.
        """
        return self.predict(to_frame(columns, self.signature.inputs))

    def predict_checked(self, columns: Sequence[Sequence[Scalar]]) -> dict[str, NDArray[np.generic]]:
        """The same for plain values that were checked already: one list for each input, in order, at least one row.

        For model servers: a model of numbers is asked without a frame in between.
        """
        return self._answer(self._scorer.score(self.inputs_of(columns)))

    def reasoner(self, means: Means) -> Reasoner:
        """How to explain the answers; made anew with every call, which may take a moment.

        Args:
            means: What training had of the inputs.
        Raises:
            Refused: There are no exact reason codes for this model.
        """
        return Reasoner(self, self.explainer(typical(self.signature.inputs, means)))

    def explainer(self, cells: Sequence[Cells] | None) -> Explainer:
        """How to explain all of its raw outputs, made anew with every call.

        Args:
            cells: What training had of each input, as the encoder puts it; None where that is not known.
        Raises:
            Refused: There are no exact reason codes for this model.
        """
        if self._explainer is None:
            raise refused(f"a model of format {self.flavour}")
        return self._explainer(cells)

    def inputs_of(self, columns: Sequence[Sequence[Scalar]]) -> NDArray[np.float64] | pl.DataFrame:
        """Columns as `predict_checked` takes them, in the form that the model is asked with."""
        if not self._wants_frame:
            return self._encoder.matrix_of(columns)
        named = zip(self.signature.names, columns, strict=True)
        return self._encoder.frame(to_frame(dict(named), self.signature.inputs))

    def _no_scores(self) -> NDArray[np.float64]:
        from numpy import zeros

        return zeros((0, len(self.classes)) if self.task == "multiclass" else 0)

    def _answer(self, scores: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
        import numpy as np

        scores = np.asarray(scores, dtype=np.float64)
        if scores.ndim != (2 if self.task == "multiclass" else 1):
            raise Invalid(
                f"scores of shape {scores.shape} from a {self.task} model",
                where=self.flavour,
                hint="models give one number for each row, or one for each row and class",
            )
        if self.task == "regression":
            return {"prediction": scores}
        chosen = scores.argmax(axis=1) if self.task == "multiclass" else (scores > 0.5).astype(np.intp)
        if self._classes is None:
            self._classes = np.asarray(self.classes)
        return {"probability": scores, "label": self._classes[chosen]}


class Reasoner:
    """Explains the answers of a model. Safe to share between threads; `scale` says what its numbers are."""

    def __init__(self, predictor: Predictor, explainer: Explainer) -> None:
        self.scale = explainer.scale
        self._predictor = predictor
        self._explainer = explainer

    def explain(self, columns: Sequence[Sequence[Scalar]], answers: Mapping[str, NDArray[np.generic]]) -> Reasons:
        """The reason codes of rows.

        Args:
            columns: As `Predictor.predict_checked` takes them.
            answers: What it answered.
        """
        scores = answers["prediction" if self._predictor.task == "regression" else "probability"]
        shares = self._explainer.explain(self._predictor.inputs_of(columns))
        return of_chosen(shares, cast("NDArray[np.float64]", scores))


def build(
    model: object,
    example: pl.DataFrame,
    *,
    signature: Signature | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Package:
    """Make the package of a fitted model, and try it: read back, it must answer the example just as the model does.

    Args:
        model: A fitted model, or the path of a model file.
        example: Some rows of its inputs; the first five are kept.
        signature: Its inputs and outputs; found from the example when absent.
        levels: For each encoded text column its levels, in the order of their codes at training.
    Raises:
        Invalid: The model is of no known format, is not fitted, or can't answer the example.
        Refused: It is a pickle, or holds types that are not trusted.
    """
    if isinstance(model, (str, Path)):
        model = open_file(Path(model))
    kind = flavour_for(model)
    trait = kind.trait(model)
    known = {**trait.levels, **{name: tuple(entries) for name, entries in (levels or {}).items()}}
    signature = _signature(signature, example, trait, known)
    _check_encoded(signature, trait)
    content = kind.dump(model)
    notes = kind.notes(model) if hasattr(kind, "notes") else {}
    manifest = Manifest(kind.NAME, trait, signature, environment(kind.PACKAGES), notes=notes)
    shown = _try(manifest, kind, model, content, example)
    files = {kind.FILE: content, EXAMPLE: _example_bytes(shown)}
    listed = {name: (digest(data), len(data)) for name, data in files.items()}
    return Package(replace(manifest, files=listed), files, shown)


def open_file(path: Path) -> object:
    """The model in a file of a known format.

    Raises:
        NotFound: There is no such file.
        Refused: It is a pickle.
        Invalid: It is of no known format.
    """
    check_file(path)
    data = path.read_bytes()
    for name in names():
        if flavour(name).recognises(data):
            return flavour(name).read(data)
    raise Invalid("no known model format", where=str(path), hint="known are " + ", ".join(names()))


def check_file(path: Path) -> int:
    """The size in bytes of a file that may be one of a model. Raises as `open_file`, but for its content."""
    if not path.is_file():
        raise NotFound("there is no such file", where=str(path), hint="give the path of a model file")
    size = path.stat().st_size
    if size > MAX_FILE:
        raise TooLarge(f"{size} bytes, at most {MAX_FILE} are kept", where=str(path))
    with path.open("rb") as file:
        refuse_pickle(path.name, file.read(64))
    return size


def refuse_pickle(name: str, head: bytes) -> None:
    """Refuse a file that is a pickle by name or content.

    Raises:
        Refused: It is one.
    """
    if is_pickle(name, head):
        raise Refused(
            "a pickle can run any code when it is loaded, so pickles are not kept",
            where=name,
            hint="register the fitted model itself, or save it with skops.io.dump or booster.save_model; "
            "or take responsibility: register(..., grant=GrantRequest(reason))",
        )


def to_frame(columns: Mapping[str, Sequence[Scalar]], fields: Sequence[Field]) -> pl.DataFrame:
    """A frame of plain values with the types of the fields.

    Raises:
        Invalid: A column is missing, of another length, or has a value of another type.
    """
    import polars as pl

    types = {"bool": pl.Boolean, "string": pl.String}
    made: list[pl.Series] = []
    for entry in fields:
        if entry.name not in columns:
            raise Invalid(f"column {entry.name!r} is missing", where="inputs", hint=f"send it as {entry.dtype}")
        wanted = types.get(entry.dtype, pl.Float64)
        try:
            values = list(columns[entry.name])
            made.append(pl.Series(entry.name, values, dtype=wanted, strict=True))
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            raise Invalid(f"expected {entry.dtype} values", where=f"column {entry.name}") from None
    if len({len(series) for series in made}) > 1:
        raise Invalid("the columns differ in length", where="inputs")
    return pl.DataFrame(made)


def environment(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python, the machine and the packages a model depends on."""
    from importlib.metadata import PackageNotFoundError

    found = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    for name in packages:
        try:
            found[name] = _installed(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _installed(package: str) -> str:
    """The version of a package when it was first asked for, which is the one that is loaded."""
    from importlib.metadata import version

    return version(package)


def write_folder(folder: Path, manifest: bytes, files: Mapping[str, bytes], seal: Seal) -> Path:
    """Write a package to `folder`: whole or not at all. A folder that holds the same package already is left alone.

    Raises:
        Conflict: Something else is there.
    """
    plain = {name: getattr(seal, name) for name in ("model", "version", "digest", "key", "signature")}
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
    try:
        for name, data in {**files, MANIFEST: manifest, SEAL: canonical_json(plain)}.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(data)
            (part / name).chmod(0o444)
        part.chmod(0o755)
        os.rename(part, folder)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        if not _holds(folder, seal):
            raise Conflict("the folder is taken", where=str(folder), hint="choose a new or an empty folder") from None
    return folder


def granted(data: bytes, permit: Permit, *, where: str) -> pickle.PickleFile:
    """A pickle with its permit, scanned again: the allow-list may be another since it was granted.

    Raises:
        Refused: The scan says unsafe, and the permit does not say despite it.
    """
    if not permit.despite_scan:
        require_safe(scan(data, name=pickle.FILE), where)
    return pickle.PickleFile(data, permit.despite_scan, permit.expires_at)


def load_folder(
    path: Path, *, public_key: bytes | None, expected: str = "", grant: str = "", own: Own | None = None
) -> Predictor:
    """Load a package after checking every byte of it.

    Args:
        path: The folder.
        public_key: Key of the instance that signed it (32 bytes); None checks digests only.
        expected: The digest it must have; "" takes the one of its signature file.
        grant: For a pickle the signed line of its grant.
        own: Have it in a process of its own; formats that are code have one anyhow.
    Raises:
        NotFound: There is no package.
        Corrupt: A file was changed, added or taken away, or the signature is not of this key.
        Refused: A file is a pickle without a grant, or holds types that are not trusted.
        Failed: Its process can't load it.
    """
    manifest, files, seal = read_folder(Path(path), public_key=public_key, expected=expected)
    kind = flavour(manifest.flavour)
    if kind.FILE not in files:
        raise Corrupt(f"the package has no {kind.FILE}", where=str(path))
    example = example_of(files.get(EXAMPLE, b"{}"))
    if own is not None and manifest.flavour not in (pickle.NAME, python.NAME):
        refuse_pickle(kind.FILE, files[kind.FILE][:64])
        return _apart(manifest, kind.FILE, files[kind.FILE], own, digest=seal.digest, example=example)
    if manifest.flavour == pickle.NAME:
        permit = Permit.of(grant, digest=seal.digest, public_key=public_key, now=time.time_ns() // 1000)
        model: object = granted(files[kind.FILE], permit, where=str(path))
    else:
        refuse_pickle(kind.FILE, files[kind.FILE][:64])
        model = kind.read(files[kind.FILE])
    return predictor_of(manifest, kind, model, digest=seal.digest, example=example)


def _apart(manifest: Manifest, file: str, data: bytes, own: Own, *, digest: str, example: Example) -> Predictor:
    """A model whose bytes were checked here and are read in a process of its own."""
    from mainspring.registry.apart import Apart
    from mainspring.registry.apart.kept import job_of

    process = Apart(job_of(manifest.flavour, manifest.trait, {file: data}, own))
    process.describe()
    return Predictor(manifest, process, digest=digest, example=example, explainer=process.explainer)


def predictor_of(
    manifest: Manifest, kind: Flavour, model: object, *, digest: str = "", example: Example | None = None
) -> Predictor:
    """A model that was read, ready to predict and, where it can be, to be explained."""
    trait = manifest.trait
    explainer = partial(explainer_of, kind, model, trait)
    return Predictor(manifest, kind.scorer(model, trait), digest=digest, example=example, explainer=explainer)


def read_folder(path: Path, *, public_key: bytes | None, expected: str = "") -> tuple[Manifest, dict[str, bytes], Seal]:
    """The manifest, the other files and the seal of a package, all checked. Raises as `load_folder` does."""
    if not (path / MANIFEST).is_file():
        raise NotFound("there is no model package", where=str(path), hint="mainspring models download NAME VERSION DIR")
    seal = _read_seal(path)
    plain = _read(path, MANIFEST, _MAX_NOTE)
    if digest(plain) != (expected or seal.digest) or seal.digest != (expected or seal.digest):
        raise Corrupt("the manifest does not have the digest it was registered with", where=str(path / MANIFEST))
    signed = statement(seal.model, seal.version, seal.digest)
    if public_key is not None and not is_signed(signed, seal.signature, public_key):
        raise Corrupt("the signature is not of the key of this instance", where=str(path / SEAL), hint=_AGAIN)
    manifest = Manifest.from_bytes(plain)
    found = {e.relative_to(path).as_posix() for e in path.rglob("*") if e.is_symlink() or not e.is_dir()}
    found -= {MANIFEST, SEAL}
    if found != set(manifest.files):
        differing = ", ".join(sorted(found ^ set(manifest.files)))
        raise Corrupt(f"files that differ from the manifest: {differing}", where=str(path), hint=_AGAIN)
    return manifest, {name: _checked(path, name, *manifest.files[name]) for name in manifest.files}, seal


_AGAIN = "fetch it again: mainspring models download NAME VERSION DIR"


def _checked(path: Path, name: str, key: str, size: int) -> bytes:
    data = _read(path, name, size)
    if len(data) != size or digest(data) != key:
        raise Corrupt("the file was changed after it was registered", where=str(path / name), hint=_AGAIN)
    return data


def _read(path: Path, name: str, limit: int) -> bytes:
    file = path / name
    if file.is_symlink() or not file.is_file():
        raise Corrupt("not a plain file", where=str(file))
    with file.open("rb") as opened:
        return opened.read(limit + 1)


def _read_seal(path: Path) -> Seal:
    try:
        plain = json.loads(_read(path, SEAL, _MAX_NOTE))
        texts = [str(plain[name]) for name in ("digest", "key", "signature")]
        return Seal(str(plain["model"]), int(plain["version"]), *texts)
    except (KeyError, TypeError, ValueError) as reason:
        raise Corrupt(f"not a signature: {reason!r}", where=str(path / SEAL), hint=_AGAIN) from None


def _holds(folder: Path, seal: Seal) -> bool:
    try:
        return read_folder(folder, public_key=None, expected=seal.digest)[2] == seal
    except (NotFound, Corrupt):
        return False


def _signature(
    given: Signature | None, example: pl.DataFrame, trait: Trait, levels: Mapping[str, Sequence[str]]
) -> Signature:
    if example.height == 0:
        raise Invalid("the example has no rows", where="example", hint="give a few rows of the training inputs")
    if given is None:
        schema = {name: type(kind).__name__ for name, kind in example.schema.items()}
        inputs = infer_inputs(schema, {name: entries for name, entries in levels.items() if name in schema})
        unknown = [name for name in levels if name not in schema]
        if unknown:
            raise Invalid(f"levels were given for {unknown[0]!r}, which is no input", where="encoding")
        given = Signature(inputs)
    else:
        given = Signature(
            tuple(
                Field(f.name, f.dtype, tuple(levels[f.name])) if f.name in levels and not f.levels else f
                for f in given.inputs
            )
        )
    ordered = in_order(given, trait.trained_on)
    return Signature(ordered.inputs, outputs_of(trait.task, trait.classes))


def _check_encoded(signature: Signature, trait: Trait) -> None:
    for entry in signature.inputs:
        if entry.dtype == "string" and not entry.levels and not trait.wants_frame:
            raise Invalid(
                f"the text column {entry.name!r} has no levels",
                where="encoding",
                hint=f'register(..., encoding={{"{entry.name}": [levels in the order of their codes]}})',
            )


def _try(manifest: Manifest, kind: Flavour, model: object, content: bytes, example: pl.DataFrame) -> Example:
    """Answer the first rows with the model and with its copy read back; they must agree to the last bit."""
    from numpy import array_equal

    rows = example.select(manifest.signature.names if manifest.signature else example.columns).head(EXAMPLE_ROWS)
    try:
        first = Predictor(manifest, kind.scorer(model, manifest.trait)).predict(rows)
    except (ValueError, TypeError) as reason:
        raise Invalid(f"the model can't answer the example: {reason}", where="example") from None
    copy = replace(model) if isinstance(model, pickle.PickleFile) else kind.read(content)
    again = Predictor(manifest, kind.scorer(copy, manifest.trait)).predict(rows)
    for name, values in first.items():
        if not array_equal(values, again[name], equal_nan=values.dtype.kind == "f"):
            raise Invalid(f"read back, the model answers another {name}", where="example", hint="report this model")
    outputs = {name: cast("list[object]", values.tolist()) for name, values in first.items()}
    plain = _without_nan({"inputs": rows.to_dict(as_series=False), "outputs": outputs})
    return example_of(canonical_json(plain))


def _example_bytes(shown: Example) -> bytes:
    return canonical_json({"inputs": shown.inputs, "outputs": shown.outputs})


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value


def example_of(data: bytes) -> Example:
    """What `example.json` of a package says."""
    plain = json.loads(data)
    return Example(dict(plain.get("inputs", {})), dict(plain.get("outputs", {})))
