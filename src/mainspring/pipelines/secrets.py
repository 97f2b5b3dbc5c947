"""Secrets by name: read where they are needed, and kept out of everything that is stored."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from mainspring.core.errors import Invalid, NotFound, Refused

MASK = b"***"
LEAST_LETTERS = 4


class Secrets:
    """Values by name, from the environment, else from a file with a line `NAME=value` for each.

    Args:
        file: The file; None for none. Nobody but its owner may read it.
        environ: The environment.
    """

    def __init__(self, file: Path | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._file = file
        self._environ = environ

    def get(self, name: str) -> str:
        """One secret.

        Raises:
            NotFound: It is neither in the environment nor in the file.
            Invalid: It has fewer than four letters, which could not be told from other text.
            Refused: Others may read the file.
        """
        found = self._environ.get(name) or self._in_file().get(name)
        if not found:
            place = f" or a line of {self._file}" if self._file else ", or in a file that pipelines.secrets names"
            hint = f"set it in the environment of the worker{place}"
            raise NotFound(f"there is no secret {name!r}", where="secrets", hint=hint)
        if len(found) < LEAST_LETTERS:
            what = f"secret {name} has {len(found)} letters, too few to be kept out of logs"
            raise Invalid(what, where="secrets", hint=f"use {LEAST_LETTERS} or more")
        return found

    def masks(self, names: Iterable[str]) -> tuple[bytes, ...]:
        """The forms in which these secrets may turn up: as they are, in base64 and in addresses; the longest first."""
        found = {form for name in names for form in _forms(self.get(name))}
        return tuple(sorted(found, key=lambda form: (-len(form), form)))

    def _in_file(self) -> dict[str, str]:
        if self._file is None or not self._file.is_file():
            return {}
        if self._file.stat().st_mode & 0o077:
            hint = f"chmod 600 {self._file}"
            raise Refused("others may read the file of secrets", where=str(self._file), hint=hint)
        lines = (line.partition("=") for line in self._file.read_text(encoding="utf-8").splitlines())
        return {name.strip(): value.strip().strip("\"'") for name, equals, value in lines if equals and name[0] != "#"}


def _forms(secret: str) -> set[bytes]:
    plain = secret.encode()
    return {plain, base64.b64encode(plain), quote(secret, safe="").encode(), repr(secret)[1:-1].encode()}


def masked(data: bytes, masks: Iterable[bytes]) -> bytes:
    """`data` without the secrets.

    >>> masked(b"token=hunter22;", [b"hunter22"])
    b'token=***;'
    """
    for mask in masks:
        data = data.replace(mask, MASK)
    return data
