"""From closed windows and the evidence so far to judgements, alarms and the evidence after them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mainspring.core.clock import DAY_US, iso
from mainspring.data.sketch import ColumnSketch, Grid, Sketch, no_rows
from mainspring.monitoring.model import Judgement, MonitorSpec, WatchedVersion
from mainspring.monitoring.rules import drift, evidence, performance, rates
from mainspring.monitoring.rules.budget import level_of
from mainspring.monitoring.rules.causes import cause
from mainspring.monitoring.rules.reference import Expected, Reference
from mainspring.monitoring.rules.windows import InputWindow, LabelWindow

_MISSING = ("absent", "missing", "invalid")
_INNER = ("crossed", "state", "missing_crossed", "missing_state")
_DAYS_KEPT = 90
INDEPENDENT_ROWS = 8
_LONGEST_US = 28 * DAY_US


class ColumnState(msgspec.Struct, frozen=True):
    """Evidence about a column: how much, since when, and whether it has raised its alarm and not come back since.

    `pending` is the start of rows that wait to be judged with the next ones, -1 when none do. The share of its missing
    values has a detector of its own, with the same three in `missing_m`, `missing_since` and `missing_alarmed`.
    """

    m: float = 0.0
    since: int = 0
    alarmed: bool = False
    pending: int = -1
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

    A column whose days differ much from each other (weather, weekdays) has few independent rows in one of them, however
    many rows it has. Its windows are joined until they are worth 8 independent rows, 28 days at most.
    """
    grid = reference.profile.grid
    states = msgspec.convert(version.state.get("columns", {}), dict[str, ColumnState])
    pending = _unpacked(version.state.get("pending"), grid)
    judgements, drafts = [], []
    for window in windows:
        found = [
            _judge_column(
                reference, i, pending[i].merge(column), states.get(column.cells.name, ColumnState()), window, spec
            )
            for i, column in enumerate(window.sketch.columns)
        ]
        states = {cells.name: one.state for cells, one in zip(grid.columns, found, strict=True)}
        details = {cells.name: one.detail for cells, one in zip(grid.columns, found, strict=True)}
        pending = [one.pending for one in found]
        judgements.append(_input_judgement(version, window, details, spec))
        drafts += _input_drafts(window, details, drift_level(len(details), spec))
    state = {"columns": msgspec.to_builtins(states), "pending": _packed(pending, grid)}
    return Finding(judgements, drafts, {**version.state, **state})


@dataclass(frozen=True, slots=True)
class _Column:
    """A judged column: its evidence, what goes into the judgement, and the rows that wait for more."""

    state: ColumnState
    detail: dict[str, object]
    pending: ColumnSketch


def _judge_column(
    reference: Reference, at: int, column: ColumnSketch, before: ColumnState, window: InputWindow, spec: MonitorSpec
) -> _Column:
    base, columns = reference.profile.sketch.columns[at], len(reference.dispersions)
    start = before.pending if before.pending >= 0 else window.start
    normal = reference.expected(at, start, window.end, column.rows)
    d, level = drift.distance(base, column, normal.shares), drift_level(columns, spec)
    before, gone = _judge_missing(reference, at, window, before, spec)
    detail: dict[str, object] = {"d": d.ks, "effect": max(0.0, d.ks - spec.drift_tolerance), "rows": column.rows}
    detail |= {"change": d.change, "level": d.level} if d.change else {}
    detail |= gone
    if column.rows < INDEPENDENT_ROWS * normal.dispersion and window.end - start < _LONGEST_US:
        state = "alarm" if before.alarmed else evidence.state_of(before.m, level)
        waiting = {
            "waits": True,
            "p": 1.0,
            "m": before.m,
            "state": state,
            "since": before.since or start,
            "crossed": False,
        }
        waiting |= _account(reference, at, column, gone) if gone.get("missing_crossed") else {}
        return _Column(msgspec.structs.replace(before, pending=start), {**detail, **waiting}, column)
    p = _p_value(d, reference, at, column, normal, tolerance=spec.drift_tolerance)
    e = evidence.e_value(p)
    m = 0.0 if before.alarmed else evidence.gather(before.m, e)
    crossed = m >= level
    since = before.since if before.since and (before.m > 1 or before.alarmed) else start
    alarmed = crossed or (before.alarmed and e >= 1)
    after = msgspec.structs.replace(before, m=0.0 if crossed else m, since=since, alarmed=alarmed, pending=-1)
    state = "alarm" if after.alarmed else evidence.state_of(m, level)
    detail |= {"p": p, "m": m, "state": state, "since": since, "crossed": crossed}
    detail |= _account(reference, at, column, gone) if e > 1 or gone.get("missing_crossed") else {}
    return _Column(after, detail, no_rows(base.cells))


def _account(reference: Reference, at: int, column: ColumnSketch, gone: Mapping[str, object]) -> dict[str, object]:
    base = reference.profile.sketch.columns[at]
    days = [(window.start, window.sketch.columns[at]) for window in reference.profile.windows]
    what = cause(base, column, days)
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
    e, level = evidence.e_value(p), level_of("missing", len(reference.dispersions), spec)
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


def _packed(pending: Sequence[ColumnSketch], grid: Grid) -> str:
    return base64.b64encode(Sketch(grid, 0, tuple(pending)).to_bytes()).decode()


def _unpacked(packed: object, grid: Grid) -> list[ColumnSketch]:
    kept = Sketch.from_bytes(base64.b64decode(packed), grid) if isinstance(packed, str) else Sketch.empty(grid)
    return list(kept.columns)


def _p_value(
    d: drift.Distance, reference: Reference, at: int, column: ColumnSketch, normal: Expected, *, tolerance: float
) -> float:
    base, columns = reference.profile.sketch.columns[at], len(reference.dispersions)
    rows, phi = {"reference_rows": normal.rows, "rows": column.rows}, normal.dispersion
    p = drift.p_value(d.ks, **rows, dispersion=phi, columns=columns, tolerance=tolerance, is_learnt=reference.is_learnt)
    if base.cells.kind != "categorical" or normal.rows < 10 * column.rows:
        return p
    single = drift.level_p_value(d.change, **rows, dispersion=phi, levels=base.cells.cells, tolerance=tolerance)
    return min(1.0, 2 * min(p, single))


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
