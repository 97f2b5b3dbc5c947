"""A line in the log of the server."""

from __future__ import annotations

import logging

from mainspring.monitoring.notices.model import Channel, Notice

_log = logging.getLogger("mainspring.alarms")


def send(channel: Channel, notice: Notice, *, delivery: str, local: bool) -> str:
    """Write the line."""
    fields = (notice.what, notice.alarm, notice.deployment, notice.cause, notice.text)
    _log.warning("alarm.%s alarm=%s deployment=%s cause=%s text=%s", *fields)
    return "logged"
