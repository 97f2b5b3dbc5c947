"""From the event log to the channels: at least once, by a queue that survives everything the server does not."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.caller import caller
from mainspring.core.clock import DAY_US, Clock
from mainspring.core.errors import Forbidden, Invalid, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.monitoring.notices.model import NEWS, Channel, Notice
from mainspring.registry.webhooks import Courier, follow
from mainspring.storage.jobs import Lease, NewJob, job_id

if TYPE_CHECKING:
    from mainspring.core.events import Event
    from mainspring.storage.ports import Journal, Queue, Tables

log = logging.getLogger("mainspring.alarms")
CONSUMER = "notices"
QUEUE = "notices"
KIND = "notice"
_KINDS = tuple(f"monitoring.alarm_{what}" for what in NEWS)
_ATTEMPTS = 10
_OLDEST_US = 3 * DAY_US


class Notices:
    """Tells channels of alarms.

    Args:
        tables: Where the queue is.
        journal: The event log.
        queue: Where notices wait.
        clock: Tells the time.
        channels: By name, from `[notify.NAME]`.
        project: Whose alarms they are told of; "" = of every project.
        home: Address of the server, for links.
        allow_local: Whether http and addresses of this machine are allowed.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        clock: Clock,
        channels: Mapping[str, Channel],
        project: str = "",
        home: str = "",
        allow_local: bool = False,
    ) -> None:
        self._tables, self._journal, self._queue, self._clock = tables, journal, queue, clock
        self.channels = dict(channels)
        self._project, self._home, self._local = project, home, allow_local

    def test(self, name: str) -> str:
        """Send an example to a channel now, once. Returns what came of it.

        Raises:
            NotFound: No such channel.
            MainspringError: It was not taken, and why.
        """
        channel = self.channels.get(name)
        if channel is None:
            hint = did_you_mean(name, self.channels) or "add [notify.NAME] to mainspring.toml"
            raise NotFound(f"no channel {name[:60]!r}", where="notify", hint=hint)
        text = "This is a test: nothing is wrong."
        notice = Notice("raised", "0" * 32, "example", "drift", text, f"{self._home}/monitors", self._clock.now())
        return self._send(channel, notice, new_id())

    def spread(self) -> int:
        """Put a notice on the queue for every channel that wants to know of new alarms. Returns how many.

        They are stored in the transaction that moves the offset, so that none is lost or put twice. What is older than
        three days is passed over: a channel that is new is not told history.
        """
        total = 0
        while self.channels:
            put = follow(self._tables, self._journal, self._queue, CONSUMER, _KINDS, self._jobs)
            if put is None:
                break
            total += put
        return total

    def _jobs(self, event: Event) -> list[NewJob]:
        if event.at < self._clock.now() - _OLDEST_US or self._project not in ("", event.project):
            return []
        if event.payload.get("silenced"):
            return []
        notice = self._notice(event)
        return [
            NewJob(
                queue=QUEUE,
                kind=KIND,
                payload={"channel": name, "notice": asdict(notice)},
                id=job_id(f"{CONSUMER}/{name}", event.seq, 0),
                group=name,
                max_attempts=_ATTEMPTS,
            )
            for name, channel in self.channels.items()
            if channel.wants(notice.what, notice.deployment, notice.cause)
        ]

    def _notice(self, event: Event) -> Notice:
        said, alarm = event.payload, event.subject.removeprefix("alarms/")
        text = str(said.get("text") or said.get("note") or said.get("why") or "")
        return Notice(
            what=event.kind.rpartition("alarm_")[2],
            alarm=alarm,
            deployment=str(said.get("deployment", "")),
            cause=str(said.get("cause", "")),
            text=text,
            link=f"{self._home}/alarms/{alarm}",
            at=event.at,
        )

    def deliver(self, lease: Lease) -> dict[str, object]:
        """Send one notice. What may get better is tried again later; what will not is put aside and logged.

        Raises:
            Unavailable: The channel could not be reached; tried again.
            Failed: It can't take it now; tried again.
        """
        said = lease.job.payload
        channel = self.channels.get(str(said["channel"]))
        if channel is None:
            return {"skipped": "the channel is gone"}
        notice = msgspec.convert(said["notice"], Notice)
        try:
            return {"said": self._send(channel, notice, lease.job.id)}
        except (Forbidden, Invalid) as reason:
            log.error("notice.refused channel=%s what=%s where=%s", channel.name, reason.what, reason.where)
            with self._tables.write() as conn:
                self._queue.fail(conn, lease, reason.what, retry_in_s=None)
            return {}

    def _send(self, channel: Channel, notice: Notice, delivery: str) -> str:
        kind = importlib.import_module(f"mainspring.monitoring.notices.{channel.kind}")
        said: str = kind.send(channel, notice, delivery=delivery, local=self._local)
        log.info("notice.sent channel=%s alarm=%s by=%s", channel.name, notice.alarm, caller().actor)
        return said


class Herald(Courier):
    """Tells the channels as long as the server runs; without any it does nothing."""

    def __init__(self, notices: Notices, *, tables: Tables, journal: Journal, queue: Queue) -> None:
        super().__init__(notices, tables=tables, journal=journal, queue=queue, kind=KIND, line=QUEUE)
        self._is_needed = bool(notices.channels)

    def start(self) -> None:
        """Begin, where there is somebody to tell; returns at once."""
        if self._is_needed:
            super().start()

    def stop(self) -> None:
        """End after the delivery that is under way; the others stay on the queue."""
        if self._is_needed:
            super().stop()
