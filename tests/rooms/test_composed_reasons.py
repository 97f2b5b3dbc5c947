"""Reason codes of composed models: those of the parts, where they add up to the answer of the whole; else refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.rooms.test_skew import answering
from tests.unit.serving.plane import whole

from mainspring.core.errors import Refused
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.registry import Registry
from mainspring.registry.flavours.composed import Composition, Member, Step
from mainspring.registry.flavours.python import PythonFunction
from mainspring.registry.packages import Predictor
from mainspring.registry.reasons import Means, Reasons
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.modelserver.batching import Line

ROWS = np.random.default_rng(5).normal(size=(90, 2))
FRAME = pl.DataFrame(ROWS, schema=["a", "b"])
TRUTH = (ROWS[:, 0] + ROWS[:, 1] ** 2 > 0.5).astype(int)
MEANS: Means = {"a": 0.25, "b": -0.5}
TEXTS = pl.DataFrame(
    {"code": ["AA", "UA", "B6"] * 20, "late": [True, False] * 30, "hour": [float(i) for i in range(60)]}
)
CODE = b"def predict(rows):\n    return rows['a'].to_numpy() * 2\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    registry, shown = made.get(Registry), FRAME.head(3)
    for weights in ([1.0, 2.0], [3.0, -1.0]):
        registry.register("line", LinearRegression().fit(ROWS, ROWS @ weights), example=shown)
    for column in (0, 1):
        registry.register("sign", LogisticRegression().fit(ROWS, (ROWS[:, column] > 0).astype(int)), example=shown)
    for seed in (0, 1):
        forest = RandomForestClassifier(4, max_depth=4, random_state=seed).fit(ROWS, TRUTH)
        registry.register("forest", forest, example=shown)
    registry.register("numbers", RandomForestRegressor(3, random_state=0).fit(ROWS, ROWS[:, 1]), example=shown)
    boosted = LGBMClassifier(n_estimators=4, verbose=-1, n_jobs=1).fit(ROWS, TRUTH, feature_name=["a", "b"])
    registry.register("boosted", boosted, example=shown)
    thirds = np.digitize(ROWS[:, 0], [-0.5, 0.5])
    for seed in (0, 1):
        many = RandomForestClassifier(3, max_depth=3, random_state=seed).fit(ROWS, thirds)
        registry.register("third", many, example=shown)
    registry.register(
        "blend", LinearRegression().fit(ROWS, ROWS @ [0.5, 0.25]), example=shown.rename({"a": "one", "b": "two"})
    )
    registry.register(
        "double", PythonFunction("double.py:predict", source={"double.py": CODE}), example=shown.select("a")
    )
    encoded = ColumnTransformer([("text", OneHotEncoder(), ["carrier"]), ("number", "passthrough", ["late", "hour"])])
    frame = TEXTS.with_columns(pl.col("code").alias("carrier"), pl.col("late").cast(pl.Float64)).drop("code")
    pipeline = make_pipeline(encoded, LogisticRegression()).fit(frame, (TEXTS["hour"] > 20).to_numpy().astype(int))
    registry.register("texts", pipeline, example=frame.head(3))
    yield made
    made.close()


@pytest.fixture
def registry(house: Wiring) -> Registry:
    return house.get(Registry)


def explained(
    registry: Registry, ref: str, frame: pl.DataFrame = FRAME, means: Means = MEANS
) -> tuple[Reasons, NDArray[np.float64], str]:
    name, _, number = ref.partition("/")
    made: Predictor = registry.load(name, number)
    columns = [frame[column].to_list() for column in made.signature.names]
    answers, reasoner = made.predict_checked(columns), made.reasoner(means)
    scores = answers["prediction" if made.task == "regression" else "probability"]
    return reasoner.explain(columns, answers), np.asarray(scores, dtype=np.float64), reasoner.scale


def composed(registry: Registry, said: Composition, example: pl.DataFrame | None = None) -> str:
    made = registry.compose("whole", said, example=example)
    return f"whole/{made.number}"


@pytest.mark.parametrize("refs", [("line/1", "line/2"), ("line/1", "numbers/1"), ("forest/1", "forest/2")])
@pytest.mark.parametrize("stepped", [False, True])
def test_codes_of_a_mean_are_the_mean_of_codes_and_add_up_to_its_answer(
    registry: Registry, refs: tuple[str, str], stepped: bool
) -> None:
    members = (Member(refs[0]), Member(refs[1], weight=3.0))
    before = (Step("a", "a * 1"),) if stepped else ()  # then the members are asked with a frame
    found, scores, scale = explained(registry, composed(registry, Composition(members, before=before)))
    parts = [explained(registry, ref)[0] for ref in refs]
    assert scale == ("probability" if refs[0] == "forest/1" else "prediction")
    np.testing.assert_allclose(found.values, (parts[0].values + 3 * parts[1].values) / 4, atol=1e-12)
    np.testing.assert_allclose(found.base, (parts[0].base + 3 * parts[1].base) / 4, atol=1e-12)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base, scores, atol=1e-9)


def test_of_many_classes_the_codes_are_those_of_the_class_that_the_whole_chooses(registry: Registry) -> None:
    ref = composed(registry, Composition((Member("third/1"), Member("third/2"))))
    found, scores, scale = explained(registry, ref)
    assert scale == "probability"
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base, scores.max(axis=1), atol=1e-9)


@pytest.mark.parametrize("ref", ["sign/1", "boosted/1"])
def test_a_step_before_has_its_code_with_the_input_it_looks_at(registry: Registry, ref: str) -> None:
    before = (Step("twice", "c * 2"), Step("b", "twice / 2"))
    shown = FRAME.rename({"b": "c"})
    made = composed(registry, Composition((Member(ref),), before=before), shown.head(3))
    assert registry.get("whole", int(made[6:])).columns == ("c", "a")
    found, scores, scale = explained(registry, made, shown, {"a": 0.25, "c": -0.5})
    alone, expected, _ = explained(registry, ref)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_allclose(found.values, alone.values[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(found.base, alone.base, atol=1e-12)
    assert scale == "log-odds"


def test_texts_and_truth_values_start_from_their_shares_in_training(registry: Registry) -> None:
    before = (Step("carrier", "upper(code)"), Step("late", "1.0 if late else 0.0"))
    shown = TEXTS.with_columns(pl.col("code").str.to_lowercase())
    made = composed(registry, Composition((Member("texts/1"),), before=before), shown.head(3))
    shares = {"aa": 0.5, "ua": 0.25, "b6": 0.25}
    found, scores, scale = explained(registry, made, shown, {"code": shares, "late": 0.25, "hour": 30.0})
    assert scale == "log-odds"
    np.testing.assert_allclose(1 / (1 + np.exp(-found.values.sum(axis=1) - found.base)), scores, atol=1e-9)
    places = {name: place for place, name in enumerate(registry.get("whole", int(made[6:])).columns)}
    each = {code: float(found.values[shown["code"].to_list().index(code), places["code"]]) for code in shares}
    assert sum(share * each[code] for code, share in shares.items()) == pytest.approx(0.0, abs=1e-9)
    yes, no = (float(found.values[row, places["late"]]) for row in (0, 1))
    assert 0.25 * yes + 0.75 * no == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Composition((Member("sign/1"), Member("sign/2"))), "explained in log-odds: that of the mean is another"),
        (Composition((Member("sign/1"), Member("forest/1"))), "different scales, 'sign/1' in log-odds and 'forest/1'"),
        (Composition((Member("sign/1"), Member("sign/2")), "vote"), "a vote of models"),
        (
            Composition((Member("line/1", "one"), Member("line/2", "two")), "stack", final="blend/1"),
            "a stack of models",
        ),
        (
            Composition((Member("line/1"),), after=(Step("score", "score + 1"),)),
            "'score = score \\+ 1' after its answer",
        ),
        (Composition((Member("line/1"),), before=(Step("b", "a + b"),)), "step 'b' mixes a, b"),
        (Composition((Member("line/1"),), before=(Step("b", "7"),)), "step 'b' looks at no input"),
        (Composition((Member("line/1"),), before=(Step("b", model="double/1"),)), "step 'b' is a model"),
        (Composition((Member("line/1"), Member("double/1", "odd"))), "the member 'odd' of a composed model: no exact"),
    ],
)
def test_what_has_no_exact_codes_is_refused_by_its_reason(registry: Registry, said: Composition, why: str) -> None:
    with pytest.raises(Refused, match=why):
        explained(registry, composed(registry, said, FRAME.head(3)))


def test_a_linear_member_of_unknown_training_is_refused(registry: Registry) -> None:
    with pytest.raises(Refused, match=r"'line/1' of a composed model: a LinearRegression .* means") as told:
        explained(registry, composed(registry, Composition((Member("line/1"), Member("line/2")))), means={"a": 0.1})
    assert "reference=" in told.value.hint


def test_a_request_is_answered_with_codes_by_the_means_of_the_reference(house: Wiring) -> None:
    registry, serving = house.get(Registry), house.get(Serving)
    reference = house.get(Data).ingest("training", FRAME).ref
    for weights in ([1.0, 2.0], [3.0, -1.0]):
        fitted = LinearRegression().fit(ROWS, ROWS @ weights)
        registry.register("known", fitted, example=FRAME.head(3), reference=reference)
    registry.compose("explained", Composition((Member("known/1"), Member("known/2")), before=(Step("b", "b * 1"),)))
    serving.deploy("explained", "explained", 1)
    body = {"inputs": [{"name": n, "shape": [1], "datatype": "FP64", "data": [1.0]} for n in ("a", "b")]}
    asked = json.dumps({**body, "parameters": {"explain": True}}).encode()
    with answering(house) as app:
        message = whole("POST", "/v2/models/explained/infer", {b"content-type": b"application/json"}, asked)
        reply = app.loop.run_until_complete(app.reply(message, Line()))  # type: ignore[attr-defined]
    assert reply.status == 200, reply.body
    answer = json.loads(reply.body)
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    expected = {"a": 2.0 * (1.0 - ROWS[:, 0].mean()), "b": 0.5 * (1.0 - ROWS[:, 1].mean())}
    assert dict(zip(answer["parameters"]["reasons_columns"], outputs["reasons"], strict=True)) == pytest.approx(
        expected
    )
    assert sum(outputs["reasons"]) + outputs["reasons_base"][0] == pytest.approx(outputs["prediction"][0])
