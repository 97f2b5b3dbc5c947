"""Ready monitors for rankings, forecasts and risks over time: which version gets which.

A label counts as the relevance of an item, as the value that was forecast, or as the time of an event; a time below
zero says that nothing happened until then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mainspring.core.values import dataclass

_RANKS = re.compile(r"(?:ndcg|map|recall)@?(\d*)$")
_CONCORDANCE = ("concordance", "c_index", "concordance_index")


@dataclass(frozen=True, slots=True)
class Pack:
    """What a version is watched as, beside its inputs and its service.

    Attributes:
        kind: "ranking", "forecasting" or "survival".
        part: The input that names the group of a ranking or the horizon of a forecast; "" = the request, or none.
        k: How many items of a ranking count.
        naive_error: What repeating the last season errs by, 0 when it is not known.
        coverage: How often intervals promise to hold, 0 when there are none.
        reference: The loss that is accepted, by the version's own metrics; 0 = learnt from its first labels.
    """

    kind: str
    part: str = ""
    k: int = 10
    naive_error: float = 0.0
    coverage: float = 0.0
    reference: float = 0.0

    @property
    def loss(self) -> str:
        """Name of the loss that is judged."""
        names = {"ranking": f"1 - ndcg@{self.k}", "survival": "1 - concordance"}
        return names.get(self.kind, "share of values outside their interval")


@dataclass(frozen=True, slots=True)
class PackRow:
    """One answer: when (event time), its part, its score, its interval and its label, None where there is none."""

    event_at: int
    part: str
    score: float | None
    low: float | None
    high: float | None
    label: float | None


def detected(task: str, metrics: Mapping[str, float], inputs: Sequence[str]) -> Pack | None:
    """What a version is, by what was measured of it at training; None for what needs no pack.

    >>> detected("regression", {"ndcg@5": 0.7}, []).kind
    'ranking'
    >>> detected("regression", {"mae": 2.0, "mase": 0.5}, ["horizon"])
    Pack(kind='forecasting', part='horizon', k=10, naive_error=4.0, coverage=0.0, reference=0.0)
    """
    ranks = [found for name in metrics if (found := _RANKS.match(name))]
    if ranks:
        k = next((int(found[1]) for found in ranks if found[1]), 10)
        good = next((metrics[name] for name in (f"ndcg@{k}", "ndcg") if name in metrics), 0.0)
        return Pack("ranking", k=k, reference=max(0.0, 1 - good) if good else 0.0)
    concordances = [metrics[name] for name in _CONCORDANCE if name in metrics]
    if concordances:
        return Pack("survival", reference=max(0.0, 1 - concordances[0]))
    if "mase" in metrics or (task == "regression" and "horizon" in inputs):
        scale = metrics["mae"] / metrics["mase"] if metrics.get("mase") and "mae" in metrics else 0.0
        return Pack("forecasting", part="horizon" if "horizon" in inputs else "", naive_error=scale)
    return None


def declared(found: Pack | None, settings: Mapping[str, object]) -> Pack | None:
    """The pack with what the settings of its deployment say; a kind they name is what it is."""
    if not settings:
        return found
    kind = str(settings.get("kind", found.kind if found else ""))
    base = found if found is not None and found.kind == kind else Pack(kind)
    part = str(settings.get("group" if kind == "ranking" else "horizon", base.part))
    k, naive = settings.get("k", base.k), settings.get("naive_error", base.naive_error)
    coverage = float(str(settings.get("coverage", base.coverage)))
    made = replace(base, part=part, k=int(str(k)), naive_error=float(str(naive)), coverage=coverage)
    return made if kind else None
