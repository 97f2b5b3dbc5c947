"""Opens blobs and Delta tables by address. Nothing heavy is imported before it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from mainspring.storage.ports import Blobs, Delta


def open_blobs(url: str, data_dir: Path) -> Blobs:
    """Open the blobs.

    Args:
        url: `s3://bucket/prefix`, `file:///folder`, or "" for the folder `blobs` in `data_dir`.
        data_dir: The data folder.
    Raises:
        Invalid: The address is of neither kind.
    """
    if url.startswith("s3://"):
        from mainspring.storage.s3 import S3Address, S3Blobs

        return S3Blobs(S3Address.parse(url).under("blobs"))
    from mainspring.storage.files import FileBlobs

    return FileBlobs(_folder(url, data_dir) / "blobs")


def open_delta(url: str, data_dir: Path) -> Delta:
    """Open the Delta tables: beside the blobs, in `tables`.

    Args:
        url: As for `open_blobs`.
        data_dir: The data folder.
    Raises:
        Invalid: The address is of neither kind.
        Unavailable: The object store does not answer, or two writers would overwrite each other's commits there.
    """
    from mainspring.storage.delta import DeltaTables, FilePlace

    if not url.startswith("s3://"):
        return DeltaTables(FilePlace(_folder(url, data_dir) / "tables"))
    from mainspring.storage.delta import S3Place
    from mainspring.storage.s3 import S3Address, keeps_the_first

    address = S3Address.parse(url).under("tables")
    if not keeps_the_first(address):
        hint = "use a store that honours If-None-Match, such as AWS S3, MinIO, Ceph or SeaweedFS"
        raise Unavailable("this object store overwrites what another writer just wrote", where=address.uri, hint=hint)
    return DeltaTables(S3Place(address))


def _folder(url: str, data_dir: Path) -> Path:
    if not url:
        return data_dir
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    raise Invalid(
        f"{url.split(':', 1)[0]!r} is no place for blobs", where="storage.blobs", hint="use s3://bucket/prefix"
    )
