"""The search grammar over experiments, logged models, registered models and their versions."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.mlflow.http import BAD, Http, Json


def tags(**found: str) -> list[Json]:
    return [{"key": key, "value": value} for key, value in found.items()]


def all_pages(http: Http, method: str, path: str, part: str, **fields: object) -> list[Json]:
    got: list[Json] = []
    token = ""
    while True:
        answer = http.ok(method, path, **fields, **({"page_token": token} if token else {}))
        got += answer.get(part, [])
        token = answer.get("next_page_token", "")
        if not token:
            return got


@pytest.fixture(scope="module")
def experiments(http: Http) -> dict[str, str]:
    """Letter -> id; "name" is what all names begin with."""
    name = f"x{uuid4().hex[:10]}"
    made: dict[str, tuple[str, list[Json]]] = {
        "a": (f"{name}-One", tags(team="flights")),
        "b": (f"{name}-two", tags(team="Flights", odd="1")),
        "c": (f"{name}-three_x", []),
    }
    found = {"name": name}
    for letter, (full, given) in made.items():
        found[letter] = http.ok("POST", "experiments/create", name=full, tags=given)["experiment_id"]
    return found


EXPERIMENTS = [
    ("name = '{name}-One'", "a"),
    ("attribute.name = '{name}-One'", "a"),
    ("name LIKE '{name}-T%'", ""),
    ("name ILIKE '{name}-T%'", "bc"),
    ("name LIKE '{name}-t%'", "bc"),
    ("name LIKE '{name}%' AND name != '{name}-two'", "ac"),
    ("tags.team = 'flights' AND name LIKE '{name}%'", "a"),
    ("tags.team ILIKE 'FLIGHTS' AND name LIKE '{name}%'", "ab"),
    ("tag.team != 'flights' AND name LIKE '{name}%'", "b"),
    ("tags.odd = '1' AND name LIKE '{name}%'", "b"),
    ("tags.team IS NULL AND name LIKE '{name}%'", "c"),
    ("tags.team IS NOT NULL AND name LIKE '{name}%'", "ab"),
    ("experiment_id = '{a}'", "a"),
    ("experiment_id IN ('{a}', '{c}')", "ac"),
    ("experiment_id NOT IN ('{a}') AND name LIKE '{name}%'", "bc"),
    ("experiment_id != '{a}' AND name LIKE '{name}%'", "bc"),
    ("creation_time > 0 AND name LIKE '{name}%'", "abc"),
    ("last_update_time >= 1 AND name LIKE '{name}%'", "abc"),
    ("creation_time < 5 AND name LIKE '{name}%'", ""),
]


@pytest.mark.parametrize(("text", "wanted"), EXPERIMENTS)
def test_experiments_are_found(http: Http, experiments: dict[str, str], text: str, wanted: str) -> None:
    answer = http.ok("POST", "experiments/search", filter=text.format(**experiments), max_results=100)
    back = {number: letter for letter, number in experiments.items()}
    assert "".join(sorted(back[e["experiment_id"]] for e in answer.get("experiments", []))) == wanted


@pytest.mark.parametrize(
    "text",
    ["nothing = 'x'", "name > 'a'", "name = 5", "metrics.m > 1", "params.p = 'x'", "name = 'a' OR name = 'b'",
     "creation_time = 'x'",
     "tags.a > 'x'", "name IN ('a')"],
)  # fmt: skip
def test_what_is_no_filter_of_experiments_is_refused(http: Http, text: str) -> None:
    assert http.error("POST", "experiments/search", filter=text, max_results=5) == BAD


@pytest.mark.parametrize(
    ("order", "wanted"),
    [([], "cba"), (["name"], "acb"), (["name DESC"], "bca"), (["creation_time ASC", "experiment_id ASC"], "abc"),
     (["experiment_id"], "abc"), (["attribute.name ASC"], "acb"), (["last_update_time DESC", "name"], None)],
)  # fmt: skip
def test_experiments_are_ordered(http: Http, experiments: dict[str, str], order: list[str], wanted: str | None) -> None:
    text = f"name LIKE '{experiments['name']}%'"
    answer = http.ok("POST", "experiments/search", filter=text, order_by=order, max_results=100)
    back = {number: letter for letter, number in experiments.items()}
    got = "".join(back[e["experiment_id"]] for e in answer["experiments"])
    assert got == wanted if wanted else sorted(got) == ["a", "b", "c"]


@pytest.mark.parametrize("order", [["nothing"], ["name UP"], ["tags.team"]])
def test_what_is_no_order_of_experiments_is_refused(http: Http, order: list[str]) -> None:
    assert http.error("POST", "experiments/search", order_by=order, max_results=5)[0] == 400


def test_experiments_are_paged(http: Http, experiments: dict[str, str]) -> None:
    text = f"name LIKE '{experiments['name']}%'"
    got = all_pages(http, "POST", "experiments/search", "experiments", filter=text, max_results=2, order_by=["name"])
    assert [e["experiment_id"] for e in got] == [experiments[letter] for letter in "acb"]


def test_experiments_can_be_searched_with_a_get(http: Http, experiments: dict[str, str]) -> None:
    fields = {"filter": f"name LIKE '{experiments['name']}%'", "max_results": 1, "order_by": "name", "view_type": "ALL"}
    answer = http.ok("GET", "experiments/search", **fields)
    assert [e["experiment_id"] for e in answer["experiments"]] == [experiments["a"]]


@pytest.mark.parametrize("size", [0, -1, 50_001])
def test_a_page_of_experiments_has_bounds(http: Http, size: int) -> None:
    assert http.error("POST", "experiments/search", max_results=size) == BAD


@pytest.fixture(scope="module")
def models(http: Http) -> dict[str, str]:
    """Letter -> id of a logged model; under "experiment" where they are, under "run" the run that made `a`."""
    experiment = http.ok("POST", "experiments/create", name=f"m {uuid4().hex}")["experiment_id"]
    run = http.new_run(experiment)
    found = {"experiment": experiment, "run": run}
    for letter, name, kind, params, given, metrics in (
        (
            "a",
            "first",
            "tree",
            {"depth": "3"},
            {"team": "x"},
            [("auc", 0.9, "train", "1"), ("auc", 0.7, "test", "2"), ("f1", 0.9, "train", "1")],
        ),
        ("b", "second", "tree", {"depth": "5"}, {}, [("auc", 0.8, "train", "1"), ("f1", 0.8, "train", "1")]),
        ("c", "First", "linear", {}, {"team": "X"}, []),
    ):
        body = {
            "experiment_id": experiment,
            "name": name,
            "model_type": kind,
            "params": tags(**params),
            "tags": tags(**given),
        }
        source = {"source_run_id": run} if letter == "a" else {}
        model = http.ok("POST", "logged-models", **body, **source)["model"]["info"]["model_id"]
        for step, (key, value, dataset, digest) in enumerate(metrics):
            point = {"key": key, "value": value, "timestamp": 1, "step": step, "model_id": model}
            http.ok("POST", "runs/log-metric", run_id=run, dataset_name=dataset, dataset_digest=digest, **point)
        found[letter] = model
    http.ok("PATCH", f"logged-models/{found['a']}", model_id=found["a"], status="LOGGED_MODEL_READY")
    return found


def found_models(http: Http, models: dict[str, str], **fields: object) -> str:
    answer = http.ok("POST", "logged-models/search", experiment_ids=[models["experiment"]], **fields)
    back = {number: letter for letter, number in models.items()}
    return "".join(back[m["info"]["model_id"]] for m in answer.get("models", []))


MODELS = [
    ("", "abc"),
    ("name = 'first'", "a"),
    ("name != 'first'", "bc"),
    ("name LIKE 'f%'", "a"),
    ("name ILIKE 'f%'", "ac"),
    ("attributes.name = 'first'", "a"),
    ("model_type = 'tree'", "ab"),
    ("model_id = '{a}'", "a"),
    ("source_run_id = '{run}'", "a"),
    ("status = 'READY'", "a"),
    ("params.depth = '3'", "a"),
    ("params.depth != '3'", "b"),
    ("tags.team = 'x'", "a"),
    ("tags.team ILIKE 'X'", "ac"),
    ("metrics.f1 > 0.75", "ab"),
    ("metrics.f1 > 0.85", "a"),
    ("metrics.f1 != 0.9", "b"),
    ("metrics.f1 <= 0.8", "b"),
    ("creation_timestamp > 0", "abc"),
    ("name = 'first' AND params.depth = '3'", "a"),
    ("metrics.f1 > 0.75 AND params.depth = '5'", "b"),
]


@pytest.mark.parametrize(("text", "wanted"), MODELS)
def test_logged_models_are_found(http: Http, models: dict[str, str], text: str, wanted: str) -> None:
    assert "".join(sorted(found_models(http, models, filter=text.format(**models)))) == wanted


def test_a_metric_of_a_model_can_be_bound_to_a_dataset(http: Http, models: dict[str, str]) -> None:
    for name, digest, wanted in (("train", "1", ""), ("test", "2", "a"), ("test", "1", "")):
        datasets = [{"dataset_name": name, "dataset_digest": digest}]
        assert found_models(http, models, filter="metrics.auc < 0.75", datasets=datasets) == wanted, (name, digest)


def test_without_a_filter_datasets_leave_the_models_measured_on_them(http: Http, models: dict[str, str]) -> None:
    assert found_models(http, models, datasets=[{"dataset_name": "test", "dataset_digest": "2"}]) == "a"


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ([{"field_name": "creation_timestamp", "ascending": True}, {"field_name": "name"}], None),
        ([{"field_name": "name", "ascending": True}], "cab"),
        ([{"field_name": "name", "ascending": False}], "bac"),
        ([{"field_name": "metrics.auc", "ascending": False, "dataset_name": "train", "dataset_digest": "1"}], "abc"),
        ([{"field_name": "metrics.auc", "ascending": True, "dataset_name": "train"}], "bac"),
    ],
)
def test_logged_models_are_ordered(http: Http, models: dict[str, str], order: list[Json], wanted: str | None) -> None:
    got = found_models(http, models, order_by=order)
    assert got == wanted if wanted else sorted(got) == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["nothing = 'x'", "params.depth > 'x'", "name = 'a' OR name = 'b'", "name >"])
def test_what_is_no_filter_of_logged_models_is_refused(http: Http, models: dict[str, str], text: str) -> None:
    fields = {"experiment_ids": [models["experiment"]], "filter": text}
    assert http.error("POST", "logged-models/search", **fields) == BAD


def test_a_metric_of_a_logged_model_is_not_compared_with_text(http: Http, models: dict[str, str]) -> None:
    fields = {"experiment_ids": [models["experiment"]], "filter": "metrics.auc = 'x'"}
    assert http.error("POST", "logged-models/search", **fields) == BAD


def test_logged_models_are_paged(http: Http, models: dict[str, str]) -> None:
    fields = {
        "experiment_ids": [models["experiment"]],
        "max_results": 2,
        "order_by": [{"field_name": "name", "ascending": True}],
    }
    got = all_pages(http, "POST", "logged-models/search", "models", **fields)
    assert [m["info"]["model_id"] for m in got] == [models[letter] for letter in "cab"]


@pytest.fixture(scope="module")
def registered(http: Http) -> str:
    """What the names of three registered models begin with; `-a` has three versions."""
    name = f"r{uuid4().hex[:10]}"
    for letter, given in (("a", tags(team="x")), ("B", tags(team="X", odd="1")), ("c_1", [])):
        http.ok("POST", "registered-models/create", name=f"{name}-{letter}", tags=given)
    for number in (1, 2, 3):
        version = tags(kind="odd" if number % 2 else "even")
        http.ok("POST", "model-versions/create", name=f"{name}-a", source=f"s3://b/{number}", tags=version)
    return name


REGISTERED = [
    ("name = '{0}-a'", "a"),
    ("name LIKE '{0}%'", "Bac"),
    ("name LIKE '{0}-b'", ""),
    ("name ILIKE '{0}-b'", "B"),
    ("name != '{0}-a' AND name LIKE '{0}%'", "Bc"),
    ("name LIKE '{0}%' AND tags.team = 'x'", "a"),
    ("name LIKE '{0}%' AND tag.team ILIKE 'X'", "Ba"),
    ("name LIKE '{0}%' AND tags.team != 'x'", "B"),
    ("name LIKE '{0}%' AND tags.team = 'X' AND tags.odd = '1'", "B"),
    ("name LIKE '{0}%' AND tags.odd LIKE '%'", "B"),
]


@pytest.mark.parametrize(("text", "wanted"), REGISTERED)
def test_registered_models_are_found(http: Http, registered: str, text: str, wanted: str) -> None:
    answer = http.ok("GET", "registered-models/search", filter=text.format(registered))
    assert "".join(sorted(m["name"].split("-")[1][0] for m in answer.get("registered_models", []))) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "nothing = 'x'",
        "name > 'x'",
        "name = 5",
        "name = 'a' OR name = 'b'",
        "run_id = 'x'",
        "tags.a > 'b'",
        "metrics.a = 1",
    ],
)
def test_what_is_no_filter_of_registered_models_is_refused(http: Http, text: str) -> None:
    assert http.error("GET", "registered-models/search", filter=text) == BAD


@pytest.mark.parametrize(
    ("order", "wanted"),
    [([], "Bac"), (["name ASC"], "Bac"), (["name DESC"], "caB"), (["last_updated_timestamp ASC", "name"], None)],
)  # fmt: skip
def test_registered_models_are_ordered(http: Http, registered: str, order: list[str], wanted: str | None) -> None:
    answer = http.ok("GET", "registered-models/search", filter=f"name LIKE '{registered}%'", order_by=order)
    got = "".join(m["name"].split("-")[1][0] for m in answer["registered_models"])
    assert got == wanted if wanted else sorted(got) == ["B", "a", "c"]


def test_registered_models_are_paged(http: Http, registered: str) -> None:
    fields = {"filter": f"name LIKE '{registered}%'", "max_results": 1}
    got = all_pages(http, "GET", "registered-models/search", "registered_models", **fields)
    assert [m["name"].split("-")[1][0] for m in got] == ["B", "a", "c"]


def test_a_page_has_at_most_a_thousand_registered_models(http: Http) -> None:
    assert http.error("GET", "registered-models/search", max_results=1001) == BAD


VERSIONS = [
    ("name = '{0}-a'", "321"),
    ("name LIKE '{0}%'", "321"),
    ("name = '{0}-a' AND version_number > 1", "32"),
    ("name = '{0}-a' AND version_number = 2", "2"),
    ("name = '{0}-a' AND version_number <= 2", "21"),
    ("name = '{0}-a' AND version_number != 2", "31"),
    ("name = '{0}-a' AND tags.kind = 'even'", "2"),
    ("name = '{0}-a' AND tags.kind != 'even'", "31"),
    ("name = '{0}-a' AND source_path = 's3://b/3'", "3"),
    ("name = '{0}-B'", ""),
    ("name IN ('{0}-a', '{0}-B')", "321"),
]


@pytest.mark.parametrize(("text", "wanted"), VERSIONS)
def test_versions_are_found(http: Http, registered: str, text: str, wanted: str) -> None:
    fields = {"filter": text.format(registered), "order_by": ["version_number DESC"]}
    answer = http.ok("GET", "model-versions/search", **fields)
    assert "".join(v["version"] for v in answer.get("model_versions", [])) == wanted


@pytest.mark.parametrize(
    "text", ["nothing = 'x'", "version_number = 'x'", "name = 5", "name = 'a' OR name = 'b'", "metrics.a > 1"]
)
def test_what_is_no_filter_of_versions_is_refused(http: Http, text: str) -> None:
    assert http.error("GET", "model-versions/search", filter=text) == BAD


def test_versions_are_found_by_their_run(http: Http, registered: str, run: str, experiment: str) -> None:
    source = f"mlflow-artifacts:/{experiment}/{run}/artifacts/m"
    http.ok("POST", "model-versions/create", name=f"{registered}-B", source=source, run_id=run)
    found = http.ok("GET", "model-versions/search", filter=f"run_id = '{run}'")["model_versions"]
    assert [(v["name"], v["run_id"]) for v in found] == [(f"{registered}-B", run)]
    http.ok("DELETE", "model-versions/delete", name=f"{registered}-B", version="1")
    assert http.ok("GET", "model-versions/search", filter=f"run_id = '{run}'") == {}


def test_versions_are_paged(http: Http, registered: str) -> None:
    fields = {"filter": f"name = '{registered}-a'", "max_results": 2, "order_by": ["version_number ASC"]}
    got = all_pages(http, "GET", "model-versions/search", "model_versions", **fields)
    assert [v["version"] for v in got] == ["1", "2", "3"]
