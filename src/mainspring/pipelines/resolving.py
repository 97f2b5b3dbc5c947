"""Turns the arguments of a step into what they are now: choices are made, parts of JSON results are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from mainspring.core.errors import Invalid
from mainspring.pipelines.codecs import Shelf
from mainspring.pipelines.model import Argument, Artifact, Choice, Condition, Items, Json, Literal, Node, Result
from mainspring.pipelines.rules import is_true, pick

_KEPT = 64


class Skipped(Exception):
    """An argument is the result of a step that was skipped."""


class Resolver:
    """Answers what arguments are, by the results so far.

    Args:
        shelf: Where values are read.
        outputs: Results by step; the caller adds to it.
        skipped: Steps that were skipped; the caller adds to it.
    """

    def __init__(self, shelf: Shelf, outputs: Mapping[str, Artifact], skipped: set[str]) -> None:
        self._shelf = shelf
        self._outputs = outputs
        self._skipped = skipped
        self._values: dict[str, Json] = {}

    def arguments(self, node: Node) -> dict[str, Argument]:
        """The arguments of a node without choices.

        Raises:
            Skipped: A condition that the node stands under is not met, or a step it needs was skipped.
        """
        for guard in node.guards:
            if self.holds(guard.condition) is not guard.wanted:
                raise Skipped(node.id)
        return {name: self.resolve(each) for name, each in node.arguments.items()}

    def holds(self, condition: Condition) -> bool:
        """The answer to a condition.

        Raises:
            Skipped: It asks about a step that was skipped.
            Invalid: It compares what cannot be compared.
        """
        return is_true(condition.op, self.value(condition.left), self.value(condition.right))

    def resolve(self, argument: Argument) -> Argument:
        """An argument without choices, whose results are whole artifacts.

        Raises:
            Skipped: It needs a step that was skipped.
            Invalid: A result has no such part.
        """
        if isinstance(argument, Choice):
            return self.resolve(argument.then if self.holds(argument.condition) else argument.otherwise)
        if isinstance(argument, Items):
            return Items(argument.kind, tuple((key, self.resolve(each)) for key, each in argument.entries))
        if isinstance(argument, Result):
            if argument.step in self._skipped:
                raise Skipped(argument.step)
            return self._part(argument)
        return argument

    def items(self, argument: Argument) -> list[Argument]:
        """The items of the list that an argument is.

        Raises:
            Skipped: It needs a step that was skipped.
            Invalid: It is no list.
        """
        found = self.resolve(argument)
        if isinstance(found, Items) and found.kind != "dict":
            return [entry for _, entry in found.entries]
        if isinstance(found, Result):
            artifact = pick(self._outputs[found.step], found.path, found.step)
            if artifact.codec in ("list", "tuple"):
                return [Result(found.step, (*found.path, number)) for number in range(len(artifact.items))]
            found = Literal(self.value(found)) if artifact.codec == "json" else found
        if isinstance(found, Literal) and isinstance(found.value, list):
            return [Literal(each) for each in found.value]
        step = argument.step if isinstance(argument, Result) else "map"
        raise Invalid(f"{step} gives no list to go through", where=f"step {step}", hint="let the step return a list")

    def value(self, argument: Argument) -> Json:
        """The JSON value of an argument.

        Raises:
            Skipped: It needs a step that was skipped.
            Invalid: It is not JSON.
        """
        found = self.resolve(argument)
        if isinstance(found, Literal):
            return found.value
        if isinstance(found, Items):
            entries = {key: self.value(each) for key, each in found.entries}
            return entries if found.kind == "dict" else list(entries.values())
        result = cast(Result, found)
        artifact = pick(self._outputs[result.step], result.path, result.step)
        return self._read(artifact, result.step)

    def _part(self, result: Result) -> Argument:
        """A part of a JSON result is a value of its own: a step that takes it does not depend on the rest."""
        artifact, path = self._outputs[result.step], list(result.path)
        while path and artifact.codec != "json":
            artifact = pick(artifact, [path.pop(0)], result.step)
        if not path:
            return result
        value = self._read(artifact, result.step)
        for part in path:
            try:
                value = cast("Mapping[str | int, Json]", value)[part]
            except (KeyError, IndexError, TypeError):
                known = ", ".join(map(str, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
                what = f"the result of {result.step} has no part {part!r}"
                raise Invalid(what, where=f"step {result.step}", hint=f"it has {known}") from None
        return Literal(value)

    def _read(self, artifact: Artifact, step: str) -> Json:
        if artifact.codec not in ("json", "list", "tuple", "dict", "dataset"):
            what = f"the result of {step} is stored as {artifact.codec}, wanted is a JSON value"
            raise Invalid(what, where=f"step {step}", hint="let a step make the number or text out of it")
        if artifact.digest not in self._values:
            while len(self._values) >= _KEPT:
                del self._values[next(iter(self._values))]
            self._values[artifact.digest] = self._shelf.get(artifact)
        return self._values[artifact.digest]
