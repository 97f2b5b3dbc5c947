"""From closed windows and the evidence so far to judgements, alarms and the evidence after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import msgspec
import numpy as np

from mainspring.core.clock import iso
from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch, Grid, Sketch
from mainspring.monitoring.model import Judgement, MonitorSpec, WatchedVersion
from mainspring.monitoring.rules import drift, evidence, performance, rates
from mainspring.monitoring.rules.budget import level_of
from mainspring.monitoring.rules.causes import cause
from mainspring.monitoring.rules.reference import Reference
from mainspring.monitoring.rules.scanning import Scan, Scanned, Stretch, counts_of, extended, stretch_of
from mainspring.monitoring.rules.windows import InputWindow, LabelWindow

_MISSING = ("absent", "missing", "invalid")
_INNER = ("crossed", "state", "missing_crossed", "missing_state")
_DAYS_KEPT = 90


class ColumnState(msgspec.Struct, frozen=True):
    """Evidence about a column: how much, since when, and whether it has raised its alarm and not come back since.

    The share of its missing values has a detector of its own, with the same three in `missing_m`, `missing_since` and
    `missing_alarmed`.
    """

    m: float = 0.0
    since: int = 0
    alarmed: bool = False
    missing_m: float = 0.0
    missing_since: int = 0
    missing_alarmed: bool = False


class LossState(msgspec.Struct, frozen=True):
    """Evidence about the realized loss: the wealth of each bet, and the days since the loss was last within bounds."""

    wealth: list[float] = []
    excess: float = 0.0
    since: int = 0
    days: list[float] = []
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """An alarm that should be raised."""

    cause: str
    text: str
    evidence: dict[str, object]
    window_start: int
    window_end: int


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of judging: judgements, alarms to raise, and the evidence afterwards."""

    judgements: list[Judgement]
    drafts: list[Draft]
    state: dict[str, object]


def drift_level(columns: int, spec: MonitorSpec) -> float:
    """What a column's evidence must reach: the columns share what drift has of the budget."""
    return level_of("drift", columns, spec)


def loss_level(spec: MonitorSpec) -> float:
    """What the evidence about the realized loss must reach."""
    return level_of("performance", 1, spec)


def judge_inputs(
    version: WatchedVersion, reference: Reference, windows: Sequence[InputWindow], spec: MonitorSpec
) -> Finding:
    """Judge windows of inputs, in order, against the training data.

    A change is looked for in the newest window and in runs of up to 28 of them. A window that stands alone is an alarm
    only where it differs by more than an odd one may: see `scanning`.
    """
    grid = reference.profile.grid
    states = msgspec.convert(version.state.get("columns", {}), dict[str, ColumnState])
    stretches, scan = _unpacked(version.state.get("recent"), grid), Scan(reference)
    level = drift_level(len(grid.columns), spec)
    judgements, drafts = [], []
    for window in windows:
        stretches = extended(stretches, stretch_of(window))
        scanned = scan.judge(stretches, level=level, tolerance=spec.drift_tolerance)
        seen = _Seen(reference, window, stretches, scanned, level)
        found = [
            _judge_column(seen, i, states.get(cells.name, ColumnState()), spec) for i, cells in enumerate(grid.columns)
        ]
        fresh = np.array([one.is_fresh for one in found])
        stretches = [stretch.without(fresh) for stretch in stretches] if fresh.any() else stretches
        states = {cells.name: one.state for cells, one in zip(grid.columns, found, strict=True)}
        details = {cells.name: one.detail for cells, one in zip(grid.columns, found, strict=True)}
        judgements.append(_input_judgement(version, window, details, spec))
        drafts += _input_drafts(window, details, level)
    state = {"columns": msgspec.to_builtins(states), "recent": _packed(stretches)}
    return Finding(judgements, drafts, {**version.state, **state})


@dataclass(frozen=True, slots=True)
class _Column:
    """A judged column: its evidence, what goes into the judgement, and whether its runs begin anew."""

    state: ColumnState
    detail: dict[str, object]
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """A window, the newest ones with it, and what their runs say."""

    reference: Reference
    window: InputWindow
    stretches: Sequence[Stretch]
    scanned: Scanned
    level: float

    def since(self, at: int) -> int:
        """When the run of a column begins."""
        return self.stretches[-int(self.scanned.run[at])].start

    def run(self, at: int) -> ColumnSketch:
        """The rows of the run of a column."""
        parts = [one.sketch.columns[at] for one in self.stretches[-int(self.scanned.run[at]) :] if one.sketch]
        return reduce(ColumnSketch.merge, parts)


