"""The rules of an endpoint over one of its versions: rows are judged before the model is asked, and after."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from mainspring.core.errors import Refused
from mainspring.core.values import dataclass
from mainspring.serving.modelserver.asking import Outputs
from mainspring.serving.modelserver.columns import Cell, Column, Feature, Features, Raw, plain
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import ArmPlan
from mainspring.serving.rules.conformal import LABEL_SET, chances_of, label_set
from mainspring.serving.rules.humility import Rule, Seen, answer_of, columns_of, range_of, texts_of

Holds = Callable[[Cell], bool]


class OpenFeatures(Features):
    """Features some of which may be missing, or not be sent at all, since a rule says what happens then."""

    def __init__(self, features: Features, may_miss: frozenset[int]) -> None:
        self.fields = [_may_miss(field) if i in may_miss else field for i, field in enumerate(features.fields)]
        self.names, self.kinds, self.max_rows = features.names, features.kinds, features.max_rows
        self.are_floats = features.are_floats
        self.by_name = {field.name: field for field in self.fields}
        self._may_miss = [self.names[i] for i in sorted(may_miss)]
        self.may_lack = frozenset(self._may_miss)

    def from_named(self, columns: Mapping[str, Raw]) -> list[Column]:
        """As `Features` does; a column that may be missing and is not there is missing in every row."""
        absent = [name for name in self._may_miss if columns.get(name) is None]
        if not absent:
            return super().from_named(columns)
        rows = next((len(values) for name, values in columns.items() if name in self.by_name), 0)
        return super().from_named({**columns, **{name: [None] * rows for name in absent}})


def _may_miss(feature: Feature) -> Feature:
    made = copy.copy(feature)
    made.takes_missing = True
    return made


@dataclass(frozen=True, slots=True)
class _OnInput:
    """A rule over inputs: at which places, and when it holds there."""

    rule: Rule
    tests: tuple[tuple[int, Holds], ...]
    ends: Mapping[int, tuple[float, float]]


@dataclass(slots=True, eq=False)
class Judged:
    """The rows of one request after the rules over inputs.

    Attributes:
        columns: What the model is asked: rows that are answered without it are left out, defaults are in place.
        marks: For each row the rules that held, as the log has them.
        asked: The rows that those columns are.
        refusals: Rows that a rule refuses.
    """

    columns: Sequence[Column]
    marks: list[list[str]]
    asked: list[int]
    refusals: dict[int, Refused] = field(default_factory=dict)
    _humility: Humility | None = None
    _given: dict[int, dict[str, object]] = field(default_factory=dict)

    @classmethod
    def of_all(cls, columns: Sequence[Column]) -> Judged:
        """All rows as they are, where there are no rules."""
        rows = len(columns[0])
        return cls(columns, [[] for _ in range(rows)], list(range(rows)))

    def check(self) -> None:
        """Raises: Refused: A rule refuses the request, by one of its rows."""
        if self.refusals:
            raise self.refusals[min(self.refusals)]

    @property
    def rows(self) -> int:
        """How many rows the model is asked for."""
        return len(self.asked)

    def answers(self, outputs: Outputs) -> Outputs:
        """The answer to every row, from the model's to those that it was asked for; None to what is refused."""
        humility = self._humility
        if humility is None:
            return outputs
        for rule in humility.on_answers:
            for place, row in enumerate(self.asked):
                if humility.holds(rule, outputs, place):
                    self.marks[row].append(rule.mark)
                    if rule.then == "refuse":
                        said = f"row {row}: the answer is {rule.when.replace('_', ' ')} (rule {rule.name!r})"
                        self.refusals.setdefault(row, Refused(said))
                    if rule.value is not None:
                        self._given.setdefault(row, humility.answer(rule))
        names = list(outputs) or humility.outputs
        whole: Outputs = {name: [None] * len(self.marks) for name in names}
        for name, values in whole.items():
            for place, row in enumerate(self.asked):
                values[row] = outputs[name][place]
            for row, answer in self._given.items():
                values[row] = answer.get(name)  # a rule has no reason codes
            for row in self.refusals:
                values[row] = None
        if humility.half_width is not None:
            whole |= self._interval(whole["prediction"], humility.half_width)
        if humility.set_limit is not None:
            whole[LABEL_SET] = [self._set(humility, row, whole) for row in range(len(self.marks))]
        return whole

    def _set(self, humility: Humility, row: int, whole: Outputs) -> str | None:
        """The classes that may be true, as JSON; of an answer that a rule gave, that answer."""
        label, probability = whole["label"][row], whole["probability"][row]
        if label is None:
            return None
        return json.dumps([label]) if row in self._given else humility.set_of(probability)

    def _interval(self, numbers: Sequence[object], width: float) -> Outputs:
        """The ends of the interval of each row; of an answer that a rule gave, that answer."""
        widths = [0.0 if row in self._given else width for row in range(len(numbers))]
        pairs = list(zip(numbers, widths, strict=True))
        return {
            "low": [None if number is None else _number(number) - half for number, half in pairs],
            "high": [None if number is None else _number(number) + half for number, half in pairs],
        }


def humility_of(arm: ArmPlan, model: LoadedModel, rules: Sequence[Rule]) -> Humility | None:
    """What judges the rows of a version; None where there are neither rules nor intervals."""
    if not rules and arm.half_width is None and arm.set_limit is None:
        return None
    return Humility(rules, model, arm.seen, arm.half_width, arm.set_limit)


