"""How a deployment answers: how many requests, how long they took, how many failed; and whether that got worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from mainspring.core.clock import HOUR_US
from mainspring.core.values import dataclass
from mainspring.monitoring.model import Judgement, MonitorSpec, WatchedVersion
from mainspring.monitoring.rules import evidence, rates
from mainspring.monitoring.rules.budget import SERVICE_US, level_of
from mainspring.monitoring.rules.judging import Draft
from mainspring.monitoring.rules.requests import ServiceCounts

MONITORS = ("latency", "errors", "stale", "cores", "memory")
"""What shares the part of the budget that is for service."""
LEAST_ANSWERS = 20
REFERENCE_WINDOWS = 50
REFERENCE_ANSWERS = 2_000
_UNKNOWN_DISPERSION = 10.0
_SLOWER = 2.0


@dataclass(frozen=True, slots=True)
class ServiceWindow:
    """Requests of a stretch of wall time, from `start` to before `end`."""

    start: int
    end: int
    counts: ServiceCounts


class SignalState(msgspec.Struct, frozen=True):
    """Evidence about one measure of service: how much, since when, and whether it has raised its alarm."""

    m: float = 0.0
    since: int = 0
    alarmed: bool = False


class ServiceState(msgspec.Struct, frozen=True):
    """What is known of how a version answers.

    Attributes:
        until: End of the last window that was judged.
        signals: The evidence of each signal.
        learnt: [slow, failed, requests] of each window that the version is compared with, until there are enough.
        latency: The latencies of these windows.
        limit_us: From which latency on an answer is slow, 0 while that is being learnt.
        dispersions: How much more windows vary than requests do, by signal, once it is learnt.
    """

    until: int = 0
    signals: dict[str, SignalState] = {}
    learnt: list[tuple[int, int]] = []
    latency: dict[int, int] = {}
    limit_us: float = 0.0
    dispersions: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class ServiceFinding:
    """What was found about a window: by signal its figures, and those that raise an alarm now."""

    window: ServiceWindow
    details: dict[str, dict[str, object]]
    crossed: tuple[str, ...]


def closed_service(counted: Sequence[tuple[int, ServiceCounts]], until: int) -> list[ServiceWindow]:
    """Windows that are over, joined with the next ones until they hold 20 requests.

    Args:
        counted: Start and counts of stored windows, in order of time.
        until: Up to when everything was counted.
    """
    found: list[ServiceWindow] = []
    begin, gathered = -1, ServiceCounts()
    for start, counts in counted:
        if start + SERVICE_US > until:
            break
        begin, gathered = (start if begin < 0 else begin), gathered.merge(counts)
        if gathered.requests >= LEAST_ANSWERS:
            found.append(ServiceWindow(begin, start + SERVICE_US, gathered))
            begin, gathered = -1, ServiceCounts()
    return found


def judge_service(
    before: Mapping[str, object], windows: Sequence[ServiceWindow], spec: MonitorSpec
) -> tuple[dict[str, object], list[ServiceFinding]]:
    """Judge windows in order: the state afterwards and what was found.

    The share of failed requests is held against what is accepted, that of slow ones too once it is known what slow is:
    from the settings, or from the first hours of the version.
    """
    state = msgspec.convert(before, ServiceState, strict=False)
    found = []
    for window in windows:
        state, finding = _judge_window(state, window, spec)
        found.append(finding)
    return msgspec.to_builtins(state, str_keys=True), found


def _judge_window(state: ServiceState, window: ServiceWindow, spec: MonitorSpec) -> tuple[ServiceState, ServiceFinding]:
    counts, limit = window.counts, spec.latency_ms * 1000 or state.limit_us
    bad = {"errors": (counts.failed, spec.error_share)}
    if limit:
        bad["latency"] = (counts.slower(limit), spec.slow_share)
    signals, details, crossed = dict(state.signals), {}, []
    for name, (ill, bar) in bad.items():
        phi = state.dispersions.get(name, _UNKNOWN_DISPERSION)
        signals[name], details[name] = _judge_share(
            signals.get(name, SignalState()), window, ill, bar=bar, dispersion=phi, spec=spec
        )
        crossed += [name] if details[name]["crossed"] else []
    if limit:
        details["latency"]["limit_ms"] = limit / 1000
    p99 = counts.quantile_us(0.99)
    details.setdefault("latency", {"state": "ok", "m": 0.0})["p99_ms"] = None if p99 is None else p99 / 1000
    state = msgspec.structs.replace(state, until=window.end, signals=signals)
    return _learn(state, window), ServiceFinding(window, details, tuple(crossed))


def _judge_share(
    before: SignalState, window: ServiceWindow, bad: int, *, bar: float, dispersion: float, spec: MonitorSpec
) -> tuple[SignalState, dict[str, object]]:
    rows, level = window.counts.requests, level_of("service", len(MONITORS), spec)
    p = rates.rate_p_value(bad, rows, bar, dispersion)
    e = evidence.e_value(p)
    m = 0.0 if before.alarmed else evidence.gather(before.m, e)
    crossed = m >= level
    since = before.since if before.since and (before.m > 1 or before.alarmed) else window.start
    after = SignalState(0.0 if crossed else m, since, crossed or (before.alarmed and e >= 1))
    state = "alarm" if after.alarmed else evidence.state_of(m, level)
    figures: dict[str, object] = {"share": bad / max(rows, 1), "bad": bad, "requests": rows, "bar": bar, "p": p}
    return after, {**figures, "m": m, "level": level, "since": since, "state": state, "crossed": crossed}


def _learn(state: ServiceState, window: ServiceWindow) -> ServiceState:
    """The first windows say what is usual; after them it stays as it is, so that nobody gets used to what is bad."""
    if state.dispersions:
        return state
    counts = window.counts
    learnt = [*state.learnt, (counts.failed, counts.requests)]
    total = ServiceCounts.total((ServiceCounts(latency=state.latency), ServiceCounts(latency=counts.latency)))
    if len(learnt) < REFERENCE_WINDOWS or sum(requests for _, requests in learnt) < REFERENCE_ANSWERS:
        return msgspec.structs.replace(state, learnt=learnt, latency=total.latency)
    failed, requests = (np.array(side, np.float64) for side in zip(*learnt, strict=True))
    phi = max(2.0, rates.rate_dispersion(failed, requests))
    return msgspec.structs.replace(
        state,
        learnt=[],
        latency=total.latency,
        limit_us=_SLOWER * (total.quantile_us(0.99) or 0.0),
        dispersions={"errors": phi, "latency": _UNKNOWN_DISPERSION},
    )


def service_judgement(version: WatchedVersion, found: ServiceFinding) -> Judgement:
    """The decision about a window, under the end of its hour: the newest one of an hour stands for it."""
    states = [str(details["state"]) for details in found.details.values()]
    worst = max(found.details.values(), key=lambda details: _number(details["m"]))
    return Judgement(
        deployment=version.deployment,
        version=version.version,
        cause="service",
        window_start=found.window.start,
        window_end=found.window.end - 1 - (found.window.end - 1) % HOUR_US + HOUR_US,
        rows=found.window.counts.requests,
        evidence=_number(worst["m"]),
        level=_number(worst.get("level")),
        state=next((state for state in ("alarm", "watch") if state in states), "ok"),
        details=dict(found.details),
    )


def service_drafts(found: ServiceFinding) -> list[Draft]:
    """The alarms that a window raises."""
    end = found.window.end
    return [
        Draft(name, service_text(name, details), dict(details), int(_number(details["since"])), end)
        for name, details in found.details.items()
        if name in found.crossed
    ]


def service_text(cause: str, details: Mapping[str, object]) -> str:
    """One sentence about a signal of service that raised its alarm."""
    share, bar, requests = (_number(details.get(name)) for name in ("share", "bar", "requests"))
    if cause == "errors":
        return f"{share:.1%} of {requests:.0f} requests failed, {bar:.1%} are accepted"
    limit = _number(details.get("limit_ms"))
    return f"{share:.1%} of {requests:.0f} answers took longer than {limit:.0f} ms, {bar:.1%} are accepted"


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
