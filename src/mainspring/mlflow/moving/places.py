"""Artifact addresses that are read without an MLflow server: folders of this machine, and buckets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mainspring.core.errors import Unavailable
from mainspring.mlflow.moving.model import SourceFile

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BUCKETS = ("s3", "gs", "az", "abfs", "abfss")


class Places:
    """Reads files by artifact address.

    Args:
        root: Where `mlflow-artifacts:` addresses lie: what `mlflow server` was given as `--artifacts-destination`.
            "" when that is not known.
        beside: The folder that relative addresses start from.
    """

    def __init__(self, root: str = "", beside: Path | None = None) -> None:
        self._root = root.rstrip("/")
        self._beside = beside or Path.cwd()

    def files(self, uri: str) -> Iterator[SourceFile]:
        """Files below an address, by path; none when nothing is there."""
        place = self._place(uri)
        if isinstance(place, Path):
            for folder, _, names in os.walk(place):
                for name in sorted(names):
                    file = Path(folder) / name
                    yield SourceFile(file.relative_to(place).as_posix(), file.stat().st_size)
            return
        for batch in place.list():
            for entry in batch:
                yield SourceFile(entry["path"], entry["size"])

    def fetch(self, uri: str, path: str, to: Path) -> None:
        """Copy a file below an address."""
        place = self._place(uri)
        if isinstance(place, Path):
            shutil.copyfile(place / path, to)
            return
        with to.open("wb") as file:
            for chunk in place.get(path).stream():
                file.write(chunk)

    def _place(self, uri: str) -> Path | ObjectStore:
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts":
            if not self._root:
                hint = "say where the files are with --artifacts-root (a folder or s3://bucket/prefix)"
                raise Unavailable("the files are behind an MLflow server", where=uri, hint=hint)
            return self._place(f"{self._root}/{unquote(parts.path).strip('/')}")
        if parts.scheme in BUCKETS:
            from obstore.store import from_url

            return from_url(uri)
        if parts.scheme in ("", "file"):
            return self._beside / unquote(parts.path)
        hint = "copy the files to a folder or a bucket, or go on with --no-artifacts"
        raise Unavailable(f"files of {parts.scheme}: can't be read", where=uri, hint=hint)
