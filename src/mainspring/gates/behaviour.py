"""The file of behaviour tests: what a model must do on rows that somebody thought of, whatever its metrics say.

Three kinds, after CheckList (Ribeiro et al., 2020): minimum functionality (these rows get this answer), invariance
(this change leaves the answer alone) and direction (this change moves the answer that way).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Literal

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

Label = str | int | float | bool
KINDS = ("minimum", "invariance", "direction")
MOST_TESTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """`[[minimum]]`: rows that get a certain answer.

    Args:
        name: What is tested, unique in the file.
        rows: The inputs; what is left out of a row is missing.
        label: The class the model has to decide on.
        between: Or the least and the largest score (probability of `outcome`, or the predicted number).
        outcome: The class whose probability is meant; of two classes the second when not given.
        max_failures: The share of rows that may get another answer; 0 for none.
    """

    name: str
    rows: list[dict[str, object]]
    label: Label | None = None
    between: tuple[float, float] | None = None
    outcome: Label | None = None
    max_failures: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """`[[invariance]]`: a change that must leave the answer alone.

    Args:
        name: What is tested, unique in the file.
        change: Per column a value, or `{add = 10}`, `{times = 2}`, `{text = "upper"}`, `{missing = true}`.
        tolerance: How far a probability or the predicted number may move; without it only the decision must stay.
        max_failures: The share of rows that may change; 0 for none.
        rows: How many of the evaluation rows are asked about, drawn by the seed of the verdict.
    """

    name: str
    change: dict[str, object] = field(default_factory=dict)
    tolerance: float | None = None
    max_failures: float = 0.0
    rows: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """`[[direction]]`: a change that must move the score one way.

    Args:
        name: What is tested, unique in the file.
        expect: "up" or "down".
        change: As for an invariance.
        tolerance: A move the other way of at most this much is let pass.
        outcome: The class whose probability is meant; of two classes the second when not given.
        max_failures: The share of rows that may move the other way; 0 for none.
        rows: How many of the evaluation rows are asked about.
    """

    name: str
    expect: Literal["up", "down"]
    change: dict[str, object] = field(default_factory=dict)
    tolerance: float = 0.0
    outcome: Label | None = None
    max_failures: float = 0.0
    rows: int = 500


Test = Minimum | Invariance | Direction
_TYPES: Mapping[str, type[Test]] = {"minimum": Minimum, "invariance": Invariance, "direction": Direction}


def read_behaviour(text: str, *, where: str) -> tuple[Test, ...]:
    """The tests of a file, in its order of kinds.

    Args:
        text: What the file holds, TOML.
        where: Its name, for errors.
    Raises: Invalid: It is no TOML, holds no test, or a test is not written as it should be.

    >>> text = '[[minimum]]\\nname = "storm"\\nrows = [{wind = 40}]\\nlabel = 1'
    >>> read_behaviour(text, where="behaviour.toml")[0].name
    'storm'
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise Invalid(f"the file is no TOML: {reason}", where=where) from None
    for kind in tables:
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS) or f"write [[{']], [['.join(KINDS)}]]"
            raise Invalid(f"unknown kind of test {kind!r}", where=where, hint=hint)
    tests = [_test(kind, entry, where) for kind in KINDS for entry in _entries(tables.get(kind, []), kind, where)]
    names = [test.name for test in tests]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Invalid(f"two tests are called {twice!r}", where=where, hint="give each its own name")
    if not 1 <= len(tests) <= MOST_TESTS:
        hint = "write [[minimum]], [[invariance]] or [[direction]]"
        raise Invalid(f"the file holds {len(tests)} tests, 1 to {MOST_TESTS} are expected", where=where, hint=hint)
    return tuple(tests)


def _entries(value: object, kind: str, where: str) -> Sequence[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise Invalid(f"{kind} is no list of tables", where=where, hint=f"write [[{kind}]]")
    return value


def _test(kind: str, entry: Mapping[str, object], where: str) -> Test:
    import msgspec

    place = f"{where}: {kind} {entry.get('name', '')!r}"
    known = list(_TYPES[kind].__dataclass_fields__)
    for key in entry:
        if key not in known:
            hint = did_you_mean(key, known) or f"known: {', '.join(known)}"
            raise Invalid(f"unknown option {key!r}", where=place, hint=hint)
    try:
        test: Test = msgspec.convert(dict(entry), _TYPES[kind])
    except msgspec.ValidationError as reason:
        raise Invalid(str(reason), where=place, hint=f"options: {', '.join(known)}") from None
    _check(test, place)
    return test


def _check(test: Test, where: str) -> None:
    from mainspring.gates.rules.changes import check_change

    if not test.name.strip():
        raise Invalid("a test has no name", where=where, hint='name = "a storm is late"')
    if not 0 <= test.max_failures < 1:
        raise Invalid(f"max_failures is {test.max_failures}", where=where, hint="use a share in [0, 1)")
    if isinstance(test, Minimum):
        if (test.label is None) == (test.between is None):
            raise Invalid("give a label or between", where=where, hint="label = 1, or between = [0.8, 1.0]")
        if not test.rows:
            raise Invalid("there are no rows", where=where, hint="rows = [{wind = 40}]")
        return
    try:
        check_change(test.change)
    except Invalid as reason:
        raise Invalid(reason.what, where=where, hint=reason.hint) from None
    if not 1 <= test.rows <= 100_000:
        raise Invalid(f"{test.rows} rows asked for", where=where, hint="use 1 to 100000")
    if test.tolerance is not None and test.tolerance < 0:
        raise Invalid(f"the tolerance is {test.tolerance}", where=where, hint="use 0 or more")
