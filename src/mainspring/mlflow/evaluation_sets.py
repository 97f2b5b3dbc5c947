"""Evaluation sets over the protocol, which calls them datasets."""

from __future__ import annotations

import json
import re

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.wire import Int64, Message, Text
from mainspring.tracking.evaluation_sets import EvaluationSets
from mainspring.tracking.judging import EvaluationRecord, EvaluationSet

Plain = dict[str, object]
_TOKEN = re.compile(r"dr-[0-9a-f]{32}")
_PAGE = 1000
_DEEP = 100


class CreateDataset(Message):
    """A new set; tags are JSON in a text."""

    name: Text
    experiment_ids: list[str] = []
    tags: str = ""


class ById(Message):
    """A set by id."""

    dataset_id: Text


class SearchDatasets(Message):
    """Which sets, in which order, from where on."""

    experiment_ids: list[str] = []
    filter_string: str = ""
    max_results: Int64 = 0
    order_by: list[str] = []
    page_token: str = ""


class SetTags(Message):
    """Tags of a set, JSON in a text."""

    dataset_id: Text
    tags: Text


class DeleteTag(Message):
    """The tag of a set that goes."""

    dataset_id: Text
    tag_key: Text


class Tie(Message):
    """Experiments of a set."""

    dataset_id: Text
    experiment_ids: list[str] = []


class PutRecords(Message):
    """Records for a set, JSON in a text."""

    dataset_id: Text
    records: Text


class RecordsOf(Message):
    """A page of records of a set."""

    dataset_id: Text
    max_results: Int64 = 0
    page_token: str = ""


class DeleteRecords(Message):
    """The records of a set that go."""

    dataset_id: Text
    dataset_record_ids: list[str] = []


class DatasetInfo(Message):
    """A set as it is sent; schema, profile and tags are JSON in texts."""

    dataset_id: str
    name: str
    digest: str
    created_time: int
    last_update_time: int
    tags: str
    schema: str = ""
    profile: str = ""
    created_by: str = ""
    last_updated_by: str = ""
    experiment_ids: list[str] = []


class OneDataset(Message):
    """The answer that is one set."""

    dataset: DatasetInfo


class SomeDatasets(Message):
    """The answer that is a page of sets."""

    datasets: list[DatasetInfo] = []
    next_page_token: str = ""


class Put(Message, omit_defaults=False):
    """How many records are new, and how many were there."""

    inserted_count: int
    updated_count: int


class Records(Message):
    """A page of records, JSON in a text."""

    records: str
    next_page_token: str = ""


class Deleted(Message, omit_defaults=False):
    """How many records went."""

    deleted_count: int


class ExperimentsOf(Message):
    """The experiments that a set is tied to."""

    experiment_ids: list[str] = []


def info_of(found: EvaluationSet) -> DatasetInfo:
    """A set as it is sent."""
    return DatasetInfo(
        dataset_id=found.id,
        name=found.name,
        digest=found.digest,
        created_time=found.created_at // 1000,
        last_update_time=found.updated_at // 1000,
        tags=json.dumps(dict(found.tags)),
        schema="" if found.schema is None else json.dumps(found.schema),
        profile=json.dumps({"num_records": found.size}) if found.size else "",
        created_by=found.created_by,
        last_updated_by=found.updated_by,
        experiment_ids=list(found.experiment_ids),
    )


def plain_of(record: EvaluationRecord, dataset_id: str) -> Plain:
    """A record as it is sent; what it does not have is left out."""
    source = record.source or {}
    data = source.get("source_data")
    named = (
        data.get("trace_id" if source["source_type"] == "TRACE" else "source_id") if isinstance(data, dict) else None
    )
    found: Plain = {
        "dataset_record_id": record.id,
        "dataset_id": dataset_id,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "expectations": record.expectations,
        "tags": record.tags or {},
        "source": record.source,
        "source_id": named,
        "source_type": source.get("source_type"),
        "created_time": record.created_at // 1000,
        "last_update_time": record.updated_at // 1000,
        "created_by": record.created_by or None,
        "last_updated_by": record.updated_by or None,
    }
    return {name: value for name, value in found.items() if value is not None}


@call("POST", "datasets/create", "runs:write")
def create(ask: CreateDataset, sets: EvaluationSets) -> OneDataset:
    """Make an empty evaluation set."""
    made = sets.create(ask.name, tags=_tags(ask.tags), experiment_ids=ask.experiment_ids)
    return OneDataset(dataset=info_of(made))


@call("GET", "datasets/{dataset_id:str}", "runs:read")
def get(ask: ById, sets: EvaluationSets) -> OneDataset:
    """An evaluation set without its records."""
    return OneDataset(dataset=info_of(sets.get(ask.dataset_id)))


@call("DELETE", "datasets/{dataset_id:str}", "runs:write")
def delete(ask: ById, sets: EvaluationSets) -> None:
    """Delete an evaluation set with its records for good; when there is none, that is fine."""
    sets.delete(ask.dataset_id)


