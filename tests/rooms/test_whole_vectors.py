"""Embeddings of a deployment compared whole with its training data: when an alarm is about them, and on demand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from tests import spools
from tests.rooms.test_monitoring import START, House, build
from tests.rooms.test_texts_and_vectors import ask, columns_of, deploy

from mainspring.core.clock import DAY_US, moment
from mainspring.core.errors import NotFound, Unavailable
from mainspring.core.wiring import Wiring
from mainspring.monitoring import Monitoring
from mainspring.monitoring.commands import group
from mainspring.monitoring.comparisons import VectorComparison, VectorFigures
from mainspring.monitoring.vectors import KIND, QUEUE
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.ports import Tables
from mainspring.storage.queue import SqlQueue

WIDTH = 64


def embeddings(rows: int, seed: int, *, tied: float = 0.7, topic: int = 0) -> pl.DataFrame:
    """Vectors about eight topics, with small places of their own of which each second is tied to the one before.

    The sign of `tied` changes nothing that a place, a direction of the topics, a length or a region could show.
    """
    rng = np.random.default_rng(seed)
    topics = 3 * np.random.default_rng(0).normal(size=(8, WIDTH // 2))
    which = np.where(rng.random(rows) < 0.5 * bool(topic), topic, rng.integers(0, 8, rows))
    small = rng.normal(size=(rows, WIDTH // 2))
    small[:, 1::2] = tied * small[:, 0::2] + np.sqrt(1 - tied * tied) * small[:, 1::2]
    values = np.hstack([topics[which] + rng.normal(size=(rows, WIDTH // 2)), small])
    return pl.DataFrame({f"embedding_{place}": values[:, place] for place in range(WIDTH)})


def watched(house: House) -> House:
    frame = embeddings(2400, 1)
    deploy(house, frame, LogisticRegression(max_iter=2000).fit(frame.head(200).to_numpy(), np.arange(200) % 2))
    return house


@pytest.fixture
def house(tables: Tables, tmp_path: Path) -> House:
    return watched(build(tables, tmp_path))


@pytest.fixture
def lite(sqlite_tables: Tables, tmp_path: Path) -> House:
    return watched(build(sqlite_tables, tmp_path))


def days(house: House, since: int, until: int, *, tied: float = 0.7, topic: int = 0, rows: int = 400) -> None:
    for day in range(since, until):
        ask(house, embeddings(rows, 10 + day, tied=tied, topic=topic), "float", day=day)


def test_places_that_no_longer_go_together_are_seen_where_no_watched_column_moves(house: House) -> None:
    days(house, 0, 4, tied=-0.7)
    assert house.monitoring.evaluate("live") == [], "no column that stands for the vector shows it"
    [found] = house.monitoring.vectors.compare("live").vectors
    assert (found.name, found.width, found.rows, found.missing) == ("embedding", WIDTH, 400, 0)
    assert found.reference_rows == 1200
    assert found.classifier.low is not None
    assert found.classifier.low > 0.75
    assert found.energy.value is not None
    assert found.energy_usual is not None
    assert found.energy.value > 1.5 * found.energy_usual
    assert found.energy_p == pytest.approx(1 / 401)


def test_a_quiet_day_with_weather_is_as_far_off_as_the_newest_day_of_the_training_data(house: House) -> None:
    """Every day all of its rows lie a little elsewhere: told apart surely, and no further than a quiet day is."""

    def weather(rows: int, seed: int) -> pl.DataFrame:
        shifts = 0.2 * np.random.default_rng(1000 + seed).normal(size=WIDTH)
        return embeddings(rows, seed).select(pl.col(f"embedding_{at}") + shifts[at] for at in range(WIDTH))

    frame = pl.concat([weather(400, 100 + day) for day in range(12)])
    dated = frame.with_columns(at=pl.Series([moment(START - DAY_US * 12 + i * DAY_US // 400) for i in range(4800)]))
    made = house.data.ingest("asked", dated)
    model = LogisticRegression(max_iter=2000).fit(frame.head(200).to_numpy(), np.arange(200) % 2)
    version = house.registry.register("said", model, example=frame.head(3), reference=made.ref)
    house.serving.deploy("windy", "said", version.number)
    house.monitoring.watch("windy")
    found = _asked_for_a_day(house, "windy", version.number, weather(400, 200))
    assert found.classifier.low is not None
    assert found.classifier.low > 0.5, "told apart"
    assert found.usual.low is not None
    assert found.usual.low > 0.5
    assert found.usual.high is not None
    assert found.classifier.low < found.usual.high, "but no further than a quiet day"


def _asked_for_a_day(house: House, deployment: str, version: int, frame: pl.DataFrame) -> VectorFigures:
    usual = {"request_id": "", "key": "", "outputs": {"probability": 0.5, "label": 0}}
    times = [START + i * DAY_US // frame.height for i in range(frame.height)]
    rows = [
        {**usual, "id": f"{deployment}-{i}", "inputs": row, "at": times[i], "event_at": times[i]}
        for i, row in enumerate(frame.iter_rows())
    ]
    path = house.folder / "serving" / SPOOLS / f"{deployment}.sqlite"
    columns = [(name, "float") for name in frame.columns]
    spools.write(path, rows, columns=columns, deployment=deployment, version=version)
    house.serving.compact()
    house.monitoring.observe(deployment)
    [found] = house.monitoring.vectors.compare(deployment).vectors
    return found


def test_traffic_like_the_training_data_is_not_told_apart(house: House) -> None:
    days(house, 0, 3)
    assert house.monitoring.evaluate("live") == []
    made = house.monitoring.vectors.compare("live")
    assert (made.window_start, made.window_end) == (START + DAY_US, START + 2 * DAY_US), "the latest judged window"
    [found] = made.vectors
    assert found.classifier.holds(0.5)
    assert found.usual.why == "not estimable: 100 rows in such a stretch of the training data, 400 in the window"
    assert found.energy_p is not None
    assert found.energy_p > 0.01
    assert house.monitoring.vectors.kept("live") == [made]
    assert house.monitoring.status("live").state == "ok"


def test_an_alarm_about_a_vector_has_its_rows_compared_once_and_keeps_the_figures(house: House) -> None:
    queue = SqlQueue(house.tables)
    days(house, 0, 3)
    house.monitoring.evaluate("live")
    assert queue.find(queue=QUEUE) == []
    days(house, 3, 6, topic=3)
    [alarm] = house.monitoring.evaluate("live")
    [job] = queue.find(queue=QUEUE)
    assert (job.kind, job.payload) == (KIND, {"deployment": "live", "alarm": alarm.id})
    made = house.monitoring.vectors.compare_for(alarm.id)
    assert (made.window_start, made.window_end) == (alarm.window_start, alarm.window_end)
    kept = house.monitoring.alarm(alarm.id).evidence
    assert columns_of(kept) == columns_of(alarm.evidence), "the columns stay"
    assert _stored(kept["vectors"]) == made
    assert made.vectors[0].classifier.low is not None
    assert made.vectors[0].classifier.low > 0.5
    days(house, 6, 8, topic=3)
    house.monitoring.evaluate("live")
    [joined] = house.monitoring.alarms("live")
    assert joined.window_end > alarm.window_end, "later windows joined it"
    assert _stored(joined.evidence["vectors"]) == made
    assert len(queue.find(queue=QUEUE)) == 1
    [fact] = house.journal.read(kinds=["monitoring.vectors_compared"])
    assert fact.payload["alarm"] == alarm.id


def _stored(value: object) -> VectorComparison:
    import msgspec

    return msgspec.convert(value, VectorComparison, strict=False)


def test_an_alarm_is_raised_also_where_the_queue_takes_nothing_in(lite: House) -> None:
    from mainspring.storage.jobs import QueueMode

    queue = SqlQueue(lite.tables)
    queue.set_mode(QUEUE, QueueMode.DRAINING)
    days(lite, 0, 3)
    days(lite, 3, 6, topic=3)
    assert [alarm.cause for alarm in lite.monitoring.evaluate("live")] == ["drift"]
    assert queue.find(queue=QUEUE) == []
    with pytest.raises(Unavailable):
        lite.monitoring.vectors.ask("live")


def test_asking_twice_before_it_is_done_is_asking_once(house: House) -> None:
    first, again = house.monitoring.vectors.ask("live"), house.monitoring.vectors.ask("live")
    assert first.id == again.id
    assert house.monitoring.vectors.last_job("live") == again
    with pytest.raises(NotFound, match="not watched"):
        house.monitoring.vectors.ask("nobody")


def test_a_row_that_is_logged_twice_counts_once_and_refused_ones_do_not(lite: House) -> None:
    frame = embeddings(300, 10)
    for spool, status in (("first", 200), ("again", 200), ("refused", 422)):
        rows = [
            {
                "id": f"{status}-{i}",
                "request_id": f"{i}",
                "key": "",
                "status": status,
                "inputs": row,
                "at": START + i,
                "event_at": START + i,
                "outputs": {"probability": 0.5, "label": 0},
            }
            for i, row in enumerate(frame.iter_rows())
        ]
        path = lite.folder / "serving" / SPOOLS / f"{spool}.sqlite"
        spools.write(path, rows, columns=[(name, "float") for name in frame.columns])
        lite.serving.compact()
    lite.monitoring.observe("live")
    assert lite.serving.predictions("live").collect().height == 900
    [found] = lite.monitoring.vectors.compare("live").vectors
    assert (found.rows, found.missing) == (300, 0)


def test_where_nothing_can_be_said_it_says_why(lite: House) -> None:
    vectors = lite.monitoring.vectors
    assert vectors.columns("live") == ("embedding",)
    assert vectors.compare("live").why == "not estimable: no prediction is logged yet"
    days(lite, 0, 1, rows=90)
    [some] = vectors.compare("live", days=1).vectors
    assert some.usual.holds(0.5), "a day of the training data has 100 rows"
    [long] = vectors.compare("live", days=40).vectors
    assert long.usual.why == "not estimable: the training data are not longer than the window"
    days(lite, 2, 3, rows=20)
    [few] = vectors.compare("live").vectors
    assert few.energy.why == few.classifier.why == "not estimable: 20 vectors in the window, 50 are needed"
    ask(lite, embeddings(200, 5).with_columns(embedding_9=pl.lit(None, pl.Float64)), "float", day=3)
    [null] = vectors.compare("live").vectors
    assert null.energy.why == "not estimable: none of 200 rows has a whole vector of 64 places"
    assert [one.window_end for one in vectors.kept("live")] == sorted(
        (one.window_end for one in vectors.kept("live")), reverse=True
    )


def test_a_model_without_vectors_and_one_without_training_data_say_so(sqlite_tables: Tables, tmp_path: Path) -> None:
    house = build(sqlite_tables, tmp_path)
    frame = pl.DataFrame({"x": np.arange(300.0), "y": np.sqrt(np.arange(300.0))})
    deploy(house, frame, LogisticRegression(max_iter=2000).fit(frame.to_numpy(), np.arange(300) % 2))
    assert house.monitoring.vectors.columns("live") == ()
    assert house.monitoring.vectors.compare("live").why == "not estimable: no input of the version is a vector"
    house.registry.register(
        "said", LogisticRegression(max_iter=2000).fit(frame.to_numpy(), np.arange(300) % 2), example=frame
    )
    house.serving.deploy("live", "said", 2)
    unknown = "not estimable: the training data of the version are not known"
    assert house.monitoring.vectors.compare("live").why == unknown


def test_the_command_compares_shows_and_gives_json(lite: House) -> None:
    days(lite, 0, 3, tied=-0.7)
    wiring = Wiring()
    wiring.add(Monitoring, lambda _: lite.monitoring)
    run = CliRunner().invoke
    shown = run(group, ["vectors", "live", "--days", "3"], obj=lambda: wiring)
    assert shown.exit_code == 0, shown.output
    assert "embedding: 1200 rows beside 1200 of the training data, 64 places" in shown.output
    assert "classifier, held-out AUC: 0." in shown.output
    kept = run(group, ["vectors", "live", "--kept", "--json"], obj=lambda: wiring)
    [found] = json.loads(kept.output)
    assert found["vectors"][0]["classifier"]["low"] > 0.75
    assert found == json.loads(json.dumps(found))
    assert run(group, ["vectors", "nobody"], obj=lambda: wiring).exit_code != 0
