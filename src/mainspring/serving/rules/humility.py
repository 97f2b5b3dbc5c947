"""Rules of humility: what happens to a row on which a model should not be trusted alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.ids import check_name
from mainspring.core.values import dataclass

When = Literal["missing", "unseen", "out_of_range", "uncertain", "answer_out_of_range"]
Then = Literal["refuse", "override", "default", "queue"]
Value = float | str | bool
ON_ANSWERS = ("uncertain", "answer_out_of_range")
"""Conditions that look at the answer; the others look at inputs, before the model is asked."""
_NUMBERS = ("int", "uint", "float")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of an endpoint, tried on every row by itself.

    Args:
        name: Its name in the log.
        when: An input is "missing", is a text that training never saw ("unseen"), or is a number "out_of_range" of
            training; the class is "uncertain", or the number predicted is outside its range ("answer_out_of_range").
        then: "refuse" the request, "override" the answer with `value`, put a "default" in the place of the input, or
            answer and "queue" the row for a person; with a `value` that is the answer until then.
        column: The input it looks at; "" looks at every one that it can be about.
        low: Least value within range; for an uncertain class of two, the least probability that is uncertain.
        high: Largest value within range; the largest probability that is uncertain, of many classes that of the
            likeliest.
        values: Texts that are known, in the place of those of training.
        value: What answer or input becomes. Without one, "out_of_range" with "default" takes the nearest end.
    Raises:
        Invalid: It does not say what it needs, or something that means nothing.
    """

    name: str
    when: When
    then: Then
    column: str = ""
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    value: Value | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "rule")
        for field, known in (("when", get_args(When)), ("then", get_args(Then))):
            said = getattr(self, field)
            if said not in known:
                hint = did_you_mean(str(said), known) or f"use {', '.join(known)}"
                raise self._wrong(f"{field} = {said!r}", hint)
        ends = [end for end in (self.low, self.high) if end is not None]
        if not all(map(math.isfinite, ends)) or ends != sorted(ends):
            raise self._wrong(f"a range from {self.low} to {self.high}", "give finite low and high, low first")
        if ends and self.when in ("missing", "unseen"):
            raise self._wrong(f"low and high mean nothing when an input is {self.when}", "leave them out")
        if self.values and self.when != "unseen":
            raise self._wrong("values are for unseen texts", 'use when = "unseen"')
        if self.on_answers:
            self._check_on_answers(ends)
        if self.value is None and (self.then == "override" or (self.then == "default" and self.when != "out_of_range")):
            raise self._wrong(f"{self.then} with what?", "give a value")
        if self.value is not None and self.then == "refuse":
            raise self._wrong("who refuses gives no value", "leave it out, or override")

    def _check_on_answers(self, ends: Sequence[float]) -> None:
        if self.column:
            raise self._wrong("it looks at the answer, not at a column", "leave the column out")
        if self.then == "default":
            raise self._wrong("a default is for inputs", 'use then = "override"')
        if not ends:
            raise self._wrong("no range is given", "give low, high, or both")

    def _wrong(self, what: str, hint: str) -> Invalid:
        return Invalid(what, where=f"rule {self.name!r}", hint=hint)

    @property
    def on_answers(self) -> bool:
        """Whether it looks at the answer; the others look at inputs."""
        return self.when in ON_ANSWERS

    @property
    def mark(self) -> str:
        """What the log says where it held: its name and what it did."""
        return f"{self.name}:{self.then}"

    @property
    def text(self) -> str:
        """The rule in words.

        >>> Rule("far", "out_of_range", "queue", column="distance", high=3000.0).text
        'distance out of range (up to 3000): queue'
        """
        about = "" if self.on_answers else f"{self.column or 'any input'} "
        low, high = (None if end is None else f"{end:g}" for end in (self.low, self.high))
        ends = (
            f" ({low} to {high})" if low and high else f" (from {low})" if low else f" (up to {high})" if high else ""
        )
        value = "" if self.value is None else f" with {self.value}"
        return f"{about}{self.when.replace('_', ' ')}{ends}: {self.then}{value}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What training saw of a column: its range, or its texts. None: not known."""

    low: float | None = None
    high: float | None = None
    levels: tuple[str, ...] | None = None


