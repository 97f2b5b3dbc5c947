"""Model cards on real databases, made from real rooms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.canonical import digest
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.governance import Governance
from mainspring.governance.commands import card as card_command
from mainspring.registry import ModelVersion, Registry
from mainspring.storage.delta import DeltaTables, FilePlace
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Blobs, Journal, Tables
from mainspring.tracking import Tracking

FRAME = pl.DataFrame({"a": [0.0, 1.0, None, 3.0], "y": [0.0, 2.0, 4.0, 6.0]})


@dataclass(frozen=True, slots=True)
class Room:
    """Governance over real lower rooms."""

    governance: Governance
    registry: Registry
    tracking: Tracking
    journal: Journal
    blobs: Blobs
    dataset: str
    run_id: str

    def register(self) -> ModelVersion:
        """A version with all of its lineage."""
        model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
        return self.registry.register(
            "delay",
            model,
            example=FRAME.select("a").drop_nulls(),
            run_id=self.run_id,
            datasets=[self.dataset],
            reference=self.dataset,
            metrics={"rmse": 1.5},
        )


@pytest.fixture
def room(tables: Tables, tmp_path: Path) -> Iterator[Room]:
    journal, clock, blobs = SqlJournal(tables), ManualClock(1_700_000_000_000_000), FileBlobs(tmp_path / "blobs")
    delta = DeltaTables(FilePlace(tmp_path / "delta"))
    data = Data(tables=tables, journal=journal, delta=delta, blobs=blobs, clock=clock)
    tracking = Tracking(tables=tables, journal=journal, clock=clock)
    registry = Registry(tables=tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path)
    dataset = data.ingest("trips", FRAME)
    run = tracking.create_run("delays", seed=7)
    tracking.log_batch(run.id, params={"depth": "3"})
    tracking.finish(run.id)
    governance = Governance(
        tables=tables, journal=journal, blobs=blobs, registry=registry, tracking=tracking, data=data, clock=clock
    )
    yield Room(governance, registry, tracking, journal, blobs, dataset.ref, run.id)


def test_a_card_holds_what_the_rooms_have_on_record(room: Room) -> None:
    version = room.register()
    content = room.governance.card("delay", 1, purpose="minutes of delay", limitations="US only").content
    assert (content.model_digest, content.metrics) == (version.digest, {"rmse": 1.5})
    (dataset,) = content.datasets
    assert (dataset.ref, dataset.role, dataset.rows, dict(dataset.missing)) == (
        "datasets/trips/1",
        "training",
        4,
        {"a": 0.25},
    )
    assert content.run is not None
    assert (content.run.experiment, content.run.seed, dict(content.run.params)) == ("delays", 7, {"depth": "3"})
    assert [field.name for field in content.inputs] == ["a"]
    assert "scikit-learn" in content.environment


def test_the_digest_is_that_of_the_stored_bytes(room: Room) -> None:
    room.register()
    card = room.governance.card("delay", 1)
    stored = room.blobs.get(card.digest)
    assert digest(stored) == card.digest
    assert json.loads(stored)["model"] == "delay"
    assert room.governance.read("delay", 1) == card


def test_nothing_new_writes_nothing(room: Room) -> None:
    room.register()
    first, again = room.governance.card("delay", 1), room.governance.card("delay")
    assert again == first
    (event,) = room.journal.read(kinds=["governance.card_written"])
    assert (event.subject, event.payload["digest"], event.payload["revision"]) == ("models/delay/1", first.digest, 1)


def test_other_words_make_a_new_revision_and_the_old_one_stays(room: Room) -> None:
    room.register()
    first = room.governance.card("delay", 1, limitations="US only")
    second = room.governance.card("delay", 1, limitations="US and Canada")
    assert (first.revision, second.revision) == (1, 2)
    assert room.governance.read("delay", 1).content.limitations == "US and Canada"
    assert room.governance.read("delay", 1, revision=1) == first
    assert [row.revision for row in room.governance.revisions("delay", 1)] == [2, 1]


def test_the_words_go_with_the_model_to_its_next_version(room: Room) -> None:
    room.register()
    room.governance.card("delay", 1, purpose="minutes", limitations="US only")
    room.register()
    assert room.governance.card("delay", 2).content.limitations == "US only"
    room.register()
    attached = room.governance.attach("delay", 3, "verdict", {"outcome": "pass"})
    assert attached.content.purpose == "minutes"
    assert room.governance.card("delay", 3, purpose="").content.purpose == ""


def test_a_verdict_is_attached_once(room: Room) -> None:
    room.register()
    room.governance.card("delay", 1)
    payload = {"outcome": "pass", "id": "0192"}
    first = room.governance.attach("delay", 1, "verdict", payload)
    assert room.governance.attach("delay", 1, "verdict", payload) == first
    assert first.revision == 2
    assert [entry.payload for entry in first.content.attachments] == [payload]
    assert room.governance.card("delay", 1) == first  # a later card keeps its sections


def test_what_is_no_json_cannot_be_attached(room: Room) -> None:
    room.register()
    with pytest.raises(Invalid, match="not plain JSON"):
        room.governance.attach("delay", 1, "verdict", {"auc": float("nan")})
    with pytest.raises(Invalid, match="section"):
        room.governance.attach("delay", 1, "my verdict", {})


def test_many_at_once_lose_no_section(room: Room) -> None:
    room.register()
    room.governance.card("delay", 1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: room.governance.attach("delay", 1, "verdict", {"number": number}), range(8)))
    numbers = [entry.payload["number"] for entry in room.governance.read("delay", 1).content.attachments]
    assert sorted(map(int, map(str, numbers))) == list(range(8))


def test_lineage_that_is_gone_leaves_its_reference(room: Room) -> None:
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    room.registry.register(
        "delay", model, example=FRAME.select("a").drop_nulls(), run_id="f" * 32, datasets=["datasets/gone/4"]
    )
    content = room.governance.card("delay", 1).content
    assert content.run is not None and content.run.id == "f" * 32
    assert (content.datasets[0].ref, content.datasets[0].rows) == ("datasets/gone/4", None)


def test_a_card_nobody_wrote_is_not_found_with_the_command(room: Room) -> None:
    room.register()
    with pytest.raises(NotFound) as caught:
        room.governance.read("delay", 1)
    assert caught.value.hint == "mainspring card delay 1"
    room.governance.card("delay", 1)
    with pytest.raises(NotFound, match="no revision 9"):
        room.governance.read("delay", 1, revision=9)


def test_another_project_has_its_own(room: Room) -> None:
    room.register()
    room.governance.card("delay", 1)
    with calling(Caller(project="other")), pytest.raises(NotFound, match="no model"):
        room.governance.read("delay", 1)


def test_the_command_prints_the_card(room: Room) -> None:
    room.register()
    wiring = Wiring()
    wiring.add(Governance, lambda _: room.governance)
    shown = CliRunner().invoke(card_command, ["delay", "latest", "--limitations", "US only"], obj=lambda: wiring)
    assert shown.exit_code == 0
    assert "## Limitations\n\nUS only" in shown.output
    as_json = json.loads(CliRunner().invoke(card_command, ["delay", "--json"], obj=lambda: wiring).output)
    assert as_json["content"]["limitations"] == "US only"
