from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mainspring import pipeline, step
from mainspring.core.errors import Invalid
from mainspring.pipelines import Dataset
from mainspring.pipelines.decorators import Pipeline
from mainspring.pipelines.model import Items, Literal, Result


@step
def load(flights: Dataset, rows: int = 10) -> list[float]:
    return [1.0] * rows


@step
def split(frame: list[float]) -> tuple[list[float], list[float]]:
    return frame[:1], frame[1:]


@step
def train(frame: list[float], trees: int) -> dict[str, float]:
    return {"w": sum(frame) * trees}


@step
def evaluate(model: dict[str, float], frame: list[float]) -> float:
    return model["w"] / len(frame)


@step
def best(scores: list[float], names: dict[str, str]) -> str:
    return names[str(scores.index(max(scores)))]


@pipeline
def flights(dataset: str = "flights", trees: int = 3, deep: bool = False, out: Path = Path("out")) -> float:
    frame, held = split(load(Dataset(dataset)))
    model = train(frame, 2 * trees if deep else trees)
    return evaluate(model, held)


def test_called_by_hand_steps_and_pipelines_are_plain_functions() -> None:
    assert train([1.0, 2.0], trees=2) == {"w": 6.0}
    assert flights(trees=2) == 2.0 / 9


def test_drawing_runs_nothing_and_finds_the_graph() -> None:
    graph, steps = flights.draw({"trees": "5", "deep": "yes"})
    assert [(node.id, node.needs) for node in graph.nodes] == [
        ("load", ()),
        ("split", ("load",)),
        ("train", ("split",)),
        ("evaluate", ("train", "split")),
    ]
    assert graph.nodes[2].arguments == {"frame": Result("split", (0,)), "trees": Literal(10)}
    assert graph.params == {"dataset": "flights", "trees": 5, "deep": True, "out": "out"}
    assert graph.result == Result("evaluate")
    assert graph.datasets == ("flights",)
    assert steps["train"] is train


def test_a_step_called_twice_gets_a_number_and_lists_of_results_are_arguments() -> None:
    @pipeline
    def sweep() -> str:
        frame = load(Dataset("flights"))
        scores = [evaluate(train(frame, trees), frame) for trees in (1, 2)]
        return best(scores, {"0": "one", "1": "two"})

    graph, _ = sweep.draw({})
    assert [node.id for node in graph.nodes] == ["load", "train", "evaluate", "train-2", "evaluate-2", "best"]
    scores = graph.nodes[-1].arguments["scores"]
    assert scores == Items("list", (("0", Result("evaluate")), ("1", Result("evaluate-2"))))


def test_a_pipeline_in_a_pipeline_becomes_part_of_it() -> None:
    @pipeline
    def outer(n: int = 2) -> dict[str, float]:
        return train([flights(trees=n)], n)

    graph, _ = outer.draw({})
    assert [node.id for node in graph.nodes] == ["load", "split", "train", "evaluate", "train-2"]


@pipeline
def peeks() -> float:
    model = train([1.0], 1)
    if model:
        return 1.0
    return 0.0


@pipeline
def reads() -> float:
    return train([1.0], 1).popitem()[1]


@pipeline
def writes() -> str:
    return f"{train([1.0], 1)}"


@pipeline
def unpacks() -> float:
    (frame,) = load(Dataset("flights"))
    return frame


@pipeline
def mixes() -> float:
    return evaluate([1.0], [2.0])  # type: ignore[arg-type]


@pipeline
def crosses() -> float:
    return evaluate(load(Dataset("flights")), [2.0])  # type: ignore[arg-type]


@step
def number() -> int:
    return 1


@step
def shout(text: str) -> str:
    return text.upper()


@pipeline
def swaps() -> str:
    return shout(number())  # type: ignore[arg-type]


@pipeline
def carries() -> object:
    return train(object(), 1)  # type: ignore[arg-type]


@pipeline
def forgets() -> object:
    return train([1.0])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (peeks, r"bool\(\) on the result of train"),
        (reads, r"\.popitem on the result of train"),
        (writes, r"format\(\) on the result of train"),
        (unpacks, "iteration on the result of load"),
        (mixes, r"is not dict\[str, float\]\nwhere: step evaluate, parameter model"),
        (swaps, "number gives int, wanted is str"),
        (carries, "object .* is not list"),
        (forgets, "missing a required argument: 'trees'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: Pipeline[[], object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        wrong.draw({})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"tree": 1}, "has no parameter 'tree'\n.*\ntry: did you mean \"trees\""),
        ({"trees": "many"}, "'many' .str. is not int"),
        ({"trees": 1.5}, "1.5 .float. is not int"),
        ({"deep": 1}, "1 .int. is not bool"),
    ],
)
def test_parameters_are_checked_by_their_hints(params: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        flights.draw(params)


def test_only_plain_functions_become_steps() -> None:
    async def later() -> int:
        return 1

    def many(*rows: int) -> int:
        return len(rows)

    cases: list[tuple[Callable[..., object], str]] = [
        (later, "no async"),
        (many, "names its parameters"),
        (lambda: 1, "a function with a name"),
    ]
    for wrong, words in cases:
        with pytest.raises(Invalid, match=words):
            step(wrong)


def test_the_name_of_a_pipeline_may_be_given() -> None:
    @pipeline(name="late-flights")
    def made() -> int:
        return number()

    assert made.name == "late-flights"
    assert made.draw({})[0].pipeline == "late-flights"
