"""Registered models over the protocol: names, their tags, and the aliases of their versions."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.errors import Told
from mainspring.mlflow.model_versions import ModelVersionInfo, OneVersion, found_in, model_named, version_info
from mainspring.mlflow.wire import Int64, KeyValue, Message, Text, pairs_of, texts
from mainspring.registry import Model, Registry
from mainspring.registry.rules import check_alias, stage_named
from mainspring.registry.searching import ModelSearch


class CreateModel(Message):
    """What makes a registered model."""

    name: Text
    tags: list[KeyValue] = []
    description: str = ""


class ByName(Message):
    """A registered model by name."""

    name: Text


class UpdateModel(Message):
    """What a registered model is for."""

    name: Text
    description: str = ""


class RenameModel(Message):
    """Another name for a registered model."""

    name: Text
    new_name: Text


class LatestVersions(Message):
    """The newest versions of a model in stages; of all stages when none is named."""

    name: Text
    stages: list[str] = []


class SetTag(Message):
    """A tag of a registered model."""

    name: Text
    key: Text
    value: str = ""


class DeleteTag(Message):
    """The tag of a registered model that goes."""

    name: Text
    key: Text


class SetAlias(Message):
    """A name for one version."""

    name: Text
    alias: Text
    version: Text


class ByAlias(Message):
    """A version by its alias."""

    name: Text
    alias: Text


class AliasInfo(Message):
    """An alias as it is sent."""

    alias: str
    version: str


class ModelInfo(Message):
    """A registered model as it is sent."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    latest_versions: list[ModelVersionInfo] = []
    tags: list[KeyValue] = []
    aliases: list[AliasInfo] = []


class OneModel(Message):
    """The answer that is one registered model."""

    registered_model: ModelInfo


class SomeVersions(Message):
    """The answer that is some versions of one model."""

    model_versions: list[ModelVersionInfo] = []


def model_infos(registry: Registry, found: Sequence[Model]) -> list[ModelInfo]:
    """Registered models as they are sent, with the newest version of each stage."""
    newest = registry.newest_by_stage([model.name for model in found])
    return [
        ModelInfo(
            name=model.name,
            creation_timestamp=model.created_at // 1000,
            last_updated_timestamp=model.updated_at // 1000,
            description=model.description,
            latest_versions=[version_info(entry) for entry in newest[model.name]],
            tags=pairs_of(model.tags),
            aliases=[AliasInfo(alias=alias, version=str(number)) for alias, number in model.aliases.items()],
        )
        for model in found
    ]


@call("POST", "registered-models/create", "models:write")
def create(ask: CreateModel, registry: Registry) -> OneModel:
    """Make a registered model."""
    made = registry.create_model(ask.name, description=ask.description, tags=texts(ask.tags))
    return OneModel(registered_model=model_infos(registry, [made])[0])


@call("GET", "registered-models/get", "models:read")
def get(ask: ByName, registry: Registry) -> OneModel:
    """One registered model."""
    return OneModel(registered_model=model_infos(registry, [model_named(registry, ask.name)])[0])


@call("PATCH", "registered-models/update", "models:write")
def update(ask: UpdateModel, registry: Registry) -> OneModel:
    """Say what a registered model is for."""
    model_named(registry, ask.name)
    made = registry.describe(ask.name, ask.description)
    return OneModel(registered_model=model_infos(registry, [made])[0])


@call("POST", "registered-models/rename", "models:write")
def rename(ask: RenameModel, registry: Registry) -> OneModel:
    """Give a registered model another name."""
    model_named(registry, ask.name)
    return OneModel(registered_model=model_infos(registry, [registry.rename(ask.name, ask.new_name)])[0])


@call("DELETE", "registered-models/delete", "models:write", conflict="INVALID_PARAMETER_VALUE")
def delete(ask: ByName, registry: Registry) -> None:
    """Delete a registered model with its versions."""
    model_named(registry, ask.name)
    registry.delete_model(ask.name)


@call("POST GET", "registered-models/get-latest-versions", "models:read")
def latest_versions(ask: LatestVersions, registry: Registry) -> SomeVersions:
    """The newest version of each stage that is asked for."""
    model = model_named(registry, ask.name)
    stages = {stage_named(stage) for stage in ask.stages}
    found = registry.newest_by_stage([model.name])[model.name]
    shown = [entry for entry in found if not stages or entry.stage in stages]
    return SomeVersions(model_versions=[version_info(entry) for entry in shown])


@call("POST", "registered-models/set-tag", "models:write")
def set_tag(ask: SetTag, registry: Registry) -> None:
    """Set a tag of a registered model."""
    model_named(registry, ask.name)
    registry.tag_model(ask.name, {ask.key: ask.value})


@call("DELETE", "registered-models/delete-tag", "models:write")
def delete_tag(ask: DeleteTag, registry: Registry) -> None:
    """Delete a tag of a registered model, when it has it."""
    model_named(registry, ask.name)
    registry.untag_model(ask.name, ask.key)


@call("POST", "registered-models/alias", "models:write")
def set_alias(ask: SetAlias, registry: Registry) -> None:
    """Point an alias to a version, wherever it pointed before."""
    check_alias(ask.alias)
    if "." in ask.alias:
        raise Invalid(
            f"Invalid alias name: '{ask.alias}'. Names may only contain alphanumerics, underscores and dashes."
        )
    model_named(registry, ask.name)
    registry.set_alias(ask.name, ask.alias, found_in(registry, ask.name, ask.version).number)


@call("GET", "registered-models/alias", "models:read")
def get_alias(ask: ByAlias, registry: Registry) -> OneVersion:
    """The version an alias points to; `latest` is the newest one."""
    model = model_named(registry, ask.name)
    if ask.alias.lower() == "latest":
        if not model.latest:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"Latest version not found for model {ask.name}.")
        number = model.latest
    elif ask.alias in model.aliases:
        number = model.aliases[ask.alias]
    else:
        raise Invalid(f"Registered model alias {ask.alias[:300]} not found.")
    return OneVersion(model_version=version_info(found_in(registry, model.name, str(number))))


@call("DELETE", "registered-models/alias", "models:write")
def delete_alias(ask: ByAlias, registry: Registry) -> None:
    """Let an alias point nowhere; when it did already, that is fine."""
    model = model_named(registry, ask.name)
    if ask.alias in model.aliases:
        registry.remove_alias(ask.name, ask.alias)


class SearchModels(Message):
    """Which registered models to find."""

    filter: str = ""
    max_results: Int64 = 100
    order_by: list[str] = []
    page_token: str = ""


class FoundModels(Message):
    """Some of the registered models that were found."""

    registered_models: list[ModelInfo] = []
    next_page_token: str = ""


@call("GET POST", "registered-models/search", "models:read")
def search(ask: SearchModels, finder: ModelSearch, registry: Registry) -> FoundModels:
    """Find registered models; prompts only when the filter asks for them."""
    found = finder.models(
        ask.filter, order_by=ask.order_by, limit=ask.max_results, page_token=ask.page_token, strict=True
    )
    return FoundModels(registered_models=model_infos(registry, found.items), next_page_token=found.next_token)


calls = [
    create,
    get,
    update,
    rename,
    delete,
    latest_versions,
    set_tag,
    delete_tag,
    set_alias,
    get_alias,
    delete_alias,
    search,
]
