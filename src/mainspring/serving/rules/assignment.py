"""Which arm answers a request: sticky, reproducible, with a known probability."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

from mainspring.core.errors import Invalid

_SPAN = float(1 << 53)


class Weighted(Protocol):
    """Anything with a share of the traffic."""

    @property
    def share(self) -> float:
        """Part of the traffic, in [0, 1]."""


ArmT = TypeVar("ArmT", bound=Weighted)


def fraction(salt: str, key: str) -> float:
    """Where a routing key falls on the unit interval.

    Args:
        salt: Fixed for one rollout, so that two rollouts do not pick the same people.
        key: The routing key of a request.
    Returns: A number in [0, 1), uniform over keys, the same for the same salt and key on every machine.

    >>> fraction("a", "passenger-7") == fraction("a", "passenger-7")
    True
    """
    raw = blake2b(key.encode(), key=salt.encode()[:64], digest_size=8).digest()
    return (int.from_bytes(raw, "big") >> 11) / _SPAN


def assign(arms: Sequence[ArmT], salt: str, key: str) -> ArmT:
    """The arm that answers a routing key; its share is the probability to log.

    The last arm owns the low end of the interval. With the canary last, a growing share only adds keys to it:
    whoever saw the canary keeps it while it ramps up.

    Args:
        arms: Champion first, canary last; shares sum to 1 (`check_shares`).
        salt: See `fraction`.
        key: The routing key.
    Returns: One of `arms`, never one with share 0.
    """
    if len(arms) == 1:
        return arms[0]
    place, edge = fraction(salt, key), 0.0
    for arm in reversed(arms):
        edge += arm.share
        if place < edge:
            return arm
    return max(arms, key=lambda arm: arm.share)  # shares that sum to just below 1 by rounding


def assign_beside(arms: Sequence[ArmT], salt: str, key: str, *, trial: str) -> ArmT:
    """The same where a canary, the last arm, takes its share from arms that have standing shares.

    It takes it by a hash of its own, so from each of the others in proportion: who is not taken stays with the arm that
    they had, and would have without it.

    Args:
        arms: Those with standing shares, each times what the canary leaves, then the canary.
        salt: Of the standing shares.
        key: The routing key.
        trial: The salt of the canary.
    """
    *standing, canary = arms
    if fraction(trial, key) < canary.share:
        return canary
    place, edge = fraction(salt, key) * (1.0 - canary.share), 0.0
    for arm in reversed(standing):
        edge += arm.share
        if place < edge:
            return arm
    return max(standing, key=lambda arm: arm.share)  # as above


def share_beside(share: float, weight: float) -> float:
    """The canary's share of what it and the champion get together, where the champion has a standing share.

    Args:
        share: The canary's share of the traffic.
        weight: The champion's share of what the canary leaves.

    >>> share_beside(0.25, 1.0), share_beside(0.2, 0.5)
    (0.25, 0.3333333333333333)
    """
    return share / (share + weight * (1.0 - share))


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares that are no probability distribution.

    Raises: Invalid: No share, a share outside [0, 1], or a sum that is not 1 (to 1e-9).
    """
    if not shares or any(not 0.0 <= share <= 1.0 for share in shares) or abs(sum(shares) - 1.0) > 1e-9:
        raise Invalid(
            f"traffic shares {list(shares)} do not sum to 1",
            where="serving.rules.assignment",
            hint="give every arm a share between 0 and 1",
        )


def shares_of(given: Sequence[str]) -> dict[int, float]:
    """Versions with their shares, each as VERSION=SHARE.

    Raises: Invalid: One is not that, or a version comes twice.
    """
    found: dict[int, float] = {}
    for text in given:
        version, _, share = text.partition("=")
        try:
            number, part = int(version), float(share)
        except ValueError:
            raise Invalid(f"{text!r} is no version with a share", where="shares", hint="3=0.8 4=0.2") from None
        if number in found:
            raise Invalid(f"version {number} is given twice", where="shares", hint="give each version once")
        found[number] = part
    return found
