"""The files of runs behind a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mainspring.tracking.model import Artifact

if TYPE_CHECKING:
    import httpx

    from mainspring.sdk.transfers import Transfers

Send = Callable[[str, str, bytes], "httpx.Response"]
"""Sends a request by method, address and body, and raises what the server answers it with."""


class HttpShelf:
    """Files of runs over HTTP; large ones go in parts.

    Args:
        send: Sends requests.
        transfers: Sends and fetches files.
    """

    def __init__(self, send: Send, transfers: Transfers) -> None:
        self._send = send
        self._transfers = transfers

    def below(self, run_id: str, folder: str) -> Sequence[Artifact]:
        """See `Shelf.below`."""
        rows = self._send("GET", f"{_at(run_id)}?folder={quote(folder, safe='')}", b"").json()
        return [Artifact(row["path"], row["digest"], row["size_bytes"], row["at"]) for row in rows]

    def fetch(self, run_id: str, path: str, to: Path) -> None:
        """See `Shelf.fetch`."""
        self._transfers.download(f"{_at(run_id)}/{quote(path)}", to)

    def keep(self, run_id: str, path: str, content: bytes | Path) -> None:
        """See `Shelf.keep`."""
        route = f"{_at(run_id)}/{quote(path)}"
        if isinstance(content, Path):
            self._transfers.upload(route, content)
        else:
            self._send("PUT", route, content)

    def delete(self, run_id: str, path: str) -> int:
        """See `Shelf.delete`."""
        return int(self._send("DELETE", f"{_at(run_id)}/{quote(path)}", b"").json()["files"])


def _at(run_id: str) -> str:
    return f"/api/v1/runs/{quote(run_id, safe='')}/artifacts"
