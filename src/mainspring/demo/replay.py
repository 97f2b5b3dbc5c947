"""The year as it came: each flight is a request at its scheduled departure, its label comes when it is down."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import msgspec

from mainspring.core.clock import micros
from mainspring.core.errors import Timeout
from mainspring.core.values import dataclass
from mainspring.demo.client import Api, send_all
from mainspring.demo.flights import FEATURES, LABEL, TEXT

if TYPE_CHECKING:
    import polars as pl

DEPLOYMENT = "late-flights"
BUSY = ("training", "gating")
PATIENCE_S = 300


@dataclass
class Progress:
    """What was sent and seen so far."""

    predictions: int = 0
    labels: int = 0
    alarms: list[str] = field(default_factory=list)


def request_body(flight: Mapping[str, object]) -> bytes:
    """An Open Inference Protocol request for one flight: a tensor of one value a column, null for what is missing."""
    inputs = [
        {"name": name, "shape": (1,), "datatype": "BYTES" if name in TEXT else "FP64", "data": (flight[name],)}
        for name in FEATURES
    ]
    parameters = {"event_time": micros(cast(datetime, flight["scheduled"]))}
    return msgspec.json.encode({"id": flight["flight_id"], "parameters": parameters, "inputs": inputs})


class Replay:
    """Sends days of flights to a running server, in event time.

    Args:
        api: The server.
        model: The model server.
        flights: As `read_year` gives them.
        first: The first live day: earlier flights are history.
    """

    def __init__(self, api: Api, model: Api, flights: pl.DataFrame, *, first: datetime) -> None:
        self.api, self.model, self.flights, self.first = api, model, flights, first
        self.progress = Progress()

    def days(self, first: datetime, last: datetime, *, already: Container[str] = ()) -> Iterator[datetime]:
        """Replay each day in [first, last) and yield it when the loop has come to rest about it.

        Args:
            already: Flights that were answered before; they are left out.
        """
        day = first
        while day < last:
            self.send_flights(day, day + timedelta(days=1), already=already)
            self.send_labels(day, day + timedelta(days=1))
            self.settle()
            yield day
            day += timedelta(days=1)

    def send_flights(self, start: datetime, end: datetime, *, already: Container[str] = ()) -> None:
        """A request for every flight scheduled in [start, end); returns when each is answered, and so logged."""
        import polars as pl

        due = pl.col("scheduled").is_between(start, end, closed="left")
        flights = self.flights.filter(due).select("flight_id", "scheduled", *FEATURES).to_dicts()
        bodies = [request_body(flight) for flight in flights if flight["flight_id"] not in already]
        send_all(self.model, f"/v2/models/{DEPLOYMENT}/infer", bodies)
        self.progress.predictions += len(bodies)

    def send_labels(self, start: datetime, end: datetime) -> None:
        """The label of every live flight whose outcome became known in [start, end). Twice is once."""
        import polars as pl

        down = self.flights.filter(pl.col("known_at").is_between(start, end, closed="left"))
        items = [
            {"prediction_id": flight_id, "kind": "label", "value": int(late), "at": micros(known_at)}
            for flight_id, late, known_at, scheduled in down.select(
                "flight_id", LABEL, "known_at", "scheduled"
            ).iter_rows()
            if scheduled >= self.first
        ]
        for begin in range(0, len(items), 1000):
            self.api.post("/api/v1/feedback", {"deployment": DEPLOYMENT, "items": items[begin : begin + 1000]})
        self.progress.labels += len(items)

    def settle(self) -> None:
        """Make a turn of the loop; while it trains or judges, event time stands still, so wait for that."""
        turn = cast(dict[str, object], self.api.post("/api/v1/loop/turn", {}))
        self.progress.alarms += cast(list[str], turn["alarms"])
        for cycle in cast(list[dict[str, object]], turn["open_cycles"]):
            self.wait(str(cycle["id"]))

    def wait(self, cycle_id: str) -> Mapping[str, object]:
        """Wait until a cycle neither trains nor judges."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            path = f"/api/v1/cycles/{cycle_id}?wait_s=20&unlike={','.join(BUSY)}"
            cycle = cast(dict[str, object], self.api.get(path))
            if cycle["state"] not in BUSY:
                return cycle
        raise Timeout(f"cycle {cycle_id} did not come to rest in {PATIENCE_S} s", where="server.log", hint="read it")
