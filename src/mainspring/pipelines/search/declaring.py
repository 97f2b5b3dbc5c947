"""What is asked for when a search is: a section, what stands over the pipeline and what was said, as one that works."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.pipelines.search import declared
from mainspring.pipelines.search.model import Search
from mainspring.pipelines.search.rules import corners, search_of
from mainspring.pipelines.search.sampling import check_installed
from mainspring.pipelines.targets import AnyPipeline


def section_of(target: str, sections: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """The target of a pipeline and what its section says, when a section is named; else the target alone.

    Raises:
        NotFound: There is no such section.
    """
    if ":" in target:
        return target, {}
    found = sections.get(target)
    if not isinstance(found, Mapping):
        hint = did_you_mean(target, sections) or f"write [search.{target}], or name FILE.py:PIPELINE"
        raise NotFound(f"no search {target!r}", where="search", hint=hint)
    section = {str(name): value for name, value in found.items()}
    return str(section.pop("pipeline", "")), section


def search_for(pipeline: AnyPipeline, section: Mapping[str, object], changes: Mapping[str, object]) -> Search:
    """The search of a pipeline, after everything that can be known before its first trial was checked.

    Args:
        pipeline: The pipeline; what `@search` says over it counts least.
        section: What its section in `mainspring.toml` says.
        changes: What whoever asks says, which counts most.
    Raises:
        Invalid: Nothing is declared, the space does not fit the pipeline, or the sampler is not installed.
    """
    said = declared(pipeline)
    first = {name: getattr(said, name) for name in Search.__dataclass_fields__} if said else {}
    if not (first or section or changes):
        hint = "write @search(space=..., objective=...) above @pipeline, or a section [search.NAME]"
        raise Invalid(f"nothing is declared to search {pipeline.name} for", where="search", hint=hint)
    params = {**first.get("params", {}), **_table(section, "params"), **_table(changes, "params")}
    search = search_of({**first, **section, **changes, "params": params}, where="search")
    check_installed(search.method)
    _check_fits(pipeline, search)
    return search


def _table(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = values.get(name, {})
    if not isinstance(found, Mapping):
        raise Invalid(f"{name} is no table", where=f"search {name}", hint="write { name = value }")
    return found


def _check_fits(pipeline: AnyPipeline, search: Search) -> None:
    """Draw the pipeline with each end of each range: what it does not take is refused now and not in the tenth trial.

    Raises:
        Invalid: A parameter is unknown, has the wrong type, or is both searched and fixed.
    """
    for name in search.space:
        if name in search.params:
            hint = "take it out of the space or out of params"
            raise Invalid(f"{name} is searched and fixed at once", where="search params", hint=hint)
    ends = corners(search.space)
    usual = dict(reversed(ends))
    for name, value in ends:
        try:
            pipeline.draw({**search.params, **usual, name: value})
        except Invalid as reason:
            raise Invalid(reason.what, where=f"search, {name} = {value!r}", hint=reason.hint) from None
    if search.winner:
        pipeline.draw({**search.params, **usual, **search.winner})