class Column(Protocol):
    """An input as a signature declares it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def dtype(self) -> str:
        """Its type."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Texts known at training; empty: not encoded."""


def queued(marks: Sequence[str]) -> bool:
    """Whether a row with these marks waits for a person.

    >>> queued(["far:default", "unsure:queue"]), queued(["queue:refuse"])
    (True, False)
    """
    return any(mark.endswith(":queue") for mark in marks)


def is_text(column: Column) -> bool:
    """Whether its values are texts."""
    return column.dtype == "string"


def is_number(column: Column) -> bool:
    """Whether its values are numbers."""
    return column.dtype.startswith(_NUMBERS)


def columns_of(rule: Rule, inputs: Sequence[Column], seen: Mapping[str, Seen]) -> list[int]:
    """Places of the inputs that a rule looks at; one that names none looks at all it can be about."""
    if rule.on_answers:
        return []
    if rule.column:
        return [place for place, column in enumerate(inputs) if column.name == rule.column]
    if rule.when == "missing":
        return list(range(len(inputs)))
    return [place for place, column in enumerate(inputs) if _is_known(rule, column, seen)]


def range_of(rule: Rule, column: Column, seen: Mapping[str, Seen]) -> tuple[float, float]:
    """The range of a number: what the rule says, else what training saw."""
    known = seen.get(column.name, Seen())
    low = known.low if rule.low is None and rule.high is None else rule.low
    high = known.high if rule.low is None and rule.high is None else rule.high
    return (-math.inf if low is None else low, math.inf if high is None else high)


def texts_of(rule: Rule, column: Column, seen: Mapping[str, Seen]) -> frozenset[str]:
    """The texts that are known: those of the rule, else the levels of the signature, else what training saw."""
    return frozenset(rule.values or column.levels or seen.get(column.name, Seen()).levels or ())


def _is_known(rule: Rule, column: Column, seen: Mapping[str, Seen]) -> bool:
    if rule.when == "unseen":
        return is_text(column) and bool(texts_of(rule, column, seen))
    return is_number(column) and range_of(rule, column, seen) != (-math.inf, math.inf)


def check_rules(
    rules: Sequence[Rule],
    inputs: Sequence[Column],
    *,
    task: str,
    classes: Sequence[object],
    seen: Mapping[str, Seen],
) -> None:
    """Refuse rules that a version can't follow, before it answers anybody.

    Args:
        rules: The rules.
        inputs: What the version takes.
        task: "binary", "multiclass" or "regression".
        classes: Its classes, none for a regression.
        seen: What training saw of the inputs, as far as it is known.
    Raises:
        Invalid: Which rule, and why.
    """
    names = [rule.name for rule in rules]
    for rule in rules:
        where = f"rule {rule.name!r}"
        if names.count(rule.name) > 1:
            raise Invalid("two rules have one name", where=where, hint="name them apart: the log tells them by name")
        if rule.on_answers:
            _check_task(rule, task, where)
        else:
            _check_inputs(rule, inputs, seen, where)
        if rule.value is not None and rule.then != "default":
            answer_of(rule.value, task, classes, where=where)


def _check_task(rule: Rule, task: str, where: str) -> None:
    if (rule.when == "uncertain") == (task == "regression"):
        other = "answer_out_of_range" if rule.when == "uncertain" else "uncertain"
        raise Invalid(f"{rule.when} is not for a {task}", where=where, hint=f'use when = "{other}"')
    if rule.when == "uncertain" and (rule.high is None or (task == "binary" and rule.low is None)):
        raise Invalid("its range is open", where=where, hint="give high, and for two classes low: 0.4 to 0.6")


