"""Webhooks over the protocol."""

from __future__ import annotations

from mainspring.core.errors import Forbidden, Invalid, Unavailable
from mainspring.core.ids import is_id
from mainspring.mlflow.calls import call
from mainspring.mlflow.wire import UNSET, Int64, MaybeText, Message, Text, chosen
from mainspring.registry.notices import EXAMPLES, QUIET, Webhook
from mainspring.registry.webhooks import Webhooks

_MOST = 1000


class EventName(Message):
    """What a webhook is told about: an entity and an action, in capital letters."""

    entity: Text
    action: Text


class CreateWebhook(Message):
    """What makes a webhook."""

    name: Text
    url: Text
    events: list[EventName]
    description: str = ""
    secret: str = ""
    status: str = "ACTIVE"


class ListWebhooks(Message):
    """A page of webhooks."""

    max_results: Int64 = 100
    page_token: str = ""


class ById(Message):
    """A webhook by id."""

    webhook_id: Text


class UpdateWebhook(Message):
    """What is to change of a webhook."""

    webhook_id: Text
    name: str = ""
    url: str = ""
    events: list[EventName] = []
    description: MaybeText = UNSET
    secret: MaybeText = UNSET
    status: MaybeText = UNSET


class TestWebhook(Message):
    """The event whose example is sent; the first of the webhook when absent."""

    webhook_id: Text
    event: EventName | None = None


class WebhookInfo(Message):
    """A webhook as it is sent, without its secret."""

    webhook_id: str
    name: str
    url: str
    events: list[EventName]
    status: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""


class OneWebhook(Message):
    """The answer that is one webhook."""

    webhook: WebhookInfo


class SomeWebhooks(Message):
    """The answer that is a page of webhooks."""

    webhooks: list[WebhookInfo] = []
    next_page_token: str = ""


class TestResult(Message):
    """What came of a test."""

    success: bool
    response_status: int | None = None
    response_body: str = ""
    error_message: str = ""


class Tested(Message):
    """The answer to a test."""

    result: TestResult


def info_of(found: Webhook) -> WebhookInfo:
    """A webhook as it is sent."""
    return WebhookInfo(
        webhook_id=found.id,
        name=found.name,
        url=found.url,
        events=[
            EventName(entity=name.split(".")[0].upper(), action=name.split(".")[1].upper()) for name in found.events
        ],
        status=found.status.upper(),
        creation_timestamp=found.created_at // 1000,
        last_updated_timestamp=found.updated_at // 1000,
        description=found.description,
    )


def name_of(event: EventName) -> str:
    """The name of an event inside.

    Raises:
        Invalid: Nothing is called that, or the action does not go with the entity.
    """
    name = f"{event.entity}.{event.action}".lower()
    if name in EXAMPLES or name in QUIET:
        return name
    what = f"Invalid action '{event.action[:40]}' for entity '{event.entity[:40]}'"
    raise Invalid(what, where="events", hint="valid are " + ", ".join(EXAMPLES))


def _status(text: str) -> str:
    if text not in ("ACTIVE", "DISABLED"):
        raise Invalid(f"Invalid webhook status {text[:40]!r}", where="status", hint="use ACTIVE or DISABLED")
    return text.lower()


@call("POST", "webhooks", "models:write")
def create(ask: CreateWebhook, webhooks: Webhooks) -> OneWebhook:
    """Tell an address about events from now on."""
    made = webhooks.create(
        ask.name,
        ask.url,
        list(map(name_of, ask.events)),
        description=ask.description,
        secret=ask.secret,
        active=_status(ask.status) == "active",
    )
    return OneWebhook(webhook=info_of(made))


@call("GET", "webhooks", "models:read")
def list_webhooks(ask: ListWebhooks, webhooks: Webhooks) -> SomeWebhooks:
    """Webhooks, newest first."""
    limit = ask.max_results or 100
    if not 1 <= limit <= _MOST:
        raise Invalid(f"max_results must be between 1 and {_MOST}.", where="max_results")
    if ask.page_token and not is_id(ask.page_token):
        raise Invalid("this is no page token", where="page_token", hint="send the token of the page before")
    found = webhooks.webhooks(limit=limit + 1, before=ask.page_token)
    following = found[limit - 1].id if len(found) > limit else ""
    return SomeWebhooks(webhooks=list(map(info_of, found[:limit])), next_page_token=following)


@call("GET", "webhooks/{webhook_id:str}", "models:read")
def get(ask: ById, webhooks: Webhooks) -> OneWebhook:
    """One webhook."""
    return OneWebhook(webhook=info_of(webhooks.get(ask.webhook_id)))


@call("PATCH", "webhooks/{webhook_id:str}", "models:write")
def update(ask: UpdateWebhook, webhooks: Webhooks) -> OneWebhook:
    """Change a webhook; what is absent stays."""
    changes: dict[str, object] = {name: text for name, text in (("name", ask.name), ("url", ask.url)) if text}
    if ask.events:
        changes["events"] = tuple(map(name_of, ask.events))
    if ask.description is not UNSET:
        changes["description"] = ask.description
    if ask.status is not UNSET:
        changes["status"] = _status(chosen(ask.status, ""))
    secret = None if ask.secret is UNSET else chosen(ask.secret, "")
    return OneWebhook(webhook=info_of(webhooks.update(ask.webhook_id, changes, secret=secret)))


@call("DELETE", "webhooks/{webhook_id:str}", "models:write")
def delete(ask: ById, webhooks: Webhooks) -> None:
    """Tell an address nothing any more."""
    webhooks.delete(ask.webhook_id)


@call("POST", "webhooks/{webhook_id:str}/test", "models:write")
def test(ask: TestWebhook, webhooks: Webhooks) -> Tested:
    """Send an example now and tell what came back."""
    try:
        reply = webhooks.test(ask.webhook_id, "" if ask.event is None else name_of(ask.event))
    except (Forbidden, Unavailable) as reason:
        return Tested(result=TestResult(success=False, error_message=f"Failed to test webhook: {reason.what}"))
    good = reply.status < 400
    return Tested(result=TestResult(success=good, response_status=reply.status, response_body=reply.body))


calls = [create, list_webhooks, get, update, delete, test]
