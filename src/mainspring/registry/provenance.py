"""What a version came from, what came from a dataset, and what is different between two versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.values import dataclass
from mainspring.data import Data
from mainspring.registry.model import ModelVersion
from mainspring.registry.rules import breaking_changes, shown
from mainspring.registry.service import Registry
from mainspring.tracking import Run, Tracking
from mainspring.tracking.inputs import Inputs

V = TypeVar("V")
Pair = tuple[object, object]
_DEPTH = 20
_MOST = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions, the older one first in each pair; None where one has nothing.

    Args:
        before: Reference of the first.
        after: Reference of the second.
        same_package: Whether their bytes are the same.
        breaking: Why callers of the first could not call the second.
        schema: Columns by side and name whose type or levels differ, such as "input age".
        data: Datasets that only one of them was made from: "added" and "removed".
        code: Commit, entry point, and whether there were changes that were not committed.
        params: What their runs were given.
        metrics: What was measured of them and of their runs.
        environment: Versions of packages.
        files: Files of the package by name, with their digests.
        facts: Flavour, task, size in bytes and the like.
    """

    before: str
    after: str
    same_package: bool
    breaking: tuple[str, ...]
    schema: Mapping[str, Pair]
    data: Mapping[str, tuple[str, ...]]
    code: Mapping[str, Pair]
    params: Mapping[str, Pair]
    metrics: Mapping[str, Pair]
    environment: Mapping[str, Pair]
    files: Mapping[str, Pair]
    facts: Mapping[str, Pair]


@dataclass(frozen=True, slots=True)
class Kin:
    """One thing in a lineage: its reference, what it is to the one above it, and what follows from it."""

    ref: str
    role: str = ""
    name: str = ""
    kin: tuple[Kin, ...] = field(default_factory=tuple)


