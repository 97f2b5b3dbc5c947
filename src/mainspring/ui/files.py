"""The files that pages load: named in one list, read once, addressed by their digest so that browsers may keep them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from mainspring.core.errors import NotFound, did_you_mean

MEDIA_TYPES = {
    "style.css": "text/css; charset=utf-8",
    "copy.js": "text/javascript; charset=utf-8",
    "complete.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Every file there is."""


@cache
def content(name: str) -> bytes:
    """The bytes of a file.

    Raises:
        NotFound: It is not in the list.
    """
    if name not in MEDIA_TYPES:
        raise NotFound(f"no file {name!r}", hint=did_you_mean(name, MEDIA_TYPES))
    return resources.files("mainspring.ui").joinpath(name).read_bytes()


@cache
def tag(name: str) -> str:
    """A name for this content: 16 hex digits."""
    return hashlib.sha256(content(name)).hexdigest()[:16]


def address_of(name: str) -> str:
    """Where a page finds the file; another content has another address."""
    return f"/files/{tag(name)}/{name}"
