"""The live feed: one thread watches the journal, and every open page hears of it through the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import asdict

from litestar import Request, get
from litestar.datastructures import State
from litestar.response import ServerSentEvent, ServerSentEventMessage

from mainspring.core.caller import caller
from mainspring.core.canonical import canonical_json
from mainspring.core.console import plain
from mainspring.core.errors import Invalid, Overloaded
from mainspring.storage.ports import Journal
from mainspring.tracking.live import News, Watch
from mainspring.tracking.service import Tracking
from mainspring.tracking.wire import number_or_word

MOST_STREAMS = 100
KEEP_ALIVE_S = 15.0
PAGE = 200
LOOK_S = 1.0
"""How long a run is left alone between two looks at its metrics, unless something happens in the project."""


class Pulse:
    """Tells any number of coroutines that the journal has grown, at the price of one waiting thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._grown = asyncio.Event()
        self._last = 0
        self._thread: threading.Thread | None = None
        self.closed = False
        self.streams = 0

    @property
    def last(self) -> int:
        """The newest event it knows of."""
        return self._last

    async def wait(self, after: int, timeout_s: float) -> bool:
        """Wait until there is an event above `after`, at most `timeout_s`. True when there is one."""
        self._start()
        if self._last <= after and not self.closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._grown.wait(), timeout_s)
        return self._last > after

    def close(self) -> None:
        """End every stream and the thread. Called on the event loop."""
        self.closed = True
        self._grown.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None and not self.closed:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._watch, args=(loop,), name="pulse", daemon=True)
            self._thread.start()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        last = 0
        while not self.closed:
            if self._journal.wait(last, 0.5):
                last = self._journal.last()
                with contextlib.suppress(RuntimeError):  # the loop was closed in between
                    loop.call_soon_threadsafe(self._tell, last)

    def _tell(self, last: int) -> None:
        self._last = last
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


@get("/api/v1/events/stream", opt={"permission": "events:read"}, tags=["events"])
async def stream(
    request: Request[object, object, State], journal: Journal, pulse: Pulse, after: int | None = None
) -> ServerSentEvent:
    """Events of the project as they happen, as server-sent events: `id` is the sequence number, `data` the event.

    Begins after the event number in the header `Last-Event-ID`, else `after`, else now.
    """
    if pulse.streams >= MOST_STREAMS:
        raise Overloaded(f"{MOST_STREAMS} pages are listening already", hint="close some")
    given = request.headers.get("last-event-id")
    if given is not None and not (given.isdecimal() and len(given) < 19):
        raise Invalid(f"{given[:40]!r} is not a sequence number", where="Last-Event-ID")
    start = int(given) if given else after if after is not None else await asyncio.to_thread(journal.last)
    return ServerSentEvent(_messages(journal, pulse, start, caller().project))


@get("/api/v1/runs/{run_id:str}/stream", opt={"permission": "runs:read"}, tags=["runs"])
async def run_stream(tracking: Tracking, pulse: Pulse, run_id: str) -> ServerSentEvent:
    """The latest points of a run's metrics as they move, as server-sent events; ends with the event `end` as the run
    ends. Each `data` is an object with `status` and `points`, and the first has all there is."""
    if pulse.streams >= MOST_STREAMS:
        raise Overloaded(f"{MOST_STREAMS} pages are listening already", hint="close some")
    watch = Watch(tracking, run_id)
    return ServerSentEvent(_points(watch, await asyncio.to_thread(watch.news), pulse))


async def _points(watch: Watch, news: News, pulse: Pulse) -> AsyncIterator[ServerSentEventMessage]:
    pulse.streams += 1
    first = True
    try:
        while not pulse.closed:
            if news.points or news.over or first:
                points = [{**asdict(point), "value": number_or_word(point.value)} for point in news.points]
                data = canonical_json({"status": news.status, "points": points}).decode()
                yield ServerSentEventMessage(data=data, event="end" if news.over else "points")
            if news.over:
                return
            first = False
            await pulse.wait(pulse.last, LOOK_S)
            news = await asyncio.to_thread(watch.news)
    finally:
        pulse.streams -= 1


async def _messages(journal: Journal, pulse: Pulse, after: int, project: str) -> AsyncIterator[ServerSentEventMessage]:
    pulse.streams += 1
    try:
        yield ServerSentEventMessage(data=None, comment="open", retry=2000)
        while not pulse.closed:
            if not await pulse.wait(after, KEEP_ALIVE_S):
                yield ServerSentEventMessage(data=None, comment="still here")
                continue
            events = await asyncio.to_thread(journal.read, after, limit=PAGE)
            for event in events:
                after = event.seq
                if event.project == project:
                    data = canonical_json(plain(event)).decode()
                    yield ServerSentEventMessage(data=data, id=event.seq)
    finally:
        pulse.streams -= 1
