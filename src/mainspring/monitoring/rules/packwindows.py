"""What windows of rankings, forecasts and risks over time were worth, and whether that got worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

import msgspec
import numpy as np

from mainspring.core.clock import DAY_US
from mainspring.core.values import dataclass
from mainspring.monitoring.model import Judgement, MonitorSpec, WatchedVersion
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules import forecasting, performance, ranking, survival
from mainspring.monitoring.rules.budget import SHARES
from mainspring.monitoring.rules.judging import Draft, Finding, judge_loss
from mainspring.monitoring.rules.packs import Pack, PackRow
from mainspring.monitoring.rules.performance import Outcomes
from mainspring.monitoring.rules.windows import LabelWindow

LEAST_UNITS = 30
"""Groups of a ranking, or labelled rows, that a window needs."""
LEARN_UNITS = 200
"""From so many the reference is learnt where a version carries none."""
MOST_PARTS = 60
_MOST = 0.99


@dataclass(frozen=True, slots=True)
class PackWindow:
    """What a window was worth.

    Attributes:
        start: Its first microsecond, event time.
        end: The first one after it.
        rows: Answers in it.
        units: Groups or labelled rows that the loss is of.
        loss: Mean loss of these, None without.
        measures: Of all rows.
        parts: By part, such as the horizon of a forecast.
    """

    start: int
    end: int
    rows: int
    units: int
    loss: float | None
    measures: dict[str, Reading] = field(default_factory=dict)
    parts: dict[str, dict[str, Reading]] = field(default_factory=dict)


class PackState(msgspec.Struct, frozen=True):
    """How far a pack was judged, what was learnt as reference (sum of the loss, units), and the evidence."""

    until: int = 0
    total: float = 0.0
    units: int = 0
    loss: dict[str, object] = {}


def measure(pack: Pack, start: int, end: int, rows: Sequence[PackRow]) -> PackWindow:
    """What the answers of a window were worth."""
    known = [row for row in rows if row.label is not None and row.score is not None]
    if pack.kind == "ranking":
        return _ranked(pack, start, end, rows)
    if pack.kind == "survival":
        measured = _concordance(known)
        loss = None if measured.value is None else 1 - measured.value
        return PackWindow(start, end, len(rows), len(known), loss, {"concordance": measured})
    held = [row for row in known if row.low is not None and row.high is not None]
    missed = sum(not _within(row) for row in held)
    parts: dict[str, list[PackRow]] = {}
    for row in known:
        parts.setdefault(row.part, []).append(row)
    names = sorted(parts, key=lambda name: (len(name), name))[:MOST_PARTS] if pack.part else []
    return PackWindow(
        start,
        end,
        len(rows),
        len(held),
        missed / len(held) if held else None,
        _forecast(pack, known),
        {name: _forecast(pack, parts[name]) for name in names},
    )


def _ranked(pack: Pack, start: int, end: int, rows: Sequence[PackRow]) -> PackWindow:
    """Of groups with a label; an item of such a group that nobody said anything of is not relevant."""
    groups: dict[str, list[PackRow]] = {}
    for row in rows:
        if row.score is not None:
            groups.setdefault(row.part, []).append(row)
    ranked = [
        ranking.in_order([row.score or 0.0 for row in group], [max(row.label or 0.0, 0.0) for row in group])
        for group in groups.values()
        if any(row.label is not None for row in group)
    ]
    losses = [1 - gain for one in ranked if (gain := ranking.ndcg(one, pack.k)) is not None]
    loss = sum(losses) / len(losses) if losses else None
    return PackWindow(start, end, len(rows), len(losses), loss, ranking.measures(ranked, pack.k))


def _concordance(rows: Sequence[PackRow]) -> Reading:
    if not rows:
        return unknown("no answer has a time yet")
    times = np.array([abs(row.label or 0.0) for row in rows], np.float64)
    seen = np.array([(row.label or 0.0) > 0 for row in rows], np.bool_)
    return survival.concordance(times, seen, np.array([row.score for row in rows], np.float64))


def _forecast(pack: Pack, rows: Sequence[PackRow]) -> dict[str, Reading]:
    # repeating a value that goes from 0 to s errs by s: the error over that of repeating, in units of s
    truth, said = [row.label or 0.0 for row in rows], [row.score or 0.0 for row in rows]
    scale = pack.naive_error
    scaled = forecasting.mase([0.0, scale], truth, said) if scale else unknown("the version carries no mase")
    held = [(row.label or 0.0, row.low or 0.0, row.high or 0.0) for row in rows if row.low is not None]
    columns = [list(side) for side in zip(*held, strict=True)] if held else [[], [], []]
    return {"mae": forecasting.mase([0.0, 1.0], truth, said), "mase": scaled,
            "coverage": forecasting.interval_coverage(*columns)}  # fmt: skip


def _within(row: PackRow) -> bool:
    return (row.low or 0.0) <= (row.label or 0.0) <= (row.high or 0.0)


def closed_windows(pack: Pack, rows: Sequence[PackRow], watermark: int, spec: MonitorSpec) -> list[PackWindow]:
    """Days whose labels are in, or that the stream is far enough past, joined until they hold 30 groups or labels.

    Args:
        pack: What is measured.
        rows: Answers in order of event time, from the end of the last window on.
        watermark: Latest event time seen.
        spec: Says which share of labels is enough, and how long one waits.
    """
    days: dict[int, list[PackRow]] = {}
    for row in rows:
        days.setdefault(row.event_at - row.event_at % DAY_US, []).append(row)
    found: list[PackWindow] = []
    begin, gathered = -1, list[PackRow]()
    for day, part in sorted(days.items()):
        known = sum(row.label is not None for row in part) >= spec.label_share * len(part)
        if watermark < day + DAY_US + (0 if known else int(spec.label_wait_days * DAY_US)):
            break
        begin, gathered = (day if begin < 0 else begin), [*gathered, *part]
        window = measure(pack, begin, day + DAY_US, gathered)
        if window.units >= LEAST_UNITS:
            found.append(window)
            begin, gathered = -1, []
    return found


def judge_pack(
    version: WatchedVersion, pack: Pack, windows: Sequence[PackWindow], spec: MonitorSpec
) -> tuple[dict[str, object], Finding]:
    """Judge the loss of windows, in order: the state of the pack afterwards, and what was found.

    A ranking and a survival model have the part of the budget that is for realized performance. Of forecasts that part
    is their absolute error's, and whether intervals hold has that of the gap, which numbers do not use.
    """
    state = msgspec.convert(version.state.get("pack", {}), PackState, strict=False)
    share = SHARES["gap"] / SHARES["performance"] if pack.kind == "forecasting" else 1.0
    own = replace(spec, budget=spec.budget * share)
    judgements, drafts = [], []
    for window in windows:
        reference, state = _reference(pack, state, window)
        reference = min(reference, _MOST / (1 + spec.tolerance))
        shown = {name: _plain(one) for name, one in window.measures.items()}
        parts = {part: {name: _plain(one) for name, one in found.items()} for part, found in window.parts.items()}
        details: dict[str, object] = {"measures": shown, "parts": parts, "loss": pack.loss, "realized": window.loss}
        judged = replace(version, task=pack.kind, loss=pack.loss, reference_loss=reference, state={"loss": state.loss})
        one = judge_loss(judged, [_label_window(window)] if reference and window.units else [], own)
        loss = one.state.get("loss")
        state = msgspec.structs.replace(state, until=window.end, loss=loss if isinstance(loss, dict) else {})
        made = one.judgements[0] if one.judgements else _unjudged(version, window)
        if reference:
            details |= {"reference": reference, "bar": performance.bar(reference, spec.tolerance)}
        judgements.append(replace(made, cause=pack.kind, details=details))
        drafts += [_worded(draft, pack) for draft in one.drafts]
    return msgspec.to_builtins(state, str_keys=True), Finding(judgements, drafts, version.state)


def _reference(pack: Pack, state: PackState, window: PackWindow) -> tuple[float, PackState]:
    """The loss that windows are held against: promised, measured at training, or that of the first 200."""
    if pack.kind == "forecasting" and pack.coverage:
        return 1 - pack.coverage, state
    if pack.reference:
        return pack.reference, state
    if state.units >= LEARN_UNITS:
        return max(state.total / state.units, 1e-6), state
    total = state.total + (window.loss or 0.0) * window.units
    return 0.0, msgspec.structs.replace(state, total=total, units=state.units + window.units)


def _label_window(window: PackWindow) -> LabelWindow:
    loss = (window.loss or 0.0) * window.units
    return LabelWindow(window.start, window.end, Outcomes(predictions=window.rows, rows=window.units, loss=loss))


def _unjudged(version: WatchedVersion, window: PackWindow) -> Judgement:
    """A window before there is anything to hold it against."""
    return Judgement(
        deployment=version.deployment,
        version=version.version,
        cause="",
        window_start=window.start,
        window_end=window.end,
        rows=window.units,
        evidence=0.0,
        level=0.0,
        state="ok",
    )


def _worded(draft: Draft, pack: Pack) -> Draft:
    """The alarm in the words of the pack."""
    against = "promised" if pack.coverage else "at validation" if pack.reference else "in its first labels"
    text = draft.text.replace("at validation", against)
    text = text.replace("labelled rows", "groups") if pack.kind == "ranking" else text
    return replace(draft, text=text, cause="coverage" if pack.kind == "forecasting" else draft.cause)


def _plain(reading: Reading) -> dict[str, object]:
    return {"value": reading.value, "low": reading.low, "high": reading.high, "why": reading.why}
