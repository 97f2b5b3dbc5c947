"""What the model server uses of the machine, and whether that is more than it may: cores and memory of each worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import msgspec

from mainspring.core.clock import HOUR_US
from mainspring.core.values import dataclass
from mainspring.monitoring.model import Judgement, MonitorSpec, WatchedVersion
from mainspring.monitoring.rules import evidence
from mainspring.monitoring.rules.budget import SERVICE_US, level_of
from mainspring.monitoring.rules.judging import Draft
from mainspring.monitoring.rules.service import MONITORS, SignalState
from mainspring.monitoring.rules.usage import UsageWindow

REFERENCE_WINDOWS = 50
"""From so many windows it is learnt what a model server uses; they are about four hours."""
FULL_CORES = 0.9
"""A worker that keeps so much of one core busy is full, where it was not learnt that it uses more."""
_MORE = 1.5
_ACCEPTED = 0.01
_LEAST_SECONDS = 120.0


class ResourceState(msgspec.Struct, frozen=True):
    """What is known of what the model server uses.

    Attributes:
        until: End of the last window that was judged.
        models: What was loaded in it; what is usual is learnt again when that changes.
        learnt: How many windows it was learnt from, up to 50.
        cores: The most cores of a worker in them.
        memory_mb: The most memory of a worker in them.
        signals: The evidence about each.
    """

    until: int = 0
    models: str = ""
    learnt: int = 0
    cores: float = 0.0
    memory_mb: float = 0.0
    signals: dict[str, SignalState] = {}


@dataclass(frozen=True, slots=True)
class ResourceSignal:
    """What was found about cores or memory.

    Attributes:
        used: By the worker that used the most.
        limit: What it may use, 0 while that is not known.
        pid: Its process, 0 when none was looked at long enough.
        m: The evidence.
        level: What it must reach.
        since: Since when there is evidence.
        state: "ok", "watch" or "alarm".
        crossed: Whether it raises its alarm now.
    """

    used: float
    limit: float
    pid: int
    m: float
    level: float
    since: int
    state: str
    crossed: bool


@dataclass(frozen=True, slots=True)
class ResourceFinding:
    """What was found about a window: by signal ("cores", "memory") its figures."""

    start: int
    end: int
    workers: int
    signals: dict[str, ResourceSignal]

    @property
    def crossed(self) -> tuple[str, ...]:
        """The signals that raise an alarm now."""
        return tuple(name for name, signal in self.signals.items() if signal.crossed)


def judge_resources(
    before: Mapping[str, object], windows: Sequence[UsageWindow], until: int, spec: MonitorSpec
) -> tuple[dict[str, object], list[ResourceFinding]]:
    """Judge windows that are over, in order: the state afterwards and what was found.

    A window is bad where a worker keeps more cores busy, or holds more memory, than it may: what the settings say, else
    one and a half times the most of the first four hours with the same models, and for cores at least nine tenths of
    one. One window in a hundred may be bad, whatever came before it.

    Args:
        before: The state so far.
        windows: Of every worker, in order of time.
        until: Up to when everything was counted.
        spec: Says the limits and the budget.
    Source: Waudby-Smith, Ramdas (2024), Estimating means of bounded random variables by betting, for the bet.
    """
    state = msgspec.convert(before, ResourceState, strict=False)
    parts: dict[int, list[UsageWindow]] = {}
    for window in windows:
        if state.until <= window.start <= until - SERVICE_US:
            parts.setdefault(window.start, []).append(window)
    found = []
    for start, part in sorted(parts.items()):
        state, one = _judge(state, start, part, spec)
        found.append(one)
    return msgspec.to_builtins(state, str_keys=True), found


def _judge(
    state: ResourceState, start: int, part: Sequence[UsageWindow], spec: MonitorSpec
) -> tuple[ResourceState, ResourceFinding]:
    models = ",".join(sorted({window.models for window in part}))
    if models != state.models:
        state = ResourceState(models=models, signals={name: _restarted(one) for name, one in state.signals.items()})
    busiest, largest = _busiest(part), max(part, key=lambda window: window.memory_mb)
    used = {"cores": busiest.cores if busiest else 0.0, "memory": largest.memory_mb}
    pids = {"cores": busiest.pid if busiest else 0, "memory": largest.pid}
    limits = {"cores": _cores_limit(state, spec), "memory": _memory_limit(state, spec)}
    signals, seen = dict(state.signals), {}
    for name, amount in used.items():
        before = signals.get(name, SignalState())
        signals[name], seen[name] = _bet(before, amount, limits[name], start=start, pid=pids[name], spec=spec)
    if state.learnt < REFERENCE_WINDOWS:
        learnt = {"cores": max(state.cores, used["cores"]), "memory_mb": max(state.memory_mb, used["memory"])}
        state = msgspec.structs.replace(state, learnt=state.learnt + 1, **learnt)
    state = msgspec.structs.replace(state, until=start + SERVICE_US, signals=signals)
    return state, ResourceFinding(start, start + SERVICE_US, len(part), seen)


def _restarted(signal: SignalState) -> SignalState:
    """What is loaded is another: what was gathered says nothing about it."""
    return SignalState(alarmed=signal.alarmed, since=signal.since)


def _busiest(part: Sequence[UsageWindow]) -> UsageWindow | None:
    """The busiest worker of those that were looked at long enough: one that starts is always busy."""
    settled = [window for window in part if window.seconds >= _LEAST_SECONDS]
    return max(settled, key=lambda window: window.cores, default=None)


def _cores_limit(state: ResourceState, spec: MonitorSpec) -> float:
    if spec.cores or state.learnt < REFERENCE_WINDOWS:
        return spec.cores
    return max(FULL_CORES, _MORE * state.cores)


def _memory_limit(state: ResourceState, spec: MonitorSpec) -> float:
    return spec.memory_mb or (_MORE * state.memory_mb if state.learnt >= REFERENCE_WINDOWS else 0.0)


def _bet(
    before: SignalState, used: float, limit: float, *, start: int, pid: int, spec: MonitorSpec
) -> tuple[SignalState, ResourceSignal]:
    """Bet half of what there is on the window being bad; a limit of 0 is not known yet."""
    level = level_of("service", len(MONITORS), spec)
    bad = bool(limit) and used > limit
    m = 0.0 if before.alarmed else evidence.gather(before.m, 0.5 + 0.5 * bad / _ACCEPTED if limit else 1.0)
    crossed = m >= level
    since = before.since if before.since and (before.m > 1 or before.alarmed) else start
    after = SignalState(0.0 if crossed else m, since, crossed or (before.alarmed and bad))
    state = "alarm" if after.alarmed else evidence.state_of(m, level)
    return after, ResourceSignal(used, limit, pid, m, level, since, state, crossed)


def resource_judgement(version: WatchedVersion, found: ResourceFinding) -> Judgement:
    """The decision about a window, under the end of its hour: the newest one of an hour stands for it."""
    states = [signal.state for signal in found.signals.values()]
    worst = max(found.signals.values(), key=lambda signal: signal.m)
    return Judgement(
        deployment=version.deployment,
        version=version.version,
        cause="resources",
        window_start=found.start,
        window_end=found.end - 1 - (found.end - 1) % HOUR_US + HOUR_US,
        rows=found.workers,
        evidence=worst.m,
        level=worst.level,
        state=next((state for state in ("alarm", "watch") if state in states), "ok"),
        details={name: asdict(signal) for name, signal in found.signals.items()},
    )


def resource_drafts(found: ResourceFinding) -> list[Draft]:
    """The alarm that a window raises: one, about cores or memory or both."""
    crossed = {name: found.signals[name] for name in found.crossed}
    if not crossed:
        return []
    text = ", and ".join(_text(name, signal) for name, signal in crossed.items())
    facts: dict[str, object] = {"signals": {name: asdict(signal) for name, signal in crossed.items()}}
    facts |= {"workers": found.workers, "alarm_level": next(iter(crossed.values())).level}
    return [Draft("resources", text, facts, min(signal.since for signal in crossed.values()), found.end)]


def _text(name: str, signal: ResourceSignal) -> str:
    if name == "memory":
        does, limit = f"holds {signal.used:.0f} MB", f"{signal.limit:.0f} MB"
    else:
        does, limit = f"keeps {signal.used:.2f} cores busy", f"{signal.limit:.2f}"
    return f"worker {signal.pid} of the model server {does}, {limit} are accepted"
