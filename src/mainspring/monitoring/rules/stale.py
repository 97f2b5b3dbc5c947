"""Whether requests have stopped coming: hours without any, where such hours never had none."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from mainspring.core.clock import DAY_US, HOUR_US, iso
from mainspring.core.values import dataclass
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.rules import evidence
from mainspring.monitoring.rules.budget import level_of
from mainspring.monitoring.rules.judging import Draft
from mainspring.monitoring.rules.service import MONITORS

HORIZON_US = 28 * DAY_US
_WEEK_HOURS = 7 * 24
_REPEATS = 3
_LEAST_SPREAD = 0.5
_MARGIN = 2.0


class StaleState(msgspec.Struct, frozen=True):
    """Evidence that requests stopped: how far it was judged, how much, since when, and whether it was told."""

    until: int = 0
    m: float = 0.0
    since: int = 0
    alarmed: bool = False


@dataclass(frozen=True, slots=True)
class Stillness:
    """Requests stopped: since when, until which hour that was judged, and how many are usual in such an hour."""

    since: int
    until: int
    usual: float
    evidence: float
    level: float


def quiet_p_value(usual: list[int]) -> float:
    """How surprising an hour without a request is, after such hours as these.

    A negative binomial with their mean and twice their variance: requests come in crowds. Its spread is at least half
    of the mean, so that a few alike hours do not make a quiet one a miracle.

    >>> quiet_p_value([0, 0, 1]) > 0.5
    True
    """
    mean = sum(usual) / len(usual)
    if mean <= 0:
        return 1.0
    spread = sum((count - mean) ** 2 for count in usual) / max(len(usual) - 1, 1)
    variance = _MARGIN * max(spread, mean, (_LEAST_SPREAD * mean) ** 2)
    size = mean**2 / max(variance - mean, 1e-9)
    return max(1e-300, math.exp(-min(size * math.log1p(mean / size), 690.0)))


def judge_stale(
    before: Mapping[str, object], hours: Mapping[int, int], now: int, spec: MonitorSpec
) -> tuple[dict[str, object], Stillness | None]:
    """Judge every whole hour up to now: the state afterwards, and the silence when it raises its alarm.

    An hour is held against the same hours of other weeks once there are three, else against the same hours of other
    days. Before there are three of these nothing is judged.

    Args:
        before: The state so far.
        hours: Requests by the hour, by its start; hours that are not there had none.
        now: Up to when everything was counted.
        spec: Says the budget.
    """
    state = msgspec.convert(before, StaleState, strict=False)
    if not hours:
        return dict(before), None
    first, end, level = min(hours), now - now % HOUR_US, level_of("service", len(MONITORS), spec)
    found: Stillness | None = None
    for hour in range(max(state.until, first, end - HORIZON_US), end, HOUR_US):
        usual = _usual(hours, hour, first)
        quiet = len(usual) >= _REPEATS and not hours.get(hour)
        e = evidence.e_value(quiet_p_value(usual)) if quiet else 0.5
        m = 0.0 if state.alarmed else evidence.gather(state.m, e)
        crossed = m >= level
        since = state.since if state.since and (state.m > 1 or state.alarmed) else hour
        if crossed:
            found = Stillness(since, hour + HOUR_US, sum(usual) / len(usual), m, level)
        alarmed = crossed or (state.alarmed and not hours.get(hour))
        state = StaleState(hour + HOUR_US, 0.0 if crossed else m, since, alarmed)
    return msgspec.to_builtins(msgspec.structs.replace(state, until=max(state.until, end))), found


def stale_draft(found: Stillness) -> Draft:
    """The alarm about requests that stopped."""
    text = f"no request since {iso(found.since)[:16]}; {found.usual:.0f} an hour are usual at this time"
    facts: dict[str, object] = {"usual": found.usual, "m": found.evidence, "alarm_level": found.level}
    return Draft("stale", text, facts, found.since, found.until)


def _usual(hours: Mapping[int, int], hour: int, first: int) -> list[int]:
    """Requests of earlier hours like this one."""
    weeks = [hours.get(at, 0) for at in range(hour - _WEEK_HOURS * HOUR_US, first - 1, -_WEEK_HOURS * HOUR_US)]
    if len(weeks) >= _REPEATS:
        return weeks[:8]
    return [hours.get(at, 0) for at in range(hour - DAY_US, first - 1, -DAY_US)][:14]
