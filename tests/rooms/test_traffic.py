"""Who is asked beside the champion: what that changes, what of it is on record, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from lightgbm import LGBMClassifier
from tests import spools
from tests.rooms.test_serving import START, House, build, classifier, rows, target

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Conflict, Invalid, NotFound, Refused
from mainspring.serving.model import Feedback, Route, Shadow
from mainspring.serving.modelserver.plan import SPOOLS, Options, read_plan
from mainspring.serving.rules.decision import RolloutSpec
from mainspring.storage.ports import Tables

COLUMNS = [("delay", "float"), ("hour", "float"), ("carrier", "text")]


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    made = build(sqlite_tables, tmp_path)
    made.serving.deploy("flights", "late", 1)
    return made


def test_a_shadow_is_row_history_event_and_plan(house: House) -> None:
    house.clock.advance(DAY_US)
    made = house.serving.shadow("flights", 2, share=0.5, reason="before the canary")
    assert made.traffic.shadows == (Shadow(2, 0.5),)
    assert [arm.share for arm in made.traffic.arms] == [1.0]
    assert house.serving.shadow("flights", 2, share=0.5) == made
    past, now = (house.serving.live_at("flights", START + shift) for shift in (0, DAY_US))
    assert past is not None
    assert now is not None
    assert (past.traffic.shadows, now.traffic.shadows, now.reason) == ((), (Shadow(2, 0.5),), "before the canary")
    event = house.journal.read(subject="deployments/flights")[-1]
    assert event.payload["shadows"] == {"2": 0.5}
    (entry,) = read_plan(house.serving.folder).endpoints
    assert [(shadow.arm.version, shadow.arm.share, shadow.arm.name) for shadow in entry.shadows] == [(2, 0.5, "shadow")]
    assert [field.name for field in entry.shadows[0].inputs] == ["delay", "hour", "carrier"]
    assert house.serving.users("late", 2) == ["deployments/flights"]


def test_a_shadow_ends_and_what_never_was_one_does_not(house: House) -> None:
    house.serving.shadow("flights", 2)
    assert house.serving.unshadow("flights", 2).traffic.shadows == ()
    with pytest.raises(NotFound, match="no shadow"):
        house.serving.unshadow("flights", 2)


def test_a_rollout_leaves_other_shadows_and_takes_its_own_version_from_them(house: House) -> None:
    house.registry.register("late", classifier(2, 9), example=rows().head(3), encoding={"carrier": ["AA", "UA"]})
    house.serving.shadow("flights", 2)
    house.serving.shadow("flights", 3)
    house.serving.start_rollout("flights", 2, share=0.1)
    assert house.serving.get("flights").traffic.shadows == (Shadow(3),)
    house.serving.promote("flights")
    live = house.serving.get("flights").traffic
    assert (live.champion, live.shadows) == (2, (Shadow(3),))
    assert house.serving.rollback("flights").traffic.shadows == (Shadow(3),)
    assert house.serving.deploy("flights", "late", 3).traffic.shadows == ()


def test_what_answers_or_cannot_be_compared_is_no_shadow(house: House) -> None:
    with pytest.raises(Conflict, match="answers already"):
        house.serving.shadow("flights", 1)
    with pytest.raises(Invalid, match="above 0"):
        house.serving.shadow("flights", 2, share=0.0)
    house.serving.deploy("flights", "late", 1, options=Options(log_share=0.0))
    with pytest.raises(Conflict, match="nothing is logged"):
        house.serving.shadow("flights", 2)


def test_pairs_on_the_same_inputs_show_who_is_better_once_labels_arrive(house: House) -> None:
    house.serving.shadow("flights", 2)
    frame, truth = rows(7, 120), target(rows(7, 120))
    good = [0.9 if late else 0.1 for late in truth]
    usual = {"request_id": "", "event_at": START, "at": START, "key": ""}
    answered, said = [], []
    for i, row in enumerate(frame.to_dicts()):
        about = {**usual, "id": f"r{i}", "request_id": f"r{i}", "key": f"r{i}"}
        cells = [row["delay"], float(row["hour"]), row["carrier"]]
        answered.append({**about, "inputs": cells, "outputs": {"probability": 0.5, "label": "1"}})
        outputs = {"probability": good[i], "label": str(int(good[i] > 0.5))}
        said.append({**about, "inputs": [], "outputs": outputs, "version": 2, "arm": "shadow", "propensity": 1.0})
    bad = {"outputs": None, "status": 422, "error": "input 'delay' has a missing value"}
    said[0] |= bad
    said[1] |= {**bad, "status": 500, "error": "the model raised ValueError"}
    folder = house.serving.folder / SPOOLS
    spools.write(folder / "a.sqlite", answered, columns=COLUMNS, deployment="flights")
    spools.write(folder / "b.sqlite", said, columns=[], deployment="shadows/flights")
    (before,) = house.serving.shadows("flights")
    (entry,) = before.comparisons
    assert (entry.against, entry.rows, entry.failed, entry.answered, entry.verdict) == (1, 120, 2, 118, "no labels")
    assert entry.distance is not None
    assert entry.distance[0] == pytest.approx(0.4)
    assert (entry.columns, entry.errors) == ((("delay", 1),), (("the model raised ValueError", 1),))
    house.serving.feedback("flights", [Feedback(f"r{i}", int(late)) for i, late in enumerate(truth)])
    (after,) = house.serving.shadows("flights")
    (entry,) = after.comparisons
    assert (entry.loss, entry.labelled, entry.verdict) == ("Brier score", 118, "better")
    assert entry.losses is not None
    assert list(entry.losses) == pytest.approx([0.25, 0.01])
    assert entry.loss_difference.mean == pytest.approx(-0.24)
    assert house.serving.predictions("flights").collect().height == 120


def asked(house: House, count: int = 60) -> None:
    """Requests of users in the log, answered by version 1; labels of all."""
    frame, truth = rows(7, count), target(rows(7, count))
    said = house.registry.load("late", 1).predict(frame)["probability"].tolist()
    lines: list[dict[str, object]] = []
    for i, row in enumerate(frame.to_dicts()):
        cells = [row["delay"], float(row["hour"]), row["carrier"]]
        about = {"id": f"r{i}", "request_id": f"r{i}", "key": f"r{i}", "at": START + i, "event_at": START + i}
        outputs = {"probability": said[i], "label": str(int(said[i] >= 0.5))}
        lines.append({**about, "inputs": cells, "outputs": outputs})
    spools.write(house.serving.folder / SPOOLS / "a.sqlite", lines, columns=COLUMNS, deployment="flights")
    house.serving.feedback("flights", [Feedback(f"r{i}", int(late)) for i, late in enumerate(truth)])


def test_a_replay_asks_a_version_what_users_asked_and_is_on_record(house: House) -> None:
    asked(house)
    told: list[tuple[int, int]] = []
    made = house.serving.replay("flights", 2, limit=50, tell=lambda done, of: told.append((done, of)))
    assert told == [(0, 50), (50, 50)]
    assert (made.state, made.rows, made.done, made.version) == ("done", 50, 50, 2)
    (entry,) = made.report
    assert (entry.against, entry.answered, entry.labelled, entry.failed) == (1, 50, 50, 0)
    frame = rows(7, 60).tail(50)
    before, after = (house.registry.load("late", n).predict(frame)["probability"].tolist() for n in (1, 2))
    apart = [new - old for old, new in zip(before, after, strict=True)]
    assert entry.difference.mean == pytest.approx(sum(apart) / 50)
    assert entry.distance is not None
    assert entry.distance[3] == pytest.approx(max(map(abs, apart)))
    assert all(took > 0 for side in entry.model_us for took in side)
    (event,) = [e for e in house.journal.read(subject=made.ref) if e.kind == "serving.replay_ended"]
    assert (event.payload["digest"], event.payload["verdicts"]) == (made.digest, {"1": entry.verdict})
    assert len(made.digest) == 64
    assert house.serving.replays("flights") == [house.serving.find_replay(made.id)]
    assert not any((house.serving.folder / "replays").iterdir())


def test_a_replay_that_is_cancelled_ends_and_stays_cancelled(house: House) -> None:
    asked(house)

    def cancel(done: int, of: int) -> None:
        house.serving.cancel_replay(house.serving.replays()[0].id)

    with pytest.raises(Conflict, match="was cancelled"):
        house.serving.replay("flights", 2, tell=cancel)
    (found,) = house.serving.replays("flights")
    assert (found.state, found.report, "by " in found.reason) == ("cancelled", (), True)
    assert house.serving.cancel_replay(found.id) == found


def test_a_replay_whose_process_is_gone_has_failed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(house)
    monkeypatch.setattr(house.serving, "_run_replay", lambda made, rows, tell: made)  # killed before it did a thing
    made = house.serving.replay("flights", 2)
    assert house.serving.find_replay(made.id).state == "running"
    house.clock.advance(DAY_US)
    assert house.serving.find_replay(made.id).state == "failed"


def test_what_cannot_be_replayed_is_refused_before_it_begins(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.serving, "_run_replay", lambda made, rows, tell: made)  # what is not refused began
    with pytest.raises(NotFound, match="no prediction"):
        house.serving.replay("flights", 2)
    asked(house)
    with pytest.raises(NotFound, match="nothing is logged in that time"):
        house.serving.replay("flights", 2, until=START)
    with pytest.raises(Invalid, match="rows"):
        house.serving.replay("flights", 2, limit=0)
    wider = rows(1).head(40).select("delay", "hour", "carrier", pl.col("delay").alias("wind"))
    codes = wider.with_columns((pl.col("carrier") == "UA").cast(pl.Float64)).to_numpy()
    names = wider.columns
    model = LGBMClassifier(n_estimators=2, verbose=-1, min_child_samples=5).fit(
        codes, target(wider), feature_name=names
    )
    house.registry.register("late", model, example=wider.head(3), encoding={"carrier": ["AA", "UA"]})
    with pytest.raises(Refused, match="'wind' is not in the log"):
        house.serving.replay("flights", 3)
    house.clock.advance(DAY_US)
    house.serving.deploy("flights", "late", 1, options=Options(redact=("hour",)))
    with pytest.raises(Refused, match="'hour' is redacted"):
        house.serving.replay("flights", 2)
    house.clock.advance(DAY_US)
    house.serving.deploy("flights", "late", 1, options=Options())
    house.serving.replay("flights", 2)  # what was logged before it was redacted
    more = {"id": "z", "request_id": "z", "key": "z", "at": START + DAY_US + 5, "event_at": START + DAY_US}
    row = {**more, "inputs": [1.0, None, "AA"], "outputs": {"probability": 0.5, "label": "1"}}
    spools.write(house.serving.folder / SPOOLS / "b.sqlite", [row], columns=COLUMNS, deployment="flights")
    with pytest.raises(Refused, match="'hour' was redacted in a part of that time"):
        house.serving.replay("flights", 2)
    assert len(house.serving.replays()) == 1


def test_a_version_without_an_input_that_is_redacted_stands_beside_one_that_has_it(house: House) -> None:
    narrow = rows().select("delay", "hour")
    model = LGBMClassifier(n_estimators=2, verbose=-1, min_child_samples=5).fit(narrow.to_numpy(), target(rows()))
    house.registry.register("late", model, example=narrow.head(3))
    house.serving.deploy("flights", "late", 1, options=Options(redact=("carrier",)))
    assert house.serving.shadow("flights", 3).traffic.shadows == (Shadow(3),)
    house.serving.start_rollout("flights", 3)
    assert house.serving.promote("flights").version == 3
    assert house.serving.get("flights").options.redact == ("carrier",)


def test_shares_of_many_versions_are_one_change_and_end_with_a_rollback(house: House) -> None:
    house.registry.register("late", classifier(2, 9), example=rows().head(3), encoding={"carrier": ["AA", "UA"]})
    house.serving.shadow("flights", 3)
    house.clock.advance(DAY_US)
    made = house.serving.weigh("flights", {1: 0.5, 2: 0.25, 3: 0.25}, reason="to learn")
    assert [(arm.name, arm.version, arm.share) for arm in made.traffic.arms] == [
        ("champion", 1, 0.5),
        ("v2", 2, 0.25),
        ("v3", 3, 0.25),
    ]
    assert made.traffic.shadows == ()
    (entry,) = read_plan(house.serving.folder).endpoints
    assert [(arm.version, arm.share) for arm in entry.arms] == [(1, 0.5), (2, 0.25), (3, 0.25)]
    with pytest.raises(Conflict, match="version 2 is live with 25% of the traffic"):
        house.serving.start_rollout("flights", 2)
    house.clock.advance(DAY_US)
    assert house.serving.rollback("flights").traffic.words == "champion 1: 100%"
    live = [house.serving.live_at("flights", START + shift) for shift in (0, DAY_US - 1, DAY_US, 2 * DAY_US)]
    assert [change and (change.traffic.words, change.until) for change in live] == [
        ("champion 1: 100%", START + 1),
        ("champion 1: 100%, shadow 3: 100%", START + DAY_US),
        ("champion 1: 50%, v2 2: 25%, v3 3: 25%", START + 2 * DAY_US),
        ("champion 1: 100%", 0),
    ]
    assert house.serving.weigh("flights", {2: 1.0}).champion == 2
    house.serving.start_rollout("flights", 1)
    with pytest.raises(Conflict, match="a rollout is under way"):
        house.serving.weigh("flights", {1: 0.5, 2: 0.5})


def test_a_rollout_beside_standing_shares_takes_from_each_and_gives_back(house: House) -> None:
    house.registry.register("late", classifier(2, 9), example=rows().head(3), encoding={"carrier": ["AA", "UA"]})
    house.serving.weigh("flights", {1: 0.75, 2: 0.25})
    spec = RolloutSpec(judges=("errors",), promote_on="errors", then=(0.5,))
    made = house.serving.start_rollout("flights", 3, share=0.2, spec=spec)
    assert (made.standing, made.weight) == ({1: 0.75, 2: 0.25}, 0.75)
    live = house.serving.get("flights").traffic
    assert [(arm.name, arm.version, arm.share) for arm in live.arms] == [
        ("champion", 1, pytest.approx(0.6)),
        ("v2", 2, pytest.approx(0.2)),
        ("canary", 3, 0.2),
    ]
    (entry,) = read_plan(house.serving.folder).endpoints
    assert (entry.salt, entry.rollout) == ("weights", made.id)
    assert house.serving.rollback("flights").traffic.words == "champion 1: 75%, v2 2: 25%"
    house.serving.start_rollout("flights", 3, share=0.2, spec=spec)
    house.serving.promote("flights")
    assert house.serving.get("flights").traffic.words == "champion 3: 75%, v2 2: 25%"
    words = [change.traffic.words for change in house.serving.history("flights")][::-1]
    trial = "champion 1: 60%, v2 2: 20%, canary 3: 20%"
    before = "champion 1: 75%, v2 2: 25%"
    assert words == ["champion 1: 100%", before, trial, before, trial, "champion 3: 75%, v2 2: 25%"]


def test_shares_that_are_none_or_a_champion_without_one_are_refused(house: House) -> None:
    for wrong in ({1: 0.5, 2: 0.4}, {1: 1.5, 2: -0.5}, {}):
        with pytest.raises(Invalid, match="do not sum to 1"):
            house.serving.weigh("flights", wrong)
    with pytest.raises(Invalid, match="has no share"):
        house.serving.weigh("flights", {1: 0.5, 2: 0.5}, champion=3)
    with pytest.raises(NotFound):
        house.serving.weigh("flights", {1: 0.5, 7: 0.5})
    assert len(house.serving.history("flights")) == 1


def test_a_route_is_on_record_loads_its_version_and_stays_through_a_rollout(house: House) -> None:
    made = house.serving.route("flights", Route("x-beta", "yes", 2))
    assert made.traffic.routed_only == [2]
    (entry,) = read_plan(house.serving.folder).endpoints
    assert [(arm.name, arm.version, arm.share) for arm in entry.arms] == [("champion", 1, 1.0), ("header", 2, 0.0)]
    assert [(route.header, route.value, route.version) for route in entry.routes] == [("x-beta", "yes", 2)]
    assert house.serving.users("late", 2) == ["deployments/flights"]
    event = house.journal.read(subject="deployments/flights")[-1]
    assert event.payload["routes"] == ["x-beta: yes to 2"]
    house.serving.start_rollout("flights", 2)
    (entry,) = read_plan(house.serving.folder).endpoints
    assert [(arm.name, arm.version) for arm in entry.arms] == [("champion", 1), ("canary", 2)]
    assert house.serving.rollback("flights").traffic.routes == (Route("x-beta", "yes", 2),)
    assert house.serving.unroute("flights", "x-beta", "yes").traffic.routes == ()
    with pytest.raises(NotFound, match="no route"):
        house.serving.unroute("flights", "x-beta", "yes")
