"""Scorers: kept by version in their experiment, and run by nobody but their clients."""

from __future__ import annotations

import pytest
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import delete_scorer, get_scorer, list_scorers
from mlflow.genai.scorers.registry import list_scorer_versions
from tests.mlflow.http import BAD, GONE, Http, Json

BASE = "/api/3.0/mlflow/scorers"
PLAIN = '{"name": "short", "builtin_scorer_class": "Safety", "builtin_scorer_pydantic_data": {}}'


@pytest.fixture
def scorer(http: Http, experiment: str) -> Json:
    """A scorer of the experiment."""
    return http.ok("POST", f"{BASE}/register", experiment_id=experiment, name="short", serialized_scorer=PLAIN)


def test_a_judge_is_registered_read_listed_and_deleted(experiment: str) -> None:
    for words in ("Is {{ outputs }} polite?", "Is {{ outputs }} short?"):
        made = make_judge(name="tone", instructions=words, model="openai:/gpt-4o", feedback_value_type=bool)
        made.register(experiment_id=experiment)
    assert [one.name for one in list_scorers(experiment_id=experiment)] == ["tone"]
    assert get_scorer(name="tone", experiment_id=experiment).instructions == "Is {{ outputs }} short?"
    assert get_scorer(name="tone", experiment_id=experiment, version=1).instructions == "Is {{ outputs }} polite?"
    assert [version for _, version in list_scorer_versions(name="tone", experiment_id=experiment)] == [1, 2]
    delete_scorer(name="tone", experiment_id=experiment, version=2)
    assert get_scorer(name="tone", experiment_id=experiment).instructions == "Is {{ outputs }} polite?"
    delete_scorer(name="tone", experiment_id=experiment, version="all")
    assert list_scorers(experiment_id=experiment) == []


def test_versions_of_a_scorer_count_up_under_one_id(http: Http, experiment: str, scorer: Json) -> None:
    again = http.ok("POST", f"{BASE}/register", experiment_id=experiment, name="short", serialized_scorer=PLAIN)
    assert (scorer["version"], again["version"]) == (1, 2)
    assert scorer["scorer_id"] == again["scorer_id"]
    (found,) = http.ok("GET", f"{BASE}/list", experiment_ids=[experiment])["scorers"]
    assert (found["scorer_version"], found["scorer_name"], found["serialized_scorer"]) == (2, "short", PLAIN)


def test_a_scorer_that_is_not_there_is_not_found(http: Http, experiment: str, scorer: Json) -> None:
    for path in (f"{BASE}/get", f"{BASE}/versions"):
        assert http.error("GET", path, experiment_id=experiment, name="other") == GONE
    assert http.error("GET", f"{BASE}/get", experiment_id=experiment, name="short", version=7) == GONE
    assert http.error("DELETE", f"{BASE}/delete", experiment_id=experiment, name="short", version=7) == GONE
    assert http.error("GET", f"{BASE}/list", experiment_id="987654321") == GONE


def test_a_scorer_needs_a_name_and_json(http: Http, experiment: str) -> None:
    for name, content in ((" ", PLAIN), ("short", "{"), ("", PLAIN), ("short", "")):
        asked = {"experiment_id": experiment, "name": name, "serialized_scorer": content}
        assert http.error("POST", f"{BASE}/register", **asked) == BAD
