"""What the versions of a deployment are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.errors import MainspringError, NotFound
from mainspring.core.values import dataclass
from mainspring.monitoring import records
from mainspring.monitoring.model import WatchedVersion
from mainspring.monitoring.rules import performance
from mainspring.monitoring.rules.packs import Pack, declared, detected
from mainspring.monitoring.rules.reference import Reference

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.registry import ModelVersion, Registry
    from mainspring.registry.model import Importance
    from mainspring.serving import Serving
    from mainspring.storage.ports import Tables


@dataclass(frozen=True)
class Watched:
    """A version without its evidence, what its inputs are compared with, None when its training data are not known, how
    much each of them matters, None when the version does not say, and of many classes which, in the order of their
    probabilities."""

    version: WatchedVersion
    reference: Reference | None
    importance: Importance | None = None
    pack: Pack | None = None
    classes: tuple[str, ...] = ()

    @property
    def part(self) -> str | None:
        """The input that tells the part of a row of its pack, "" where the request does; None without a pack."""
        return None if self.pack is None else self.pack.part


class References:
    """Finds what versions are compared with, and keeps the profiles it has read: a version never changes.

    Args:
        tables: Where watched versions are kept.
        serving: Knows the model of a deployment.
        registry: Knows versions and their validation loss.
        data: Knows the profiles of training data.
        packs: What the settings say of the pack of a deployment.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        serving: Serving,
        registry: Registry,
        data: Data,
        packs: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._packs, self._detected = packs or {}, dict[tuple[str, str, int], Pack | None]()
        self._tables, self._serving, self._registry, self._data = tables, serving, registry, data
        self._references: dict[tuple[str, str, int], Reference | None] = {}
        self._many: dict[tuple[str, str, int], tuple[str, ...]] = {}
        self._importances: dict[tuple[str, str, int], Importance | None] = {}

    def of(self, deployment: str, numbers: Iterable[int]) -> dict[int, Watched]:
        """Versions of a deployment, by number, with their references; a version nobody saw before gets a first look."""
        wanted = set(numbers)
        if not wanted:
            return {}
        with self._tables.read() as conn:
            known = {entry.version: entry for entry in records.list_stateless(conn, deployment)}
        model = "" if wanted <= known.keys() else self._serving.get(deployment).model
        found = {}
        for number in sorted(wanted):
            version = known.get(number) or self._first_look(deployment, model, number)
            reference = self._reference(version)
            importance = _of_vectors(self.importance(version), reference)
            found[number] = Watched(version, reference, importance, self.pack(version), self._classes(version))
        return found

    def _first_look(self, deployment: str, model: str, number: int) -> WatchedVersion:
        blank = WatchedVersion(deployment, number, model, "binary")
        try:
            made = self._registry.get(model, number)
        except NotFound:
            return replace(blank, problem=f"version {number} is not in the registry")
        blank = replace(blank, task=made.task)
        loss = performance.reference_loss(made.task, made.metrics)
        problems = []
        if loss is None:
            problems.append("no validation loss: realized performance is shown but not judged")
        else:
            blank = replace(blank, loss=loss[0], reference_loss=loss[1])
        try:
            reference = self._load_reference(made)
            if reference is None:
                problems.append("no reference dataset: drift is not judged")
            elif not reference.profile.grid.columns:
                problems.append(f"{made.reference} has none of the model's inputs: drift is not judged")
            else:
                blank = replace(blank, reference=made.reference)
        except MainspringError as reason:
            problems.append(f"the reference cannot be read: {reason.what}")
        return replace(blank, problem="; ".join(problems))

    def _classes(self, version: WatchedVersion) -> tuple[str, ...]:
        key = (caller().project, version.model, version.version)
        if version.task == "multiclass" and key not in self._many:
            try:
                made = self._registry.get(version.model, version.version)
            except NotFound:
                return ()
            self._many[key] = tuple(str(label) for label in made.classes)
        return self._many.get(key, ())

    def pack(self, version: WatchedVersion) -> Pack | None:
        """What a version is watched as beside its inputs: by the settings, or by its metrics."""
        key = (caller().project, version.model, version.version)
        if key not in self._detected:
            try:
                made = self._registry.get(version.model, version.version)
            except NotFound:
                return None
            self._detected[key] = detected(made.task, made.metrics, made.columns)
        found = declared(self._detected[key], self._packs.get(version.deployment, {}))
        if found is None or found.kind != "forecasting":
            return found
        interval = self._serving.get(version.deployment).options.interval
        return found if interval is None else replace(found, coverage=interval.coverage)

    def importance(self, version: WatchedVersion) -> Importance | None:
        """How much each input matters to a version, None when it does not say."""
        key = (caller().project, version.model, version.version)
        if key not in self._importances:
            try:
                made = self._registry.get(version.model, version.version)
            except NotFound:
                return None
            self._importances[key] = self._registry.importance(made)
        return self._importances[key]

    def _reference(self, version: WatchedVersion) -> Reference | None:
        if not version.reference:
            return None
        key = (caller().project, version.model, version.version)
        if key not in self._references:
            self._references[key] = self._load_reference(self._registry.get(version.model, version.version))
        return self._references[key]

    def _load_reference(self, made: ModelVersion) -> Reference | None:
        if not made.reference:
            return None
        dataset = self._data.resolve(made.reference)
        profile = self._data.profile(dataset.dataset, dataset.number)
        return Reference.of(profile, [entry.name for entry in made.inputs])


def _of_vectors(importance: Importance | None, reference: Reference | None) -> Importance | None:
    """Importances with those of vectors: what their places have together."""
    vectors = reference.vectors if reference is not None else ()
    whole = {one.name: one.places for one in vectors if one.places}
    if importance is None or not whole:
        return importance
    sums = {name: sum(importance.shares.get(place, 0.0) for place in places) for name, places in whole.items()}
    return replace(importance, shares={**importance.shares, **sums})