def _judge_column(seen: _Seen, at: int, before: ColumnState, spec: MonitorSpec) -> _Column:
    scanned, level = seen.scanned, seen.level
    before, gone = _judge_missing(seen.reference, at, seen.window, before, spec)
    d, m = float(scanned.d[at]), 0.0 if before.alarmed else float(scanned.evidence[at])
    crossed = m >= level
    is_over = before.alarmed and bool(scanned.is_gone[at])
    alarmed = crossed or (before.alarmed and not is_over)
    since = before.since if before.alarmed else seen.since(at)
    after = msgspec.structs.replace(before, m=0.0 if crossed else m, since=since, alarmed=alarmed)
    detail: dict[str, object] = {"d": d, "effect": max(0.0, d - spec.drift_tolerance), "rows": int(scanned.rows[at])}
    if source := seen.reference.profile.grid.columns[at].source:
        detail["source"] = source
    if change := float(scanned.change[at]):
        levels = seen.window.sketch.columns[at].cells.levels
        cell = int(scanned.cell[at])
        detail |= {"change": change, "level": levels[cell] if cell < len(levels) else ""}
    state = "alarm" if alarmed else evidence.state_of(m, level)
    detail |= {"p": float(scanned.p[at]), "m": m, "state": state, "since": since, "crossed": crossed, **gone}
    detail |= {"waits": True} if scanned.is_odd[at] and not alarmed else {}
    if m > 1 or before.alarmed or gone.get("missing_crossed"):
        detail |= _account(seen.reference, at, seen.run(at), gone)
    return _Column(after, detail, crossed or is_over)


def _account(reference: Reference, at: int, column: ColumnSketch, gone: Mapping[str, object]) -> dict[str, object]:
    base = reference.profile.sketch.columns[at]
    what = cause(base, column, reference.days_of(at))
    if gone.get("missing_crossed") and what.kind not in _MISSING:
        share, before = _number(gone["missing_share"]), (base.nulls + base.invalid) / max(base.rows, 1)
        return {"finding": "missing", "text": f"{share:.1%} of the values are missing, {before:.1%} in the reference"}
    return {"finding": what.kind, "text": what.text}


def _judge_missing(
    reference: Reference, at: int, window: InputWindow, before: ColumnState, spec: MonitorSpec
) -> tuple[ColumnState, dict[str, object]]:
    """The detector of missing values: its state afterwards, and what the judgement says where they are more."""
    column, phi = window.sketch.columns[at], reference.missing_dispersions[at]
    gone, bar = column.nulls + column.invalid, min(1.0, reference.missing_bars[at] + spec.drift_tolerance)
    p = rates.rate_p_value(gone, column.rows, bar, phi)
    level = level_of("missing", len(reference.shares), spec)
    e = evidence.of_one_window(evidence.e_value(p), gone / max(column.rows, 1) - bar, level)
    m = 0.0 if before.missing_alarmed else evidence.gather(before.missing_m, e)
    crossed = m >= level
    held = before.missing_since and (before.missing_m > 1 or before.missing_alarmed)
    since = before.missing_since if held else window.start
    alarmed = crossed or (before.missing_alarmed and e >= 1)
    after = msgspec.structs.replace(
        before, missing_m=0.0 if crossed else m, missing_since=since, missing_alarmed=alarmed
    )
    if e <= 1 and not alarmed:
        return after, {}
    state = "alarm" if alarmed else evidence.state_of(m, level)
    said = {"share": gone / max(column.rows, 1), "bar": bar, "p": p, "m": m, "since": since, "state": state}
    return after, {**{f"missing_{name}": value for name, value in said.items()}, "missing_crossed": crossed}


class _Kept(msgspec.Struct, frozen=True):
    """A stretch as it is kept between two judgings."""

    start: int
    end: int
    windows: int
    week: list[list[float]]
    squares: list[float]
    sketch: bytes


def _packed(stretches: Sequence[Stretch]) -> list[dict[str, object]]:
    kept = [
        _Kept(one.start, one.end, one.windows, one.week.tolist(), one.squares.tolist(), one.sketch.to_bytes())
        for one in stretches
        if one.sketch is not None
    ]
    return [msgspec.to_builtins(one) for one in kept]


def _unpacked(packed: object, grid: Grid) -> list[Stretch]:
    found = []
    for one in msgspec.convert(packed or [], list[_Kept]):
        sketch, week = Sketch.from_bytes(one.sketch, grid), np.array(one.week, np.float64)
        squares, counts = np.array(one.squares, np.float64), counts_of(sketch)
        found.append(Stretch(one.start, one.end, one.windows, week, squares, counts, sketch))
    return found


def _input_judgement(
    version: WatchedVersion, window: InputWindow, details: Mapping[str, dict[str, object]], spec: MonitorSpec
) -> Judgement:
    states = {str(detail.get(name)) for detail in details.values() for name in ("state", "missing_state")}
    return Judgement(
        deployment=version.deployment,
        version=version.version,
        cause="drift",
        window_start=window.start,
        window_end=window.end,
        rows=window.sketch.rows,
        evidence=max((_number(detail["m"]) for detail in details.values()), default=0.0),
        level=drift_level(len(details), spec),
        state=next((state for state in ("alarm", "watch") if state in states), "ok"),
        details=dict(details),
    )


