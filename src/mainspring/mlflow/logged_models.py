"""Logged models over the protocol, and which run made which of them."""

from __future__ import annotations

from mainspring.mlflow.calls import call
from mainspring.mlflow.paths import below
from mainspring.mlflow.wire import (
    UNSET,
    Int64,
    KeyValue,
    MaybeInt,
    MaybeText,
    Message,
    Number,
    Text,
    chosen,
    double,
    one_of,
    pairs_of,
    texts,
)
from mainspring.tracking.inputs import Inputs
from mainspring.tracking.logged_models import LoggedModels
from mainspring.tracking.model import LoggedModel, ModelOrder, RunModel
from mainspring.tracking.rules import MAX_TAG, MAX_VALUE
from mainspring.tracking.searching import Search

STATUSES = {
    "LOGGED_MODEL_PENDING": "pending",
    "LOGGED_MODEL_READY": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "failed",
}
"""What the protocol calls the states of a model, in the order of its numbers for them."""
MODELS_A_PAGE = 100
"""How many models a search gives when it does not say."""
_WORDS = {ours: theirs for theirs, ours in STATUSES.items()}


class CreateModel(Message):
    """What starts a model."""

    experiment_id: Text
    name: MaybeText = UNSET
    model_type: MaybeText = UNSET
    source_run_id: MaybeText = UNSET
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class ById(Message):
    """A model by id."""

    model_id: Text
    allow_deleted: bool = False


class FinalizeModel(Message):
    """How the upload of a model ended."""

    model_id: Text
    status: Text | int


class ModelTexts(Message):
    """Tags or params of a model."""

    model_id: Text
    tags: list[KeyValue] = []
    params: list[KeyValue] = []


class ModelTag(Message):
    """A tag of a model."""

    model_id: Text
    tag_key: Text


class Output(Message):
    """A model that a run made."""

    model_id: Text
    step: Int64 = 0


class LogOutputs(Message):
    """Models that a run made."""

    run_id: Text
    models: list[Output]


class OnDataset(Message):
    """A dataset that models were measured on."""

    dataset_name: Text
    dataset_digest: MaybeText = UNSET


class Order(Message):
    """What to sort models by."""

    field_name: Text
    ascending: bool = True
    dataset_name: MaybeText = UNSET
    dataset_digest: MaybeText = UNSET


class SearchModels(Message):
    """Which models."""

    experiment_ids: list[str] = []
    filter: MaybeText = UNSET
    datasets: list[OnDataset] = []
    max_results: MaybeInt = UNSET
    order_by: list[Order] = []
    page_token: MaybeText = UNSET