@call("POST", "datasets/search", "runs:read")
def search(ask: SearchDatasets, sets: EvaluationSets) -> SomeDatasets:
    """Evaluation sets by filter, order and page."""
    page = sets.search(
        ask.experiment_ids or None,
        ask.filter_string,
        order_by=ask.order_by,
        limit=ask.max_results or _PAGE,
        page_token=ask.page_token,
    )
    return SomeDatasets(datasets=list(map(info_of, page.items)), next_page_token=page.next_token)


@call("PATCH", "datasets/{dataset_id:str}/tags", "runs:write")
def set_tags(ask: SetTags, sets: EvaluationSets) -> None:
    """Set tags of an evaluation set."""
    sets.set_tags(ask.dataset_id, _tags(ask.tags))


@call("DELETE", "datasets/{dataset_id:str}/tags/{tag_key:path}", "runs:write")
def delete_tag(ask: DeleteTag, sets: EvaluationSets) -> None:
    """Delete a tag of an evaluation set, when it has it."""
    sets.delete_tag(ask.dataset_id, ask.tag_key.removeprefix("/"))


@call("POST", "datasets/{dataset_id:str}/records", "runs:write")
def put_records(ask: PutRecords, sets: EvaluationSets) -> Put:
    """Add records, or merge them into those with the same inputs: all of them or none."""
    plain = _json(ask.records, "records")
    if not isinstance(plain, list):
        raise Invalid("records must be a JSON list", where="records", hint='send [{"inputs": {...}}, ...]')
    inserted, updated = sets.put(ask.dataset_id, plain)
    return Put(inserted_count=inserted, updated_count=updated)


@call("GET", "datasets/{dataset_id:str}/records", "runs:read")
def records(ask: RecordsOf, sets: EvaluationSets) -> Records:
    """Records of an evaluation set by pages, in the order they came."""
    if ask.page_token and not _TOKEN.fullmatch(ask.page_token):
        raise Invalid("this is no page token", where="page_token", hint="send the token of the page before")
    limit = ask.max_results or _PAGE
    found = sets.records(ask.dataset_id, limit=limit + 1 if limit > 0 else limit, after=ask.page_token)
    following = found[limit - 1].id if len(found) > limit else ""
    text = json.dumps([plain_of(one, ask.dataset_id) for one in found[:limit]])
    return Records(records=text, next_page_token=following)


@call("DELETE", "datasets/{dataset_id:str}/records", "runs:write")
def delete_records(ask: DeleteRecords, sets: EvaluationSets) -> Deleted:
    """Delete records of an evaluation set."""
    return Deleted(deleted_count=sets.remove(ask.dataset_id, ask.dataset_record_ids))


@call("GET", "datasets/{dataset_id:str}/experiment-ids", "runs:read")
def experiments_of(ask: ById, sets: EvaluationSets) -> ExperimentsOf:
    """The experiments that an evaluation set is tied to."""
    return ExperimentsOf(experiment_ids=list(sets.get(ask.dataset_id).experiment_ids))


@call("POST", "datasets/{dataset_id:str}/add-experiments", "runs:write")
def tie(ask: Tie, sets: EvaluationSets) -> OneDataset:
    """Tie an evaluation set to experiments, too."""
    return OneDataset(dataset=info_of(sets.tie(ask.dataset_id, ask.experiment_ids)))


@call("POST", "datasets/{dataset_id:str}/remove-experiments", "runs:write")
def untie(ask: Tie, sets: EvaluationSets) -> OneDataset:
    """Tie an evaluation set no more to experiments."""
    return OneDataset(dataset=info_of(sets.untie(ask.dataset_id, ask.experiment_ids)))


def _tags(text: str) -> dict[str, str]:
    plain = _json(text, "tags") if text else {}
    if not isinstance(plain, dict):
        raise Invalid("tags must be a JSON object", where="tags", hint='send {"team": "search"}')
    return {key: value if isinstance(value, str) else str(value) for key, value in plain.items() if value is not None}


def _json(text: str, where: str) -> object:
    """What a text holds; NaN is null, which is what it is in rows of tables.

    Raises:
        Invalid: It is no JSON, or holds what no database keeps.
    """
    try:
        found: object = json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError) as reason:
        raise Invalid(f"{where} must be valid JSON: {reason}", where=where) from None
    if not _is_flat(found, _DEEP):
        raise Invalid(f"{where} are nested too deep", where=where, hint=f"at most {_DEEP} lists and objects in another")
    if "\\u0000" in text:
        raise Invalid(f"{where} hold the character NUL", where=where, hint="take it out")
    return found


def _is_flat(value: object, levels: int) -> bool:
    """Whether no more lists and objects than so many are inside another."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not inner or (levels > 0 and all(_is_flat(entry, levels - 1) for entry in inner))


def _constant(word: str) -> None:
    if word != "NaN":
        raise ValueError(f"{word} is no JSON")


calls = [
    create,
    get,
    delete,
    search,
    set_tags,
    delete_tag,
    put_records,
    records,
    delete_records,
    experiments_of,
    tie,
    untie,
]
