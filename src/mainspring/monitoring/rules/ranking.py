"""How good an order is: gain, precision and recall at the top of ranked lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mainspring.monitoring.readings import Reading, unknown


def in_order(scores: Sequence[float], relevance: Sequence[float]) -> list[float]:
    """The relevance of items, best score first; items of equal scores keep their order.

    >>> in_order([0.1, 0.9], [1.0, 0.0])
    [0.0, 1.0]
    """
    places = sorted(range(len(scores)), key=lambda place: -scores[place])
    return [relevance[place] for place in places]


def ndcg(ranked: Sequence[float], k: int = 10) -> float | None:
    """Discounted gain of the first `k` items as a share of the best order's; None when nothing is relevant.

    Args:
        ranked: Relevance of the items in the order they were shown, not negative.
        k: How many count.
    Source: Jaervelin, Kekaelaeinen (2002), Cumulated gain-based evaluation of IR techniques, with linear gains.

    >>> round(ndcg([0.0, 1.0]), 4)
    0.6309
    """
    best = _gain(sorted(ranked, reverse=True), k)
    return _gain(ranked, k) / best if best else None


def _gain(ranked: Sequence[float], k: int) -> float:
    return math.fsum(gain / math.log2(place + 2) for place, gain in enumerate(ranked[:k]))


def average_precision(ranked: Sequence[float], k: int = 10) -> float | None:
    """Mean of the precision at each relevant item of the first `k`; None when nothing is relevant.

    It is a share of the relevant items that could be among the first `k`.

    >>> average_precision([1.0, 0.0, 1.0])
    0.8333333333333333
    """
    relevant = sum(gain > 0 for gain in ranked)
    if not relevant:
        return None
    found, total = 0, 0.0
    for place, gain in enumerate(ranked[:k], start=1):
        if gain > 0:
            found += 1
            total += found / place
    return total / min(relevant, k)


def recall(ranked: Sequence[float], k: int = 10) -> float | None:
    """Share of the relevant items that are among the first `k`; None when nothing is relevant.

    >>> recall([1.0, 0.0, 1.0], k=1)
    0.5
    """
    relevant = sum(gain > 0 for gain in ranked)
    return sum(gain > 0 for gain in ranked[:k]) / relevant if relevant else None


def measures(groups: Iterable[Sequence[float]], k: int = 10) -> dict[str, Reading]:
    """Means over groups, such as the requests of one key, with 95 % intervals; groups without a relevant item are out.

    Args:
        groups: For each group the relevance of its items in the order they were ranked.
        k: How many of each count.
    """
    every = list(groups)
    measured = {f"ndcg@{k}": ndcg, f"map@{k}": average_precision, f"recall@{k}": recall}
    return {
        name: _mean([found for one in every if (found := rule(one, k)) is not None]) for name, rule in measured.items()
    }


def _mean(values: Sequence[float]) -> Reading:
    if not values:
        return unknown("no group has a relevant item")
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Reading(mean)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    return Reading.of(mean, max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error))