def _check_inputs(rule: Rule, inputs: Sequence[Column], seen: Mapping[str, Seen], where: str) -> None:
    names = [column.name for column in inputs]
    if rule.column and rule.column not in names:
        hint = did_you_mean(rule.column, names) or f"inputs are {', '.join(names[:20])}"
        raise Invalid(f"there is no input {rule.column!r}", where=where, hint=hint)
    if not rule.column and rule.value is not None and rule.then == "default":
        raise Invalid("a default is for one input", where=where, hint="name its column")
    found = columns_of(rule, inputs, seen)
    if not found:
        raise Invalid("no input that it could be about is known", where=where, hint="name a column with its range")
    for place in found:
        _check_column(rule, inputs[place], seen, where)


def _check_column(rule: Rule, column: Column, seen: Mapping[str, Seen], where: str) -> None:
    if rule.when == "unseen" and not is_text(column):
        raise Invalid(f"{column.name!r} is {column.dtype}, no text", where=where, hint='use when = "out_of_range"')
    if rule.when == "out_of_range" and not is_number(column):
        raise Invalid(f"{column.name!r} is {column.dtype}, no number", where=where, hint='use when = "unseen"')
    if rule.when != "missing" and not _is_known(rule, column, seen):
        hint = "give low and high" if rule.when == "out_of_range" else "give values = [...]"
        said = "the version has no reference dataset that tells it"
        raise Invalid(f"what training saw of {column.name!r} is not known", where=where, hint=f"{hint}; {said}")
    if rule.then == "default" and rule.value is not None and not fits(rule.value, column):
        raise Invalid(f"{rule.value!r} is no {column.dtype}", where=where, hint=f"give a {column.dtype} as value")
    if rule.then == "default" and rule.value is None and not column.dtype.startswith("float"):
        low, high = range_of(rule, column, seen)
        if any(math.isfinite(end) and not end.is_integer() for end in map(float, (low, high))):
            raise Invalid(f"an end of the range is no {column.dtype}", where=where, hint="give whole low and high")


def fits(value: Value, column: Column) -> bool:
    """Whether a value may stand in a column."""
    if is_text(column):
        return isinstance(value, str)
    if column.dtype == "bool":
        return isinstance(value, bool)
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        return False
    if column.dtype.startswith("float"):
        return True
    return float(value).is_integer() and (value >= 0 or not column.dtype.startswith("uint"))


def answer_of(value: Value, task: str, classes: Sequence[object], *, where: str = "") -> dict[str, object]:
    """The outputs of a row whose answer is given. The label is always what the probability says.

    Args:
        value: A number for a regression; a class; for two classes also the probability of the second one.
        task: "binary", "multiclass" or "regression".
        classes: The classes.
        where: What asks, for the error.
    Raises:
        Invalid: It is none of these.

    >>> answer_of(0.25, "binary", ["no", "yes"])
    {'probability': 0.25, 'label': 'no'}
    """
    number = None if isinstance(value, (bool, str)) or not math.isfinite(value) else float(value)
    if task == "regression":
        if number is None:
            raise Invalid(f"{value!r} is no number to answer with", where=where, hint="give a finite number")
        return {"prediction": number}
    alike = [
        i for i, label in enumerate(classes) if label == value and isinstance(label, bool) == isinstance(value, bool)
    ]
    place = alike[0] if alike else None
    if task == "multiclass" and place is not None:
        return {"probability": [float(i == place) for i in range(len(classes))], "label": classes[place]}
    if task == "binary" and (place is not None or (number is not None and 0.0 <= number <= 1.0)):
        probability = float(place) if place is not None else number or 0.0
        return {"probability": probability, "label": classes[int(probability > 0.5)]}
    also = ", or a probability from 0 to 1" if task == "binary" else ""
    said = ", ".join(map(str, classes))
    raise Invalid(f"{value!r} is no answer of this model", where=where, hint=f"give one of its classes ({said}){also}")
