"""Feature views behind an endpoint: what a deployment names, checked against the version that shall answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.registry.model import Field
from mainspring.serving.modelserver.columns import kind_of
from mainspring.serving.modelserver.plan import Input, Options, ViewPlan, ViewUse

if TYPE_CHECKING:
    from mainspring.data import FeatureViews
    from mainspring.data.features.model import FeatureView
    from mainspring.registry import ModelVersion

_DTYPES = {"String": "string", "Int64": "int64", "Boolean": "bool"}
_FITS = {("float", "int"), ("float", "float"), ("int", "int"), ("bool", "bool"), ("text", "text")}
"""Kinds of an input, and of features that may fill it in."""


class Viewing:
    """Knows the feature views that endpoints look inputs up in.

    Args:
        views: Keeps them; None where there are none.
    """

    def __init__(self, views: FeatureViews | None) -> None:
        self._views = views

    def pinned(self, options: Options) -> Options:
        """Options that name versions of views: the newest of each view that they name without one.

        Raises:
            NotFound: There is no such view.
        """
        if not options.features:
            return options
        uses = [replace(use, view=self._named(self._view(use))) for use in options.features]
        return replace(options, features=tuple(uses))

    def check(self, options: Options, version: ModelVersion) -> None:
        """Refuse views that give a version nothing, or what it can't take, and such as were not materialized.

        Raises:
            Invalid: They do. NotFound: There is no such view, or nothing was made of it for lookups.
        """
        taken: dict[str, str] = {}
        for use in options.features:
            view = self._view(use)
            kinds = {column.name: kind_of(column.dtype) for column in view.columns}
            given = [field for field in version.inputs if field.name in kinds]
            if not given:
                hint = f"its inputs are {', '.join(version.columns[:20])}; name features like them"
                raise Invalid(f"{view.ref} has no input of this version", where=version.ref, hint=hint)
            for field in given:
                if (kind_of(field.dtype), kinds[field.name]) not in _FITS:
                    said = f"{view.ref} has {field.name!r} as {kinds[field.name]}, it takes {field.dtype}"
                    raise Invalid(said, where=version.ref, hint="add the view anew, such as with number(...)")
                if field.name in taken:
                    said = f"{field.name!r} is in both {taken[field.name]} and {view.ref}"
                    raise Invalid(said, where="features", hint="leave one of them out")
                taken[field.name] = view.ref
            for name in use.defaults:
                if name not in kinds:
                    hint = did_you_mean(name, kinds) or f"it has {', '.join(kinds)}"
                    raise Invalid(f"a default for {name!r}, which is no feature", where=view.ref, hint=hint)
            self.views.file(view)

    @property
    def views(self) -> FeatureViews:
        """The feature views.

        Raises:
            Invalid: There are none here.
        """
        if self._views is None:
            raise Invalid("no feature views are known here", where="features", hint="deploy from a project")
        return self._views

    def entities(self, options: Options) -> list[str]:
        """The columns that the entities of its views are told by."""
        return [name for use in options.features for name in self._view(use).spec.entity]

    def asked(self, options: Options, version: ModelVersion) -> ModelVersion:
        """The version with the inputs that a request brings: entities in the place of what is looked up."""
        if not options.features or version.signature is None:
            return version
        views = [self._view(use) for use in options.features]
        given = {name for view in views for name in view.spec.names}
        left = [field for field in version.inputs if field.name not in given]
        there = {field.name for field in left}
        keys = {key.name: Field(key.name, _DTYPES[key.dtype]) for view in views for key in view.keys}
        inputs = (*(key for name, key in keys.items() if name not in there), *left)
        return replace(version, signature=replace(version.signature, inputs=inputs))

    def plans(self, options: Options) -> list[ViewPlan]:
        """What the model server needs to know of the views."""
        return [self._plan(use, self._view(use)) for use in options.features]

    def _plan(self, use: ViewUse, view: FeatureView) -> ViewPlan:
        return ViewPlan(
            name=view.name,
            number=view.number,
            path=str(self.views.path(view)),
            keys=[Input(name=key.name, dtype=key.dtype) for key in view.keys],
            names=list(view.spec.names),
            ttl_us=round(view.spec.ttl_s * SECOND_US),
            otherwise=use.otherwise,
            defaults=use.defaults,
        )

    def _view(self, use: ViewUse) -> FeatureView:
        return self.views.resolve(use.view)

    @staticmethod
    def _named(view: FeatureView) -> str:
        return f"{view.name}/{view.number}"


def check_redacted(columns: Sequence[str], version: ModelVersion, others: Sequence[str]) -> None:
    """Refuse to redact what is neither an input nor one of the others: what says an entity, or another version takes.

    Raises:
        Invalid: One is neither.
    """
    for column in columns:
        if column not in version.columns and column not in others:
            known = [*version.columns, *others]
            hint = did_you_mean(column, known) or f"its inputs are {', '.join(known)}"
            raise Invalid(f"no input {column!r} to redact", where=version.ref, hint=hint)
