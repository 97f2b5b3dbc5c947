"""What a pipeline function says besides calling steps: `when`, `repeat`, `approval` and `gate`.

While a pipeline is drawn they become part of its graph; called by hand, they do what they say at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast

from mainspring.core.clock import SECOND_US, span_us
from mainspring.core.errors import Invalid, Refused
from mainspring.pipelines.context import StepContext, context
from mainspring.pipelines.decorators import drawing_now, step
from mainspring.pipelines.handles import Handle, argument, question_of
from mainspring.pipelines.model import Argument, Choice, Condition, Graph, Guard, Json, Kind, Literal, Node, StepOptions

__all__ = ["Judge", "approval", "gate", "gate_answers", "repeat", "when"]
T = TypeVar("T")
MOST_ROUNDS = 100
ASK = f"{__name__}:approval"
"""The function of a node that asks a person."""


def when(condition: object, then: Callable[[], T], otherwise: Callable[[], T] | None = None) -> T | None:
    """Do `then` when the condition is true, else `otherwise`.

    Args:
        condition: A comparison such as `score > 0.8` or `report["rows"] >= 100`, or what a step that returns a bool
            returned.
        then: A function without arguments that calls steps: `lambda: register(model)`.
        otherwise: The same for the other case; without it the result is None then.
    Returns: What the chosen function returns.
    """
    drawing = drawing_now()
    if drawing is None:
        return then() if condition else otherwise() if otherwise else None
    asked = question_of(condition, "flow.when")
    if isinstance(asked, bool):
        return then() if asked else otherwise() if otherwise else None
    with drawing.under(Guard(asked, True)):
        first = argument(then(), "flow.when")
    with drawing.under(Guard(asked, False)):
        second = argument(otherwise(), "flow.when") if otherwise else Literal(None)
    return cast(T, Handle(Choice(asked, first, second), None, "flow.when"))


def repeat(body: Callable[[T], T], start: T, *, until: Callable[[T], object], most: int) -> T:
    """Call `body` with its own result again and again, until a condition is true.

    Args:
        body: A function of the state that calls steps and returns the next state.
        start: The first state.
        until: A function of the state after a round that gives a condition, as for `when`.
        most: How many rounds at most, 1 to 100.
    Returns: The state after the last round.
    Raises:
        Invalid: `most` is out of range.
    """
    if not 1 <= most <= MOST_ROUNDS:
        raise Invalid(f"{most} rounds", where="flow.repeat", hint=f"use 1 to {MOST_ROUNDS}")
    drawing = drawing_now()
    state = start
    if drawing is None:
        for _ in range(most):
            state = body(state)
            if until(state):
                break
        return state
    rounds: list[tuple[Condition | bool, Argument]] = []
    name = drawing.name_for("repeat")
    guard: Guard | None = None
    for number in range(1, most + 1):
        with drawing.group(f"{name}.{number}"):
            asked, after = _round(body, state, until, guard)
        rounds.append((asked, after))
        if asked is True:
            break
        guard = guard if isinstance(asked, bool) else Guard(asked, False)
        state = cast(T, Handle(after, None, name))
    found = rounds[-1][1]
    for asked, after in reversed(rounds[:-1]):
        found = found if isinstance(asked, bool) else Choice(asked, after, found)
    return cast(T, Handle(found, None, name))


def _round(
    body: Callable[[T], T], state: T, until: Callable[[T], object], guard: Guard | None
) -> tuple[Condition | bool, Argument]:
    drawing = drawing_now()
    if guard is not None and drawing is not None:
        with drawing.under(guard):
            return _round(body, state, until, None)
    returned = body(state)
    return question_of(until(returned), "flow.repeat"), argument(returned, "flow.repeat")


def approval(
    question: str, *, about: object = None, within: str = "", by_another: bool = False
) -> Mapping[str, object]:
    """Ask a person, and wait for the answer: for days if need be, without holding a worker, through any restart.

    A refusal fails the run. The answer is given with `mainspring pipeline approve RUN`, by the API, or on the run's
    page; it is bound to the digests of what it is about.

    Args:
        question: What is asked.
        about: Results that the person should look at.
        within: How long is waited, such as "3d"; then it counts as refused. Empty for as long as it takes.
        by_another: Whoever asked for the run may not answer.
    Returns: A dict with `by`, `at` and `comment`.
    Raises:
        Refused: It is called outside of a run: nobody can be asked.
    """
    drawing = drawing_now()
    if drawing is None:
        raise Refused("nobody can be asked outside of a run", where="flow.approval", hint="run the pipeline")
    if not question.strip():
        raise Invalid("a question without words", where="flow.approval", hint='write what is asked: "Deploy it?"')
    arguments: dict[str, Argument] = {
        "question": Literal(question),
        "about": argument(about, "flow.approval"),
        "within_s": Literal(span_us(within) / SECOND_US if within else 0.0),
        "by_another": Literal(by_another),
    }
    node = Node(drawing.name_for("approval"), ASK, StepOptions(cache=False), arguments, Kind.ASK)
    return _held(drawing.put(node, dict))


def _held(found: object) -> Mapping[str, object]:
    """What is written after an approval or a gate waits for it, also when it takes nothing from it."""
    drawing = drawing_now()
    if drawing is not None and isinstance(found, Handle):
        drawing.hold(found)
    return cast("Mapping[str, object]", found)


class Judge(Protocol):
    """How a run has a model version or a frame of answers judged by a declared gate; the house says who does it."""

    def check(self, gate: str) -> None:
        """Return when the gate is declared as a gate is.

        Raises:
            NotFound: Nothing declares it.
            Invalid: Its declaration is wrong.
        """
        ...

    def version(
        self, *, gate: str, model: str, version: int | str, data: str, label: str, key: str
    ) -> Mapping[str, object]:
        """Judge a registered version; the verdict as plain JSON."""
        ...

    def answers(
        self, *, gate: str, frame: object, label: str, score: str, baseline: str, key: str
    ) -> Mapping[str, object]:
        """Judge a frame of answers; the verdict as plain JSON."""
        ...


def gate(
    name: str, *, model: str, version: int | str = "latest", data: str = "", label: str = "", must_pass: bool = True
) -> Mapping[str, object]:
    """Have a registered version judged by a gate, as a step.

    Args:
        name: The gate, as declared in `mainspring.toml`.
        model: The model's name.
        version: Number of the version, or "latest"; it may be a part of the result of a step that registered it.
        data: The dataset to judge on; the gate's own when empty.
        label: The label's column; the gate's own when empty.
        must_pass: A verdict other than pass fails the run with the code `refused` (exit code 4); else it is returned,
            for `flow.when(verdict["outcome"] == "pass", ...)`.
    Returns: The verdict: `outcome` is "pass", "fail", "undecided" or "error", `verdict` its id, `reason` a sentence.
    """
    return _held(judge(name, model, version, data, label, must_pass))


def gate_answers(
    name: str, frame: object, *, label: str, score: str = "score", baseline: str = "", must_pass: bool = True
) -> Mapping[str, object]:
    """Have a frame of answers judged by a gate, as a step: for models that are not registered yet.

    Args:
        name: The gate, as declared in `mainspring.toml`.
        frame: One row for each answer: a result of an earlier step.
        label: The column with the truth.
        score: The column with the answers.
        baseline: The column with the answers of what it is compared with; empty for none.
        must_pass: As for `gate`.
    Returns: The verdict, as for `gate`.
    """
    return _held(judge_rows(name, frame, label, score, baseline, must_pass))


@step(side_effect=True)
def judge_rows(name: str, frame: object, label: str, score: str, baseline: str, must_pass: bool) -> dict[str, Json]:
    """The step that `gate_answers` draws.

    Raises:
        Refused: The verdict is not "pass", and it had to be.
    """
    surroundings = context()
    found = surroundings.judge.answers(
        gate=name, frame=frame, label=label, score=score, baseline=baseline, key=surroundings.key
    )
    return _verdict(surroundings, name, found, must_pass=must_pass)


@step(side_effect=True)
def judge(name: str, model: str, version: int | str, data: str, label: str, must_pass: bool) -> dict[str, Json]:
    """The step that `gate` draws.

    Raises:
        Refused: The verdict is not "pass", and it had to be.
    """
    surroundings = context()
    found = surroundings.judge.version(
        gate=name, model=model, version=version, data=data, label=label, key=surroundings.key
    )
    return _verdict(surroundings, name, found, must_pass=must_pass)


def check_gates(graph: Graph, find: Callable[[], Judge]) -> None:
    """Look for each gate that a pipeline names outright, so that no step runs for one that is not there.

    Args:
        graph: The drawing.
        find: Gives the judge; it is asked only where there is a gate.
    Raises:
        NotFound: Nothing declares one of them.
    """
    asked = (node.arguments["name"] for node in graph.nodes if node.function in _JUDGING)
    for name in dict.fromkeys(str(each.value) for each in asked if isinstance(each, Literal)):
        find().check(name)


_JUDGING = (judge.reference, judge_rows.reference)


def _verdict(surroundings: StepContext, name: str, found: Mapping[str, object], *, must_pass: bool) -> dict[str, Json]:
    outcome = found.get("outcome")
    surroundings.log(f"gate {name}: {outcome}: {found.get('reason', '')}")
    if must_pass and outcome != "pass":
        hint = f"look at the evidence: mainspring gate show {found.get('verdict', '')}"
        raise Refused(f"gate {name} says {outcome}: {found.get('reason', '')}", where=f"gate {name}", hint=hint)
    return dict(found)
