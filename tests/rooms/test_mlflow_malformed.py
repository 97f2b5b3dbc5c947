"""Every call of the MLflow protocol with every field malformed: told what is wrong, never a server error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from tests.straight import Straight

from mainspring.core.settings import load
from mainspring.mlflow.calls import Call
from mainspring.mlflow.routes import PARTS
from mainspring.server.app import create_app
from mainspring.server.house import open_house

CALLS = [made for part in PARTS for made in part.calls]
ODD: list[object] = [
    None,
    "",
    "x",
    "\x00",
    "\ud800",
    "é" * 600,
    0,
    -1,
    2**62,
    2**70,
    1.5,
    True,
    [],
    [None],
    ["x"],
    [{}],
    [{"key": 5}],
    [[]],
    {},
    {"x": {}},
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Straight]:
    house = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    with Straight(create_app(house), "http://127.0.0.1:7600") as made:
        yield made
    house.close()


@pytest.fixture(scope="module")
def run_id(client: Straight) -> str:
    headers = {"Content-Type": "application/json"}
    made = client.request(
        "POST", "/api/2.0/mlflow/runs/create", content='{"experiment_id": "0"}', headers=headers
    ).json()
    return str(made["run"]["info"]["run_id"])


def _good(run_id: str, made: Call) -> dict[str, object]:
    known = {"run_id": run_id, "experiment_id": "0", "key": "k", "value": "1", "timestamp": 1, "name": "n"}
    return {name: known[name] for name in made.parameters()[0].__struct_fields__ if name in known}


@pytest.mark.parametrize("made", CALLS, ids=lambda made: f"{made.methods[0]} {made.path.rsplit('/mlflow/')[-1]}")
def test_no_field_of_any_value_makes_a_call_fail(client: Straight, run_id: str, made: Call) -> None:
    path = re.sub(r"\{[^}]*\}", "1", made.path)
    for name in made.parameters()[0].__struct_fields__:
        for value in ODD:
            plain = {**_good(run_id, made), name: value}
            for method in made.methods:
                if method == "GET":
                    query = urlencode({key: str(entry).encode("utf-8", "replace") for key, entry in plain.items()})
                    answer = client.get(f"{path}?{query}")
                else:
                    headers = {"Content-Type": "application/json"}
                    answer = client.request(method, path, content=json.dumps(plain), headers=headers)
                assert answer.status_code < 500, f"{method} {path} {name}={value!r}: {answer.text[:300]}"
                assert answer.status_code == 200 or set(answer.json()) == {"error_code", "message"}, answer.text[:300]
