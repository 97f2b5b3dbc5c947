"""Blobs on S3 and what speaks like it, and the address form that both blobs and tables share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, urlsplit

from mainspring.core.canonical import digest as digest_of
from mainspring.core.clock import micros
from mainspring.core.errors import Invalid, Unavailable
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.storage.files import (
    CHUNK,
    LOOKS,
    check_digest,
    checked,
    copy,
    corrupt,
    missing,
    open_source,
    whole_file,
)
from mainspring.storage.ports import StoredBlob, TrashedBlob

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Config, S3Store

PROBE = "probe/"
COPY_LIMIT = 5 << 30
"""Largest object that S3 copies in one request."""
_TRASH = "trash/"
_ENVIRONMENT = {
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where things are kept: `s3://bucket/prefix`, with `?endpoint=http://host:port&region=...` for other than AWS.

    Keys come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`) or the machine's role, never from
    the address.

    >>> S3Address.parse("s3://models/team", {"AWS_REGION": "eu-west-1"}).under("tables").prefix
    'team/tables'
    """

    bucket: str
    prefix: str
    config: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str, environ: Mapping[str, str] | None = None) -> S3Address:
        """Read an address.

        Raises:
            Invalid: It is not s3://, names no bucket, or has a parameter that is not known.
        """
        environ = os.environ if environ is None else environ
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.hostname or "@" in parts.netloc:
            raise Invalid(
                f"{parts.scheme}://... is no S3 address", where="storage.blobs", hint="use s3://bucket/prefix"
            )
        config = {
            key: next(environ[name] for name in names if environ.get(name))
            for key, names in _ENVIRONMENT.items()
            if any(environ.get(name) for name in names)
        }
        for key, value in parse_qsl(parts.query):
            if key not in ("endpoint", "region"):
                raise Invalid(f"unknown parameter {key!r}", where="storage.blobs", hint="known are endpoint and region")
            config[key] = value
        config.setdefault("region", "us-east-1")
        return cls(parts.netloc, parts.path.strip("/"), config)

    def under(self, part: str) -> S3Address:
        """The address one step deeper."""
        return S3Address(self.bucket, f"{self.prefix}/{part}".strip("/"), self.config)

    @property
    def uri(self) -> str:
        """As `s3://bucket/prefix`, without parameters."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint is http, which is for a server on the same machine or network."""
        return self.config.get("endpoint", "").startswith("http://")

    def options(self) -> dict[str, str]:
        """As the storage options of deltalake and Polars."""
        options = {f"aws_{key}": value for key, value in self.config.items()}
        if self.plain_http:
            options["aws_allow_http"] = "true"
        return options

    def store(self) -> S3Store:
        """As an obstore store."""
        from obstore.store import S3Store

        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            config=cast("S3Config", dict(self.config)),
            client_options={"allow_http": self.plain_http},
        )


