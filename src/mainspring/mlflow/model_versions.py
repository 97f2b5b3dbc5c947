"""Versions of registered models over the protocol."""

from __future__ import annotations

import json

from mainspring.core.errors import Invalid, NotFound
from mainspring.mlflow.calls import call
from mainspring.mlflow.errors import Told
from mainspring.mlflow.packages import address_of
from mainspring.mlflow.sources import PROMPT_SOURCES, Asked, Sources
from mainspring.mlflow.wire import UNSET, Int64, KeyValue, MaybeText, Message, Text, chosen, pairs_of, texts
from mainspring.registry import Model, ModelVersion, Origin, Registry
from mainspring.registry.model import PROMPT_TAG
from mainspring.registry.searching import ModelSearch
from mainspring.tracking import Tracking
from mainspring.tracking.files import Files
from mainspring.tracking.logged_models import LoggedModels

VERSIONS_TAG = "mlflow.modelVersions"
"""The tag of a logged model that lists the versions made of it."""
_STATUS = {"pending": "PENDING_REGISTRATION", "ready": "READY", "failed": "FAILED_REGISTRATION"}


class CreateVersion(Message):
    """What makes a version."""

    name: Text
    source: Text
    run_id: MaybeText = UNSET
    tags: list[KeyValue] = []
    run_link: str = ""
    description: str = ""
    model_id: MaybeText = UNSET


class ByNumber(Message):
    """A version by name and number."""

    name: Text
    version: Text


class UpdateVersion(Message):
    """What is special about a version."""

    name: Text
    version: Text
    description: str = ""


class SetTag(Message):
    """A tag of a version."""

    name: Text
    version: Text
    key: Text
    value: str = ""


class DeleteTag(Message):
    """The tag of a version that goes."""

    name: Text
    version: Text
    key: Text


class MoveStage(Message):
    """Where a version moves."""

    name: Text
    version: Text
    stage: Text
    archive_existing_versions: bool = False


