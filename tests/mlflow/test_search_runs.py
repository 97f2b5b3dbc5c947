"""The search grammar over runs: every entity, operator and quotation, what a missing key means, orders, pages."""

from __future__ import annotations

import math

import pytest
from tests.mlflow.http import BAD, Http, Json

NAN, INF = "NaN", "Infinity"


def kv(found: dict[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in found.items()]


# letter: (metrics, params, tags, status, name)
CORPUS: dict[str, tuple[dict[str, object], dict[str, str], dict[str, str], str, str]] = {
    "a": (
        {"loss": 0.1, "acc": 0.9, "val loss": 1.0, "a/b": 1.0, "only.a": 5.0, "odd": NAN},
        {"depth": "3", "model": "Tree", "learning rate": "0.1", "p.q": "dotted"},
        {"team": "flights", "a.b.c": "dots", "with space": "x", "quoted": "it's"},
        "FINISHED", "alpha",
    ),
    "b": (
        {"loss": 0.2, "acc": NAN, "odd": 2.0},
        {"depth": "5", "model": "tree", "percent": "100%"},
        {"team": "Flights", "empty": ""},
        "FAILED", "beta",
    ),
    "c": (
        {"loss": 0.3, "acc": 0.5, "odd": -1.0},
        {"depth": "10", "model": "forest_x", "percent": "100 apples"},
        {"team": "", "quoted": 'say "hi"'},
        "RUNNING", "Alpha two",
    ),
    "d": ({}, {}, {"über": "ünïcode ✓"}, "KILLED", "delta_1"),
    "e": ({"loss": INF, "acc": 0.5}, {"depth": "", "model": "forestyx"}, {"team": "trains"}, "FINISHED", "deltax1"),
    "f": ({"loss": -1.5, "big": 1e300}, {"depth": "None"}, {"team": "flights and trains"}, "SCHEDULED", "it's f"),
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(http: Http) -> dict[str, str]:
    """Letter -> run id, and under "experiment" where they are."""
    from uuid import uuid4

    experiment = str(http.ok("POST", "experiments/create", name=f"search {uuid4().hex}")["experiment_id"])
    found = {"experiment": experiment}
    for number, (letter, (metrics, params, tags, status, name)) in enumerate(CORPUS.items()):
        run = http.new_run(experiment, start_time=1000 * (number + 1), run_name=name, user_id=f"user {letter}")
        points = [{"key": k, "value": v, "timestamp": 1, "step": 0} for k, v in metrics.items()]
        http.log(run, metrics=points, params=kv(params), tags=kv(tags))
        http.ok("POST", "runs/update", run_id=run, status=status, end_time=1000 * (number + 1) + 500)
        found[letter] = run
    for letter, name, digest, context in (("a", "train-set", "abc", "training"), ("b", "test_set", "xyz", "eval")):
        dataset = {"name": name, "digest": digest, "source_type": "local", "source": "{}"}
        tag = [{"key": "mlflow.data.context", "value": context}]
        http.ok("POST", "runs/log-inputs", run_id=found[letter], datasets=[{"dataset": dataset, "tags": tag}])
    return found


def page(http: Http, corpus: dict[str, str], text: str = "", **more: object) -> Json:
    return http.ok("POST", "runs/search", experiment_ids=[corpus["experiment"]], filter=text, **more)


def letters(answer: Json, corpus: dict[str, str]) -> str:
    back = {run: letter for letter, run in corpus.items()}
    return "".join(back[run["info"]["run_id"]] for run in answer.get("runs", []))


def found(http: Http, corpus: dict[str, str], text: str) -> str:
    return "".join(sorted(letters(page(http, corpus, text), corpus)))


METRICS = [
    ("metrics.loss < 0.2", "af"),
    ("metrics.loss <= 0.2", "abf"),
    ("metrics.loss > 0.2", "ce"),
    ("metrics.loss >= 0.2", "bce"),
    ("metrics.loss = 0.2", "b"),
    ("metrics.loss != 0.2", "acef"),
    ("metrics.loss > -2", "abcef"),
    ("metrics.loss < -1.4", "f"),
    ("metrics.loss = 2e-1", "b"),
    ("metrics.big > 9.9E299", "f"),
    ("metrics.big>1", "f"),
    ("metric.loss = 0.1", "a"),
    ("metrics.`val loss` = 1", "a"),
    ('metrics."val loss" = 1', "a"),
    ("metrics.`a/b` = 1", "a"),
    ("metrics.only.a = 5", "a"),
    ("metrics.nothing > 0", ""),
    ("metrics.nothing != 0", ""),
    ("metrics.acc > 0", "ace"),
    ("metrics.acc != 0.5", "ab"),
    ("metrics.acc = 0.5", "ce"),
]
PARAMS = [
    ("params.depth = '3'", "a"),
    ('params.depth = "3"', "a"),
    ("param.depth = '3'", "a"),
    ("parameter.depth = '3'", "a"),
    ("parameters.depth = '3'", "a"),
    ("params.depth != '3'", "bcef"),
    ("params.depth = ''", "e"),
    ("params.depth = 'None'", "f"),
    ("params.model = 'tree'", "b"),
    ("params.model LIKE 'tree'", "b"),
    ("params.model ILIKE 'tree'", "ab"),
    ("params.model like '%ree'", "ab"),
    ("params.model LIKE 'forest%'", "ce"),
    ("params.model LIKE 'forest_x'", "ce"),
    ("params.model ILIKE 'FOREST%'", "ce"),
    ("params.model LIKE 'FOREST%'", ""),
    ("params.`learning rate` = '0.1'", "a"),
    ('params."learning rate" = "0.1"', "a"),
    ("params.p.q = 'dotted'", "a"),
    ("params.`p.q` = 'dotted'", "a"),
    ("params.nothing = 'x'", ""),
    ("params.nothing != 'x'", ""),
    ("params.percent LIKE '100%'", "bc"),
    ("params.model IS NULL", "df"),
    ("params.model IS NOT NULL", "abce"),
    ("params.nothing IS NULL", "abcdef"),
    ("params.nothing IS NOT NULL", ""),
    ("params.model is null", "df"),
]
TAGS = [
    ("tags.team = 'flights'", "a"),
    ("tag.team = 'flights'", "a"),
    ("tags.team != 'flights'", "bcef"),
    ("tags.team LIKE 'flights%'", "af"),
    ("tags.team ILIKE 'flights%'", "abf"),
    ("tags.team = ''", "c"),
    ("tags.empty = ''", "b"),
    ("tags.a.b.c = 'dots'", "a"),
    ("tags.`a.b.c` = 'dots'", "a"),
    ('tags."a.b.c" = "dots"', "a"),
    ("tags.`with space` = 'x'", "a"),
    ("tags.nothing != 'x'", ""),
    ("tags.team IS NULL", "d"),
    ("tags.team IS NOT NULL", "abcef"),
    ("tags.`über` = 'ünïcode ✓'", "d"),
    ("tags.`über` LIKE '%✓'", "d"),
    ('tags.quoted = "it\'s"', "a"),
    ("tags.quoted = 'say \"hi\"'", "c"),
    ("tags.mlflow.runName = 'beta'", "b"),
    ("tags.`mlflow.runName` = 'beta'", "b"),
]
ATTRIBUTES = [
    ("attributes.status = 'FINISHED'", "ae"),
    ("attribute.status = 'FINISHED'", "ae"),
    ("attr.status = 'FINISHED'", "ae"),
    ("run.status = 'FINISHED'", "ae"),
    ("status = 'FINISHED'", "ae"),
    ("status != 'FINISHED'", "bcdf"),
    ("status LIKE 'F%'", "abe"),
    ("status ILIKE 'f%'", "abe"),
    ("run_name = 'alpha'", "a"),
    ("attributes.run_name = 'alpha'", "a"),
    ("attributes.`run name` = 'alpha'", "a"),
    ("attributes.`Run name` = 'alpha'", "a"),
    ("attributes.`Run Name` = 'alpha'", "a"),
    ("run_name LIKE 'alpha%'", "a"),
    ("run_name ILIKE 'alpha%'", "ac"),
    ("run_name LIKE 'delta_1'", "de"),
    ('run_name = "it\'s f"', "f"),
    ("run_name != 'alpha'", "bcdef"),
    ("user_id = 'user b'", "b"),
    ("start_time = 1000", "a"),
    ("start_time > 4000", "ef"),
    ("start_time >= 4000", "def"),
    ("start_time < 3000", "ab"),
    ("start_time <= 3000", "abc"),
    ("start_time != 1000", "bcdef"),
    ("attributes.start_time > 4000", "ef"),
    ("created > 4000", "ef"),
    ("attributes.created > 4000", "ef"),
    ("end_time = 1500", "a"),
    ("attributes.end_time > 5000", "ef"),
    ("attributes.artifact_uri LIKE 'mlflow-artifacts:/%'", "abcdef"),
]
DATASETS = [
    ("datasets.name = 'train-set'", "a"),
    ("dataset.name = 'train-set'", "a"),
    ("dataset.name LIKE '%set'", "ab"),
    ("dataset.name ILIKE 'TRAIN%'", "a"),
    ("dataset.digest = 'xyz'", "b"),
    ("dataset.context = 'training'", "a"),
    ("dataset.context != 'training'", "b"),
    ("dataset.name IN ('train-set', 'test_set')", "ab"),
    ("dataset.name IN ('train-set')", "a"),
    ("dataset.digest NOT IN ('abc')", "b"),
]
TOGETHER = [
    ("", "abcdef"),
    ("metrics.loss < 0.25 AND params.depth = '5'", "b"),
    ("metrics.loss < 0.25 and params.depth = '5'", "b"),
    ("metrics.loss > 0 AND metrics.loss < 0.25", "ab"),
    ("params.model ILIKE 'tree' AND tags.team = 'flights' AND status = 'FINISHED'", "a"),
    ("params.depth != '3' AND params.depth != '5'", "cef"),
    ("tags.team = 'flights' AND tags.team = 'Flights'", ""),
    ("  metrics.loss   <   0.2  ", "af"),
    ("metrics.loss<0.2 AND status='FINISHED'", "a"),
    ("params.model IS NULL AND tags.team IS NOT NULL", "f"),
    ("dataset.name = 'train-set' AND dataset.context = 'training'", "a"),
    ("params.depth = '3' AND status = 'FINISHED' AND dataset.digest = 'abc'", "a"),
    ("metrics.loss < 0.2\n AND\n status = 'FINISHED'", "a"),
]


@pytest.mark.parametrize(("text", "wanted"), METRICS, ids=[text for text, _ in METRICS])
def test_metrics_are_compared_as_numbers(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text) == wanted


@pytest.mark.parametrize(("text", "wanted"), PARAMS, ids=[text for text, _ in PARAMS])
def test_params_are_compared_as_text(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text) == wanted


@pytest.mark.parametrize(("text", "wanted"), TAGS, ids=[text for text, _ in TAGS])
def test_tags_are_compared_as_text(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text) == wanted


@pytest.mark.parametrize(("text", "wanted"), ATTRIBUTES, ids=[text for text, _ in ATTRIBUTES])
def test_attributes_are_what_has_no_other_entity(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text) == wanted


@pytest.mark.parametrize(("text", "wanted"), DATASETS, ids=[text for text, _ in DATASETS])
def test_runs_are_found_by_the_datasets_they_read(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text) == wanted


@pytest.mark.parametrize(("text", "wanted"), TOGETHER, ids=[repr(text) for text, _ in TOGETHER])
def test_comparisons_are_joined_by_and(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("run_id = '{a}'", "a"),
        ("run_id != '{a}'", "bcdef"),
        ("run_id LIKE '{a}'", "a"),
        ("run_id IN ('{a}', '{c}')", "ac"),
        ("attributes.run_id NOT IN ('{a}', '{c}')", "bdef"),
        ("attributes.run_id IN ('{b}')", "b"),
    ],
)
def test_runs_are_found_by_their_ids(http: Http, corpus: dict[str, str], text: str, wanted: str) -> None:
    assert found(http, corpus, text.format(**corpus)) == wanted


RUBBISH = [
    "metrics.loss < 0.2 OR metrics.loss > 1",
    "(metrics.loss < 0.2)",
    "metrics.loss < 0.2;",
    "metrics.loss < 0.2; DROP TABLE runs",
    "metrics.loss",
    "metrics.loss <",
    "< 0.2",
    "metrics.loss < 'low'",
    "metrics.loss < abc",
    "metrics.loss LIKE '%'",
    "metrics.loss IS NULL",
    "params.depth = 3",
    "params.depth > '3'",
    "params.depth < '3'",
    "params.depth = '3",
    "params.depth == '3'",
    "params.depth = 3'",
    "params.depth",
    "tags.team > 'a'",
    "tags.team = flights",
    "status > 'A'",
    "start_time = 'now'",
    "start_time LIKE '1%'",
    "nothing = 'x'",
    "attributes.nothing = 'x'",
    "attributes.lifecycle_stage = 'deleted'",
    "entity.key = 'x'",
    "dataset.profile = 'x'",
    "dataset.name > 'x'",
    "status IN ('FINISHED')",
    "run_name IN ('alpha')",
    "run_id IN ()",
    "run_id IN (1, 2)",
    "run_id IN 'a'",
    "metrics.loss < 0.2, metrics.acc > 0",
    "metrics.loss BETWEEN 0 AND 1",
    "NOT metrics.loss < 0.2",
    "params.depth IS 'x'",
    "params.depth = '3' AND OR",
    "()",
    "'",
    "`",
    "🚂",
    "metrics.loss < 0.2 --",
    "params.`depth = '3'",
    "= =",
    ".depth = '3'",
]


@pytest.mark.parametrize("text", RUBBISH)
def test_what_is_no_filter_is_refused(http: Http, corpus: dict[str, str], text: str) -> None:
    answer = http.error("POST", "runs/search", experiment_ids=[corpus["experiment"]], filter=text)
    assert answer == BAD


SLOPPY = [
    "run_id IN ('a' 'b')",
    "metrics.loss < 0.2 AND",
    "AND metrics.loss < 0.2",
    "status = 'A' status = 'B'",
    "params. = '3'",
]


@pytest.mark.parametrize("text", SLOPPY)
def test_a_sloppy_filter_is_taken_or_refused_but_no_server_error(http: Http, corpus: dict[str, str], text: str) -> None:
    answer = http.call("POST", "runs/search", experiment_ids=[corpus["experiment"]], filter=text)
    assert answer.status_code in (200, 400), answer.text[:400]


ORDERS = [
    ([], "fedcba"),
    (["start_time ASC"], "abcdef"),
    (["start_time"], "abcdef"),
    (["attributes.start_time DESC"], "fedcba"),
    (["attribute.start_time asc"], "abcdef"),
    (["created DESC"], "fedcba"),
    (["metrics.loss ASC"], "fabced"),
    (["metrics.loss DESC"], "ecbafd"),
    (["metrics.loss"], "fabced"),
    (["metric.loss"], "fabced"),
    (["metrics.odd ASC"], "cbafed"),
    (["metrics.odd DESC"], "bcafed"),
    (["metrics.acc ASC"], "ecabfd"),
    (["metrics.acc DESC"], "aecbfd"),
    (["metrics.acc", "start_time"], "ceabdf"),
    (["metrics.`val loss`", "start_time ASC"], "abcdef"),
    (['metrics."val loss"', "start_time ASC"], "abcdef"),
    (["params.depth ASC"], "ecabfd"),
    (["params.depth DESC"], "fbaced"),
    (["params.nothing", "run_name"], None),
    (["params.`learning rate` DESC", "start_time"], "abcdef"),
    (["tags.team ASC"], None),
    (["status ASC", "start_time ASC"], "baedcf"),
    (["attributes.status DESC", "start_time DESC"], "fcdeab"),
    (["end_time DESC"], "fedcba"),
    (["user_id"], "abcdef"),
    (["run_name DESC"], "fedbac"),
    (["attributes.run_name"], "cabdef"),
]  # fmt: skip


@pytest.mark.parametrize(("order", "wanted"), ORDERS, ids=[", ".join(order) or "no order" for order, _ in ORDERS])
def test_runs_come_in_the_order_asked_for(
    http: Http, corpus: dict[str, str], order: list[str], wanted: str | None
) -> None:
    got = letters(page(http, corpus, order_by=order), corpus)
    assert got == wanted if wanted else sorted(got) == list("abcdef")


@pytest.mark.parametrize(
    "order",
    [["nothing"], ["attributes.nothing DESC"], ["metrics.loss UP"], ["metrics.loss ASC DESC"], ["entity.x"], [""],
     ["`"], ["start_time; DROP TABLE runs"]],
    ids=str,
)  # fmt: skip
def test_what_is_no_order_is_refused(http: Http, corpus: dict[str, str], order: list[str]) -> None:
    assert http.error("POST", "runs/search", experiment_ids=[corpus["experiment"]], order_by=order) == BAD


def test_the_same_order_twice_is_refused(http: Http, corpus: dict[str, str]) -> None:
    order = ["metrics.loss ASC", "metrics.loss DESC"]
    assert http.error("POST", "runs/search", experiment_ids=[corpus["experiment"]], order_by=order)[0] == 400


@pytest.mark.parametrize(
    "order", [[], ["metrics.loss DESC"], ["params.depth ASC"], ["metrics.acc ASC"], ["status"], ["tags.team DESC"]]
)
@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_pages_together_are_the_whole(http: Http, corpus: dict[str, str], order: list[str], size: int) -> None:
    whole = letters(page(http, corpus, order_by=order), corpus)
    got, token = "", ""
    while True:
        answer = page(http, corpus, order_by=order, max_results=size, **({"page_token": token} if token else {}))
        got += letters(answer, corpus)
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert got == whole


def test_the_last_page_has_no_token(http: Http, corpus: dict[str, str]) -> None:
    assert "next_page_token" not in page(http, corpus, max_results=6)
    assert "next_page_token" not in page(http, corpus, max_results=7)
    assert page(http, corpus, max_results=5)["next_page_token"]


def test_a_page_does_not_shift_when_a_run_is_added_before_it(http: Http, experiment: str) -> None:
    runs = [http.new_run(experiment, start_time=i) for i in range(1, 7)]
    first = http.ok("POST", "runs/search", experiment_ids=[experiment], max_results=3)
    http.new_run(experiment, start_time=100)
    fields = {"experiment_ids": [experiment], "max_results": 3, "page_token": first["next_page_token"]}
    second = http.ok("POST", "runs/search", **fields)
    got = [run["info"]["run_id"] for answer in (first, second) for run in answer["runs"]]
    assert got == list(reversed(runs))


@pytest.mark.parametrize("token", ["rubbish", "e30="])
def test_a_rubbish_token_is_refused(http: Http, corpus: dict[str, str], token: str) -> None:
    answer = http.error("POST", "runs/search", experiment_ids=[corpus["experiment"]], max_results=1, page_token=token)
    assert answer[0] == 400


def test_a_token_that_is_no_ascii_is_refused(http: Http, corpus: dict[str, str]) -> None:
    answer = http.error("POST", "runs/search", experiment_ids=[corpus["experiment"]], max_results=1, page_token="🚂")
    assert answer == BAD


@pytest.mark.parametrize("size", [0, -1, 50_001])
def test_a_page_has_one_to_fifty_thousand_runs(http: Http, corpus: dict[str, str], size: int) -> None:
    assert http.error("POST", "runs/search", experiment_ids=[corpus["experiment"]], max_results=size)[0] == 400


def test_equal_runs_come_latest_start_first_then_by_id(http: Http, experiment: str) -> None:
    runs = sorted(http.new_run(experiment, start_time=5) for _ in range(4))
    later = http.new_run(experiment, start_time=6)
    got = [
        r["info"]["run_id"]
        for r in http.ok("POST", "runs/search", experiment_ids=[experiment], order_by=["status"])["runs"]
    ]
    assert got == [later, *runs]


def test_the_view_chooses_deleted_runs(http: Http, experiment: str) -> None:
    kept, dropped = http.new_run(experiment), http.new_run(experiment)
    http.ok("POST", "runs/delete", run_id=dropped)

    def ids(view: str | None) -> set[str]:
        fields = {"run_view_type": view} if view else {}
        answer = http.ok("POST", "runs/search", experiment_ids=[experiment], **fields)
        return {run["info"]["run_id"] for run in answer["runs"]}

    assert ids(None) == ids("ACTIVE_ONLY") == {kept}
    assert ids("DELETED_ONLY") == {dropped}
    assert ids("ALL") == {kept, dropped}


def test_a_search_covers_the_experiments_it_names(http: Http, name: str) -> None:
    one, two = (http.ok("POST", "experiments/create", name=f"{name} {i}")["experiment_id"] for i in range(2))
    runs = [http.new_run(experiment, start_time=i) for i, experiment in enumerate((one, two))]
    got = http.ok("POST", "runs/search", experiment_ids=[one, two])["runs"]
    assert [run["info"]["run_id"] for run in got] == runs[::-1]
    assert [r["info"]["run_id"] for r in http.ok("POST", "runs/search", experiment_ids=[two])["runs"]] == runs[1:]


def test_a_search_in_no_experiment_finds_nothing(http: Http) -> None:
    assert http.ok("POST", "runs/search", experiment_ids=[]) == {}
    assert http.ok("POST", "runs/search", experiment_ids=["987654321012345"]) == {}


def test_runs_found_are_whole(http: Http, corpus: dict[str, str]) -> None:
    answer = page(http, corpus, "run_name = 'beta'")["runs"][0]
    assert {m["key"]: m["value"] for m in answer["data"]["metrics"]} == CORPUS["b"][0]
    assert {p["key"]: p["value"] for p in answer["data"]["params"]} == CORPUS["b"][1]
    tags = {t["key"]: t["value"] for t in answer["data"]["tags"]}
    assert tags.items() >= CORPUS["b"][2].items()
    assert answer["info"]["status"] == "FAILED"
    assert answer["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "test_set"


def test_the_latest_value_is_what_is_compared(http: Http, experiment: str) -> None:
    run = http.new_run(experiment)
    http.log(run, metrics=[{"key": "m", "value": v, "timestamp": v, "step": v} for v in (5, 1, 3)])
    for text, hit in (("metrics.m = 5", True), ("metrics.m = 3", False), ("metrics.m < 5", False)):
        answer = http.ok("POST", "runs/search", experiment_ids=[experiment], filter=text)
        assert bool(answer.get("runs")) == hit, text


def test_the_client_gives_a_table_of_runs(http: Http, corpus: dict[str, str], uri: str) -> None:
    import mlflow

    frame = mlflow.search_runs([corpus["experiment"]], "metrics.loss < 0.25", order_by=["metrics.loss DESC"])
    assert frame["run_id"].tolist() == [corpus[letter] for letter in "baf"]
    assert frame["metrics.loss"].tolist() == [0.2, 0.1, -1.5]
    assert math.isnan(frame["metrics.acc"].tolist()[0])
    assert frame["params.depth"].tolist() == ["5", "3", "None"]


def test_the_client_finds_runs_by_the_name_of_their_experiment(http: Http, name: str, uri: str) -> None:
    import mlflow

    made = http.ok("POST", "experiments/create", name=name)["experiment_id"]
    run = http.new_run(made)
    found_runs = mlflow.search_runs(experiment_names=[name], output_format="list")
    assert [one.info.run_id for one in found_runs] == [run]


def test_a_search_may_come_in_camel_case(http: Http, corpus: dict[str, str]) -> None:
    fields = {"experimentIds": [corpus["experiment"]], "maxResults": 2, "orderBy": ["start_time"], "runViewType": "ALL"}
    answer = http.ok("POST", "runs/search", **fields)
    assert letters(answer, corpus) == "ab"
    assert answer["next_page_token"]