class S3Blobs:
    """Keeps blobs as objects. An object appears only when all of its bytes arrived, so nothing is ever half there."""

    def __init__(self, address: S3Address) -> None:
        self._where = address.uri
        self._store = address.store()

    def put(self, data: bytes) -> str:
        """Keep `data` durably and return its digest."""
        import obstore

        digest = digest_of(data)
        if not self._is_there(digest):
            with answering(self._where):
                obstore.put(self._store, _key(digest), data)
        return digest

    def put_file(self, path: Path) -> str:
        """Keep the content of a file without loading it whole, and return its digest."""
        import obstore

        with open_source(path) as source, tempfile.TemporaryFile() as copied:
            digest = copy(source, copied)
            copied.seek(0)
            if not self._is_there(digest):
                with answering(self._where):
                    obstore.put(self._store, _key(digest), copied)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes under `digest`, checked."""
        data = b"".join(self._chunks(digest))
        if digest_of(data) != digest:
            raise corrupt(digest, self._where)
        return data

    def fetch(self, digest: str, to: Path) -> None:
        """Write the bytes to the file `to`, checked; `to` is either whole or absent."""
        from blake3 import blake3

        hasher = blake3()
        with whole_file(to) as part:
            for chunk in self._chunks(digest):
                hasher.update(chunk)
                part.write(chunk)
            if hasher.hexdigest() != digest:
                raise corrupt(digest, self._where)

    def take(self, path: Path, digest: str) -> None:
        """Keep a finished file whose digest is known, and remove it from `path`."""
        import obstore

        if not self._is_there(digest):
            with open_source(path) as source, answering(self._where):
                obstore.put(self._store, _key(digest), source)
        path.unlink(missing_ok=True)

    def stream(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces; the last piece of a whole only when its digest is right."""
        if start == 0 and stop is None:
            yield from checked(self._chunks(digest), digest, self._where)
        elif stop is None or start < stop:
            yield from self._chunks(digest, {"range": {"offset": start} if stop is None else (start, stop)})

    def has(self, digest: str) -> bool:
        """Whether something is stored under `digest`."""
        return self._is_there(digest) or self.restore(digest)

    def delete(self, digest: str) -> None:
        """Forget the bytes."""
        for entry in self._entries(_trash_of(digest)):
            self.purge(entry)
        self._remove(_key(digest))

    def digests(self) -> Iterator[str]:
        """Every digest that is stored."""
        return (entry.digest for entry in self.stored())

    def stored(self) -> Iterator[StoredBlob]:
        """See `ports.BlobTrash.stored`."""
        for path, size, at in self._list(""):
            digest = path.replace("/", "", 1)
            if len(digest) == 64 and "/" not in digest:
                yield StoredBlob(digest, size, at)

    def discard(self, digest: str, at: int) -> None:
        """See `ports.BlobTrash.discard`: first a copy, then the deletion, so the bytes are always somewhere."""
        if self._copy(_key(digest), f"{_trash_of(digest)}{at}"):
            self._remove(_key(digest))

    def trashed(self) -> Iterator[TrashedBlob]:
        """See `ports.BlobTrash.trashed`."""
        yield from self._entries(_TRASH)

    def restore(self, digest: str) -> bool:
        """See `ports.BlobTrash.restore`."""
        for _ in range(LOOKS):
            if self._is_there(digest):
                return True
            for entry in sorted(self._entries(_trash_of(digest)), key=lambda entry: entry.at, reverse=True)[:1]:
                if self._copy(f"{_trash_of(digest)}{entry.at}", _key(digest)):
                    self.purge(entry)
        return self._is_there(digest)

    def purge(self, entry: TrashedBlob) -> None:
        """See `ports.BlobTrash.purge`."""
        self._remove(f"{_trash_of(entry.digest)}{entry.at}")

    def sweep(self, before: int) -> int:
        """See `ports.BlobTrash.sweep`: an object appears whole, so nothing unfinished is ever there."""
        return 0

    def _is_there(self, digest: str) -> bool:
        import obstore

        try:
            with answering(self._where):
                obstore.head(self._store, _key(digest))
        except FileNotFoundError:
            return False
        return True

    def _copy(self, source: str, target: str) -> bool:
        """Copy an object inside the store; False when it is not there. Stores copy up to 5 GB in one request."""
        import obstore

        try:
            with answering(self._where):
                if obstore.head(self._store, source)["size"] <= COPY_LIMIT:
                    obstore.copy(self._store, source, target)
                else:
                    obstore.put(self._store, target, obstore.get(self._store, source).stream(min_chunk_size=CHUNK))
        except FileNotFoundError:
            return False
        return True

    def _remove(self, key: str) -> None:
        import obstore

        try:
            with answering(self._where):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    def _entries(self, prefix: str) -> Iterator[TrashedBlob]:
        for path, size, _ in self._list(prefix):
            _, first, rest, at = path.split("/")
            yield TrashedBlob(first + rest, size, int(at))

    def _list(self, prefix: str) -> Iterator[tuple[str, int, int]]:
        """Key below our own prefix, size and time of every object."""
        import obstore

        with answering(self._where):
            for batch in obstore.list(self._store, prefix or None):
                for entry in batch:
                    yield entry["path"], entry["size"], micros(entry["last_modified"])

    def _chunks(self, digest: str, options: GetOptions | None = None) -> Iterator[bytes]:
        import obstore

        while True:
            try:
                with answering(self._where):
                    found = obstore.get(self._store, _key(digest), options=options)
                break
            except FileNotFoundError:  # in the trash, or thrown away again since the last look
                if not self.restore(digest):
                    raise missing(digest) from None
        with answering(self._where):
            for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)


def _key(digest: str) -> str:
    check_digest(digest)
    return f"{digest[:2]}/{digest[2:]}"


def _trash_of(digest: str) -> str:
    return f"{_TRASH}{_key(digest)}/"


def keeps_the_first(address: S3Address) -> bool:
    """Whether the store honours If-None-Match: write a probe key twice and see the second write refused.

    Stores that ignore it let two commits to one Delta table overwrite each other.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError

    store, key = address.store(), PROBE + new_id()
    with answering(address.uri):
        obstore.put(store, key, b"first", mode="create")
        try:
            obstore.put(store, key, b"second", mode="create")
        except AlreadyExistsError:
            return obstore.get(store, key).bytes() == b"first"
        finally:
            obstore.delete(store, key)
    return False


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Turn what a store says when it cannot be reached or refuses the keys into a plain error.

    Raises:
        Unavailable: The store does not answer or does not let us in.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as reason:
        line = str(reason).split("\n", 1)[0][:200]
        hint = "check the address, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and that the bucket exists"
        raise Unavailable(f"the object store did not do it: {line}", where=where, hint=hint) from reason
