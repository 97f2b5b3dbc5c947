"""The Ed25519 key that signs checkpoints: made on first use, kept beside the data, readable by its owner only."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mainspring.core.errors import Corrupt, NotFound
from mainspring.core.values import dataclass


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key to verify with: 32 raw bytes."""

    raw: bytes

    @property
    def id(self) -> str:
        """A short name of the key: 16 hex digits of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def holds(self, message: bytes, signature: str) -> bool:
        """Whether the hex `signature` over `message` was made with this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """A key to sign with."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> str:
        """The signature over `message`, 128 hex digits."""
        return self._key.sign(message).hex()


def signing_key(folder: Path) -> SigningKey:
    """The key in `folder/signing.key`; made there when there is none, with `signing.pub` beside it.

    Raises:
        Corrupt: The file is not a key.
    """
    path = folder / "signing.key"
    if not path.exists():
        _make(path)
    text = path.read_text().strip()
    try:
        return SigningKey(bytes.fromhex(text))
    except ValueError:
        raise Corrupt("the audit signing key is not 64 hex digits", where=str(path), hint="restore the file") from None


def pinned_key(folder: Path) -> PublicKey:
    """The public key in `folder/signing.pub`, which verification trusts.

    Raises:
        NotFound: Nothing was ever sealed here.
        Corrupt: The file is not a key.
    """
    path = folder / "signing.pub"
    if not path.exists():
        raise NotFound("there is no audit key", where=str(path), hint="mainspring audit seal makes one")
    try:
        raw = bytes.fromhex(path.read_text().strip())
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise Corrupt("the public audit key is not 64 hex digits", where=str(path), hint="restore the file")
    return PublicKey(raw)


def _make(path: Path) -> None:
    """Write a fresh key in one step, so that of two processes that start together one key wins for both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = os.urandom(32)
    part = path.with_name(f".signing-{os.urandom(8).hex()}")
    part.write_text("")
    part.chmod(0o600)
    part.write_text(seed.hex() + "\n")
    try:
        os.link(part, path)
    except FileExistsError:
        return  # the other process was first
    finally:
        part.unlink()
    path.with_name("signing.pub").write_text(SigningKey(seed).public.raw.hex() + "\n")
