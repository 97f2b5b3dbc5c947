"""Registered versions as one: ensembles and chains by declaration, resolved, checked, served and explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.rooms.test_skew import answering, ask

from mainspring.core.errors import Conflict, Corrupt, Invalid, MainspringError, NotFound, Refused
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.registry import Registry
from mainspring.registry.commands import group
from mainspring.registry.flavours import composed
from mainspring.registry.flavours.composed import Composed, Composition, Member, Step, composition_of
from mainspring.registry.flavours.python import PythonFunction
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Serving

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(60, 2))
FRAME = pl.DataFrame(ROWS, schema=["a", "b"])
DOUBLE = b"""
def predict(rows):
    if rows["a"][0] == 7:
        raise ValueError("seven")
    return rows["a"].to_numpy() * 2
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    registry = made.get(Registry)
    for weights in ([1.0, 2.0], [3.0, -1.0]):
        registry.register("line", LinearRegression().fit(ROWS, ROWS @ weights), example=FRAME.head(3))
    for column in (0, 1):
        fitted = LogisticRegression().fit(ROWS, (ROWS[:, column] > 0).astype(int))
        registry.register("sign", fitted, example=FRAME.head(3))
    thirds = np.digitize(ROWS[:, 0], [-0.5, 0.5])
    registry.register("third", LogisticRegression().fit(ROWS, thirds), example=FRAME.head(3))
    blend = LinearRegression().fit(ROWS, ROWS @ [0.5, 0.25])
    registry.register("blend", blend, example=pl.DataFrame(ROWS[:3], schema=["one", "two"]))
    made_of = PythonFunction("double.py:predict", source={"double.py": DOUBLE})
    registry.register("double", made_of, example=FRAME.select("a").head(3))
    yield made
    made.close()


@pytest.fixture
def registry(house: Wiring) -> Registry:
    return house.get(Registry)


