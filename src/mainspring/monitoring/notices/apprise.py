"""Whatever Apprise can tell: one address for each of a hundred services. It needs the extra `apprise`."""

from __future__ import annotations

from mainspring.core.errors import Failed, Invalid
from mainspring.monitoring.notices.model import Channel, Notice


def send(channel: Channel, notice: Notice, *, delivery: str, local: bool) -> str:
    """Send the notice.

    Raises:
        Invalid: The extra is missing, or the address is none that Apprise knows.
        Failed: It was not told; worth another try.
    """
    try:
        from apprise import Apprise
    except ModuleNotFoundError:
        hint = "pip install 'mainspring[apprise]'"
        raise Invalid("apprise is not installed", where=channel.where, hint=hint) from None
    service = Apprise()
    if not service.add(channel.address):
        raise Invalid("the address is none that Apprise knows", where=channel.where, hint="see its list of services")
    if not service.notify(title=notice.title, body=f"{notice.text}\n{notice.link}"):
        raise Failed("the service did not take it", where=channel.where)
    return "told"
