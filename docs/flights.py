"""A small project to try things in: flights, a model of which are late, what it was asked, and what was true.

Run it in an empty folder. It makes the dataset `flights`, held-out rows `flights-held-out`, three versions of the model
`flights`, of which the first is deployed, and thirty days of answered requests with their labels. From the twentieth
day on it is the short flights that are late and not the long ones, so there is an alarm about performance in the end.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl

from mainspring.core.settings import load
from mainspring.data import Data
from mainspring.loop import Loop
from mainspring.registry import ModelVersion, Registry
from mainspring.server.house import open_house
from mainspring.serving import Client, Feedback, Serving, Supervisor

CARRIERS = ["AA", "B6", "DL", "UA"]
FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)
TRAINING_DAYS, LIVE_DAYS, CHANGE = 40, 30, 20
RNG = np.random.default_rng(7)


def day_of_flights(day: int, *, changed: bool = False, rows: int = 100) -> pl.DataFrame:
    """Flights of a day, and whether they were late."""
    carrier, distance = RNG.integers(0, 4, rows), RNG.uniform(100, 2500, rows).round(3)
    chance = np.where(distance > 1200, 0.6, 0.1) + 0.1 * (carrier == 1)
    late = (RNG.random(rows) < (1 - chance if changed else chance)).astype(np.int64)
    names, at = np.array(CARRIERS)[carrier], FIRST_DAY + timedelta(days=day)
    return pl.DataFrame({"day": [at] * rows, "carrier": names, "distance": distance, "late": late})


def train(registry: Registry, data: Data) -> list[ModelVersion]:
    """Three versions, each of more leaves than the one before, and what they are watched and judged by."""
    rows = pl.concat([day_of_flights(day - TRAINING_DAYS - 10) for day in range(TRAINING_DAYS)])
    held_out = pl.concat([day_of_flights(day - 10) for day in range(10)])
    reference = data.ingest("flights", rows, time_column="day").ref
    data.ingest("flights-held-out", held_out, time_column="day")

    def numbers(table: pl.DataFrame) -> np.ndarray:
        coded = pl.col("carrier").replace_strict(CARRIERS, range(4), return_dtype=pl.Float64)
        return table.select(coded, pl.col("distance").cast(pl.Float64)).to_numpy()

    made = []
    for leaves in (2, 4, 8):
        options = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "num_threads": 1}
        model = lgb.train(options, lgb.Dataset(numbers(rows), rows["late"].to_numpy()), 40)
        brier = float(np.mean((model.predict(numbers(held_out)) - held_out["late"].to_numpy()) ** 2))
        version = registry.register(
            "flights",
            model,
            example=rows.select("carrier", "distance").head(5),
            encoding={"carrier": CARRIERS},
            datasets=[reference],
            reference=reference,
            metrics={"brier": brier},
        )
        made.append(version)
    return made


def main() -> None:
    """Make the project here, and let some weeks pass."""
    Path("mainspring.toml").write_text('[project]\nname = "flights"\n\n[monitor]\nsegments = ["carrier"]\n')
    house = open_house(load(Path()))
    serving = house.get(Serving)
    train(house.get(Registry), house.get(Data))
    serving.deploy("flights", "flights", 1)
    house.get(Registry).set_alias("flights", "champion", 1)
    server = Supervisor(serving.folder, prepare=serving.write_plan)
    with Client(server.start()) as client:
        for day in range(LIVE_DAYS):
            rows = day_of_flights(day, changed=day >= CHANGE)
            asked = {"carrier": rows["carrier"].to_list(), "distance": rows["distance"].to_list()}
            at = FIRST_DAY + timedelta(days=day)
            answer = client.predict("flights", asked, request_id=f"day-{day}", event_time=at.isoformat())
            known = int((at + timedelta(hours=8)).timestamp() * 1_000_000)
            truth = zip(answer.ids, rows["late"].to_list(), strict=True)
            serving.feedback("flights", [Feedback(key, late, at=known) for key, late in truth])
    server.stop()
    turn = house.get(Loop).turn()
    print(f"{turn.observed} predictions and labels, {len(turn.alarms)} alarm")
    house.close()


if __name__ == "__main__":
    main()