class Provenance:
    """Reads how versions, runs and datasets hang together.

    Args:
        registry: Knows versions, and who uses them.
        tracking: Knows runs.
        inputs: Knows which datasets they read.
        data: Knows which datasets were made from which.
    """

    def __init__(self, *, registry: Registry, tracking: Tracking, inputs: Inputs, data: Data) -> None:
        self._registry = registry
        self._tracking = tracking
        self._inputs = inputs
        self._data = data

    def diff(self, name: str, before: int | str, after: int | str, *, other: str = "") -> Difference:
        """What differs between two versions of a model, or of two models.

        Args:
            name: The model.
            before: Number or alias of the first version.
            after: Number or alias of the second.
            other: The model of the second; "" = the same.
        Raises:
            NotFound: No such model or version.
        """
        old, new = self._registry.get(name, before), self._registry.get(other or name, after)
        runs = self._run(old.run_id), self._run(new.run_id)
        return Difference(
            before=old.ref,
            after=new.ref,
            same_package=bool(old.digest) and old.digest == new.digest,
            breaking=() if not (old.signature and new.signature) else breaking_changes(old.signature, new.signature),
            schema=differing(_columns(old), _columns(new)),
            data=_data(self._datasets(old), self._datasets(new)),
            code=differing(*map(_code, runs)),
            params=differing(*({} if run is None else run.params for run in runs)),
            metrics=differing(_metrics(old, runs[0]), _metrics(new, runs[1])),
            environment=differing(old.environment, new.environment),
            files=differing(self._files(old), self._files(new)),
            facts=differing(_facts(old), _facts(new)),
        )

    def lineage(self, ref: str) -> Kin:
        """What a version came from (`models/NAME/3`), or what came from a dataset version (`datasets/NAME/3`).

        A version leads back to its run and the datasets behind it, and on to the deployments that serve it. A dataset
        leads on to the runs that read it, their versions, and their deployments.

        Raises:
            NotFound: There is nothing of that name.
            Invalid: It is no such reference.
        """
        kind, _, rest = ref.partition("/")
        name, _, number = rest.rpartition("/")
        if kind == "models" and rest:
            found = self._registry.get(name, number) if name else self._registry.get(rest)
            return self._behind(found)
        if kind == "datasets" and name and number.isdecimal():
            return self._after(self._data.get(name, int(number)).ref)
        hint = "use models/NAME/NUMBER or datasets/NAME/NUMBER"
        raise Invalid(f"{shown(ref)!r} has no lineage", where="ref", hint=hint)

    def _behind(self, version: ModelVersion) -> Kin:
        run = self._run(version.run_id)
        read = [] if run is None else [self._parents(entry.dataset, entry.context) for entry in run.inputs]
        listed = {entry.ref for entry in read}
        own = [ref for ref in dict.fromkeys((*version.datasets, version.reference)) if ref and ref not in listed]
        kin = [self._parents(ref, "reference" if ref == version.reference else "training") for ref in own]
        if run is not None:
            kin.insert(0, Kin(run.ref, "made by", run.name, tuple(read)))
        elif version.run_id:
            kin.insert(0, Kin(f"runs/{version.run_id}", "made by a run of another server"))
        return Kin(version.ref, "", version.model, (*kin, *self._served(version)))

    def _served(self, version: ModelVersion) -> list[Kin]:
        return [Kin(ref, "served by") for ref in self._registry.users(version.model, version.number)]

    def _parents(self, ref: str, role: str, depth: int = _DEPTH) -> Kin:
        """A dataset version and what it was made from; of one that is not kept here only its name."""
        kind, _, rest = ref.partition("/")
        name, _, number = rest.rpartition("/")
        if kind != "datasets" or not name or not number.isdecimal() or depth == 0:
            return Kin(ref, role)
        try:
            found = self._data.get(name, int(number))
        except NotFound:
            return Kin(ref, role)
        return Kin(ref, role, name, tuple(self._parents(parent, "made from", depth - 1) for parent in found.parents))

    def _after(self, ref: str) -> Kin:
        runs = []
        seen: set[str] = set()
        for run_id, name in self._inputs.readers(ref, limit=_MOST):
            made = self._registry.of_run(run_id)
            seen |= {version.ref for version in made}
            runs.append(Kin(f"runs/{run_id}", "read by", name, tuple(self._made(version) for version in made)))
        others = [version for version in self._registry.made_from(ref) if version.ref not in seen]
        return Kin(ref, kin=(*runs, *(self._made(version) for version in others)))

    def _made(self, version: ModelVersion) -> Kin:
        return Kin(version.ref, "made", version.model, tuple(self._served(version)))

    def _run(self, run_id: str) -> Run | None:
        try:
            return self._tracking.get(run_id) if run_id else None
        except NotFound:
            return None

    def _datasets(self, version: ModelVersion) -> tuple[str, ...]:
        run = self._run(version.run_id)
        read = () if run is None else tuple(entry.dataset for entry in run.inputs)
        return tuple(ref for ref in dict.fromkeys((*version.datasets, version.reference, *read)) if ref)

    def _files(self, version: ModelVersion) -> dict[str, str]:
        manifest = self._registry.manifest(version.model, version.number)
        return {} if manifest is None else {name: digest for name, (digest, _) in manifest.files.items()}


def differing(before: Mapping[str, V], after: Mapping[str, V]) -> dict[str, Pair]:
    """What two mappings do not agree on, by key, each with both values; None where one has none.

    >>> differing({"a": 1, "b": 2}, {"b": 3, "c": 4})
    {'a': (1, None), 'b': (2, 3), 'c': (None, 4)}
    """
    pairs = {key: (before.get(key), after.get(key)) for key in sorted({*before, *after})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _data(before: Sequence[str], after: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found = {"added": _without(after, before), "removed": _without(before, after)}
    return {name: refs for name, refs in found.items() if refs}


def _without(refs: Iterable[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(ref for ref in refs if ref not in others)


def _columns(version: ModelVersion) -> dict[str, str]:
    sides = (("input", version.inputs), ("output", version.outputs))
    return {
        f"{side} {entry.name}": entry.dtype + (f" of {len(entry.levels)} levels" if entry.levels else "")
        for side, entries in sides
        for entry in entries
    }


def _code(run: Run | None) -> dict[str, object]:
    if run is None or run.code is None:
        return {}
    return {"commit": run.code.commit, "entry": run.code.entry, "dirty": run.code.dirty, "diff": run.code.diff}


def _metrics(version: ModelVersion, run: Run | None) -> dict[str, float]:
    measured = {} if run is None else {key: point.value for key, point in run.metrics.items()}
    return {key: value for key, value in {**measured, **version.metrics}.items() if value == value}


def _facts(version: ModelVersion) -> dict[str, object]:
    return {
        "flavour": version.flavour,
        "task": version.task,
        "classes": list(version.classes),
        "size_bytes": version.size_bytes,
        "stage": version.stage,
        "source": version.source,
    }
