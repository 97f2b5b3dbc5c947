"""The turn itself, step by step: what the demo does, and the check that each step must hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import polars as pl

from mainspring.access import Audit
from mainspring.core.clock import micros
from mainspring.core.console import plain
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Check, Data
from mainspring.demo.client import Api
from mainspring.demo.flights import LABEL, read_year
from mainspring.demo.replay import DEPLOYMENT, Replay
from mainspring.demo.report import Report, contest, day
from mainspring.demo.server import ServerProcess, free_ports
from mainspring.gates import Gates
from mainspring.loop import Cycle, Loop
from mainspring.monitoring import Monitoring
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Serving

POLICY = "keep-good"
Json = dict[str, object]


def play(root: Path, first: datetime, last: datetime, report: Report, *, keep: bool) -> None:
    """Ingest, serve, replay, and say what happened."""
    house = open_house(load(root))
    try:
        port, serving_port = free_ports(2)
        server = ServerProcess(root, port=port, serving_port=serving_port)
        server.spawn()  # it makes itself ready while the year is read
        try:
            flights = read_year(before=last)
            _ingest(house.get(Data), flights, first, report)
            server.await_ready_somewhere()
            report.step("serve", f"API and pages at {server.address}, model server at {server.model_address}")
            replay = Replay(Api(server.address), Api(server.model_address), flights, first=first)
            _deploy(replay, report)
            _replay(replay, house, first, last, report)
            _conclude(house, replay, first, last, report)
            if keep and not report.failed:
                report.console.print(f"\nThe server runs at {server.address} until Ctrl-C.", highlight=False)
                server.wait()
        finally:
            code = server.stop()
        report.step("stop", f"the server ended with {code}", held=code == 0)
    finally:
        house.close()


def _ingest(data: Data, flights: pl.DataFrame, first: datetime, report: Report) -> None:
    history = flights.filter(pl.col("scheduled") < first)
    made = data.ingest(
        "flights", history, checks=[Check(LABEL, "not_null")], key=f"before {first:%Y-%m-%d}", time_column="scheduled"
    )
    known = history.drop_nulls(LABEL).height
    text = (
        f"{made.ref}: {made.rows:,} flights with weather as it was known; {made.quarantined:,} cancelled in quarantine"
    )
    report.step("data", text, held=made.rows == known and made.rows + made.quarantined == history.height)


def _deploy(replay: Replay, report: Report) -> None:
    asked = {"policy": POLICY, "reason": "the first version", "key": "first", "as_of": micros(replay.first)}
    started = cast(Json, replay.api.post("/api/v1/cycles", asked))
    report.step("train", f"{started['pipeline_run']} trains on what is known before {replay.first:%Y-%m-%d}")
    cycle = replay.wait(str(started["id"]))
    replay.settle()
    cycle = replay.wait(str(started["id"]))
    report.step("gate", f"version {cycle['version']}: {cycle['note']}", held=cycle["state"] == "deployed")
    if cycle["state"] == "deployed":
        ready = cast(Json, replay.model.get(f"/v2/models/{DEPLOYMENT}/ready"))
        report.step(
            "deploy", f"version {cycle['version']} answers at {replay.model.address}", held=bool(ready["ready"])
        )


def _replay(replay: Replay, house: Wiring, first: datetime, last: datetime, report: Report) -> None:
    """Send the days that were not sent yet; say each alarm, and each cycle that moved."""
    if report.failed:
        return
    loop, monitoring = house.get(Loop), house.get(Monitoring)
    seen = {cycle.id: cycle.state for cycle in loop.cycles(DEPLOYMENT)}
    watermark = monitoring.status(DEPLOYMENT).monitor.watermark
    alarms = {alarm.id for alarm in monitoring.alarms(DEPLOYMENT)}
    begin = max(first, datetime(1970, 1, 1) + timedelta(microseconds=watermark // 86_400_000_000 * 86_400_000_000))
    for today in replay.days(begin, last, already=_sent(house, watermark)):
        for alarm in monitoring.alarms(DEPLOYMENT):
            if alarm.id not in alarms:
                alarms.add(alarm.id)
                report.step("alarm", f"{day(alarm.window_end - 1)} {alarm.cause}: {alarm.text}")
        for cycle in reversed(loop.cycles(DEPLOYMENT)):
            if seen.get(cycle.id) != cycle.state:
                seen[cycle.id] = cycle.state
                report.step(cycle.state, f"{today:%Y-%m-%d} {cycle.note}", held=cycle.state != "failed")
        sent = replay.progress
        report.live(f"{today:%Y-%m-%d}  {sent.predictions:,} flights answered, {sent.labels:,} landed")
    sent = replay.progress
    report.step("watch", f"{sent.predictions:,} live requests, {sent.labels:,} labels, up to {last:%Y-%m-%d}")


def _sent(house: Wiring, watermark: int) -> set[str]:
    """The flights of the last day that were answered already, when an earlier replay was cut off in it."""
    if not watermark:
        return set()
    serving = house.get(Serving)
    serving.compact()
    rows = serving.predictions(DEPLOYMENT, since=watermark // 86_400_000_000 * 86_400_000_000)
    return set(rows.select("id").collect()["id"])


def _conclude(house: Wiring, replay: Replay, first: datetime, last: datetime, report: Report) -> None:
    if "watch" not in report.seconds:
        return
    serving, registry, loop = house.get(Serving), house.get(Registry), house.get(Loop)
    cycles = loop.cycles(DEPLOYMENT)
    promoted = [cycle for cycle in cycles if cycle.state == "promoted"]
    alarms = house.get(Monitoring).alarms(DEPLOYMENT)
    performance = [alarm for alarm in alarms if alarm.cause == "performance"]
    report.step("loop", f"{len(performance)} performance alarms, {len(promoted)} promotions", held=bool(promoted))
    _check_log(house, replay, first, last, report)
    champion = registry.get(DEPLOYMENT, serving.get(DEPLOYMENT).champion)
    if promoted and champion.number > 1:
        since = _promoted_at(house, min(promoted, key=lambda cycle: cycle.started_at))
        rows = serving.labelled(DEPLOYMENT, since=since)
        found = contest(registry, champion, registry.get(DEPLOYMENT, 1), rows)
        text = (
            f"since the promotion, {found.flights:,} flights: champion AUC {found.champion:.4f}, stale version 1 "
            f"{found.stale:.4f}, difference {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        )
        report.step("worth", text, held=found.low > 0)
    why = cast(Json, replay.api.get(f"/api/v1/predictions/{_last_id(serving)}/why"))
    chain = [why["prediction"], why["version"], why["run"], why["datasets"], why["verdicts"]]
    report.step("why", f"{_last_id(serving)}: prediction, version, run, data, verdict linked", held=all(chain))
    audit = house.get(Audit)
    audit.seal()
    checked = audit.verify()
    report.step("audit", f"{checked.sealed:,} events sealed and verified", held=not checked.faults)
    report.tables(_tables(house, cycles))


def _check_log(house: Wiring, replay: Replay, first: datetime, last: datetime, report: Report) -> None:
    """Every flight that was answered is in the log once, and every label that was acknowledged too."""
    serving = house.get(Serving)
    serving.compact()
    ids = serving.predictions(DEPLOYMENT).select("id").collect()["id"]
    live = replay.flights.filter(pl.col("scheduled").is_between(first, last, closed="left"))
    labels = sum(1 for _ in serving.labels(DEPLOYMENT))
    known = live.filter(pl.col("known_at") < last).height
    held = ids.n_unique() == len(ids) == live.height and labels >= known
    text = f"{len(ids):,} predictions and {labels:,} labels on record; {live.height:,} and {known:,} were sent"
    report.step("record", text, held=held)


def _promoted_at(house: Wiring, cycle: Cycle) -> int:
    """Event time from which the promoted version answered everything: the last row of its canary."""
    rows = house.get(Serving).predictions(DEPLOYMENT).filter(pl.col("rollout") == cycle.rollout)
    return int(rows.select(pl.col("event_at").max()).collect().item()) + 1


def _last_id(serving: Serving) -> str:
    rows = serving.predictions(DEPLOYMENT).select("id", "event_at").collect().sort("event_at", "id")
    return str(rows["id"][-1])


def _tables(house: Wiring, cycles: list[Cycle]) -> dict[str, list[list[str]]]:
    rows = house.get(Serving).predictions(DEPLOYMENT)
    served = rows.group_by("version", "arm").agg(
        pl.len(), pl.col("event_at").min().alias("first"), pl.col("event_at").max().alias("last")
    )
    versions = [["version", "as", "from", "to", "answers"]]
    for row in served.collect().sort("first").iter_rows(named=True):
        versions.append([str(row["version"]), row["arm"], day(row["first"]), day(row["last"]), f"{row['len']:,}"])
    alarms = [["alarm", "window", "version", "evidence"]]
    for alarm in reversed(house.get(Monitoring).alarms(DEPLOYMENT)):
        alarms.append([alarm.cause, day(alarm.window_end - 1), str(alarm.version), alarm.text])
    verdicts = [["gate", "version", "against", "outcome", "check", "estimate [interval]"]]
    for verdict in reversed(house.get(Gates).verdicts(DEPLOYMENT)):
        head = [verdict.gate, str(verdict.version), str(verdict.champion or "-"), str(verdict.outcome)]
        for check in verdict.checks:
            found = cast(Mapping[str, object], plain(check))
            verdicts.append([*head, str(found["title"]), _interval(found)])
            head = [""] * 4
    turns = [["cycle", "as of", "because", "outcome"]]
    turns += [
        [cycle.id[:8], day(cycle.as_of), cycle.reason, f"{cycle.state}: {cycle.note}"] for cycle in reversed(cycles)
    ]
    return {
        "Which version served when": versions,
        "Alarms": alarms,
        "Verdicts": verdicts,
        "Turns of the loop": turns,
    }


def _interval(check: Mapping[str, object]) -> str:
    """The estimate, its interval, and the line it is held against."""
    value, low, high, line = (check[name] for name in ("value", "low", "high", "threshold"))
    text = str(check["outcome"])
    if isinstance(value, float):
        text += f" {value:.4f}"
    if isinstance(low, float) and isinstance(high, float):
        text += f" [{low:.4f}, {high:.4f}]"
    return f"{text} against {line:g}" if isinstance(line, float) and line else text
