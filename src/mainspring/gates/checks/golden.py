"""Golden requests: the real model server has to answer what the model answers here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{golden = 50, tolerance = 1e-6}`.

    Args:
        golden: How many of the evaluation rows are sent.
        tolerance: The largest difference of any answer.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("golden",)
    golden: int
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if not 1 <= self.golden <= 10_000:
            raise Invalid(f"{self.golden} golden requests asked for", hint="use 1 to 10000")
        if not 0 <= self.tolerance < math.inf:
            raise Invalid(f"the tolerance is {self.tolerance}", hint="use 0 or more")

    def title(self) -> str:
        """The check in a few words."""
        return f"{self.golden} golden requests"

    def measure(self, case: Case) -> Finding:
        """The largest difference between the server's numbers and those of this process; text follows from numbers."""
        import numpy as np

        from mainspring.gates.rules.finding import fact

        if case.probe is None:
            raise Invalid(
                "there is no model server to send golden requests to", hint="run the gate from `mainspring up`"
            )
        chosen = np.random.default_rng(case.seed).permutation(case.n)[: self.golden]
        rows = case.frame[np.sort(chosen).tolist()].drop(case.label)
        here, there = case.predict(rows), case.probe(rows)
        worst, where = 0.0, ""
        numeric = {name: answers for name, answers in here.items() if answers.dtype.kind in "biuf"}
        for name, expected in numeric.items():
            if name not in there:
                return fact(False, method="golden requests", n=len(rows), note=f"the server does not answer {name!r}")
            gap = _gap(expected.tolist(), list(there[name]))
            if gap > worst or not where:
                worst, where = gap, name
        note = f"largest difference {worst:.3g} in {where}"
        shown = min(worst, 1e300)
        return fact(
            worst <= self.tolerance,
            value=shown,
            threshold=self.tolerance,
            n=len(rows),
            method="golden requests",
            note=note,
        )


def _gap(expected: list[object], found: list[object]) -> float:
    """Largest difference of two lists of answers; infinite when one has no counterpart."""
    if len(expected) != len(found):
        return float("inf")
    return max((_distance(a, b) for a, b in zip(expected, found, strict=True)), default=0.0)


def _distance(a: object, b: object) -> float:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return 0.0 if a == b else abs(a - b) if a == a and b == b else (0.0 if a != a and b != b else float("inf"))
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return _gap(list(a), list(b))
    return 0.0 if a == b else float("inf")
