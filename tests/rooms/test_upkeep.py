"""Upkeep in a real house: every column that names blobs is declared, and a turn takes away what nobody needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from sklearn.linear_model import LinearRegression

from mainspring import pipeline, step
from mainspring.cli.root import root
from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid, NotFound, Unavailable
from mainspring.core.settings import RetentionSettings, load
from mainspring.core.wiring import Wiring
from mainspring.data import Check, Data
from mainspring.governance import Governance
from mainspring.pipelines import Pipelines
from mainspring.registry import Registry
from mainspring.server.background import Background
from mainspring.server.house import open_house
from mainspring.storage.ports import Blobs, BlobTrash, Delta, Queue, Tables
from mainspring.storage.references import is_declared, naming_columns, references
from mainspring.storage.schema import metadata
from mainspring.testing.schema import all_metadata
from mainspring.tracking import Files, Tracking
from mainspring.upkeep import Upkeep, service

LOOKS_LIKE_DIGESTS = re.compile(r"digest|blob|sha256|hash|manifest|outputs?$|parts$|profile$|^log$|^key$|artifact")


@step
def halves(count: int) -> dict[str, object]:
    print("halving")
    return {"a": b"x\0" * count, "b": (b"y\0" * count, np.array([1.5]))}  # no texts, so they are blobs


@step
def weigh(parts: dict[str, object]) -> int:
    return len(parts)


@pipeline
def halving(count: int = 8) -> int:
    return weigh(halves(count))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Wiring]:
    (tmp_path / "mainspring.toml").write_text('[project]\nname = "p"\n')
    wiring = open_house(load(tmp_path, environ={}))
    yield wiring
    wiring.close()


def fill(house: Wiring) -> None:
    """A little of everything that stores blobs."""
    frame = pl.DataFrame({"x": [float(n) for n in range(20)], "y": [2.0 * n for n in range(20)]})
    house.get(Data).ingest("lines", frame, checks=[Check("x", "in_range", high=18)])
    tracking = house.get(Tracking)
    run = tracking.create_run("first")
    files = house.get(Files)
    files.put(f"{files.run_folder(run.id)}note.txt", b"a note")
    model = LinearRegression().fit(np.arange(20.0).reshape(-1, 1), np.arange(20.0))
    registry = house.get(Registry)
    registry.register("line", model, example=frame.select("x").head(3), run_id=run.id)
    house.get(Governance).attach("line", 1, "purpose", {"text": "to draw"})
    done = house.get(Pipelines).run_inline(halving)
    assert done.state == "finished", done.error


def blobs_of(house: Wiring) -> Blobs:
    return house.get(Blobs)  # type: ignore[type-abstract]


def tables_of(house: Wiring) -> Tables:
    return house.get(Tables)  # type: ignore[type-abstract]


def aged(house: Wiring, days: float) -> None:
    """Make every blob and every entry of the trash older."""
    folder = Path(str(blobs_of(house)._root))  # type: ignore[attr-defined]
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        at = path.stat().st_mtime - days * 86_400
        os.utime(path, (at, at))
    for path in list(folder.glob("trash/*/*/*")):
        path.rename(path.with_name(str(int(path.name) - round(days * DAY_US))))


def test_every_column_that_looks_like_digests_says_what_it_names() -> None:
    columns = [column for table in all_metadata().sorted_tables for column in table.columns]
    silent = [
        str(column)
        for column in columns
        if LOOKS_LIKE_DIGESTS.search(column.name) and not is_declared(column) and not _is_short_name(column)
    ]
    assert silent == [], "declare them with info=names_blob(), names_blobs(find) or names_no_blob(why)"


def _is_short_name(column: sa.Column[object]) -> bool:
    """Keys of tags, params, metrics and events, and idempotency keys, are names that people choose."""
    return column.name in ("key", "dedup_key", "idempotency_key")


def test_every_blob_of_a_working_house_is_named_and_turns_up_in_declared_columns_only(house: Wiring) -> None:
    fill(house)
    stored = set(blobs_of(house).digests())
    assert len(stored) >= 10
    assert stored - set(references(tables_of(house), metadata)) == set()
    naming = {str(column) for column, _ in naming_columns(metadata)}
    silent = set()
    with tables_of(house).read() as conn:
        for table in metadata.sorted_tables:
            for row in conn.execute(sa.select(table)).mappings():
                for column in table.columns:
                    if not is_declared(column) and str(column) not in naming and table.name != "event":
                        text = json.dumps(row[column.name], default=str)
                        silent |= {str(column) for digest in stored if digest in text}
    assert silent == set(), "these columns hold digests of blobs and say nothing"


def test_a_turn_leaves_everything_that_is_named(house: Wiring) -> None:
    fill(house)
    before = set(blobs_of(house).digests())
    aged(house, 400)
    assert house.get(Upkeep).run().is_idle
    assert set(blobs_of(house).digests()) == before
    assert house.get(Registry).verify("line", 1)


def test_the_command_shows_takes_away_and_brings_back(house: Wiring, tmp_path: Path) -> None:
    digest = blobs_of(house).put(b"nobody names me")
    aged(house, 8)
    assert "1 blobs (0.0 MB) would be moved to the trash" in gc(tmp_path, "--dry-run").output
    assert set(blobs_of(house).digests()) == {digest}
    assert json.loads(gc(tmp_path, "--json").output)["blobs"]["discarded"] == 1
    assert digest in gc(tmp_path, "ls").output
    assert "is back in place" in gc(tmp_path, "restore", digest[:12]).output
    assert set(blobs_of(house).digests()) == {digest}
    assert gc(tmp_path).output == "nothing to do\n"
    aged(house, 8)
    gc(tmp_path)
    aged(house, 8)
    assert "1 blobs (0.0 MB) deleted" in gc(tmp_path).output
    assert gc(tmp_path, "ls").output == "the trash is empty\n"


def gc(folder: Path, *words: str) -> Result:
    done = CliRunner().invoke(root, ["--data", str(folder / ".mainspring"), "gc", *words])
    assert done.exit_code == 0, done.output
    return done


def test_a_grace_below_an_hour_is_refused(house: Wiring) -> None:
    with pytest.raises(Invalid, match="a grace of 5m"):
        house.get(Upkeep).run(grace="5m")
    with pytest.raises(Invalid, match="not a span of time"):
        RetentionSettings(blobs="soon")


def test_what_is_not_in_the_trash_is_not_restored(house: Wiring) -> None:
    with pytest.raises(NotFound):
        house.get(Upkeep).restore("0" * 64)


def test_unfinished_writes_of_killed_processes_are_swept(house: Wiring, tmp_path: Path) -> None:
    part = tmp_path / ".mainspring" / "blobs" / "part" / "killed"
    house.get(Upkeep)
    blobs_of(house).put(b"x")
    part.write_bytes(b"half")
    os.utime(part, (0, 0))
    assert house.get(Upkeep).run().blobs.swept == 1
    assert not part.exists()


def test_a_database_at_another_step_is_not_collected_by(house: Wiring) -> None:
    blobs_of(house).put(b"x")
    aged(house, 8)
    with tables_of(house).write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="'9999'"):
        house.get(Upkeep).run()
    assert isinstance(blobs_of(house), BlobTrash)


def test_todays_turn_is_put_on_the_queue_once_by_any_number_of_servers(house: Wiring, tmp_path: Path) -> None:
    other = open_house(load(tmp_path, environ={}))
    for wiring in (house, other, house):
        wiring.get(Upkeep).schedule()
    jobs = house.get(Queue).find(queue="upkeep")  # type: ignore[type-abstract]
    assert len(jobs) == 1
    assert jobs[0].run_at > jobs[0].created_at
    other.close()


def test_the_server_does_todays_turn(house: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs_of(house).put(b"nobody names me")
    aged(house, 8)
    monkeypatch.setattr(service, "START_US", 0)
    house.get(Upkeep).schedule()
    worker = Background(house).caretaker()
    assert worker.run_one()
    (job,) = house.get(Queue).find(queue="upkeep")  # type: ignore[type-abstract]
    assert (job.state, job.error) == ("finished", "")
    assert list(blobs_of(house).digests()) == []
    assert not worker.run_one()


def test_upkeep_knows_the_tables_of_every_room(tmp_path: Path) -> None:
    script = (
        "from mainspring.server.house import open_house; from mainspring.upkeep import Upkeep\n"
        "open_house().get(Upkeep)\n"
        "from mainspring.storage.schema import metadata\n"
        "here = set(metadata.tables)\n"
        "from mainspring.testing.schema import all_metadata; print(set(all_metadata().tables) - here)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "set()\n"


def test_dataset_versions_stay_readable_and_what_nobody_pinned_goes(house: Wiring, tmp_path: Path) -> None:
    data, delta = house.get(Data), house.get(Delta)  # type: ignore[type-abstract]
    frames = [pl.DataFrame({"x": [float(n)]}) for n in range(4)]
    data.ingest("lines", frames[0])
    delta.replace("p/datasets/lines", frames[1])  # a writer died before it named this version
    data.ingest("lines", frames[2])
    data.ingest("lines", frames[3])
    make_tables_older(tmp_path, days=8)
    assert house.get(Upkeep).run(dry_run=True).files == 1
    report = house.get(Upkeep).run()
    assert (report.files, report.files_bytes > 100) == (1, True)
    assert house.get(Upkeep).run().is_idle
    for number, frame in zip((1, 2, 3), (frames[0], *frames[2:]), strict=True):
        assert data.frame("lines", number).collect().equals(frame)


def test_tables_of_predictions_are_compacted_and_others_are_left_alone(house: Wiring) -> None:
    delta = house.get(Delta)  # type: ignore[type-abstract]
    for table in ("predictions/lines", "p/own"):
        for batch in range(9):
            delta.append(table, pl.DataFrame({"n": [batch]}), app="a", batch=batch)
    assert house.get(Upkeep).run().compacted == ("predictions/lines",)
    assert house.get(Upkeep).run().is_idle
    assert delta.version("p/own") == 8
    assert delta.scan("predictions/lines").collect()["n"].sort().to_list() == list(range(9))


def make_tables_older(folder: Path, *, days: int) -> None:
    """Move the times in the logs of all tables, and those of their files, back."""
    back = days * 86_400_000
    for path in (folder / ".mainspring" / "tables").rglob("*"):
        if path.suffix == ".json":
            text = re.sub(r'"(deletionTimestamp|timestamp)":(\d+)', lambda m: _earlier(m, back), path.read_text())
            path.write_text(text)
        if path.is_file():
            at = path.stat().st_mtime - back / 1000
            os.utime(path, (at, at))


def _earlier(found: re.Match[str], by: int) -> str:
    return f'"{found[1]}":{int(found[2]) - by}'


def test_personal_columns_stay_personal_and_an_unknown_one_is_refused(house: Wiring) -> None:
    data = house.get(Data)
    frame = pl.DataFrame({"name": ["Ada"], "x": [1.0]})
    first = data.ingest("people", frame, personal=["name"])
    second = data.ingest("people", frame.with_columns(y=2.0))
    assert [column.name for column in first.columns if column.personal] == ["name"]
    assert [column.name for column in second.columns if column.personal] == ["name"]
    assert data.get("people", 1).columns == first.columns
    with pytest.raises(Invalid, match="no column 'nmae'"):
        data.ingest("people", frame, personal=["nmae"])
