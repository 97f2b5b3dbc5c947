"""Webhooks: who is told what, at least once, signed, and only where it may go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Forbidden, Invalid, NotFound
from mainspring.pipelines.worker import Worker
from mainspring.registry import Origin, Registry
from mainspring.registry.notices import check_url, is_public
from mainspring.registry.outside import post
from mainspring.registry.records.tables import webhook
from mainspring.registry.webhooks import KIND, QUEUE, Courier, Webhooks
from mainspring.storage.files import FileBlobs
from mainspring.storage.jobs import JobState
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Queue, Tables
from mainspring.storage.queue import SqlQueue

EVERYTHING = (
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
)


class Ear:
    """A real server on this machine that writes down what it is told, and answers with `statuses` in turn."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], str]] = []
        self.statuses: list[int] = []
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                ear.heard.append((dict(self.headers.items()), body))
                status = ear.statuses.pop(0) if ear.statuses else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", ear.url)
                self.end_headers()
                self.wfile.write(b"thanks")

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?from=us"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def names(self) -> list[str]:
        said = [json.loads(body) for _, body in self.heard]
        return [f"{entry['entity']}.{entry['action']}" for entry in said]


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def journal(tables: Tables) -> SqlJournal:
    return SqlJournal(tables)


@pytest.fixture
def queue(tables: Tables) -> Queue:
    return SqlQueue(tables)


@pytest.fixture
def registry(tables: Tables, journal: SqlJournal, tmp_path: Path) -> Registry:
    blobs = FileBlobs(tmp_path / "blobs")
    return Registry(tables=tables, journal=journal, blobs=blobs, clock=ManualClock(1_000_000), folder=tmp_path)


@pytest.fixture
def webhooks(tables: Tables, journal: SqlJournal, queue: Queue, registry: Registry, tmp_path: Path) -> Webhooks:
    clock = ManualClock(1_000_000)
    return Webhooks(
        tables=tables, journal=journal, queue=queue, clock=clock, registry=registry, folder=tmp_path, allow_local=True
    )


def deliver(webhooks: Webhooks, tables: Tables, queue: Queue) -> None:
    """Spread what is new and run the worker until nothing is due."""
    webhooks.spread()
    worker = Worker(tables, queue, {KIND: webhooks.deliver}, queues=(QUEUE,))
    while worker.run_one():
        pass