def _input_drafts(window: InputWindow, details: Mapping[str, dict[str, object]], level: float) -> list[Draft]:
    moved = drift.which_columns(
        {name: _number(detail["p"]) for name, detail in details.items()},
        {name: _number(detail["effect"]) for name, detail in details.items()},
    )
    drafts = []
    for kind in ("missing", "drift"):
        mine = [
            {"column": name, **{key: value for key, value in detail.items() if key not in _INNER}}
            for name, detail in details.items()
            if _crossed_by(detail) == kind
        ]
        if mine:
            mine.sort(key=lambda entry: -_number(entry["effect"]))
            starts = "missing_since" if kind == "missing" else "since"
            start = min(int(_number(entry.get(starts, entry["since"]))) for entry in mine)
            facts: dict[str, object] = {
                "columns": mine,
                "alarm_level": level,
                "rows": window.sketch.rows,
                "moved": moved,
            }
            drafts.append(Draft(kind, drift_text(mine), facts, start, window.end))
    return drafts


def _crossed_by(detail: Mapping[str, object]) -> str:
    """Which alarm a column asks for: "missing", "drift" or none, "".

    A column whose missing values have raised their alarm does not raise it again because of what that does to its
    distance.
    """
    if detail.get("missing_crossed"):
        return "missing"
    if not detail["crossed"] or (detail.get("missing_state") == "alarm" and detail.get("finding") in _MISSING):
        return ""
    return "missing" if detail.get("finding") in _MISSING else "drift"


def drift_text(columns: Sequence[Mapping[str, object]]) -> str:
    """One sentence about columns that moved, the first one in words."""
    first = columns[0]
    rest = f", and {len(columns) - 1} more" if len(columns) > 1 else ""
    moved = f"{_number(first['d']):.1%} of the rows moved"
    return f"{first['column']}: {moved} ({first.get('text', '')}){rest}"


def judge_loss(version: WatchedVersion, windows: Sequence[LabelWindow], spec: MonitorSpec) -> Finding:
    """Judge the realized loss of windows, in order, against the loss at validation and the tolerance."""
    state = msgspec.convert(version.state.get("loss", {}), LossState)
    judgements, drafts = [], []
    for window in windows:
        state = _after(state, version, window, spec)
        m, level = sum(state.wealth) / len(state.wealth), loss_level(spec)
        judgements.append(_loss_judgement(version, window, m, spec))
        if m >= level:
            drafts.append(_loss_draft(version, window, state, m, spec))
            state = LossState()
    return Finding(judgements, drafts, {**version.state, "loss": msgspec.to_builtins(state)})


def _after(state: LossState, version: WatchedVersion, window: LabelWindow, spec: MonitorSpec) -> LossState:
    loss = window.outcomes.mean_loss or 0.0
    bar = performance.bar(version.reference_loss, spec.tolerance)
    wealth = evidence.bet(state.wealth, loss, bar, performance.cap(version.task, version.reference_loss))
    excess = max(0.0, state.excess + loss - bar)
    if not excess:
        return LossState(wealth, 0.0, window.end, [], 0)
    days, rows = [*state.days, loss][-_DAYS_KEPT:], state.rows + window.outcomes.rows
    return LossState(wealth, excess, state.since if state.days else window.start, days, rows)


def _loss_judgement(version: WatchedVersion, window: LabelWindow, m: float, spec: MonitorSpec) -> Judgement:
    outcomes = window.outcomes
    details: dict[str, object] = {
        "loss": version.loss,
        "realized": outcomes.mean_loss,
        "reference": version.reference_loss,
        "bar": performance.bar(version.reference_loss, spec.tolerance),
        "coverage": outcomes.coverage,
        "measures": performance.measures(outcomes, version.task),
    }
    return Judgement(
        deployment=version.deployment,
        version=version.version,
        cause="performance",
        window_start=window.start,
        window_end=window.end,
        rows=outcomes.rows,
        evidence=m,
        level=loss_level(spec),
        state=evidence.state_of(m, loss_level(spec)),
        details=details,
    )


def _loss_draft(version: WatchedVersion, window: LabelWindow, state: LossState, m: float, spec: MonitorSpec) -> Draft:
    days = state.days or [window.outcomes.mean_loss or 0.0]
    realized, between = sum(days) / len(days), performance.interval(days)
    reach = f" (95 % interval {between[0]:.3f} to {between[1]:.3f} over {len(days)} days)" if between else ""
    start = state.since if state.days else window.start
    text = (
        f"{version.loss} {realized:.3f} since {iso(start)[:10]}{reach}, {version.reference_loss:.3f} at validation; "
        f"{state.rows} labelled rows"
    )
    facts: dict[str, object] = {
        "loss": version.loss,
        "realized": realized,
        "interval": list(between) if between else None,
        "reference": version.reference_loss,
        "tolerance": spec.tolerance,
        "bar": performance.bar(version.reference_loss, spec.tolerance),
        "days": len(days),
        "rows": state.rows,
        "since": start,
        "m": m,
        "alarm_level": loss_level(spec),
    }
    return Draft("performance", text, facts, start, window.end)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