def answers(registry: Registry, ref: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    name, version = ref.split("/")
    found = registry.load(name, version).predict(FRAME)
    return np.asarray(found.get("probability", found.get("prediction")), dtype=np.float64)


def test_a_mean_is_that_of_its_members_by_their_weights(registry: Registry) -> None:
    made = registry.compose("mean", Composition((Member("line/1"), Member("line/2", weight=3.0))))
    assert (made.task, made.columns, made.flavour) == ("regression", ("a", "b"), "composed")
    expected = (answers(registry, "line/1") + 3 * answers(registry, "line/2")) / 4
    np.testing.assert_allclose(answers(registry, made.ref.removeprefix("models/")), expected)
    framed = Composition((Member("line/1"), Member("line/2", weight=3.0)), before=(Step("a", "a"),))
    slower = registry.compose("mean", framed)  # through a frame, since it has a step
    np.testing.assert_array_equal(answers(registry, f"mean/{slower.number}"), answers(registry, "mean/1"))
    assert registry.composition(made) == ["score = mean of line/1, line/2 x 3"]
    assert registry.composition(registry.get("line", 1)) == []
    registry.verify("mean", made.number)


def test_a_vote_is_the_share_of_the_members_that_say_so(registry: Registry) -> None:
    both = tuple(map(Member, ("sign/1", "sign/2", "sign/1")))
    with pytest.raises(Invalid, match="twice"):
        Composition(both)
    made = registry.compose("vote", Composition((both[0], both[1], Member("sign/1", "again")), "vote"))
    votes = sum((answers(registry, ref) > 0.5).astype(float) for ref in ("sign/1", "sign/2", "sign/1"))
    np.testing.assert_allclose(answers(registry, f"vote/{made.number}"), votes / 3)
    many = registry.compose("vote", Composition((Member("third/1"),), "vote"))
    np.testing.assert_array_equal(answers(registry, f"vote/{many.number}").sum(axis=1), 1.0)
    assert made.classes == (0, 1)


def test_a_stack_answers_by_what_its_members_say(registry: Registry) -> None:
    members = (Member("line/1", "one"), Member("line/2", "two"))
    made = registry.compose("stack", Composition(members, "stack", final="blend/1"))
    expected = 0.5 * answers(registry, "line/1") + 0.25 * answers(registry, "line/2")
    np.testing.assert_allclose(answers(registry, f"stack/{made.number}"), expected)
    assert registry.composition(made) == ["score = stack of one, two, by blend/1"]


def test_a_chain_computes_what_comes_before_and_after_the_model(registry: Registry) -> None:
    said = Composition(
        (Member("line/1"),),
        before=(Step("b", "2 * c if c > 0 else 0"), Step("twice", model="double/1")),
        after=(Step("score", "min(max(score, 0), 10) + twice"),),
    )
    example = pl.DataFrame({"a": [1.0, 2.0], "c": [3.0, -1.0]})
    with pytest.raises(Invalid, match="no part has an example of 'c'"):
        registry.compose("chain", said)
    made = registry.compose("chain", said, example=example)
    assert made.columns == ("c", "a")
    found = registry.load("chain", made.number).predict_columns({"a": [1.0, 2.0, -9.0], "c": [3.0, -1.0, None]})
    assert found["prediction"].tolist() == pytest.approx([12.0, 6.0, -18.0])
    assert registry.composition(made)[0] == "b = 2 * c if c > 0 else 0"


def test_after_a_classifier_the_score_stays_a_probability(registry: Registry) -> None:
    said = Composition((Member("sign/1"),), after=(Step("score", "score * 3 - 1"),))
    made = registry.compose("calibrated", said)
    expected = (answers(registry, "sign/1") * 3 - 1).clip(0, 1)
    np.testing.assert_allclose(answers(registry, f"calibrated/{made.number}"), expected)


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        ({"members": ["line/1", "sign/1"]}, Conflict, "models/sign/1 is binary"),
        ({"members": ["line/9"]}, NotFound, "no version"),
        ({"members": ["line"]}, Invalid, 'write "NAME/VERSION"'),
        ({"members": ["line/1"], "combine": "vote"}, Invalid, "numbers have no vote"),
        ({"members": ["line/1"], "combine": "stack"}, Invalid, "final"),
        ({"members": ["line/1"], "combine": "men"}, Invalid, "use mean, vote, stack"),
        ({"members": []}, Invalid, "0 members"),
        ({"members": [{"model": "line/1", "weight": -1}]}, Invalid, "weight"),
        ({"members": ["line/1"], "before": [{"column": "a"}]}, Invalid, "expression or a model"),
        ({"members": ["line/1"], "before": [{"column": "a", "expression": "a.b"}]}, Invalid, "none of the language"),
        ({"members": ["line/1"], "after": [{"column": "x", "expression": "score"}]}, Invalid, "gives 'score'"),
        ({"members": ["third/1"], "after": [{"column": "score", "expression": "1"}]}, Invalid, "many classes"),
        ({"members": ["line/1"], "before": [{"column": "b", "model": "third/1"}]}, Invalid, "many numbers"),
        ({"members": ["line/1"], "befor": []}, Invalid, 'did you mean "before"'),
        ({"members": ["line/1"], "before": [{"column": "b", "expression": "lower(a)"}]}, MainspringError, "'b'"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused_by_name(
    registry: Registry, said: dict[str, object], kind: type[MainspringError], says: str
) -> None:
    with pytest.raises(kind) as refused:
        registry.compose("wrong", composition_of(said))
    assert says in str(refused.value)


def test_a_composed_model_is_no_part_of_another(registry: Registry) -> None:
    made = registry.compose("inner", Composition((Member("line/1"),)))
    with pytest.raises(Refused, match="no part of a composed model"):
        registry.compose("outer", Composition((Member(f"inner/{made.number}"),)))


def test_every_part_is_checked_against_the_digest_that_it_was_registered_with(registry: Registry) -> None:
    made = registry.compose("checked", Composition((Member("line/1"), Member("line/2"))))
    data = registry.file("checked", made.number, composed.FILE)
    model = composed.read(data)
    assert isinstance(model, Composed)
    assert composed.dump(model) == data
    assert {ref: part.digest for ref, part in model.parts.items()} == {
        ref: registry.get("line", int(ref[-1])).digest for ref in ("line/1", "line/2")
    }
    one, two = model.parts["line/1"], model.parts["line/2"]
    for part in (replace(one, digest=two.digest), replace(one, manifest=two.manifest), replace(one, file=two.file)):
        lying = replace(model, parts={"line/1": part, "line/2": two})
        with pytest.raises(Corrupt, match=r"registered(.|\n)*member line/1"):
            composed.read(composed.dump(lying))


def test_it_is_declared_in_a_file_and_served_like_any_version(house: Wiring, tmp_path: Path) -> None:
    file = tmp_path / "both.toml"
    file.write_text(
        'combine = "mean"\nmembers = ["line/1", "line/2"]\n'
        '[[before]]\ncolumn = "b"\nexpression = "coalesce(b, 0)"\n'
        '[[after]]\ncolumn = "score"\nexpression = "score / (a - 13)"\n'
    )
    done = CliRunner().invoke(group, ["compose", "both", str(file), "--json"], obj=lambda: house)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["signature"]["inputs"][0]["name"] == "b"
    serving = house.get(Serving)
    serving.deploy("both", "both", 1)
    with answering(house) as app:
        status, answer = ask(app, "both", {"a": 1.0, "b": 2.0}, {"a": 3.0, "b": None})
    assert status == 200
    expected = [(4 * 1.0 + 1 * 2.0) / 2 / -12, (4 * 3.0) / 2 / -10]
    np.testing.assert_allclose(np.array(answer["predictions"], dtype=float), expected)
    serving.compact()
    assert {row.id for row in serving.recent("both")} == {"r.0", "r.1"}  # once, not for each member
    with TestClient(create_app(house, rooms=("serving", "registry")), base_url="http://127.0.0.1:7600") as http:
        for path in ("/deployments/both", "/models/both/1"):
            assert "mean of line/1, line/2" in http.get(path).text
        body = {"members": [{"model": "line/1"}, {"model": "line/2", "weight": 2}]}
        assert http.post("/api/v1/models/web/compositions", json=body).json()["flavour"] == "composed"
        assert http.post("/api/v1/models/web/compositions", json={"members": []}).status_code == 400


def test_a_member_that_fails_is_named(house: Wiring) -> None:
    both = Composition((Member("line/1"), Member("double/1", "odd one")))
    house.get(Registry).compose("fails", both)
    house.get(Serving).deploy("fails", "fails", 1)
    with answering(house) as app:
        assert ask(app, "fails", {"a": 1.0, "b": 0.0})[0] == 200
        status, answer = ask(app, "fails", {"a": 7.0, "b": 0.0})
    assert (status, answer["error"]) == (500, "the model's member 'odd one' raised Failed")
