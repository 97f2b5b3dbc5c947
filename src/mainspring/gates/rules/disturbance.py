"""What may happen to the inputs of a model, as it is written in the settings."""

from __future__ import annotations

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

DISTURBANCES = ("missing", "noise", "scale", "typo")


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens to the inputs: "missing:0.1", "noise:0.2", "scale:1.1", "typo:0.05".

    Args:
        kind: "missing" and "typo" hit a share of the cells; "noise" adds normal noise of that many standard deviations;
            "scale" multiplies, as when a unit was mistaken.
        amount: The share, in (0, 1], or the number of standard deviations or factor, above 0.
    """

    kind: str
    amount: float

    @classmethod
    def of(cls, text: str) -> Disturbance:
        """Reads "missing:0.1".

        Raises: Invalid: The kind is unknown, or the amount is no number in its range.

        >>> Disturbance.of("missing:0.1")
        Disturbance(kind='missing', amount=0.1)
        """
        kind, _, said = text.partition(":")
        if kind not in DISTURBANCES:
            hint = did_you_mean(kind, DISTURBANCES) or 'such as "missing:0.1"; known: ' + ", ".join(DISTURBANCES)
            raise Invalid(f"unknown disturbance {kind!r}", hint=hint)
        try:
            amount = float(said)
        except ValueError:
            raise Invalid(f"{text!r} says no amount", hint=f'write "{kind}:0.1"') from None
        if not 0 < amount < float("inf") or (kind in ("missing", "typo") and amount > 1):
            raise Invalid(f"the amount of {text!r} is out of range", hint="a share in (0, 1], or a number above 0")
        return cls(kind, amount)
