"""Any settings of the monitors over the past: which alarms there would have been, and when. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US, day_of
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.monitoring import records
from mainspring.monitoring.model import MonitorSpec, WatchedVersion

if TYPE_CHECKING:
    import polars as pl

    from mainspring.monitoring.references import References
    from mainspring.monitoring.rules.judging import Draft
    from mainspring.monitoring.rules.packs import Pack
    from mainspring.monitoring.rules.reference import Reference
    from mainspring.storage.ports import Tables

_FOR_EVER = 1 << 62
_REFERENCE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class WouldBe:
    """An alarm that there would have been: of which version, about what, since when, and when it would have come."""

    version: int
    cause: str
    window_start: int
    window_end: int
    text: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What settings come to over the past.

    Attributes:
        spec: The settings.
        windows: How many windows of inputs and of labels were judged.
        since: Start of the first of them, 0 without any.
        until: End of the last of them.
        alarms: In order of time.
    """

    spec: MonitorSpec
    windows: int
    since: int
    until: int
    alarms: tuple[WouldBe, ...]

    @property
    def years(self) -> float:
        """How long it was, in years."""
        return (self.until - self.since) / (365 * DAY_US)


def spec_of(before: MonitorSpec, changes: Mapping[str, str]) -> MonitorSpec:
    """Settings with some changed, each given as text.

    Raises:
        Invalid: A setting is not known or its value is none.
    """
    values: dict[str, object] = asdict(before)
    for name, text in changes.items():
        if name not in values:
            hint = did_you_mean(name, values) or "known are " + ", ".join(values)
            raise Invalid(f"unknown setting {name[:60]!r}", where="policy", hint=hint)
        try:
            values[name] = float(text)
        except ValueError:
            raise Invalid(f"{text[:60]!r} is no number", where=f"policy.{name}", hint=f"{name}=1") from None
    return fill(MonitorSpec, values, where="policy")


def replay(tables: Tables, references: References, deployment: str, spec: MonitorSpec) -> Replayed:
    """Judge all that is stored of a deployment from its beginning, each version for itself, in memory only."""
    from mainspring.monitoring.rules.judging import judge_loss
    from mainspring.monitoring.rules.service import closed_service, judge_service, service_drafts
    from mainspring.monitoring.rules.windows import closed_labels

    found: list[WouldBe] = []
    spans: list[tuple[int, int]] = []
    with tables.read() as conn:
        versions = records.list_versions(conn, deployment)
        monitor = records.find_monitor(conn, deployment)
    watermark = monitor.watermark if monitor else 0
    watched = references.of(deployment, [version.version for version in versions])
    for version in versions:
        fresh, reference = replace(version, state={}), watched[version.version].reference
        if reference is not None:
            drafts, judged = _inputs(tables, fresh, reference, watermark, spec)
            found, spans = found + _would_be(fresh, drafts), spans + judged
        pack = watched[version.version].pack
        if pack is not None:
            drafts, judged = _pack(tables, fresh, pack, watermark, spec)
            found, spans = found + _would_be(fresh, drafts), spans + judged
        by_loss = bool(version.loss) and (pack is None or pack.kind == "forecasting")
        with tables.read() as conn:
            days = records.list_outcomes(conn, deployment, version.version) if by_loss else []
            counted = records.requests.list_service(conn, deployment, version=version.version)
        labelled, _ = closed_labels(days, watermark, spec)
        found += _would_be(fresh, judge_loss(fresh, labelled, spec).drafts)
        spans += [(window.start, window.end) for window in labelled]
        _, findings = judge_service({}, closed_service(counted, _FOR_EVER), spec)
        found += _would_be(fresh, [draft for one in findings for draft in service_drafts(one)])
    found += _resources(tables, versions, spec)
    return _replayed(spec, found, spans)


def _pack(
    tables: Tables, version: WatchedVersion, pack: Pack, watermark: int, spec: MonitorSpec
) -> tuple[list[Draft], list[tuple[int, int]]]:
    """The alarms about a ranking, forecasts or risks, and the windows that were judged."""
    from mainspring.monitoring.rules.packwindows import closed_windows, judge_pack

    with tables.read() as conn:
        rows = records.list_answers(conn, version.deployment, version.version, since=0, until=day_of(watermark))
    windows = closed_windows(pack, rows, watermark, spec)
    _, judged = judge_pack(version, pack, windows, spec)
    return judged.drafts, [(window.start, window.end) for window in windows]


