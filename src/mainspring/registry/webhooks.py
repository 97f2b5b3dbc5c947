"""Webhooks: addresses that are told what happens in the registry, from the event log, at least once."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import Clock, iso
from mainspring.core.errors import Failed, Forbidden, Invalid, MainspringError, NotFound
from mainspring.core.ids import new_id
from mainspring.pipelines.worker import Worker
from mainspring.registry.events import WebhookChanged
from mainspring.registry.notices import EXAMPLES, About, Webhook, check_webhook, notices, signature
from mainspring.registry.outside import Reply, post
from mainspring.registry.records import webhooks
from mainspring.registry.sealing import Vault
from mainspring.storage.jobs import Lease, NewJob, job_id

if TYPE_CHECKING:
    from mainspring.core.events import Event
    from mainspring.registry.records.webhooks import Listener
    from mainspring.registry.versions import Versions
    from mainspring.storage.ports import Journal, Queue, Tables

log = logging.getLogger("mainspring.webhooks")
CONSUMER = "webhooks"
QUEUE = "webhooks"
KIND = "webhook_delivery"
KINDS = ("registry.model_created", "registry.version_registered", "registry.tags_changed", "registry.alias_moved")
_BATCH = 200
_ATTEMPTS = 10
_AGAIN = (408, 425, 429)
_LOOK_S = 0.2  # how long a stop waits for it; the journal looks as often by itself


class Webhooks:
    """Keeps webhooks, and tells them.

    Args:
        tables: Where rows are kept.
        journal: The event log.
        queue: Where deliveries wait.
        clock: Tells the time.
        registry: Knows the models and versions that events are about.
        folder: Holds `keys/` with the key that secrets are encrypted with.
        allow_local: Whether http and addresses of this machine are allowed.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        clock: Clock,
        registry: Versions,
        folder: Path,
        allow_local: bool = False,
    ) -> None:
        self._tables = tables
        self._journal = journal
        self._queue = queue
        self._clock = clock
        self._registry = registry
        self._vault = Vault(folder / "keys")
        self._local = allow_local

    def create(
        self,
        name: str,
        url: str,
        events: Sequence[str],
        *,
        description: str = "",
        secret: str = "",
        active: bool = True,
    ) -> Webhook:
        """Tell an address about events from now on.

        Args:
            name: What people call it.
            url: An https address.
            events: Names of `EXAMPLES`, such as "model_version.created".
            description: What it is for.
            secret: Signs every delivery; it is never shown again.
            active: Whether it is told yet.
        Raises:
            Invalid: Name, address or events are none.
        """
        now, status = self._clock.now(), "active" if active else "disabled"
        made = Webhook(new_id(), name, url, tuple(dict.fromkeys(events)), description, status, now, now)
        check_webhook(made, local=self._local)
        since = self._journal.last()
        with self._tables.write() as conn:
            webhooks.add(conn, made, secret=self._vault.seal(secret) if secret else "", since=since)
            self._journal.append(conn, WebhookChanged(subject=made.ref, name=name, change="created"))
        return made

    def get(self, webhook_id: str) -> Webhook:
        """One webhook.

        Raises:
            NotFound: No such webhook.
        """
        return self._found(webhook_id)[0]

    def webhooks(self, *, limit: int = 100, before: str = "") -> list[Webhook]:
        """Webhooks, newest first, those made before the one with the id `before`."""
        with self._tables.read() as conn:
            return webhooks.list_all(conn, limit=limit, before=before)

    def update(self, webhook_id: str, changes: Mapping[str, object], *, secret: str | None = None) -> Webhook:
        """Change fields of a webhook, or its secret. One that is active again is not told what it missed.

        Raises:
            NotFound: No such webhook.
            Invalid: A field would be malformed.
        """
        before = self.get(webhook_id)
        made = replace(before, **changes, updated_at=self._clock.now())  # type: ignore[arg-type]
        check_webhook(made, local=self._local)
        kept: dict[str, object] = {} if secret is None else {"secret": self._vault.seal(secret) if secret else ""}
        if (before.status, made.status) == ("disabled", "active"):
            kept["since"] = self._journal.last()
        with self._tables.write() as conn:
            webhooks.change(conn, made, **kept)
            self._journal.append(conn, WebhookChanged(subject=made.ref, name=made.name, change="updated"))
        return made

    def delete(self, webhook_id: str) -> None:
        """Tell an address nothing any more.

        Raises:
            NotFound: No such webhook.
        """
        found = self.get(webhook_id)
        with self._tables.write() as conn:
            if webhooks.drop(conn, webhook_id):
                self._journal.append(conn, WebhookChanged(subject=found.ref, name=found.name, change="deleted"))

    def test(self, webhook_id: str, event: str = "") -> Reply:
        """Send an example of an event now, once. The reply may be any status.

        Args:
            webhook_id: The webhook.
            event: One of `EXAMPLES`; "" = the first it is told about.
        Raises:
            NotFound: No such webhook.
            Invalid: Nothing is called that.
            Unavailable: It could not be reached.
            Forbidden: The host is at no public address.
        """
        found, sealed = self._found(webhook_id)
        event = event or found.events[0]
        if event not in EXAMPLES:
            raise Invalid(f"nothing is called {event[:60]!r}", where="event", hint="use one of " + ", ".join(EXAMPLES))
        return self._send(found, sealed, new_id(), _body(event, self._clock.now(), EXAMPLES[event]))

    def spread(self) -> int:
        """Put a delivery on the queue for every webhook that wants to know of new events. Returns how many.

        The deliveries are stored in the transaction that moves the offset, so that none is lost or put twice.
        """
        total = 0
        while listening := self._listening():
            since = min(entry.since for entry in listening)
            put = follow(
                self._tables, self._journal, self._queue, CONSUMER, KINDS, partial(self._jobs, listening), since=since
            )
            if put is None:
                break
            total += put
        return total

    def _listening(self) -> Sequence[Listener]:
        with self._tables.read() as conn:
            return webhooks.listeners(conn)

    def deliver(self, lease: Lease) -> dict[str, object]:
        """Send one delivery. What may get better is tried again later; what will not is put aside.

        Raises:
            Unavailable: It could not be reached; tried again.
            Failed: It answered that it can't take it now; tried again.
        """
        said = lease.job.payload
        try:
            found, sealed = self._found(str(said["webhook"]))
        except NotFound:
            return {"skipped": "the webhook is gone"}
        if found.status != "active":
            return {"skipped": "the webhook is disabled"}
        try:
            reply = self._send(found, sealed, lease.job.id, str(said["body"]))
        except (Forbidden, Invalid) as reason:
            return self._give_up(lease, reason.what)
        if reply.status in _AGAIN or reply.status >= 500:
            raise Failed(f"the webhook answered {reply.status}", where=found.ref)
        if reply.status >= 300:
            return self._give_up(lease, f"the webhook answered {reply.status}")
        return {"status": reply.status}

    def _give_up(self, lease: Lease, why: str) -> dict[str, object]:
        with self._tables.write() as conn:
            self._queue.fail(conn, lease, why, retry_in_s=None)
        return {}

    def _jobs(self, listening: Sequence[Listener], event: Event) -> list[NewJob]:
        wanting = [entry for entry in listening if entry.project == event.project and entry.since < event.seq]
        if not wanting:
            return []
        made = []
        for number, (name, data) in enumerate(notices(event, self._about(event))):
            body = _body(name, event.at, data)
            for entry in wanting:
                if name in entry.hook.events:
                    made.append(
                        NewJob(
                            queue=QUEUE,
                            kind=KIND,
                            payload={"webhook": entry.hook.id, "event": name, "body": body},
                            id=job_id(entry.hook.id, event.seq, number),
                            group=entry.hook.id,
                            max_attempts=_ATTEMPTS,
                        )
                    )
        return made

    def _about(self, event: Event) -> About:
        """What the registry knows now of what an event is about; little, when it is gone by now."""
        name, version = str(event.payload.get("model", "")), event.payload.get("version")
        with calling(Caller(event.actor, event.project)):
            try:
                model = self._registry.model(name)
                if version is None or event.kind == "registry.alias_moved":
                    return About(model.is_prompt, model.description, model.tags)
                found = self._registry.get(name, int(str(version)))
                return About(model.is_prompt, found.description, found.tags, found.source)
            except MainspringError:
                return About(is_prompt=False)

    def _send(self, found: Webhook, sealed: str, delivery: str, body: str) -> Reply:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "mainspring-webhooks",
            "X-MLflow-Delivery-Id": delivery,
            "X-MLflow-Timestamp": timestamp,
        }
        if sealed:
            headers["X-MLflow-Signature"] = signature(self._vault.open(sealed), delivery, timestamp, body)
        return post(found.url, body.encode(), headers, local=self._local)

    def _found(self, webhook_id: str) -> tuple[Webhook, str]:
        with self._tables.read() as conn:
            found = webhooks.find(conn, webhook_id)
        if found is None:
            hint = "mainspring webhooks ls"
            raise NotFound(f"Webhook with ID {webhook_id[:60]} not found.", where="webhooks", hint=hint)
        return found


