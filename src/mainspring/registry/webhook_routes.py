"""Webhooks over HTTP."""

from __future__ import annotations

from litestar import delete, get, patch, post

from mainspring.core.values import dataclass
from mainspring.registry.notices import EXAMPLES, Webhook
from mainspring.registry.outside import Reply
from mainspring.registry.webhooks import Webhooks

_READ = {"permission": "models:read"}
_WRITE = {"permission": "models:write"}


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """An address and the events it is told about; the secret signs deliveries and is never shown again."""

    name: str
    url: str
    events: list[str]
    description: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """What is to change of a webhook; absent fields stay."""

    name: str | None = None
    url: str | None = None
    events: list[str] | None = None
    description: str | None = None
    status: str | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class TestRequest:
    """The event whose example is sent; the first of the webhook when empty."""

    event: str = ""


@get("/api/v1/webhooks", opt=_READ, sync_to_thread=True)
def list_webhooks(webhooks: Webhooks, limit: int = 100, before: str = "") -> list[Webhook]:
    """Webhooks, newest first, those made before the one with the id `before`."""
    return webhooks.webhooks(limit=min(max(limit, 1), 1000), before=before)


@post("/api/v1/webhooks", opt=_WRITE, sync_to_thread=True)
def create_webhook(webhooks: Webhooks, data: WebhookRequest) -> Webhook:
    """Tell an address about events from now on."""
    return webhooks.create(data.name, data.url, data.events, description=data.description, secret=data.secret)


@get("/api/v1/webhook-events", opt=_READ, sync_to_thread=True)
def list_events() -> dict[str, dict[str, object]]:
    """What webhooks can be told, each with an example of its data."""
    return dict(EXAMPLES)


@get("/api/v1/webhooks/{webhook_id:str}", opt=_READ, sync_to_thread=True)
def show_webhook(webhooks: Webhooks, webhook_id: str) -> Webhook:
    """One webhook, without its secret."""
    return webhooks.get(webhook_id)


@patch("/api/v1/webhooks/{webhook_id:str}", opt=_WRITE, sync_to_thread=True)
def change_webhook(webhooks: Webhooks, webhook_id: str, data: WebhookChange) -> Webhook:
    """Change a webhook."""
    fields = ("name", "url", "description", "status")
    changes: dict[str, object] = {name: getattr(data, name) for name in fields if getattr(data, name) is not None}
    if data.events is not None:
        changes["events"] = tuple(data.events)
    return webhooks.update(webhook_id, changes, secret=data.secret)


@delete("/api/v1/webhooks/{webhook_id:str}", opt=_WRITE, sync_to_thread=True)
def delete_webhook(webhooks: Webhooks, webhook_id: str) -> None:
    """Tell an address nothing any more."""
    webhooks.delete(webhook_id)


@post("/api/v1/webhooks/{webhook_id:str}/test", opt=_WRITE, sync_to_thread=True, status_code=200)
def test_webhook(webhooks: Webhooks, webhook_id: str, data: TestRequest) -> Reply:
    """Send an example now and tell what came back."""
    return webhooks.test(webhook_id, data.event)


handlers = [
    list_webhooks,
    create_webhook,
    list_events,
    show_webhook,
    change_webhook,
    delete_webhook,
    test_webhook,
]
