"""Webhooks and what they are told: pure values and decisions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.events import Event
from mainspring.core.values import dataclass
from mainspring.registry.model import PROMPT_TAG

Data = dict[str, object]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = {"name": "example_model"}
_TAG = {"key": "example_key", "value": "example_value"}
EXAMPLES: Mapping[str, Data] = {
    "registered_model.created": {**_NAME, "tags": {"example_key": "example_value"}, "description": "An example"},
    "model_version.created": {
        **_NAME,
        "version": "1",
        "source": "models:/123",
        "run_id": "abcd1234abcd5678",
        "tags": {"example_key": "example_value"},
        "description": "An example",
    },
    "model_version_tag.set": {**_NAME, "version": "1", **_TAG},
    "model_version_tag.deleted": {**_NAME, "version": "1", "key": "example_key"},
    "model_version_alias.created": {**_NAME, "alias": "example_alias", "version": "1"},
    "model_version_alias.deleted": {**_NAME, "alias": "example_alias"},
    "prompt.created": {"name": "example_prompt", "tags": {}, "description": "An example"},
    "prompt_version.created": {
        "name": "example_prompt",
        "version": "1",
        "template": "Hello {{name}}!",
        "tags": {},
        "description": "An example",
    },
    "prompt_tag.set": {"name": "example_prompt", **_TAG},
    "prompt_tag.deleted": {"name": "example_prompt", "key": "example_key"},
    "prompt_version_tag.set": {"name": "example_prompt", "version": "1", **_TAG},
    "prompt_version_tag.deleted": {"name": "example_prompt", "version": "1", "key": "example_key"},
    "prompt_alias.created": {"name": "example_prompt", "alias": "example_alias", "version": "1"},
    "prompt_alias.deleted": {"name": "example_prompt", "alias": "example_alias"},
}
"""What webhooks can be told, as `ENTITY.ACTION`, each with what a test sends."""
QUIET = ("budget_policy.exceeded",)
"""What clients may subscribe to and never happens here: there are no budgets for language models."""
_INTERNAL = (PROMPT_TAG, "mlflow.prompt.text", "_mlflow_prompt_type")
_WEBHOOK_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told about the registry. Its secret is write-only and no part of this value.

    Args:
        events: Names of `EXAMPLES`.
        status: "active" or "disabled".
    """

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    description: str
    status: str
    created_at: int
    updated_at: int

    @property
    def ref(self) -> str:
        """Reference, `webhooks/ID`."""
        return f"webhooks/{self.id}"


def check_webhook(made: Webhook, *, local: bool) -> Webhook:
    """Return a webhook that may be kept.

    Args:
        made: The webhook.
        local: Whether http and addresses of this machine are allowed.
    Raises:
        Invalid: Name, address, events or status are none.
    """
    if not _WEBHOOK_NAME.fullmatch(made.name):
        hint = "use 1 to 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends"
        raise Invalid(f"{made.name[:60]!r} can't name a webhook", where="name", hint=hint)
    check_url(made.url, local=local)
    if not made.events:
        raise Invalid("a webhook needs events", where="events", hint="such as model_version.created")
    for event in made.events:
        if event not in EXAMPLES and event not in QUIET:
            hint = did_you_mean(event, EXAMPLES) or "use one of " + ", ".join(EXAMPLES)
            raise Invalid(f"nothing is called {event[:60]!r}", where="events", hint=hint)
    if made.status not in ("active", "disabled"):
        raise Invalid(f"no status {made.status[:60]!r}", where="status", hint="use active or disabled")
    return made