class ModelInfo(Message):
    """What a model is."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: MaybeText = UNSET
    source_run_id: MaybeText = UNSET
    tags: list[KeyValue] = []


class ModelPoint(Message):
    """What a run measured of a model."""

    key: str
    value: Number
    timestamp: int
    step: int
    model_id: str
    run_id: str
    dataset_name: MaybeText = UNSET
    dataset_digest: MaybeText = UNSET


class ModelData(Message):
    """What a model was made with, and what was measured of it."""

    params: list[KeyValue] = []
    metrics: list[ModelPoint] = []


class WholeModel(Message):
    """A model as it is sent."""

    info: ModelInfo
    data: ModelData


class OneModel(Message):
    """The answer that is one model."""

    model: WholeModel


class FoundModels(Message):
    """A page of models."""

    models: list[WholeModel] = []
    next_page_token: MaybeText = UNSET


def model_of(found: LoggedModel) -> WholeModel:
    """A model as it is sent."""
    info = ModelInfo(
        model_id=found.id,
        experiment_id=found.experiment_id,
        name=found.name,
        creation_timestamp_ms=found.created_at // 1000,
        last_updated_timestamp_ms=found.updated_at // 1000,
        artifact_uri=below(found.location, "models", found.id, "artifacts"),
        status=_WORDS[found.status],
        model_type=found.kind or UNSET,
        source_run_id=found.run_id or UNSET,
        tags=pairs_of(found.tags),
    )
    points = [
        ModelPoint(
            key=point.key,
            value=double(point.value),
            timestamp=point.at // 1000,
            step=point.step,
            model_id=found.id,
            run_id=point.run_id,
            dataset_name=point.dataset_name or UNSET,
            dataset_digest=point.dataset_digest or UNSET,
        )
        for point in found.metrics
    ]
    return WholeModel(info=info, data=ModelData(params=pairs_of(found.params), metrics=points))


@call("POST", "logged-models", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def create(ask: CreateModel, logged_models: LoggedModels) -> OneModel:
    """Start a model; its files come next."""
    made = logged_models.create(
        ask.experiment_id,
        name=chosen(ask.name, ""),
        kind=chosen(ask.model_type, ""),
        run_id=chosen(ask.source_run_id, ""),
        params=_cut(ask.params, MAX_VALUE),
        tags=_cut(ask.tags, MAX_TAG),
    )
    return OneModel(model=model_of(made))


@call("GET", "logged-models/{model_id:str}", "runs:read")
def get(ask: ById, logged_models: LoggedModels) -> OneModel:
    """A model by id."""
    return OneModel(model=model_of(logged_models.get(ask.model_id, with_deleted=ask.allow_deleted)))


@call("PATCH", "logged-models/{model_id:str}", "runs:write")
def finalize(ask: FinalizeModel, logged_models: LoggedModels) -> OneModel:
    """Say how the upload of a model ended."""
    return OneModel(model=model_of(logged_models.finalize(ask.model_id, one_of(str(ask.status), STATUSES, "status"))))


@call("DELETE", "logged-models/{model_id:str}", "runs:write")
def delete(ask: ById, logged_models: LoggedModels) -> None:
    """Delete a model."""
    logged_models.delete(ask.model_id)


@call("PATCH", "logged-models/{model_id:str}/tags", "runs:write")
def set_tags(ask: ModelTexts, logged_models: LoggedModels) -> OneModel:
    """Set tags of a model."""
    logged_models.set_tags(ask.model_id, _cut(ask.tags, MAX_TAG))
    return OneModel(model=model_of(logged_models.get(ask.model_id)))


@call("DELETE", "logged-models/{model_id:str}/tags/{tag_key:path}", "runs:write")
def delete_tag(ask: ModelTag, logged_models: LoggedModels) -> None:
    """Delete a tag of a model."""
    logged_models.remove_tag(ask.model_id, ask.tag_key.removeprefix("/"))


@call("POST", "logged-models/{model_id:str}/params", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def add_params(ask: ModelTexts, logged_models: LoggedModels) -> None:
    """Keep what a model was made with."""
    logged_models.add_params(ask.model_id, _cut(ask.params, MAX_VALUE))


@call("POST", "runs/outputs", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def log_outputs(ask: LogOutputs, inputs: Inputs) -> None:
    """Note models that a run made."""
    inputs.log(ask.run_id, models=[RunModel(output.model_id, "output", output.step) for output in ask.models])


@call("POST", "logged-models/search", "runs:read")
def search(ask: SearchModels, search: Search) -> FoundModels:
    """Models by filter, order and page."""
    page = search.logged_models(
        ask.experiment_ids,
        chosen(ask.filter, ""),
        datasets=[(entry.dataset_name, chosen(entry.dataset_digest, "")) for entry in ask.datasets],
        order_by=[_order_of(entry) for entry in ask.order_by],
        limit=chosen(ask.max_results, 0) or MODELS_A_PAGE,
        page_token=chosen(ask.page_token, ""),
        strict=True,
    )
    return FoundModels(models=[model_of(found) for found in page.items], next_page_token=page.next_token or UNSET)


def _order_of(entry: Order) -> ModelOrder:
    name = chosen(entry.dataset_name, "")
    dataset = (name, chosen(entry.dataset_digest, "")) if name else None
    return ModelOrder(entry.field_name, descending=not entry.ascending, dataset=dataset)


def _cut(pairs: list[KeyValue], longest: int) -> dict[str, str]:
    return {key: value[:longest] for key, value in texts(pairs).items()}


calls = [create, get, finalize, delete, set_tags, delete_tag, add_params, log_outputs, search]
