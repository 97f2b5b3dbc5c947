"""What a page can show of a file without running anything of it."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import dataclass

SHOWN = 200_000
"""How many bytes of a text are read for its preview."""
IMAGE_LIMIT = 1_500_000
_ROWS, _COLUMNS, _LETTERS = 100, 40, 100_000
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """A file as a page shows it: `kind` is "text", "table", "image" or "none"; `cut` says that there is more of it.

    An image is a data address, which a browser draws and never runs.
    """

    kind: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    cut: bool = False


def limit_of(path: str) -> int:
    """How many bytes of a file its preview needs."""
    return IMAGE_LIMIT if path.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")) else SHOWN


def preview(path: str, head: bytes, size_bytes: int) -> Preview:
    """The preview of a file.

    Args:
        path: Its path; only the ending is looked at.
        head: Its first bytes, as many as `limit_of` says.
        size_bytes: How long it is.

    >>> preview("a.csv", b"x,y\\n1,2\\n", 8).rows
    (('x', 'y'), ('1', '2'))
    >>> preview("a.bin", bytes([0, 159]), 2).kind
    'none'
    """
    cut = len(head) < size_bytes
    image = _image(path.lower(), head)
    if image:
        return Preview("none") if cut else Preview("image", f"data:{image};base64,{base64.b64encode(head).decode()}")
    text = _text(head, cut=cut)
    if text is None:
        return Preview("none")
    if path.lower().endswith((".csv", ".tsv")):
        return _table(text, "\t" if path.lower().endswith(".tsv") else ",", cut=cut)
    if path.lower().endswith(".json") and not cut:
        text = _indented(text)
    return Preview("text", text[:_LETTERS], cut=cut or len(text) > _LETTERS)


def _image(path: str, head: bytes) -> str:
    if path.endswith(".svg") and b"<svg" in head[:2000]:
        return "image/svg+xml"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGES if head.startswith(magic)), "")


def _text(head: bytes, *, cut: bool) -> str | None:
    if b"\x00" in head:
        return None
    for missing in range(4 if cut else 1):  # a cut may fall into a character of up to four bytes
        try:
            return head[: len(head) - missing].decode()
        except UnicodeDecodeError:
            continue
    return None


def _table(text: str, separator: str, *, cut: bool) -> Preview:
    try:
        rows: list[tuple[str, ...]] = []
        for row in csv.reader(io.StringIO(text), delimiter=separator):
            if len(rows) > _ROWS:
                return Preview("table", rows=tuple(rows[:_ROWS]), cut=True)
            rows.append(tuple(cell[:200] for cell in row[:_COLUMNS]))
    except csv.Error:
        return Preview("text", text[:_LETTERS], cut=cut)
    return Preview("table", rows=tuple(rows), cut=cut)


def _indented(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
