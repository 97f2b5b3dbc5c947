"""What runs read and made over the protocol: datasets and models."""

from __future__ import annotations

from msgspec import UnsetType

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.wire import UNSET, Int64, KeyValue, MaybeText, Message, Text, chosen, pairs_of, texts
from mainspring.tracking.inputs import Inputs
from mainspring.tracking.model import DatasetRead, InputDataset, RunLinks, RunModel

CONTEXT = "mlflow.data.context"
"""The tag that says what a dataset was read for."""

MAX_EXPERIMENTS = 20


class Dataset(Message):
    """A dataset as clients describe it."""

    name: Text
    digest: Text
    source_type: str
    source: str
    schema: MaybeText = UNSET
    profile: MaybeText = UNSET


class DatasetInput(Message):
    """A dataset that a run read."""

    dataset: Dataset
    tags: list[KeyValue] = []


class ModelInput(Message):
    """A model that a run read."""

    model_id: Text


class ModelOutput(Message):
    """A model that a run made."""

    model_id: Text
    step: Int64


class LogInputs(Message):
    """What a run read."""

    run_id: Text
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


class RunInputs(Message):
    """What a run read, as it is sent."""

    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelInput] = []


class RunOutputs(Message):
    """What a run made, as it is sent."""

    model_outputs: list[ModelOutput] = []


class SearchDatasets(Message):
    """In which experiments."""

    experiment_ids: list[str] = []


class DatasetSummary(Message):
    """A dataset that runs of an experiment read."""

    experiment_id: str
    name: str
    digest: str
    context: MaybeText = UNSET


class FoundDatasets(Message):
    """Datasets that were read."""

    dataset_summaries: list[DatasetSummary] = []


def sent(links: RunLinks) -> tuple[RunInputs | UnsetType, RunOutputs | UnsetType]:
    """What a run read and made, as it is sent; unset when there is nothing."""
    read = RunInputs(
        dataset_inputs=[_input_of(entry) for entry in links.datasets],
        model_inputs=[ModelInput(model_id=entry.model_id) for entry in links.models if entry.side == "input"],
    )
    made = [ModelOutput(model_id=entry.model_id, step=entry.step) for entry in links.models if entry.side == "output"]
    return read if links.datasets or read.model_inputs else UNSET, RunOutputs(model_outputs=made) if made else UNSET


@call("POST", "runs/log-inputs", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def log_inputs(ask: LogInputs, inputs: Inputs) -> None:
    """Note datasets and models that a run read."""
    models = [RunModel(entry.model_id, "input") for entry in ask.models]
    inputs.log(ask.run_id, [_read_of(entry) for entry in ask.datasets], models)


@call("POST", "experiments/search-datasets", "runs:read")
def search_datasets(ask: SearchDatasets, inputs: Inputs) -> FoundDatasets:
    """Which datasets the runs of experiments read."""
    if not 1 <= len(ask.experiment_ids) <= MAX_EXPERIMENTS:
        what = f"SearchDatasets request must specify 1 to {MAX_EXPERIMENTS} experiment_ids"
        raise Invalid(f"{what}. Received {len(ask.experiment_ids)}.", where="experiment_ids")
    uses = inputs.uses(ask.experiment_ids)
    return FoundDatasets(
        dataset_summaries=[
            DatasetSummary(
                experiment_id=use.experiment_id, name=use.name, digest=use.digest, context=use.context or UNSET
            )
            for use in uses
        ]
    )


def _read_of(entry: DatasetInput) -> DatasetRead:
    tags, dataset = texts(entry.tags), entry.dataset
    made = InputDataset(
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        chosen(dataset.schema, ""),
        chosen(dataset.profile, ""),
    )
    return DatasetRead(made, tags.get(CONTEXT, ""), tags)


def _input_of(read: DatasetRead) -> DatasetInput:
    tags = read.tags or ({CONTEXT: read.context} if read.context else {})
    made = Dataset(
        name=read.dataset.name,
        digest=read.dataset.digest,
        source_type=read.dataset.source_type,
        source=read.dataset.source,
        schema=read.dataset.schema or UNSET,
        profile=read.dataset.profile or UNSET,
    )
    return DatasetInput(dataset=made, tags=pairs_of(tags))


calls = [log_inputs, search_datasets]
