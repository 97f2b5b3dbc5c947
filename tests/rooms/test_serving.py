from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US, HOUR_US, ManualClock
from mainspring.core.errors import Conflict, Failed, Invalid, NotFound, Refused
from mainspring.registry.service import Registry
from mainspring.serving.client import Client
from mainspring.serving.model import Feedback
from mainspring.serving.modelserver.plan import SPOOLS, Options, read_plan
from mainspring.serving.modelserver.spool import INSERT
from mainspring.serving.probe import Probe
from mainspring.serving.rules.decision import RolloutSpec
from mainspring.serving.service import Serving
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Journal, Tables

START = 1_364_774_400_000_000  # 2013-04-01


@dataclass
class House:
    serving: Serving
    registry: Registry
    journal: Journal
    clock: ManualClock
    folder: Path

    def kinds(self, subject: str = "") -> list[str]:
        return [event.kind for event in self.journal.read(subject=subject) if event.kind.startswith("serving.")]


def rows(seed: int = 0, n: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {"delay": rng.normal(size=n), "hour": rng.integers(0, 24, n), "carrier": rng.choice(["AA", "UA"], n)}
    return pl.DataFrame(columns)


def target(frame: pl.DataFrame) -> NDArray[np.int64]:
    late = frame["delay"].to_numpy() + (frame["carrier"] == "AA").to_numpy() > 0.5
    return np.asarray(late, dtype=np.int64)


def encoded(frame: pl.DataFrame) -> NDArray[np.float64]:
    codes = (frame["carrier"] == "UA").cast(pl.Float64)
    return frame.with_columns(codes).to_numpy()


@cache
def classifier(seed: int = 0, trees: int = 5) -> LGBMClassifier:
    model = LGBMClassifier(n_estimators=trees, num_threads=1, verbose=-1, min_child_samples=5)
    return model.fit(encoded(rows(seed)), target(rows(seed)), feature_name=["delay", "hour", "carrier"])


def build(tables: Tables, tmp_path: Path) -> House:
    clock, journal = ManualClock(START), SqlJournal(tables)
    registry = Registry(
        tables=tables, journal=journal, blobs=open_blobs("", tmp_path), clock=clock, folder=tmp_path / "registry"
    )
    serving = Serving(
        tables=tables,
        journal=journal,
        delta=open_delta("", tmp_path),
        registry=registry,
        clock=clock,
        folder=tmp_path / "serving",
    )
    for seed in range(2):
        model = classifier(seed, trees=5 + seed)
        registry.register("late", model, example=rows(seed).head(3), encoding={"carrier": ["AA", "UA"]})
    return House(serving, registry, journal, clock, tmp_path)


@pytest.fixture
def house(tables: Tables, tmp_path: Path) -> House:
    return build(tables, tmp_path)


@pytest.fixture
def lite(sqlite_tables: Tables, tmp_path: Path) -> House:
    return build(sqlite_tables, tmp_path)


@pytest.fixture
def server(lite: House) -> Iterator[Supervisor]:
    lite.serving.deploy("flights", "late", 1)
    supervisor = Supervisor(lite.serving.folder, ServerOptions(drain_s=0.0), prepare=lite.serving.write_plan)
    supervisor.start()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def client(server: Supervisor) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_a_deployment_is_row_history_event_and_plan(house: House) -> None:
    made = house.serving.deploy("flights", "late", 1, reason="first")
    assert house.serving.get("flights") == made
    assert [change.traffic.champion for change in house.serving.history("flights")] == [1]
    assert house.kinds("deployments/flights") == ["serving.traffic_changed", "serving.deployed"]
    plan = read_plan(house.serving.folder)
    assert [(e.name, [a.version for a in e.arms]) for e in plan.endpoints] == [("flights", [1])]
    assert (Path(plan.endpoints[0].arms[0].folder) / "manifest.json").is_file()


def test_options_of_an_endpoint_stay_until_others_are_given(house: House) -> None:
    quiet = Options(deadline_ms=900, redact=("carrier",))
    assert house.serving.deploy("flights", "late", 1, options=quiet).options == quiet
    assert house.serving.deploy("flights", "late", 2).options == quiet
    assert read_plan(house.serving.folder).endpoints[0].options == quiet
    with pytest.raises(Invalid, match="carier"):
        house.serving.deploy("flights", "late", 2, options=Options(redact=("carier",)))


def test_a_version_that_is_deleted_meanwhile_is_not_deployed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(model: str) -> list[str]:
        house.registry.delete_version("late", 1)
        return [model]

    monkeypatch.setattr(house.registry, "names", names)  # asked after the version was found, before it is deployed
    with pytest.raises(NotFound, match="no version 1"):
        house.serving.deploy("flights", "late", 1)
    assert house.serving.deployments() == []


def test_a_deployment_goes_on_under_the_new_name_of_its_model(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    house.registry.rename("late", "delays")
    house.registry.register("other", classifier(), example=rows().head(3), encoding={"carrier": ["AA", "UA"]})
    with pytest.raises(Conflict, match="serves the model 'late'"):
        house.serving.deploy("flights", "other", 1)
    assert house.serving.deploy("flights", "delays", 2).model == "delays"
    assert house.serving.deploy("flights", "late", 1).model == "delays"
    assert house.serving.users("delays", 1) == ["deployments/flights"]


def test_the_history_says_what_was_live_at_any_time(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    house.clock.advance(DAY_US)
    house.serving.deploy("flights", "late", 2)
    live = [house.serving.live_at("flights", START + shift) for shift in (-1, 0, DAY_US - 1, DAY_US)]
    assert [change and (change.traffic.champion, change.until) for change in live] == [
        None,
        (1, START + DAY_US),
        (1, START + DAY_US),
        (2, 0),
    ]


def test_an_unknown_deployment_is_named_with_its_neighbour(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    with pytest.raises(NotFound, match="flights"):
        house.serving.get("flihgts")


def test_a_plan_that_would_say_the_same_is_not_written_again(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    assert house.serving.write_plan() == house.serving.write_plan() == 1


def test_two_projects_may_use_one_name_and_see_only_their_own(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    with calling(Caller(project="other")):
        house.registry.register("other", classifier(3), example=rows().head(3), encoding={"carrier": ["AA", "UA"]})
        assert house.serving.deployments() == []
        assert house.serving.deploy("flights", "other", 1).endpoint == "other.flights"
    assert [made.endpoint for made in house.serving.deployments()] == ["flights"]
    plan = read_plan(house.serving.folder)
    assert [endpoint.name for endpoint in plan.endpoints] == ["flights", "other.flights"]


def test_a_rollout_started_twice_is_one_and_a_second_version_waits(house: House) -> None:
    house.registry.register("late", classifier(2, 9), example=rows().head(3), encoding={"carrier": ["AA", "UA"]})
    house.serving.deploy("flights", "late", 1)
    first = house.serving.start_rollout("flights", 2)
    assert house.serving.start_rollout("flights", 2) == first
    with pytest.raises(Conflict, match="on trial"):
        house.serving.start_rollout("flights", 3)
    with pytest.raises(Conflict, match="under way"):
        house.serving.deploy("flights", "late", 3)


def test_a_version_that_is_live_is_not_rolled_out(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    with pytest.raises(Conflict, match="is live"):
        house.serving.start_rollout("flights", 1)


def test_promotion_and_rollback_by_hand_leave_their_events(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    made = house.serving.start_rollout("flights", 2, share=0.5)
    assert house.serving.promote("flights", "looks good").state == "promoted"
    assert house.serving.get("flights").champion == 2
    assert house.kinds(made.ref) == ["serving.rollout_started", "serving.rollout_promoted"]
    assert house.serving.rollback("flights", "it was not").champion == 1
    with pytest.raises(Conflict, match="no rollout"):
        house.serving.promote("flights")


def test_feedback_sent_twice_is_stored_once_and_never_contradicted(house: House) -> None:
    house.serving.deploy("flights", "late", 1)
    items = [Feedback("a", 1), Feedback("b", 0.0), Feedback("a", 1.0), Feedback("a", "seen", kind="click")]
    assert house.serving.feedback("flights", items) == 3
    assert house.serving.feedback("flights", items) == 0
    with pytest.raises(Conflict, match="already"):
        house.serving.feedback("flights", [Feedback("c", 1.0), Feedback("a", 0.0)])
    stored = house.serving.feedback_after("flights")
    assert [(item.seq, item.prediction_id, item.value) for item in stored] == [
        (1, "a", 1.0),
        (2, "b", 0.0),
        (3, "a", "seen"),
    ]
    assert house.serving.feedback_after("flights", 2, limit=1)[0].seq == 3


def ask(client: Client, n: int, *, start: int = START, prefix: str = "r", seed: int = 5) -> list[tuple[str, int, str]]:
    """n requests of one row, an event-time minute apart: (id, truth, arm)."""
    frame = rows(seed, n)
    truth = target(frame)
    asked = []
    for i, row in enumerate(frame.to_dicts()):
        name = f"{prefix}-{i}"
        cells = {k: [v] for k, v in row.items()}
        answer = client.predict("flights", cells, request_id=name, event_time=start + i * 60_000_000)
        asked.append((answer.id, int(truth[i]), answer.arm))
    return asked


def test_what_is_asked_is_answered_logged_labelled_and_given_back_typed(lite: House, client: Client) -> None:
    frame = rows(3, 50)
    expected = lite.registry.load("late", 1).predict(frame)["probability"]
    answer = client.predict("flights", frame.to_dict(as_series=False), request_id="batch", event_time="2013-05-01")
    assert answer.outputs["probability"] == pytest.approx(expected, abs=1e-12)
    assert answer.ids[:2] == ["batch.0", "batch.1"]
    ask(client, 20)
    assert lite.serving.compact() == 70
    assert lite.serving.compact() == 0
    lite.serving.feedback("flights", [Feedback(name, i % 2) for i, name in enumerate(answer.ids[:10])])
    labelled = lite.serving.labelled("flights")
    assert labelled.select(rows().columns).equals(frame.head(10))
    assert labelled["label"].to_list() == [0, 1] * 5
    assert labelled["score"].to_list() == pytest.approx(expected[:10])
    assert lite.serving.labelled("flights", until=START).height == 0
    row = lite.serving.prediction("batch.1")
    assert (row.version, row.status, row.feedback[0].value, row.inputs["hour"]) == (1, 200, 1.0, frame["hour"][1])
    assert {entry.id for entry in lite.serving.recent("flights", 5)} <= {f"r-{i}" for i in range(20)}


def test_rows_of_a_dead_server_are_not_lost_and_its_spool_is_removed(
    lite: House, server: Supervisor, client: Client
) -> None:
    ask(client, 5)
    server.stop()
    spools = lite.serving.folder / SPOOLS
    assert list(spools.glob("*.sqlite"))
    assert lite.serving.compact() == 5
    assert not list(spools.glob("*.sqlite*"))
    assert lite.serving.predictions("flights").collect().height == 5


def test_a_crash_between_the_table_commit_and_the_trim_doubles_nothing(lite: House, client: Client) -> None:
    ask(client, 5)
    spool = next((lite.serving.folder / SPOOLS).glob("*.sqlite"))
    with sqlite3.connect(spool) as conn:
        kept = conn.execute("select * from prediction").fetchall()
    conn.close()
    assert lite.serving.compact() == 5
    conn = sqlite3.connect(spool, timeout=30)
    with conn:
        conn.executemany(INSERT, kept)
    conn.close()
    assert lite.serving.compact() == 0
    ask(client, 3, prefix="more")
    assert lite.serving.compact() == 3
    assert lite.serving.predictions("flights").collect()["id"].n_unique() == 8


QUICK = RolloutSpec(min_duration_us=HOUR_US, max_duration_us=10 * DAY_US)


def roll(
    lite: House,
    server: Supervisor,
    client: Client,
    *,
    n: int,
    good: bool,
    spec: RolloutSpec = QUICK,
    share: float = 0.5,
) -> str:
    """A rollout of version 2: its labels make the canary right, or wrong, and the champion wrong one time in 4."""
    made = lite.serving.start_rollout("flights", 2, share=share, spec=spec)
    server.apply()
    for i in range(n):
        answer = client.predict(
            "flights",
            {"delay": [0.1], "hour": [3], "carrier": ["AA"]},
            request_id=f"r{i}",
            event_time=START + i * 60_000_000,
        )
        said = answer.outputs["label"][0]
        wrong = (i % 4 == 0) if answer.arm == "champion" else not good
        assert isinstance(said, int)
        lite.serving.feedback("flights", [Feedback(f"r{i}", 1 - said if wrong else said)])
    return made.id


def test_a_better_version_is_promoted_when_its_labels_prove_it(lite: House, server: Supervisor, client: Client) -> None:
    rollout = roll(lite, server, client, n=300, good=True)
    first, second = lite.serving.judge(rollout), lite.serving.judge(rollout)
    assert first == second
    done = lite.serving.advance(rollout)
    assert (done.state, lite.serving.get("flights").champion) == ("promoted", 2)
    assert done.decision.no_harm >= 20
    assert lite.serving.advance(rollout) == done
    assert lite.kinds(done.ref) == ["serving.rollout_started", "serving.rollout_promoted"]
    server.apply()
    assert {arm for _, _, arm in ask(client, 5)} == {"champion"}


def test_a_worse_version_is_rolled_back(lite: House, server: Supervisor, client: Client) -> None:
    rollout = roll(lite, server, client, n=300, good=False)
    done = lite.serving.advance(rollout)
    assert (done.state, lite.serving.get("flights").champion) == ("rolled_back", 1)
    assert "quality" in done.reason
    assert done.decision.evidence.labelled == done.decision.evidence.requests


def test_a_rollout_survives_the_death_of_everything(lite: House, server: Supervisor, client: Client) -> None:
    rollout = roll(lite, server, client, n=40, good=True)
    arms = {name: arm for name, _, arm in ask(client, 30)}
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    server.wait_ended()
    (lite.serving.folder / "plan.json").unlink()
    house = House(*(getattr(lite, name) for name in ("serving", "registry", "journal", "clock", "folder")))
    server.ensure()
    server.start()
    assert house.serving.rollout(rollout).state == "running"
    with Client(server.url) as again:
        assert {name: arm for name, _, arm in ask(again, 30)} == arms
    assert house.serving.judge(rollout).evidence.requests[0] + house.serving.judge(rollout).evidence.requests[1] == 70
    assert house.serving.rollback("flights").champion == 1
    server.apply()


def test_each_step_is_proved_before_the_next_share(lite: House, server: Supervisor, client: Client) -> None:
    spec = RolloutSpec(min_duration_us=HOUR_US, then=(0.75,))
    done = lite.serving.advance(roll(lite, server, client, n=300, good=True, spec=spec))
    assert (done.state, done.step, done.share) == ("running", 1, 0.75)
    assert lite.serving.advance(done.id).decision.action == "continue"
    arms = lite.serving.get("flights").traffic.arms
    assert [(arm.version, arm.share) for arm in arms] == [(1, 0.25), (2, 0.75)]


def test_without_labels_a_rollout_is_held_and_never_promoted(lite: House, client: Client) -> None:
    made = lite.serving.start_rollout("flights", 2, spec=RolloutSpec(min_duration_us=0, max_duration_us=HOUR_US))
    assert lite.serving.advance(made.id).decision.action == "continue"
    ask(client, 120)
    held = lite.serving.advance(made.id)
    assert (held.state, held.is_final) == ("held", False)
    lite.serving.advance(made.id)
    assert lite.kinds(made.ref) == ["serving.rollout_started", "serving.rollout_held"]


def test_a_package_that_was_tampered_with_is_not_served_and_the_old_one_stays(
    lite: House, server: Supervisor, client: Client
) -> None:
    lite.registry.materialize("late", 2, lite.folder / "copy")
    digest = lite.registry.get("late", 2).digest
    folder = lite.serving.folder / "models" / f"late-2-{digest[:16]}"
    lite.registry.materialize("late", 2, folder)
    file = next(path for path in folder.iterdir() if path.suffix not in (".json",))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"x")
    lite.serving.deploy("flights", "late", 2)
    with pytest.raises(Failed, match="could not be loaded"):
        server.apply()
    assert client.predict("flights", {"delay": [0.1], "hour": [3], "carrier": ["AA"]}).version == "1"


def test_a_version_that_changes_the_kind_of_a_logged_column_is_refused(lite: House, client: Client) -> None:
    ask(client, 1)
    lite.serving.compact()
    numbers = rows().with_columns(pl.lit(1.0).alias("carrier"))
    model = LogisticRegression().fit(numbers.to_numpy(), target(rows()))
    lite.registry.register("late", model, example=numbers.head(3))
    with pytest.raises(Refused, match="carrier"):
        lite.serving.deploy("flights", "late", 3)


def test_golden_requests_go_through_a_real_server(sqlite_tables: Tables, tmp_path: Path) -> None:
    registry = Registry(
        tables=sqlite_tables,
        journal=SqlJournal(sqlite_tables),
        blobs=open_blobs("", tmp_path),
        clock=ManualClock(START),
        folder=tmp_path,
    )
    frame = rows().drop("carrier")
    model = LinearRegression().fit(frame.to_numpy(), frame["delay"].to_numpy() * 2)
    version = registry.register("line", model, example=frame.head(3))
    answers = Probe(registry)(version, frame)
    expected = registry.load("line", 1).predict(frame)["prediction"]
    assert answers["prediction"] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(Invalid, match="hour"):
        Probe(registry)(version, frame.drop("hour"))
