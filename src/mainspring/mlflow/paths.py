"""Paths of artifacts as clients of MLflow send them, and the URIs they are known by."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

from mainspring.core.errors import Invalid
from mainspring.tracking.rules import check_path

_DRIVE = re.compile(r"[A-Za-z]:")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def file_path(text: str) -> str:
    """The path of a file, from a text that was percent-decoded once.

    Raises:
        Invalid: It is absolute, leaves its folder, names a drive, has a fragment, or is encoded still.

    >>> file_path("model/MLmodel")
    'model/MLmodel'
    """
    if _ESCAPE.search(text):
        raise _refused(text, "it is percent-encoded twice")
    if "#" in text:
        raise _refused(text, "it has a '#'")
    if text.startswith(("/", "~")) or _DRIVE.match(text) or "://" in text or text.lower().startswith("file:"):
        raise _refused(text, "it is absolute")
    if ".." in text.split("/"):
        raise _refused(text, "it leaves its folder")
    return check_path(posixpath.normpath(text) if text else text)


def folder_path(text: str) -> str:
    """The path of a folder, "" for the topmost; otherwise as `file_path`.

    >>> folder_path(""), folder_path("model/")
    ('', 'model')
    """
    return file_path(text) if text not in ("", ".", "./") else ""


def below(uri: str, *parts: str) -> str:
    """The URI of what lies below another.

    >>> below("mlflow-artifacts:/1/", "models", "m-1")
    'mlflow-artifacts:/1/models/m-1'
    """
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts if part)])


def _refused(text: str, why: str) -> Invalid:
    shown = unquote(text)[:60]
    return Invalid(f"Invalid path {shown!r}: {why}", where="path", hint="send a relative path such as model/MLmodel")
