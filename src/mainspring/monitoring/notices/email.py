"""A mail by SMTP."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from mainspring.core.console import printable
from mainspring.core.errors import Failed, Invalid, Unavailable
from mainspring.monitoring.notices.model import Channel, Notice

TIMEOUT_S = 20.0


def send(channel: Channel, notice: Notice, *, delivery: str, local: bool) -> str:
    """Send the mail.

    Raises:
        Unavailable: The mail server could not be reached; worth another try.
        Failed: It can't take it now; worth another try.
        Invalid: It will not take it, or does not let us in.
    """
    host, _, port = channel.smtp.rpartition(":")
    try:
        with _connected(channel, host, int(port)) as server:
            if channel.user:
                server.login(channel.user, channel.secret("password_env"))
            refused = server.send_message(_message(channel, notice, delivery))
    except smtplib.SMTPResponseException as reason:
        kind = Failed if 400 <= reason.smtp_code < 500 else Invalid
        raise kind(f"the mail server answered {reason.smtp_code}", where=channel.where) from None
    except smtplib.SMTPRecipientsRefused:
        raise Invalid("the mail server refused every address", where=f"{channel.where}.to") from None
    except (OSError, smtplib.SMTPException) as reason:
        hint = "is it up, and can this machine reach it?"
        what = f"{host} does not answer: {type(reason).__name__}"
        raise Unavailable(what, where=f"{channel.where}.smtp", hint=hint) from None
    return f"{len(channel.to) - len(refused)} of {len(channel.to)} addresses"


def _connected(channel: Channel, host: str, port: int) -> smtplib.SMTP:
    if channel.tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    if channel.tls == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


def _message(channel: Channel, notice: Notice, delivery: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"] = channel.sender, ", ".join(channel.to)
    made["Subject"] = printable(notice.title, keep="")
    made["Date"] = formatdate(notice.at / 1e6)
    made["Message-ID"] = f"<{delivery}@{channel.sender.rpartition('@')[2]}>"  # sent twice, it is shown once
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(f"{notice.text}\n\n{notice.link}\n")
    return made