@dataclass(eq=False)
class Humility:
    """The rules of an endpoint, made ready for one version."""

    rules: Sequence[Rule]
    model: LoadedModel
    seen: Mapping[str, Seen]
    half_width: float | None = None
    set_limit: float | None = None
    features: Features = field(init=False)
    on_answers: list[Rule] = field(init=False)
    _on_inputs: list[_OnInput] = field(init=False)

    def __post_init__(self) -> None:
        inputs = self.model.predictor.signature.inputs
        self.on_answers = [rule for rule in self.rules if rule.on_answers]
        self._on_inputs = []
        may_miss: set[int] = set()
        for rule in self.rules:
            places = columns_of(rule, inputs, self.seen)
            if places:
                tests = tuple((place, self._test(rule, place)) for place in places)
                ends = {p: range_of(rule, inputs[p], self.seen) for p in places if rule.when == "out_of_range"}
                self._on_inputs.append(_OnInput(rule, tests, ends))
            if rule.when == "missing":
                may_miss.update(places)
        self.features = OpenFeatures(self.model.features, frozenset(may_miss)) if may_miss else self.model.features

    def _test(self, rule: Rule, place: int) -> Holds:
        if rule.when == "missing":
            return lambda cell: cell is None
        column = self.model.predictor.signature.inputs[place]
        if rule.when == "unseen":
            known = texts_of(rule, column, self.seen)
            return lambda cell: cell is not None and cell not in known
        low, high = range_of(rule, column, self.seen)
        return lambda cell: cell is not None and not isinstance(cell, str) and not low <= cell <= high

    @property
    def outputs(self) -> list[str]:
        """The names of the model's outputs."""
        return self.model.outputs

    @property
    def beside(self) -> list[str]:
        """The names of what is answered beside them."""
        if self.set_limit is not None:
            return [LABEL_SET]
        return [] if self.half_width is None else ["low", "high"]

    def set_of(self, probability: object) -> str:
        """The classes that may be true by an answer, as JSON."""
        places = label_set(chances_of(probability), self.set_limit or 0.0)
        return json.dumps([self.model.predictor.classes[place] for place in places])

    def answer(self, rule: Rule) -> dict[str, object]:
        """The answer that a rule gives by itself."""
        predictor = self.model.predictor
        return answer_of(rule.value if rule.value is not None else 0.0, predictor.task, predictor.classes)

    def holds(self, rule: Rule, outputs: Outputs, place: int) -> bool:
        """Whether a rule over answers holds for one of them."""
        low = float("-inf") if rule.low is None else rule.low
        high = float("inf") if rule.high is None else rule.high
        if rule.when == "answer_out_of_range":
            return not low <= _number(outputs["prediction"][place]) <= high
        found = outputs["probability"][place]
        return low <= (max(map(_number, found)) if isinstance(found, list) else _number(found)) <= high

    def judge(self, columns: Sequence[Column]) -> Judged:
        """Try the rules over inputs, in their order; each sees what the ones before it put in place.

        Raises: Invalid: A value is missing that the model does not take, and no rule says what happens then.
        """
        rows = len(columns[0])
        marks: list[list[str]] = [[] for _ in range(rows)]
        given: dict[int, dict[str, object]] = {}
        cells: dict[int, list[Cell]] = {}
        refusals: dict[int, Refused] = {}
        for entry in self._on_inputs:
            rule = entry.rule
            for place, holds in entry.tests:
                values = cells[place] if place in cells else plain(columns[place])
                held = [row for row, cell in enumerate(values) if holds(cell)]
                for row in held:
                    if rule.mark not in marks[row]:
                        marks[row].append(rule.mark)
                    if rule.then != "default" and rule.value is not None:
                        given.setdefault(row, self.answer(rule))
                if held and rule.then == "default":
                    cells[place] = self._with_default(entry, place, values, held)
                elif rule.then == "refuse":
                    for row in held:
                        refusals.setdefault(row, self._refused(rule, place, row))
        asked = [row for row in range(rows) if row not in given and row not in refusals]
        whole = [cells.get(place, column) for place, column in enumerate(columns)]
        found = whole if len(asked) == rows else [[plain(column)[row] for row in asked] for column in whole]
        for feature, column in zip(self.model.features.fields, found, strict=True):
            feature.check_missing(column)
        return Judged(found, marks, asked, refusals, self, given)

    def _with_default(self, entry: _OnInput, place: int, values: Sequence[Cell], held: Sequence[int]) -> list[Cell]:
        made = list(values)
        for row in held:
            made[row] = self._default(entry, place, made[row])
        return made

    def _default(self, entry: _OnInput, place: int, cell: Cell) -> Cell:
        value: Cell = entry.rule.value
        if value is None and cell is not None and not isinstance(cell, str):
            low, high = entry.ends[place]
            value = min(max(cell, low), high)
        kind = self.model.features.kinds[place]
        if isinstance(value, (str, bool)) or value is None:
            return value
        return int(value) if kind == "int" else float(value)

    def _refused(self, rule: Rule, place: int, row: int) -> Refused:
        name, what = self.model.features.names[place], rule.when.replace("_", " ")
        return Refused(f"row {row}: input {name!r} is {what} (rule {rule.name!r})")


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")
