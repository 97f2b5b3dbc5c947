"""The OpenAPI document of a model: valid, exact, and every example in it is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
from tests.unit.serving.doors import MODEL, PLAIN, Doors, doors

from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm

jsonschema = pytest.importorskip("jsonschema")
validators = pytest.importorskip("openapi_spec_validator")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("doors")) as made:
        yield made


def document(served: Doors, name: str, version: str = "") -> dict[str, Any]:
    path = f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
    found = served.ask("GET", f"{path}/docs")
    assert found.status == 200
    return found.json


def fits(about: Mapping[str, Any], schema: str, value: object) -> bool:
    root = {"$ref": f"#/components/schemas/{schema}", "components": about["components"]}
    return bool(jsonschema.Draft202012Validator(root).is_valid(value))


@pytest.mark.parametrize(("name", "version"), [(MODEL, ""), (PLAIN, ""), (MODEL, "1")])
def test_the_document_is_valid_and_every_example_in_it_is_answered_as_it_says(
    served: Doors, name: str, version: str
) -> None:
    about = document(served, name, version)
    validators.validate(about)
    asked = 0
    for path, methods in about["paths"].items():
        for media, content in methods.get("post", {}).get("requestBody", {}).get("content", {}).items():
            if "example" not in content:
                continue
            body = content["example"].encode() if media == "text/csv" else content["example"]
            answer = served.ask("POST", path, body, headers={"content-type": media} if media == "text/csv" else None)
            assert answer.status == 200, answer.body
            shown = methods["post"]["responses"]["200"]["content"]["application/json"]
            schema = shown["schema"]["$ref"].rpartition("/")[2]
            assert fits(about, schema, answer.json)
            assert fits(about, schema, shown["example"])
            part = "outputs" if "outputs" in answer.json else "predictions"
            assert answer.json[part] == shown["example"][part]
            if media == "application/json":
                assert fits(about, content["schema"]["$ref"].rpartition("/")[2], body)
            asked += 1
    assert asked == (3 if version else 4)


def test_what_the_schemas_refuse_the_server_refuses_too(served: Doors) -> None:
    about = document(served, MODEL)
    good = about["paths"][f"/v2/models/{MODEL}/infer"]["post"]["requestBody"]["content"]["application/json"]["example"]

    def refused(change: str) -> bool:
        asked = deepcopy(good)
        delay, hour, carrier = asked["inputs"]
        match change:
            case "column":
                del asked["inputs"][1]
            case "text":
                delay["data"] = ["late", "early"]
            case "missing":
                delay["data"] = [None, 1.0]
            case "fraction":
                hour["data"] = [0.5, 1]
            case "range":
                hour["data"] = [2**63, 1]
            case "number":
                carrier["data"] = [1, 2]
            case "output":
                asked["outputs"] = [{"name": "other"}]
            case "timeout":
                asked["parameters"] = {"timeout_ms": 0}
        answer = served.ask("POST", f"/v2/models/{MODEL}/infer", asked)
        assert answer.status == (200 if fits(about, "InferRequest", asked) else 400), change
        return answer.status == 400

    assert not refused("nothing")
    assert all(map(refused, ["column", "text", "missing", "fraction", "range", "number", "output", "timeout"]))


def test_intervals_and_sets_of_classes_are_described_and_shown(served: Doors) -> None:
    for name, beside in ((PLAIN, {"half_width": 0.5}), (MODEL, {"set_limit": 0.9})):
        model = served.models[name]
        arm = ServedArm("champion", 1.0, model, "", humility=Humility((), model, {}, **beside))
        served.serve_only(name)
        table = served.app.served.table
        table.endpoints[name] = Endpoint(name, (arm,), "", "", table.plan.options_of(table.plan.endpoints[0]))  # type: ignore[index]
        about = document(served, name)
        content = about["paths"][f"/v1/models/{name}:predict"]["post"]
        answer = served.ask(
            "POST", f"/v1/models/{name}:predict", content["requestBody"]["content"]["application/json"]["example"]
        )
        shown = content["responses"]["200"]["content"]["application/json"]["example"]
        assert answer.json["predictions"] == shown["predictions"]
        assert fits(about, "Predictions", answer.json)
        assert ({"low", "high"} if name == PLAIN else {"label_set"}) < set(shown["predictions"][0])
    served.serve_only(MODEL, PLAIN)


def test_a_lone_model_is_also_described_where_mlflow_asks_it(served: Doors) -> None:
    served.serve_only(PLAIN)
    assert "/invocations" in document(served, PLAIN)["paths"]
    served.serve_only(MODEL, PLAIN)
    assert "/invocations" not in document(served, PLAIN)["paths"]


def test_what_is_not_served_is_not_described(served: Doors) -> None:
    assert served.ask("GET", "/v2/models/other/docs").status == 404
    assert served.ask("GET", f"/v2/models/{PLAIN}/versions/9/docs").status == 404
    assert served.ask("POST", f"/v2/models/{PLAIN}/docs").status == 405