def check_url(url: str, *, local: bool) -> SplitResult:
    """The parts of an address that news may be sent to.

    Raises:
        Invalid: It is no https address, or names an address that is not public.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as reason:
        raise Invalid(f"not an address: {reason}", where="url", hint="such as https://example.org/hook") from None
    if parts.scheme != "https" and not (local and parts.scheme == "http"):
        hint = "use https (or [webhooks] allow_local = true for a test on this machine)"
        raise Invalid(f"Invalid webhook URL scheme: {parts.scheme[:20]!r}", where="url", hint=hint)
    if not host or len(url) > 2048 or not url.isprintable() or " " in url:
        raise Invalid("the address names no host", where="url", hint="such as https://example.org/hook")
    literal = _literal(host)
    if literal is not None and not may_be_told(literal, local=local):
        raise Invalid(f"{host} is no public address", where="url", hint="news is sent to public addresses only")
    return parts


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet, looking inside IPv6 addresses that carry one of IPv4.

    >>> is_public(ipaddress.ip_address("::ffff:10.0.0.1")), is_public(ipaddress.ip_address("93.184.215.14"))
    (False, True)
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


def may_be_told(address: Address, *, local: bool) -> bool:
    """Whether news may be sent to an address: to public ones and, when `local`, to this machine itself.

    >>> [may_be_told(ipaddress.ip_address(text), local=True) for text in ("127.0.0.1", "10.0.0.1")]
    [True, False]
    """
    return is_public(address) or (local and address.is_loopback)


def signature(secret: str, delivery: str, timestamp: str, body: str) -> str:
    """The value of the header that proves who sent a body.

    Source: Standard Webhooks, "Signature scheme", as MLflow 3 uses it.
    """
    signed = f"{delivery}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


@dataclass(frozen=True, slots=True)
class About:
    """What is known now of the model, and of the version, that an event is about."""

    is_prompt: bool
    description: str = ""
    tags: Mapping[str, str] | None = None
    source: str = ""


def notices(event: Event, about: About) -> Iterator[tuple[str, Data]]:
    """What webhooks are told about an event: names of `EXAMPLES`, each with its data."""
    said = event.payload
    name, tags = said.get("model"), dict(about.tags or {})
    version = "" if said.get("version") is None else str(said["version"])
    kind = "prompt" if about.is_prompt else "model"
    if event.kind == "registry.model_created":
        kept = {key: value for key, value in tags.items() if not about.is_prompt or key not in _INTERNAL}
        data: Data = {"name": name, "tags": kept, "description": about.description or None}
        yield ("prompt.created" if about.is_prompt else "registered_model.created"), data
    elif event.kind == "registry.version_registered":
        yield f"{kind}_version.created", _version_data(event, about, tags)
    elif event.kind == "registry.tags_changed":
        yield from _tag_data(said, kind, version, tags)
    elif event.kind == "registry.alias_moved":
        entity = "prompt_alias" if about.is_prompt else "model_version_alias"
        data = {"name": name, "alias": said["alias"]}
        if version:
            yield f"{entity}.created", {**data, "version": version}
        else:
            yield f"{entity}.deleted", data


def _version_data(event: Event, about: About, tags: dict[str, str]) -> Data:
    said = event.payload
    data: Data = {"name": said["model"], "version": str(said["version"]), "description": about.description or None}
    if about.is_prompt:
        shown = {key: value for key, value in tags.items() if key not in _INTERNAL}
        return {**data, "template": tags.get("mlflow.prompt.text"), "tags": shown}
    return {**data, "source": said.get("source", ""), "run_id": said.get("run_id") or None, "tags": tags}


def _tag_data(
    said: Mapping[str, object], kind: str, version: str, tags: Mapping[str, str]
) -> Iterator[tuple[str, Data]]:
    if not version and kind == "model":
        return  # clients know of no news about tags of models themselves
    entity = f"{kind}_version_tag" if version else "prompt_tag"
    keys = said["keys"]
    for key in keys if isinstance(keys, Sequence) else ():
        data: Data = {"name": said["model"], **({"version": version} if version else {}), "key": key}
        if said["removed"]:
            yield f"{entity}.deleted", data
        elif key in tags:
            yield f"{entity}.set", {**data, "value": tags[key]}


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
