"""The Ed25519 key of this instance that signs model packages, and checking what it signed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Corrupt, Refused
from mainspring.core.settings import AWAY

_NAME = "models"


def statement(model: str, version: int, digest: str) -> bytes:
    """The bytes that are signed: which version of which model has which digest."""
    return canonical_json({"digest": digest, "model": model, "version": version})


class Signer:
    """Signs with the key in `folder/models.key`, made on first use and readable by its owner only.

    Raises:
        Corrupt: The file is not a key.
    """

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(kept_seed(folder / f"{_NAME}.key"))
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> str:
        """The signature over `message`, 128 hex digits."""
        return self._key.sign(message).hex()


def kept_seed(path: Path) -> bytes:
    """The 32 secret bytes in a file, made on first use and readable by its owner only.

    Raises:
        Corrupt: The file is not a key.
        Refused: This is a node of a cluster that does not have the project's data folder.
    """
    if (path.parent / AWAY).exists():
        hint = "do it in a step with here=True, or mount the project's data folder on the node at the same path"
        raise Refused("this node of the cluster has no key of the project to sign with", where=path.name, hint=hint)
    return _seed(path) if path.exists() else _make(path)


def key_id(public: bytes) -> str:
    """A short name of a key: 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def is_signed(message: bytes, signature: str, public: bytes) -> bool:
    """Whether the hex `signature` over `message` was made with the key whose public half is `public` (32 bytes)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _seed(path: Path) -> bytes:
    try:
        seed = bytes.fromhex(path.read_text().strip())
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise Corrupt("the key is not 64 hex digits", where=str(path), hint="restore the file")
    return seed


def _make(path: Path) -> bytes:
    """Write a fresh key whole under a name of its own, then link it: of two processes that start together one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{os.getpid()}-{os.urandom(4).hex()}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(os.urandom(32).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return _seed(path)