class ModelVersionInfo(Message):
    """A version as it is sent."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    source: str
    status: str
    user_id: str = ""
    description: str = ""
    run_id: str = ""
    status_message: str = ""
    tags: list[KeyValue] = []
    run_link: str = ""
    aliases: list[str] = []
    model_id: str = ""


class OneVersion(Message):
    """The answer that is one version."""

    model_version: ModelVersionInfo


class Address(Message):
    """Where the files of a version are."""

    artifact_uri: str


def version_info(found: ModelVersion) -> ModelVersionInfo:
    """A version as it is sent."""
    return ModelVersionInfo(
        name=found.model,
        version=str(found.number),
        creation_timestamp=found.created_at // 1000,
        last_updated_timestamp=found.updated_at // 1000,
        current_stage=found.stage,
        source=found.source or found.ref,
        status=_STATUS[found.status],
        user_id=found.created_by,
        description=found.description,
        run_id=found.run_id,
        status_message=found.status_message,
        tags=pairs_of(found.tags),
        run_link=found.run_link,
        aliases=list(found.aliases),
        model_id=found.model_id,
    )


def number_of(version: str) -> int:
    """The number of a version, which comes as text.

    Raises:
        Invalid: It is none.
    """
    if version.isascii() and version.removeprefix("-").isdecimal() and len(version) < 19:
        return int(version)
    raise Invalid(f"Parameter 'version' must be an integer, got '{version[:60]}'.", where="version")


def found_in(registry: Registry, name: str, version: str) -> ModelVersion:
    """A version of a model, by a name it has or had and a number, which comes as text.

    Raises:
        Invalid: The text is no number.
        Told: There is no such version, in the words that clients know.
    """
    number = number_of(version)
    try:
        return registry.get(name, number)
    except NotFound as reason:
        what = f"Model Version (name={name[:300]}, version={number}) not found"
        raise Told("RESOURCE_DOES_NOT_EXIST", what, hint=reason.hint) from None


def model_named(registry: Registry, name: str) -> Model:
    """A model by its name, or by one it had before.

    Raises:
        Told: There is none, in the words that clients know.
    """
    try:
        return registry.model(name)
    except NotFound as reason:
        what = f"Registered Model with name={name[:300]} not found"
        raise Told("RESOURCE_DOES_NOT_EXIST", what, hint=reason.hint) from None


@call("POST", "model-versions/create", "models:write")
def create(
    ask: CreateVersion, registry: Registry, tracking: Tracking, models: LoggedModels, files: Files
) -> OneVersion:
    """Make the next version of a model that is there."""
    model_named(registry, ask.name)
    tags = texts(ask.tags)
    if tags.get(PROMPT_TAG, "").lower() == "true":
        return _create_prompt(ask, registry, tags)
    sources = Sources(registry=registry, tracking=tracking, models=models, files=files)
    found = sources.resolve(Asked(ask.source, chosen(ask.run_id, None), chosen(ask.model_id, None), ask.run_link))
    made = registry.add_version(
        ask.name, found.origin, files=found.files, same_as=found.same_as, description=ask.description, tags=tags
    )
    if found.origin.model_id:
        _note(models, found.origin.model_id, made)
    return OneVersion(model_version=version_info(made))


@call("GET", "model-versions/get", "models:read")
def get(ask: ByNumber, registry: Registry) -> OneVersion:
    """One version."""
    return _one(found_in(registry, ask.name, ask.version))


@call("PATCH", "model-versions/update", "models:write")
def update(ask: UpdateVersion, registry: Registry) -> OneVersion:
    """Say what is special about a version."""
    found = found_in(registry, ask.name, ask.version)
    return _one(registry.describe_version(ask.name, found.number, ask.description))


@call("DELETE", "model-versions/delete", "models:write", conflict="INVALID_PARAMETER_VALUE")
def delete(ask: ByNumber, registry: Registry) -> None:
    """Delete a version, and the aliases that point to it."""
    found = found_in(registry, ask.name, ask.version)
    registry.delete_version(ask.name, found.number)


@call("GET", "model-versions/get-download-uri", "models:read")
def download_uri(ask: ByNumber, registry: Registry) -> Address:
    """Where the files of a version are."""
    found = found_in(registry, ask.name, ask.version)
    kept = address_of(found) if found.digest else ""
    return Address(artifact_uri=found.location or kept or found.source or found.ref)


@call("POST", "model-versions/set-tag", "models:write")
def set_tag(ask: SetTag, registry: Registry) -> None:
    """Set a tag of a version."""
    found = found_in(registry, ask.name, ask.version)
    registry.tag_version(ask.name, found.number, {ask.key: ask.value})


@call("DELETE", "model-versions/delete-tag", "models:write")
def delete_tag(ask: DeleteTag, registry: Registry) -> None:
    """Delete a tag of a version, when it has it."""
    found = found_in(registry, ask.name, ask.version)
    registry.untag_version(ask.name, found.number, ask.key)


@call("POST", "model-versions/transition-stage", "models:write")
def move_stage(ask: MoveStage, registry: Registry) -> OneVersion:
    """Move a version to a stage."""
    found = found_in(registry, ask.name, ask.version)
    return _one(registry.move_to_stage(ask.name, found.number, ask.stage, archive_others=ask.archive_existing_versions))


def _one(found: ModelVersion) -> OneVersion:
    return OneVersion(model_version=version_info(found))


def _create_prompt(ask: CreateVersion, registry: Registry, tags: dict[str, str]) -> OneVersion:
    if ask.source not in PROMPT_SOURCES:
        what = f"Invalid prompt source: '{ask.source[:300]}'. Prompt sources must use an MLflow placeholder."
        raise Invalid(what, where="source")
    origin = Origin(source=ask.source, run_id=chosen(ask.run_id, ""), run_link=ask.run_link)
    made = registry.add_version(ask.name, origin, description=ask.description, tags=tags)
    return OneVersion(model_version=version_info(made))


def _note(models: LoggedModels, model_id: str, made: ModelVersion) -> None:
    """Write the version down on the logged model it was made of, as clients look for it there."""
    try:
        before = json.loads(models.get(model_id).tags.get(VERSIONS_TAG, "[]"))
    except ValueError:
        before = []
    entry = {"name": made.model, "version": str(made.number)}
    listed = before if isinstance(before, list) else []
    if entry not in listed:
        models.set_tags(model_id, {VERSIONS_TAG: json.dumps([*listed, entry])})


class SearchVersions(Message):
    """Which versions to find."""

    filter: str = ""
    max_results: Int64 = 10_000
    order_by: list[str] = []
    page_token: str = ""


class FoundVersions(Message):
    """Some of the versions that were found."""

    model_versions: list[ModelVersionInfo] = []
    next_page_token: str = ""


@call("GET POST", "model-versions/search", "models:read")
def search(ask: SearchVersions, finder: ModelSearch) -> FoundVersions:
    """Find versions."""
    found = finder.versions(
        ask.filter, order_by=ask.order_by, limit=ask.max_results, page_token=ask.page_token, strict=True
    )
    return FoundVersions(model_versions=list(map(version_info, found.items)), next_page_token=found.next_token)


calls = [create, get, update, delete, download_uri, set_tag, delete_tag, move_stage, search]
