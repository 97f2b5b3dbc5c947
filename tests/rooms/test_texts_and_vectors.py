"""Deployments that are asked texts and vectors, watched from their first request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tests import spools
from tests.rooms.test_monitoring import START, House, build

from mainspring.core.clock import DAY_US, moment
from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.ports import Tables

WEATHER = ["rain", "snow", "wind", "storm", "cloud", "fog", "thunder", "sleet", "hail", "frost", "breeze", "drizzle"]
MONEY = ["bank", "loan", "rate", "credit", "debt", "bond", "share", "fund", "stock", "price", "cost", "profit"]
WIDTH = 64


def notes(words: Sequence[str], rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"note": [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(rows)]})


def embeddings(rows: int, seed: int, *, topic: int = 0) -> pl.DataFrame:
    """Vectors about eight topics; of a `topic` there are more."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(0).normal(size=(8, WIDTH))
    which = np.where(rng.random(rows) < 0.3 * bool(topic), topic, rng.integers(0, 8, rows))
    values = topics[which] + 0.5 * rng.normal(size=(rows, WIDTH))
    return pl.DataFrame({f"embedding_{place}": values[:, place] for place in range(WIDTH)})


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    return build(sqlite_tables, tmp_path)


def deploy(house: House, frame: pl.DataFrame, model: object) -> None:
    days = [moment(START - 24 * DAY_US + i * 24 * DAY_US // frame.height) for i in range(frame.height)]
    made = house.data.ingest("asked", frame.with_columns(at=pl.Series(days)))
    house.registry.register("said", model, example=frame.head(3), reference=made.ref, metrics={"brier": 0.2})
    house.serving.deploy("live", "said", 1)
    house.monitoring.watch("live")


def ask(house: House, frame: pl.DataFrame, kind: str, *, day: int) -> None:
    rows = [
        {
            "id": f"{day}-{i}",
            "request_id": f"{day}-{i}",
            "key": "",
            "inputs": row,
            "at": START + day * DAY_US + i * DAY_US // frame.height,
            "event_at": START + day * DAY_US + i * DAY_US // frame.height,
            "outputs": {"probability": 0.5, "label": 0},
        }
        for i, row in enumerate(frame.iter_rows())
    ]
    path = house.folder / "serving" / SPOOLS / f"{day}.sqlite"
    spools.write(path, rows, columns=[(name, kind) for name in frame.columns])
    house.serving.compact()
    house.monitoring.observe("live")


def raised(house: House) -> list[tuple[str, set[object]]]:
    house.monitoring.evaluate("live")
    found = house.monitoring.alarms("live")
    return [(alarm.cause, {entry["column"] for entry in columns_of(alarm.evidence)}) for alarm in found]


def columns_of(evidence: dict[str, object]) -> list[dict[str, object]]:
    found = evidence.get("columns", [])
    assert isinstance(found, list)
    return found


def test_a_text_input_is_watched_by_what_it_is_about_from_the_first_request(house: House) -> None:
    frame = notes(WEATHER, 2400, 1)
    texts = ColumnTransformer([("note", HashingVectorizer(n_features=32), "note")])
    model = make_pipeline(texts, LogisticRegression()).fit(frame.head(200), np.arange(200) % 2)
    deploy(house, frame, model)
    for day in range(3):
        ask(house, notes(WEATHER, 250, 10 + day), "text", day=day)
    assert raised(house) == []
    for day in range(3, 6):
        ask(house, notes(MONEY, 250, 10 + day), "text", day=day)
    assert [cause for cause, _ in raised(house)] == ["drift"]
    [alarm] = house.monitoring.alarms("live")
    [content] = [entry for entry in columns_of(alarm.evidence) if entry["column"] == "note: content"]
    assert (content["source"], content["text"]) == ("note", "the texts are about other things")


def test_numbered_inputs_that_are_said_to_be_separate_are_watched_each_for_itself(house: House) -> None:
    """And so it stays: the model is trained on a later version of the dataset, of which nothing is said."""
    frame = embeddings(1200, 1)
    house.data.ingest("asked", embeddings(1200, 3), separate=["embedding"])
    deploy(house, frame, LogisticRegression().fit(frame.to_numpy(), [0, 1] * 600))
    moved = embeddings(600, 4).with_columns(pl.col("embedding_7") + 3.0)
    for day in range(3):
        ask(house, moved, "float", day=day)
    causes = raised(house)
    assert causes
    assert {"embedding_7"} == set().union(*(columns for _, columns in causes))


def test_what_is_said_to_be_separate_is_numbered_columns_of_the_data(house: House) -> None:
    with pytest.raises(Invalid, match=r"no numbered columns 'embeding'\n.*\n.*embedding"):
        house.data.ingest("asked", embeddings(300, 1), separate=["embeding"])


def test_numbered_inputs_that_are_a_vector_are_watched_as_one(house: House) -> None:
    frame = embeddings(2400, 1)
    deploy(house, frame, LogisticRegression().fit(frame.head(200).to_numpy(), np.arange(200) % 2))
    for day in range(3):
        ask(house, embeddings(250, 10 + day), "float", day=day)
    assert raised(house) == []
    window = house.monitoring.windows("live", "drift")[-1]
    parts = ["length", "direction 1", "direction 2", "direction 3", "off the directions", "region"]
    assert set(window.details) == {"embedding", *(f"embedding: {part}" for part in parts)}
    regions = next(pair for pair in house.monitoring.histograms("live", window) if pair.places)
    assert sum(regions.window) == pytest.approx(1.0)
    for day in range(3, 6):
        ask(house, embeddings(250, 10 + day, topic=3), "float", day=day)
    [(cause, columns)] = raised(house)
    assert cause == "drift"
    assert columns
    assert {str(column).partition(": ")[0] for column in columns} == {"embedding"}
