"""Realized against estimated performance: where they part, the relation of inputs and truth has changed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mainspring.core.clock import iso
from mainspring.core.values import dataclass
from mainspring.monitoring.model import Judgement, MonitorSpec, WatchedVersion
from mainspring.monitoring.rules import evidence, performance
from mainspring.monitoring.rules.budget import level_of
from mainspring.monitoring.rules.judging import Draft, Finding


@dataclass(frozen=True, slots=True)
class GapWindow:
    """A closed stretch of time with both losses.

    Attributes:
        start: First microsecond.
        end: First microsecond after it.
        realized: Mean loss of the labelled rows.
        estimated: What it was estimated to be without their labels.
        bound: Half the width of the estimate's 95 % band, 0 when it has none.
        rows: Labelled rows.
    """

    start: int
    end: int
    realized: float
    estimated: float
    bound: float
    rows: int


class GapState(msgspec.Struct, frozen=True):
    """Evidence that realized and estimated loss part: the wealth of each bet, since when, and how far it was judged."""

    wealth: list[float] = []
    since: int = 0
    until: int = 0


def judge_gap(version: WatchedVersion, windows: Sequence[GapWindow], spec: MonitorSpec) -> Finding:
    """Judge windows in order: is the realized loss above the estimated one by more than its band and the tolerance?

    The bar moves with the estimate, which is made before the labels are seen, so each window's bet stays fair.
    """
    state = msgspec.convert(version.state.get("gap", {}), GapState, strict=False)
    level = level_of("gap", 1, spec)
    judgements, drafts = [], []
    for window in windows:
        if window.end <= state.until:
            continue
        bar = window.estimated + window.bound + spec.tolerance * version.reference_loss
        cap = performance.cap(version.task, version.reference_loss)
        wealth = evidence.bet(state.wealth, window.realized, min(max(bar, 1e-9), 0.999 * cap), cap)
        m = sum(wealth) / len(wealth)
        since = state.since if state.since and max(state.wealth, default=0.0) > 1 else window.start
        judgements.append(_judgement(version, window, m, level))
        state = GapState(wealth, since, window.end)
        if m >= level:
            drafts.append(_draft(version, window, state, m, level))
            state = GapState(until=window.end)
    return Finding(judgements, drafts, {**version.state, "gap": msgspec.to_builtins(state)})


def _judgement(version: WatchedVersion, window: GapWindow, m: float, level: float) -> Judgement:
    details: dict[str, object] = {
        "loss": version.loss,
        "realized": window.realized,
        "estimated": window.estimated,
        "bound": window.bound,
    }
    state = evidence.state_of(m, level)
    at = {"window_start": window.start, "window_end": window.end, "rows": window.rows}
    return Judgement(
        version.deployment, version.version, "gap", **at, evidence=m, level=level, state=state, details=details
    )


def _draft(version: WatchedVersion, window: GapWindow, state: GapState, m: float, level: float) -> Draft:
    text = (
        f"{version.loss} {window.realized:.3f}, estimated {window.estimated:.3f} from the inputs alone, parting since "
        f"{iso(state.since)[:10]}: what the inputs say of the truth has changed"
    )
    facts: dict[str, object] = {
        "loss": version.loss,
        "realized": window.realized,
        "estimated": window.estimated,
        "bound": window.bound,
        "rows": window.rows,
        "m": m,
        "alarm_level": level,
    }
    return Draft("gap", text, facts, state.since, window.end)
