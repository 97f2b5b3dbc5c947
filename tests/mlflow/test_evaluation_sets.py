"""Evaluation sets, which clients call datasets: made, filled, merged, read in pages, searched, tied to experiments."""

from __future__ import annotations

import json

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import EvaluationDataset
from mlflow.genai import datasets
from tests.mlflow.http import BAD, GONE, Http

RECORDS = [
    {"inputs": {"question": "one?"}, "expectations": {"answer": "1"}, "tags": {"team": "a"}},
    {"inputs": {"question": "two?"}, "outputs": {"answer": "zwei"}},
]


@pytest.fixture
def dataset(client: MlflowClient, experiment: str, name: str) -> EvaluationDataset:
    """A set of two records."""
    made = client.create_dataset(name, experiment_id=experiment, tags={"team": "search"})
    made.merge_records(RECORDS)
    return client.get_dataset(made.dataset_id)


def fresh(dataset: EvaluationDataset) -> EvaluationDataset:
    """The set as the server has it now."""
    return MlflowClient().get_dataset(dataset.dataset_id)


def test_records_are_kept_and_read_again(dataset: EvaluationDataset, experiment: str, name: str) -> None:
    found = fresh(dataset)
    assert (found.name, found.tags["team"], found.experiment_ids) == (name, "search", [experiment])
    table = found.to_df()
    assert sorted(entry["question"] for entry in table["inputs"]) == ["one?", "two?"]
    assert json.loads(found.profile) == {"num_records": 2}
    assert json.loads(found.schema)["inputs"] == {"question": "string"}


def test_records_with_the_same_inputs_are_one(client: MlflowClient, dataset: EvaluationDataset) -> None:
    before = dataset.digest
    dataset.merge_records([{"inputs": {"question": "one?"}, "expectations": {"sources": ["x"]}, "tags": {"b": "2"}}])
    found = fresh(dataset)
    first = next(record for record in found.records if record.inputs == {"question": "one?"})
    assert first.expectations == {"answer": "1", "sources": ["x"]}
    assert {key: first.tags[key] for key in ("team", "b")} == {"team": "a", "b": "2"}
    assert len(found.records) == 2
    assert found.digest != before


def test_records_come_from_traces(experiment: str, dataset: EvaluationDataset) -> None:
    with mlflow.start_span("ask") as span:
        span.set_inputs({"question": "three?"})
        span.set_outputs("drei")
    trace = mlflow.get_trace(span.trace_id)
    dataset.merge_records([trace])
    found = next(record for record in fresh(dataset).records if record.inputs == {"question": "three?"})
    assert (found.inputs, found.outputs, found.source_id) == ({"question": "three?"}, "drei", span.trace_id)


def test_records_are_deleted(dataset: EvaluationDataset) -> None:
    kept = fresh(dataset)
    assert kept.delete_records([kept.records[0].dataset_record_id]) == 1
    assert len(fresh(dataset).records) == 1


def test_records_are_read_in_pages(http: Http, dataset: EvaluationDataset) -> None:
    path = f"/api/3.0/mlflow/datasets/{dataset.dataset_id}/records"
    page = http.ok("GET", path, max_results=1)
    rest = http.ok("GET", path, max_results=1, page_token=page["next_page_token"])
    found = [json.loads(answer["records"])[0]["inputs"]["question"] for answer in (page, rest)]
    assert sorted(found) == ["one?", "two?"]
    assert "next_page_token" not in rest


def test_sets_are_searched(experiment: str, dataset: EvaluationDataset, name: str) -> None:
    other = datasets.create_dataset(name=f"{name}-other", experiment_id=experiment)
    ids = [one.dataset_id for one in datasets.search_datasets(experiment_ids=experiment, order_by=["name DESC"])]
    assert ids == [other.dataset_id, dataset.dataset_id]
    for text in (f"name = '{name}'", "tags.team = 'search'", f"name LIKE '{name[:-1]}%' AND tags.team ILIKE 'SEARCH'"):
        found = datasets.search_datasets(experiment_ids=experiment, filter_string=text)
        assert [one.dataset_id for one in found] == [dataset.dataset_id]


def test_tags_of_a_set_change(dataset: EvaluationDataset) -> None:
    datasets.set_dataset_tags(dataset_id=dataset.dataset_id, tags={"team": "ads", "stage": "new"})
    datasets.delete_dataset_tag(dataset_id=dataset.dataset_id, key="stage")
    tags = fresh(dataset).tags
    assert (tags["team"], tags.get("stage")) == ("ads", None)


def test_a_set_is_tied_to_more_experiments(http: Http, dataset: EvaluationDataset, name: str) -> None:
    more = http.ok("POST", "experiments/create", name=f"{name}-more")["experiment_id"]
    datasets.add_dataset_to_experiments(dataset_id=dataset.dataset_id, experiment_ids=[more])
    assert [one.dataset_id for one in datasets.search_datasets(experiment_ids=more)] == [dataset.dataset_id]
    datasets.remove_dataset_from_experiments(dataset_id=dataset.dataset_id, experiment_ids=[more])
    assert datasets.search_datasets(experiment_ids=more) == []


def test_a_deleted_set_is_gone(http: Http, dataset: EvaluationDataset) -> None:
    datasets.delete_dataset(dataset_id=dataset.dataset_id)
    assert http.error("GET", f"/api/3.0/mlflow/datasets/{dataset.dataset_id}") == GONE
    datasets.delete_dataset(dataset_id=dataset.dataset_id)


@pytest.mark.parametrize("records", ["{", '{"inputs": {}}', "[1]", '[{"inputs": 1}]'])
def test_what_is_no_record_is_refused_and_nothing_is_kept(http: Http, dataset: EvaluationDataset, records: str) -> None:
    path = f"/api/3.0/mlflow/datasets/{dataset.dataset_id}/records"
    assert http.error("POST", path, records=records) == BAD
    assert len(fresh(dataset).records) == 2


def test_a_source_of_a_strange_kind_is_refused(http: Http, dataset: EvaluationDataset) -> None:
    records = json.dumps([{"inputs": {}, "source": {"source_type": "WIND"}}])
    assert http.error("POST", f"/api/3.0/mlflow/datasets/{dataset.dataset_id}/records", records=records) == BAD
