"""A message as incoming webhooks of Slack take it, and those of others that speak alike, such as Mattermost."""

from __future__ import annotations

import json

from mainspring.monitoring.notices.model import Channel, Notice
from mainspring.monitoring.notices.webhook import told


def send(channel: Channel, notice: Notice, *, delivery: str, local: bool) -> str:
    """Send the notice. Raises as the webhook does."""
    text = f"*{_plain(notice.title)}*\n{_plain(notice.text)}\n<{notice.link}>"
    return told(channel, json.dumps({"text": text}, ensure_ascii=False), {}, local=local)


def _plain(text: str) -> str:
    """Text without what would be markup there, such as a mention of everybody.

    Source: Slack, "Formatting text for app surfaces", escaping text.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
