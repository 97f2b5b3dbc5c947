"""Who is told of alarms: real receivers, a real mail server, at least once and never with a secret in the log."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from click.testing import CliRunner

from mainspring.core.clock import DAY_US, ManualClock
from mainspring.core.errors import Invalid, NotFound, Unavailable
from mainspring.core.wiring import Wiring
from mainspring.monitoring.commands import group
from mainspring.monitoring.events import AlarmClosed, AlarmEscalated, AlarmRaised
from mainspring.monitoring.notices.model import Channel, Notice, channels_of
from mainspring.monitoring.notices.telling import KIND, QUEUE, Notices
from mainspring.pipelines.worker import Worker
from mainspring.storage.jobs import JobState
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Queue, Tables
from mainspring.storage.queue import SqlQueue

sys.path.append(str(Path(__file__).parents[2]))

from tests.ports import own_ports
from tests.rooms.test_webhooks import Ear

ALARM = "0192f3a4b5c67d8e9f00112233445566"
NOTICE = Notice("raised", ALARM, "late", "drift", "hour: 20% moved", "http://h/alarms/1", 1_000_000)


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Mailbox:
    """A real mail server on this machine that keeps what it is sent."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.refuse = ""
        [self.port] = own_ports(1)
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(0)
        if self.refuse:
            return self.refuse
        self.mails.append(envelope)
        return "250 OK"

    def stop(self) -> None:
        self._controller.stop()


@pytest.fixture(scope="module")
def mailboxes() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.stop()


@pytest.fixture
def mailbox(mailboxes: Mailbox) -> Mailbox:
    mailboxes.mails, mailboxes.refuse = [], ""
    return mailboxes


class Desk:
    """Notices with all they need, over one database."""

    def __init__(self, tables: Tables, channels: dict[str, Channel]) -> None:
        self.tables, self.journal, self.clock = tables, SqlJournal(tables), ManualClock()
        self.queue: Queue = SqlQueue(tables)
        self.notices = Notices(
            tables=tables,
            journal=self.journal,
            queue=self.queue,
            clock=self.clock,
            channels=channels,
            home="http://h",
            allow_local=True,
        )

    def happen(self, *, deployment: str = "late", silenced: bool = False, escalated: bool = False) -> None:
        raised = AlarmRaised(
            subject=f"alarms/{ALARM}",
            deployment=deployment,
            model="late",
            version=1,
            cause="drift",
            text="hour: 20% moved",
            window_start=0,
            window_end=DAY_US,
            performance_evidence=False,
            silenced=silenced,
        )
        later = AlarmEscalated(subject=f"alarms/{ALARM}", deployment=deployment, cause="drift", text="still")
        with self.tables.write() as conn:
            self.journal.append(conn, later if escalated else raised)
            self.clock.advance(self.journal_now() - self.clock.now())

    def journal_now(self) -> int:
        from mainspring.core.clock import SystemClock

        return SystemClock().now()

    def deliver(self) -> int:
        put = self.notices.spread()
        worker = Worker(self.tables, self.queue, {KIND: self.notices.deliver}, queues=(QUEUE,))
        while worker.run_one():
            pass
        return put


def test_an_alarm_is_told_to_every_channel_that_wants_it_once(sqlite_tables: Tables, ear: Ear) -> None:
    channels = channels_of(
        {
            "all": {"kind": "webhook", "url": ear.url},
            "mine": {"kind": "webhook", "url": ear.url, "deployments": ["churn-*"]},
            "boss": {"kind": "slack", "url": ear.url, "on": ["escalated"]},
            "performance": {"kind": "webhook", "url": ear.url, "causes": ["performance"]},
        }
    )
    desk = Desk(sqlite_tables, channels)
    desk.happen()
    assert [desk.deliver(), desk.deliver()] == [1, 0]
    assert json.loads(ear.heard[0][1])["data"]["link"] == f"http://h/alarms/{ALARM}"
    desk.happen(escalated=True)
    desk.deliver()
    assert json.loads(ear.heard[1][1])["text"].startswith("*[escalated] drift of late*")


def test_a_silenced_alarm_and_old_news_are_told_to_nobody(sqlite_tables: Tables, ear: Ear) -> None:
    desk = Desk(sqlite_tables, channels_of({"all": {"kind": "webhook", "url": ear.url}}))
    desk.happen(silenced=True)
    desk.happen()
    desk.clock.advance(4 * DAY_US)
    assert desk.deliver() == 0
    assert ear.heard == []


