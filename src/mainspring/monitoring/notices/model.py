"""Channels and what they are told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from fnmatch import fnmatchcase

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.monitoring.model import CAUSES

KINDS = ("log", "webhook", "email", "slack", "apprise")
NEWS = ("raised", "reopened", "escalated", "acknowledged", "silenced", "closed")
"""What can be told of an alarm."""
_TLS = ("starttls", "tls", "none")


@dataclass(frozen=True, slots=True)
class Channel:
    """`[notify.NAME]`: who is told of which alarms, and how.

    Attributes:
        kind: One of `KINDS`.
        url: Where a webhook, Slack or Apprise is. An address that is itself a secret goes to `url_env`.
        url_env: The environment variable with that address.
        secret_env: The environment variable with the secret that signs what a webhook gets.
        on: What of an alarm is told: some of `NEWS`.
        deployments: Of which deployments, as patterns such as "late-*".
        causes: About which causes; none = about all.
        to: Who gets the mail.
        sender: Whom it is from.
        smtp: Host and port of the mail server, such as "mail.example.org:587".
        tls: How the mail server is spoken to: "starttls", "tls" from the first byte, or "none" on this machine.
        user: Who logs in there; "" = nobody.
        password_env: The environment variable with the password.
        name: Of the section.
    """

    kind: str
    url: str = ""
    url_env: str = ""
    secret_env: str = ""
    on: list[str] = field(default_factory=lambda: ["raised", "reopened"])
    deployments: list[str] = field(default_factory=lambda: ["*"])
    causes: list[str] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    sender: str = ""
    smtp: str = ""
    tls: str = "starttls"
    user: str = ""
    password_env: str = ""
    name: str = ""

    def wants(self, what: str, deployment: str, cause: str) -> bool:
        """Whether it is told of this."""
        return (
            what in self.on
            and (not self.causes or cause in self.causes)
            and any(fnmatchcase(deployment, pattern) for pattern in self.deployments)
        )

    @property
    def where(self) -> str:
        """Where its settings are."""
        return f"notify.{self.name}"

    @property
    def address(self) -> str:
        """Its address, from the settings or from the environment."""
        return self.url or self.secret("url_env")

    def secret(self, setting: str) -> str:
        """A secret that a setting names the environment variable of; "" where none is named.

        Raises:
            Invalid: The variable is not set.
        """
        variable = str(getattr(self, setting))
        if variable and not os.environ.get(variable):
            hint = f"set {variable} where the server starts"
            raise Invalid(f"{variable} is not set", where=f"{self.where}.{setting}", hint=hint)
        return os.environ.get(variable, "") if variable else ""


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told of an alarm.

    Attributes:
        what: One of `NEWS`.
        alarm: Its id.
        deployment: What it is about.
        cause: Its cause.
        text: One sentence about it.
        link: The page of it.
        at: Wall time it happened.
    """

    what: str
    alarm: str
    deployment: str
    cause: str
    text: str
    link: str
    at: int

    @property
    def title(self) -> str:
        """One line: what happened to which alarm."""
        return f"[{self.what}] {self.cause} of {self.deployment}"


def channels_of(section: Mapping[str, object]) -> dict[str, Channel]:
    """The channels of the tables `[notify.NAME]`.

    Raises:
        Invalid: A setting is not known, has a wrong value, or is missing for its kind.
    """
    return {name: _channel(name, values) for name, values in section.items()}


def _channel(name: str, values: object) -> Channel:
    where = f"notify.{name}"
    if not isinstance(values, Mapping):
        raise Invalid(f"{name} is a value", where=where, hint=f"write a section: [notify.{name}]")
    if "name" in values:
        raise Invalid("a channel is named by its section", where=where, hint="leave `name` out")
    for key in ("on", "deployments", "causes", "to"):
        given = values.get(key, [])
        if not isinstance(given, list) or not all(isinstance(entry, str) for entry in given):
            raise Invalid(f"{given!r} is no list of texts", where=f"{where}.{key}", hint=f'{key} = ["..."]')
    made = fill(Channel, {**values, "name": name}, where=where)
    _one_of(made.kind, KINDS, f"{where}.kind", "kind of channel")
    _one_of(made.tls, _TLS, f"{where}.tls", "way to speak to a mail server")
    for what in made.on:
        _one_of(what, NEWS, f"{where}.on", "news of an alarm")
    for cause in made.causes:
        _one_of(cause, CAUSES, f"{where}.causes", "cause")
    _check_kind(made)
    return made


def _check_kind(made: Channel) -> None:
    if made.kind in ("webhook", "slack", "apprise") and bool(made.url) == bool(made.url_env):
        hint = 'url = "https://...", or url_env = "VARIABLE" where the address is a secret'
        raise Invalid(f"a channel of kind {made.kind} needs one address", where=made.where, hint=hint)
    if made.kind == "email":
        host, _, port = made.smtp.rpartition(":")
        if not host or not port.isdigit():
            hint = 'smtp = "mail.example.org:587"'
            raise Invalid(f"{made.smtp!r} is no mail server", where=f"{made.where}.smtp", hint=hint)
        for address in (made.sender, *(made.to or [""])):
            if address.count("@") != 1 or not address.isprintable() or " " in address:
                hint = 'to = ["ops@example.org"], sender = "mainspring@example.org"'
                raise Invalid(f"{address[:80]!r} is no mail address", where=made.where, hint=hint)


def _one_of(value: str, known: tuple[str, ...], where: str, what: str) -> None:
    if value not in known:
        hint = did_you_mean(value, known) or "use one of " + ", ".join(known)
        raise Invalid(f"{value[:60]!r} is no {what}", where=where, hint=hint)