class Teller(Protocol):
    """Tells somebody what happens: puts what is new on a queue, and delivers what waits there."""

    def spread(self) -> int:
        """Put deliveries of new events on the queue. Returns how many."""
        ...

    def deliver(self, lease: Lease) -> dict[str, object]:
        """Make one delivery; what it raises is tried again."""
        ...


def follow(
    tables: Tables,
    journal: Journal,
    queue: Queue,
    consumer: str,
    kinds: Sequence[str],
    jobs_of: Callable[[Event], Sequence[NewJob]],
    *,
    since: int = 0,
) -> int | None:
    """Put jobs on the queue for some of the events that a consumer has not seen, each as who caused its event.

    The jobs are stored in the transaction that moves the consumer's offset, so that none is lost or put twice.

    Args:
        tables: Where the queue is.
        journal: The event log.
        queue: Where jobs wait.
        consumer: Whose offset is moved.
        kinds: Kinds of events it is about.
        jobs_of: The jobs of an event.
        since: Events up to this number are passed over.
    Returns: How many jobs; None when there were no new events.
    """
    last, offset = journal.last(), journal.offset(consumer)
    events = journal.read(max(offset, since), limit=_BATCH, kinds=kinds)
    upto = events[-1].seq if len(events) == _BATCH else last
    if upto <= offset:
        return None
    jobs = [(event, job) for event in events for job in jobs_of(event)]
    with tables.write() as conn:
        if not journal.advance(conn, consumer, upto):
            return None  # another process was faster
        for event, job in jobs:
            with calling(Caller(event.actor, event.project, event.request_id)):
                queue.put(conn, job)
    return len(jobs)


class Courier:
    """Lets a teller tell as long as the server runs: one thread reads the log, another delivers."""

    def __init__(
        self, teller: Teller, *, tables: Tables, journal: Journal, queue: Queue, kind: str = KIND, line: str = QUEUE
    ) -> None:
        self._teller = teller
        self._journal = journal
        self._worker = Worker(tables, queue, {kind: teller.deliver}, queues=(line,), poll_s=0.5)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"courier-{line}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._worker.start()
        self._thread.start()

    def stop(self) -> None:
        """End after the delivery that is under way; the others stay on the queue."""
        self._stopping.set()
        self._worker.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        seen = 0
        while not self._stopping.is_set():
            try:
                if self._journal.wait(seen, _LOOK_S):
                    last = self._journal.last()
                    self._teller.spread()
                    seen = last
            except Exception:  # the edge of the loop: a database that is away must not end the courier
                log.exception("courier.spread_failed by=%s", self._thread.name)
                self._stopping.wait(5.0)


def _body(event: str, at: int, data: Mapping[str, object]) -> str:
    entity, _, action = event.partition(".")
    return json.dumps({"entity": entity, "action": action, "timestamp": iso(at), "data": data}, ensure_ascii=False)
