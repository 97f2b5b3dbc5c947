"""Deliveries from outside: who sent one is shown by a signature over its bytes, and nothing is parsed before that."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping

from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Forbidden, Invalid, TooLarge
from mainspring.core.values import dataclass

MOST_BYTES = 1024 * 1024
"""Of a delivery. A push to a busy branch takes some tens of kilobytes."""
MOST_HEADER = 1_000
STALE_US = 300 * SECOND_US
"""A delivery that says when it was sent is taken so long after and before."""
LEAST_SECRET = 16
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,200}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is kept of a delivery that was signed as it should be. Names and addresses of people are not.

    `key` is the same when the same bytes come again, however they are called.
    """

    key: str
    ref: str = ""
    commit: str = ""
    repository: str = ""


def read_delivery(form: str, secret: str, headers: Mapping[str, str], body: bytes, now: int) -> Delivery:
    """Check a delivery and take from it what params may name.

    Args:
        form: `standard`, `github` or `gitlab`.
        secret: What it is signed with; from Standard Webhooks it may begin with `whsec_`.
        headers: By name in lower case.
        body: As it came.
        now: The time.
    Raises:
        TooLarge: It has more bytes than any delivery needs.
        Forbidden: It is not signed with the secret, or was sent too long ago.
        Invalid: It is signed and no JSON object.
    """
    if len(body) > MOST_BYTES:
        raise TooLarge(f"a delivery of {len(body)} bytes", where="body", hint=f"send at most {MOST_BYTES}")
    if len(secret) < LEAST_SECRET:
        hint = f"use {LEAST_SECRET} letters or more, such as `openssl rand -hex 32` gives"
        raise Forbidden("the secret is too short to show who sends", where="secret", hint=hint)
    check = {"standard": _standard, "github": _github, "gitlab": _gitlab}[form]
    key = check(secret, {name: headers.get(name, "")[:MOST_HEADER] for name in _HEADERS}, body, now)
    try:
        found = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise Invalid("the delivery is no JSON", where="body", hint="send an object as application/json") from None
    if not isinstance(found, dict):
        raise Invalid(f"the delivery is a {type(found).__name__}", where="body", hint="send an object")
    return Delivery(key, _text(found.get("ref")), _commit(found), _repository(found))


_HEADERS = (
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-hub-signature-256",
    "x-gitlab-token",
    "x-gitlab-event-uuid",
)


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: int) -> str:
    """Source: Standard Webhooks 1.0.0, "Signature scheme"; the id and the time are signed, so both can be relied on."""
    name, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not name or not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise _unsigned("webhook-id, webhook-timestamp and webhook-signature")
    signed = f"{name}.{stamp}.".encode() + body
    expected = base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()
    given = [part.removeprefix("v1,") for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    if not any(_same(each, expected) for each in given):
        raise _unsigned("webhook-signature")
    if abs(now - int(stamp) * SECOND_US) > STALE_US:
        raise Forbidden("the delivery was sent too long ago", where="webhook-timestamp", hint="look at both clocks")
    return hashlib.sha256(f"id {name}".encode()).hexdigest()


def _github(secret: str, headers: Mapping[str, str], body: bytes, now: int) -> str:
    """Only the bytes are signed and the delivery's id is not, so the bytes are what may come once."""
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not _same(headers["x-hub-signature-256"], expected):
        raise _unsigned("x-hub-signature-256")
    return hashlib.sha256(body).hexdigest()


def _gitlab(secret: str, headers: Mapping[str, str], body: bytes, now: int) -> str:
    """A token that comes with every delivery; nothing is signed, so the bytes are what may come once."""
    if not _same(headers["x-gitlab-token"], secret):
        raise _unsigned("x-gitlab-token")
    return hashlib.sha256(body).hexdigest()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()


def _unsigned(header: str) -> Forbidden:
    hint = "give both sides the same secret, and the trigger the format of the sender"
    return Forbidden("the delivery is not signed with the secret", where=header, hint=hint)


def _text(value: object) -> str:
    return value if isinstance(value, str) and _TEXT.fullmatch(value) else ""


def _commit(found: Mapping[str, object]) -> str:
    return _text(found.get("checkout_sha")) or _text(found.get("after"))


def _repository(found: Mapping[str, object]) -> str:
    for name, key in (("repository", "full_name"), ("project", "path_with_namespace")):
        inner = found.get(name)
        if isinstance(inner, Mapping) and _text(inner.get(key)):
            return _text(inner.get(key))
    return ""