def test_what_was_not_taken_is_told_again_and_what_never_will_be_is_put_aside(
    sqlite_tables: Tables, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(sqlite_tables, channels_of({"all": {"kind": "webhook", "url": ear.url + "&token=hush"}}))
    ear.statuses = [503]
    desk.happen()
    desk.deliver()
    assert [job.state for job in desk.queue.find(queue=QUEUE)] == [JobState.QUEUED]
    ear.statuses = [404]
    desk.happen()
    with caplog.at_level(logging.INFO):
        desk.deliver()
    assert [job.state for job in desk.queue.find(queue=QUEUE)].count(JobState.DEAD) == 1
    assert "hush" not in caplog.text


def test_a_webhook_is_signed_and_its_secret_stays_out_of_everything(
    sqlite_tables: Tables, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_SECRET", "hush")
    monkeypatch.setenv("OPS_URL", ear.url)
    channels = channels_of({"ops": {"kind": "webhook", "url_env": "OPS_URL", "secret_env": "OPS_SECRET"}})
    desk = Desk(sqlite_tables, channels)
    assert desk.notices.test("ops") == "answered 200"
    headers, body = ear.heard[0]
    headers = {name.lower(): value for name, value in headers.items()}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    expected = base64.b64encode(hmac.new(b"hush", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert "hush" not in repr(channels)
    monkeypatch.delenv("OPS_SECRET")
    with pytest.raises(Invalid, match="OPS_SECRET is not set"):
        desk.notices.test("ops")


def mail(port: int, **changes: object) -> Channel:
    given = {"kind": "email", "smtp": f"127.0.0.1:{port}", "tls": "none", "to": ["ops@example.org"]}
    return channels_of({"mail": {**given, "sender": "ms@example.org", **changes}})["mail"]


def test_a_mail_arrives_with_subject_text_and_link(sqlite_tables: Tables, mailbox: Mailbox) -> None:
    desk = Desk(sqlite_tables, {"mail": mail(mailbox.port, to=["ops@example.org", "me@example.org"])})
    desk.happen()
    desk.deliver()
    [envelope] = mailbox.mails
    assert envelope.rcpt_tos == ["ops@example.org", "me@example.org"]
    text = (envelope.original_content or b"").decode()
    assert "Subject: [raised] drift of late" in text
    assert f"http://h/alarms/{ALARM}" in text


def test_a_name_with_a_line_in_it_adds_no_header(mailbox: Mailbox) -> None:
    from mainspring.monitoring.notices import email

    email.send(
        mail(mailbox.port), Notice(**{**asdict(NOTICE), "deployment": "a\nBcc: x@y.z"}), delivery="1", local=True
    )
    head = (mailbox.mails[0].original_content or b"").decode().split("\r\n\r\n")[0]
    assert "\r\nBcc" not in head


def test_a_mail_server_that_is_away_or_refuses_is_said_with_what_to_do(mailbox: Mailbox) -> None:
    from mainspring.monitoring.notices import email

    mailbox.refuse = "554 no"
    with pytest.raises(Invalid, match="answered 554"):
        email.send(mail(mailbox.port), NOTICE, delivery="1", local=True)
    with pytest.raises(Unavailable, match="does not answer"):
        email.send(mail(own_ports(1)[0]), NOTICE, delivery="1", local=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # it imports every service that it knows
def test_apprise_tells_its_services(ear: Ear) -> None:
    pytest.importorskip("apprise")
    from mainspring.monitoring.notices import apprise

    url = ear.url.replace("http://", "json://").partition("?")[0]
    made = channels_of({"any": {"kind": "apprise", "url": url}})["any"]
    assert apprise.send(made, NOTICE, delivery="1", local=True) == "told"
    assert "hour: 20% moved" in ear.heard[0][1]
    with pytest.raises(Invalid, match="none that Apprise knows"):
        apprise.send(channels_of({"a": {"kind": "apprise", "url": "nothing"}})["a"], NOTICE, delivery="1", local=True)


def test_the_log_gets_a_line(caplog: pytest.LogCaptureFixture) -> None:
    from mainspring.monitoring.notices import log

    with caplog.at_level(logging.WARNING):
        log.send(channels_of({"l": {"kind": "log"}})["l"], NOTICE, delivery="1", local=False)
    assert "alarm.raised" in caplog.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "webhok", "url": "https://a.b"}, "webhook"),
        ({"kind": "webhook"}, "one address"),
        ({"kind": "webhook", "url": "https://a.b", "url_env": "X"}, "one address"),
        ({"kind": "log", "onn": ["raised"]}, "onn"),
        ({"kind": "log", "on": ["rased"]}, "raised"),
        ({"kind": "log", "on": "raised"}, "list of texts"),
        ({"kind": "log", "causes": ["moon"]}, "no cause"),
        ({"kind": "email", "smtp": "mail"}, "no mail server"),
        ({"kind": "email", "smtp": "m:25", "sender": "a@b.c", "to": ["a\n@b"]}, "no mail address"),
        ({"kind": "log", "name": "x"}, "named by its section"),
        ({}, "kind"),
    ],
)
def test_a_channel_that_is_wrong_is_refused_with_its_place(values: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid) as found:
        channels_of({"ops": values})
    assert "notify.ops" in found.value.where
    assert said in f"{found.value.what} {found.value.hint}"


def test_the_command_lists_channels_and_tells_one(sqlite_tables: Tables, ear: Ear) -> None:
    desk = Desk(sqlite_tables, channels_of({"ops": {"kind": "webhook", "url": ear.url}}))
    wiring = Wiring()
    wiring.add(Notices, lambda _: desk.notices)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(group, ["notify", *arguments], obj=lambda: wiring).output

    assert "webhook" in run()
    assert run("--test", "ops").strip() == "ops was told: answered 200"
    assert "nothing is wrong" in ear.heard[0][1]
    with pytest.raises(NotFound, match="no channel 'opps'"):
        desk.notices.test("opps")


def test_a_closed_alarm_is_told_where_that_is_wanted(sqlite_tables: Tables, ear: Ear) -> None:
    desk = Desk(sqlite_tables, channels_of({"ops": {"kind": "webhook", "url": ear.url, "on": ["closed"]}}))
    with sqlite_tables.write() as conn:
        closed = AlarmClosed(subject=f"alarms/{ALARM}", deployment="late", cause="drift", note="fixed")
        desk.journal.append(conn, closed)
    desk.clock.advance(desk.journal_now())
    desk.deliver()
    assert json.loads(ear.heard[0][1])["type"] == "alarm.closed"