def _resources(tables: Tables, versions: Sequence[WatchedVersion], spec: MonitorSpec) -> list[WouldBe]:
    """The alarms about the model server, which is that of all versions: they are said of the newest one."""
    from mainspring.monitoring.rules.resources import judge_resources, resource_drafts

    if not versions:
        return []
    with tables.read() as conn:
        windows = records.usage.list_usage(conn)
    _, findings = judge_resources({}, windows, _FOR_EVER, spec)
    newest = max(versions, key=lambda version: version.version)
    return _would_be(newest, [draft for one in findings for draft in resource_drafts(one)])


def replay_frame(
    frame: pl.DataFrame, spec: MonitorSpec, *, time_column: str, reference: pl.DataFrame | None
) -> Replayed:
    """Judge the days of a table: against another one, or its second half of days against the first.

    Args:
        frame: Rows with a column that tells the time.
        spec: The settings.
        time_column: That column.
        reference: What the days are compared with.
    Raises:
        Invalid: There is no such column, it does not tell the time, or there are too few days.
    """
    import polars as pl

    from mainspring.data.sketch import learn_profile, sketch
    from mainspring.monitoring.rules.judging import judge_inputs
    from mainspring.monitoring.rules.reference import Reference
    from mainspring.monitoring.rules.windows import closed_inputs

    if time_column not in frame.columns or not frame[time_column].dtype.is_temporal():
        known = [name for name in frame.columns if frame[name].dtype.is_temporal()]
        hint = "use --time " + " or ".join(known) if known else "the table needs a column of times"
        raise Invalid(f"{time_column!r} is no column of times", where="time", hint=hint)
    dated = frame.drop_nulls(time_column).sort(time_column)
    at = dated[time_column].cast(pl.Datetime("us")).to_physical()
    days = (at // DAY_US).unique(maintain_order=True)
    if reference is None:
        if len(days) < 2:
            raise Invalid(f"{len(days)} days of rows", where="time", hint="give --reference, or a table of more days")
        reference = dated.filter(at // DAY_US < days[int(len(days) * _REFERENCE_SHARE)])
        dated = dated.filter(at // DAY_US >= days[int(len(days) * _REFERENCE_SHARE)])
    inputs = [name for name in reference.columns if name != time_column]
    base = Reference.of(learn_profile(reference, time_column=time_column), inputs)
    grid = base.profile.grid
    number = dated[time_column].cast(pl.Datetime("us")).to_physical() // DAY_US
    parts = dated.with_columns(number.alias("__day")).partition_by("__day", maintain_order=True, as_dict=True)
    hours = [(int(day[0]) * DAY_US, sketch(part, grid)) for day, part in parts.items()]
    windows = closed_inputs(hours, grid, _FOR_EVER)
    version = WatchedVersion("file", 0, "file", "binary")
    drafts = judge_inputs(version, base, windows, spec).drafts
    return _replayed(spec, _would_be(version, drafts), [(window.start, window.end) for window in windows])


def is_file(name: str) -> bool:
    """Whether what is to be replayed is a file and not a deployment."""
    return Path(name).suffix in (".csv", ".parquet", ".pq", ".tsv")


def _inputs(
    tables: Tables, version: WatchedVersion, reference: Reference, watermark: int, spec: MonitorSpec
) -> tuple[list[Draft], list[tuple[int, int]]]:
    from mainspring.data.sketch import Sketch
    from mainspring.monitoring.rules.judging import judge_inputs
    from mainspring.monitoring.rules.windows import closed_inputs

    grid = reference.profile.grid
    with tables.read() as conn:
        rows = records.list_windows(conn, version.deployment, version.version, since=0, until=_FOR_EVER)
    windows = closed_inputs(((start, Sketch.from_bytes(data, grid)) for start, _, data in rows), grid, watermark)
    return judge_inputs(version, reference, windows, spec).drafts, [(window.start, window.end) for window in windows]


def _would_be(version: WatchedVersion, drafts: list[Draft]) -> list[WouldBe]:
    return [WouldBe(version.version, d.cause, d.window_start, d.window_end, d.text) for d in drafts]


def _replayed(spec: MonitorSpec, found: list[WouldBe], spans: list[tuple[int, int]]) -> Replayed:
    ordered = tuple(sorted(found, key=lambda alarm: (alarm.window_end, alarm.version, alarm.cause)))
    since, until = min((start for start, _ in spans), default=0), max((end for _, end in spans), default=0)
    return Replayed(spec, len(spans), since, until, ordered)
