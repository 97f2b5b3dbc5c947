"""Secrets that are kept: encrypted with a key that lies beside the database and not in it."""

from __future__ import annotations

import base64
from pathlib import Path

from mainspring.core.errors import Corrupt
from mainspring.registry.signing import kept_seed


class Vault:
    """Encrypts texts with the key in `folder/secrets.key`, made on first use and readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "secrets.key"

    def seal(self, text: str) -> str:
        """The encrypted form of a text; another one each time."""
        from cryptography.fernet import Fernet

        return Fernet(self._key()).encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text again.

        Raises:
            Corrupt: It was encrypted with another key, or changed.
        """
        from cryptography.fernet import Fernet, InvalidToken

        try:
            return Fernet(self._key()).decrypt(sealed.encode()).decode()
        except InvalidToken:
            hint = "give the secret again, or restore the key"
            raise Corrupt("a secret can't be read with this key", where=str(self._path), hint=hint) from None

    def _key(self) -> bytes:
        return base64.urlsafe_b64encode(kept_seed(self._path))
