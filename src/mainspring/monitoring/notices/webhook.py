"""A POST of JSON, signed as Standard Webhooks says when there is a secret."""

from __future__ import annotations

import json
import time

from mainspring.core.clock import iso
from mainspring.core.errors import Failed, Invalid, Unavailable
from mainspring.monitoring.notices.model import Channel, Notice
from mainspring.registry.notices import signature
from mainspring.registry.outside import post

_AGAIN = (408, 425, 429)


def send(channel: Channel, notice: Notice, *, delivery: str, local: bool) -> str:
    """Send the notice.

    Raises:
        Unavailable: It could not be reached; worth another try.
        Failed: It can't take it now; worth another try.
        Forbidden: The host is at no public address.
        Invalid: It answered that it will not take it, or the address is malformed.
    """
    said = {name: getattr(notice, name) for name in ("alarm", "deployment", "cause", "text", "link")}
    body = json.dumps({"type": f"alarm.{notice.what}", "timestamp": iso(notice.at), "data": said}, ensure_ascii=False)
    timestamp = str(int(time.time()))
    headers = {"webhook-id": delivery, "webhook-timestamp": timestamp}
    secret = channel.secret("secret_env")
    if secret:
        headers["webhook-signature"] = signature(secret, delivery, timestamp, body)
    return told(channel, body, headers, local=local)


def told(channel: Channel, body: str, headers: dict[str, str], *, local: bool) -> str:
    """POST a body of JSON to the address of a channel. Neither the address nor what comes back is ever logged."""
    usual = {"Content-Type": "application/json", "User-Agent": "mainspring-alarms"}
    try:
        reply = post(channel.address, body.encode(), {**usual, **headers}, local=local)
    except Unavailable as reason:
        raise Unavailable(reason.what, where=channel.where, hint=reason.hint) from None
    if reply.status in _AGAIN or reply.status >= 500:
        raise Failed(f"the channel answered {reply.status}", where=channel.where)
    if reply.status >= 300:
        raise Invalid(f"the channel answered {reply.status}", where=channel.where, hint="is the address right?")
    return f"answered {reply.status}"
