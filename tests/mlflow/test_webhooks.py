"""Webhooks: made, read, listed, changed, deleted. Delivery is the server's own affair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient
from tests.mlflow.http import BAD, GONE, Http, Json

URL = (
    "https://9.9.9.9/hook"  # public, as it must be; never called, since nothing happens while these webhooks are there
)
EVENTS = [{"entity": "PROMPT_ALIAS", "action": "CREATED"}, {"entity": "PROMPT_ALIAS", "action": "DELETED"}]


@pytest.fixture(autouse=True)
def _none_is_left(http: Http) -> Iterator[None]:
    yield
    for webhook in http.ok("GET", "webhooks", max_results=100).get("webhooks", []):
        http.ok("DELETE", f"webhooks/{webhook['webhook_id']}")


@pytest.fixture
def webhook(http: Http, name: str) -> Json:
    """A fresh webhook."""
    found: Json = http.ok("POST", "webhooks", name=name, url=URL, events=EVENTS, secret="hush")["webhook"]
    return found


def test_a_webhook_is_made_and_read(http: Http, name: str, webhook: Json) -> None:
    found = http.ok("GET", f"webhooks/{webhook['webhook_id']}")["webhook"]
    assert (found["name"], found["url"], found["status"]) == (name, URL, "ACTIVE")
    assert sorted(map(str, found["events"])) == sorted(map(str, EVENTS))
    assert found["creation_timestamp"] == found["last_updated_timestamp"]


def test_a_secret_is_never_told(http: Http, webhook: Json) -> None:
    assert "hush" not in http.send("GET", f"webhooks/{webhook['webhook_id']}").text
    assert "hush" not in http.send("GET", "webhooks").text


def test_the_client_makes_and_changes_webhooks(client: MlflowClient, name: str) -> None:
    made = client.create_webhook(name, URL, ["prompt_alias.created", "prompt_alias.deleted"], description="d")
    assert sorted(f"{e.entity}.{e.action}" for e in made.events) == ["prompt_alias.created", "prompt_alias.deleted"]
    changed = client.update_webhook(made.webhook_id, description="new", status="DISABLED", events=["prompt_tag.set"])
    assert (changed.description, str(changed.status), len(changed.events)) == ("new", "DISABLED", 1)
    assert client.get_webhook(made.webhook_id).description == "new"
    client.delete_webhook(made.webhook_id)


def test_webhooks_are_listed_in_pages(http: Http, name: str) -> None:
    made = {
        http.ok("POST", "webhooks", name=f"{name}-{i}", url=URL, events=EVENTS)["webhook"]["webhook_id"]
        for i in range(3)
    }
    found: list[str] = []
    token = ""
    while True:
        answer = http.ok("GET", "webhooks", max_results=2, **({"page_token": token} if token else {}))
        found += [w["webhook_id"] for w in answer.get("webhooks", [])]
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert made <= set(found)
    assert len(found) == len(set(found))


def test_a_change_leaves_what_it_does_not_name(http: Http, name: str, webhook: Json) -> None:
    http.ok("PATCH", f"webhooks/{webhook['webhook_id']}", status="DISABLED")
    found = http.ok("GET", f"webhooks/{webhook['webhook_id']}")["webhook"]
    assert (found["name"], found["url"], found["status"], len(found["events"])) == (name, URL, "DISABLED", 2)


def test_a_deleted_webhook_is_gone(http: Http, webhook: Json) -> None:
    http.ok("DELETE", f"webhooks/{webhook['webhook_id']}")
    assert http.error("GET", f"webhooks/{webhook['webhook_id']}") == GONE


def test_an_unknown_webhook_is_not_found(http: Http) -> None:
    for method, fields in (("GET", {}), ("PATCH", {"name": "x"}), ("DELETE", {})):
        assert http.error(method, "webhooks/none", **fields) == GONE


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "http://example.com/x"},
        {"url": "ftp://example.com/x"},
        {"url": "no address"},
        {"url": ""},
        {"events": []},
        {"events": [{"entity": "MODEL_VERSION", "action": "EXCEEDED"}]},
        {"name": ""},
        {"name": "a/b c!"},
    ],
)
def test_a_webhook_that_cannot_work_is_refused(http: Http, name: str, fields: Json) -> None:
    assert http.error("POST", "webhooks", **{"name": name, "url": URL, "events": EVENTS, **fields}) == BAD