def test_every_kind_of_news_is_told_with_what_clients_expect(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    webhooks.create("all", ear.url, EVERYTHING)
    registry.create_model("churn", description="who leaves", tags={"team": "a"})
    registry.add_version("churn", Origin(source="s3://b/m", run_id="r1"), tags={"t": "1"}, description="first")
    registry.tag_version("churn", 1, {"k": "v"})
    registry.set_alias("churn", "champion", 1)
    deliver(webhooks, tables, queue)
    registry.remove_alias("churn", "champion")
    registry.untag_version("churn", 1, "k")
    deliver(webhooks, tables, queue)
    assert sorted(ear.names) == sorted(EVERYTHING)
    said = {json.loads(body)["entity"]: json.loads(body)["data"] for _, body in ear.heard[:4]}
    assert said["registered_model"] == {"name": "churn", "tags": {"team": "a"}, "description": "who leaves"}
    assert said["model_version"]["version"] == "1"
    assert said["model_version"]["source"] == "s3://b/m"
    assert said["model_version_tag"] == {"name": "churn", "version": "1", "key": "k", "value": "v"}
    assert said["model_version_alias"] == {"name": "churn", "version": "1", "alias": "champion"}


def test_prompts_have_news_of_their_own(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    webhooks.create("prompts", ear.url, ["prompt.created", "prompt_version.created", "prompt_alias.created"])
    registry.create_model("greet", tags={"mlflow.prompt.is_prompt": "true"})
    registry.add_version("greet", Origin(source="prompt-template"), tags={"mlflow.prompt.text": "Hi {{name}}"})
    registry.set_alias("greet", "live", 1)
    deliver(webhooks, tables, queue)
    assert sorted(ear.names) == ["prompt.created", "prompt_alias.created", "prompt_version.created"]
    (version,) = [json.loads(body)["data"] for _, body in ear.heard if "template" in body]
    assert version["template"] == "Hi {{name}}"


def test_a_delivery_is_signed_with_the_secret_which_is_never_shown(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    made = webhooks.create("signed", ear.url, ["registered_model.created"], secret="open sesame")
    registry.create_model("churn")
    deliver(webhooks, tables, queue)
    ((headers, body),) = ear.heard
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.{body}".encode()
    wanted = base64.b64encode(hmac.new(b"open sesame", signed, hashlib.sha256).digest()).decode()
    assert headers["X-MLflow-Signature"] == f"v1,{wanted}"
    assert "sesame" not in repr(made)
    with tables.read() as conn:
        assert "sesame" not in str(conn.execute(sa.select(webhook)).all())


def test_a_webhook_that_is_away_is_told_later_under_the_same_delivery(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    ear.statuses = [503]
    webhooks.create("slow", ear.url, ["registered_model.created"])
    registry.create_model("churn")
    deliver(webhooks, tables, queue)
    (job,) = queue.find(queue=QUEUE)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    lease = queue.lease("me", [QUEUE]) or _wait_for_lease(queue)
    assert webhooks.deliver(lease) == {"status": 200}
    assert len({headers["X-MLflow-Delivery-Id"] for headers, _ in ear.heard}) == 1


def _wait_for_lease(queue: Queue):  # type: ignore[no-untyped-def]
    for _ in range(200):
        lease = queue.lease("me", [QUEUE])
        if lease is not None:
            return lease
        threading.Event().wait(0.1)
    raise AssertionError("the job never came back")


def test_a_refusal_or_a_redirect_is_put_aside(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    ear.statuses = [404, 302]
    webhooks.create("wrong", ear.url, ["registered_model.created"])
    registry.create_model("a")
    registry.create_model("b")
    deliver(webhooks, tables, queue)
    assert [job.state for job in queue.find(queue=QUEUE)] == [JobState.DEAD, JobState.DEAD]
    assert len(ear.heard) == 2


def test_news_is_spread_once_and_only_what_happened_since(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    registry.create_model("before")
    webhooks.create("one", ear.url, ["registered_model.created"])
    with calling(Caller(project="other")):
        registry.create_model("elsewhere")
    registry.create_model("after")
    assert webhooks.spread() == 1
    assert webhooks.spread() == 0
    deliver(webhooks, tables, queue)
    assert [json.loads(body)["data"]["name"] for _, body in ear.heard] == ["after"]


def test_a_webhook_that_was_disabled_or_deleted_is_left_alone(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    first = webhooks.create("first", ear.url, ["registered_model.created"])
    second = webhooks.create("second", ear.url, ["registered_model.created"])
    registry.create_model("churn")
    webhooks.spread()
    webhooks.update(first.id, {"status": "disabled"})
    webhooks.delete(second.id)
    deliver(webhooks, tables, queue)
    assert ear.heard == []
    assert [entry.name for entry in webhooks.webhooks()] == ["first"]
    with pytest.raises(NotFound):
        webhooks.get(second.id)


def test_a_webhook_that_is_active_again_is_not_told_what_it_missed(
    webhooks: Webhooks, registry: Registry, tables: Tables, queue: Queue, ear: Ear
) -> None:
    made = webhooks.create("rests", ear.url, ["registered_model.created"])
    webhooks.update(made.id, {"status": "disabled"})
    registry.create_model("missed")
    webhooks.update(made.id, {"status": "active"}, secret="new")
    registry.create_model("heard")
    deliver(webhooks, tables, queue)
    assert [json.loads(body)["data"]["name"] for _, body in ear.heard] == ["heard"]
    assert "X-MLflow-Signature" in ear.heard[0][0]


def test_a_test_sends_an_example_and_tells_what_came_back(webhooks: Webhooks, ear: Ear) -> None:
    made = webhooks.create("try", ear.url, ["model_version_tag.set"])
    ear.statuses = [200, 418]
    assert webhooks.test(made.id).body == "thanks"
    assert webhooks.test(made.id, "prompt.created").status == 418
    assert ear.names == ["model_version_tag.set", "prompt.created"]


def test_the_courier_tells_by_itself(
    webhooks: Webhooks, registry: Registry, tables: Tables, journal: SqlJournal, queue: Queue, ear: Ear
) -> None:
    webhooks.create("live", ear.url, ["registered_model.created"])
    courier = Courier(webhooks, tables=tables, journal=journal, queue=queue)
    courier.start()
    registry.create_model("churn")
    for _ in range(200):
        if ear.heard:
            break
        threading.Event().wait(0.05)
    courier.stop()
    assert ear.names == ["registered_model.created"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest",
        "ftp://example.org",
        "https://",
        "https://example.org:99999/",
        "nonsense",
    ],
)
def test_only_https_to_public_addresses_is_taken(url: str) -> None:
    with pytest.raises(Invalid):
        check_url(url, local=False)


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "https://192.168.1.1/", "http://169.254.169.254/"])
def test_a_test_setting_opens_this_machine_and_no_other(url: str) -> None:
    assert check_url("http://127.0.0.1:8000/hook", local=True).port == 8000
    with pytest.raises(Invalid, match="no public address"):
        check_url(url, local=True)


def test_a_name_that_leads_to_this_machine_is_refused_where_the_connection_is_made(ear: Ear) -> None:
    with pytest.raises(Forbidden, match="no public address"):
        post(f"https://localhost:{ear.server.server_port}/hook", b"{}", {}, local=False)
    assert ear.heard == []


MALFORMED: dict[str, dict[str, object]] = {
    "can't name a webhook": {"name": "-x"},
    "needs events": {"events": ()},
    "nothing is called": {"events": ("model.created",)},
    "no status": {"status": "asleep"},
    "no public address": {"url": "http://10.0.0.1/hook"},
}


def test_a_malformed_webhook_is_refused_with_the_reason(webhooks: Webhooks, ear: Ear) -> None:
    made = webhooks.create("fine", ear.url, ["registered_model.created"])
    for reason, changes in MALFORMED.items():
        with pytest.raises(Invalid, match=reason):
            webhooks.update(made.id, changes)
    assert webhooks.get(made.id) == made


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_inside_of_ipv6_as_it_is_alone(address: ipaddress.IPv4Address) -> None:
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(ipaddress.ip_address(wrapped)) == is_public(address)
