"""What a page can show of a file without running anything of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from mainspring.core.values import dataclass
from mainspring.tracking.page.parquet import LIMIT_BYTES, rows_of
from mainspring.tracking.transfer import is_page, media_type

if TYPE_CHECKING:
    from mainspring.tracking.files import Files
    from mainspring.tracking.model import Artifact

TEXT, TABLE, IMAGE, PAGE, NONE = "text", "table", "image", "page", "none"
_READ = 200_000
"""How many bytes of a text are read for its preview."""
_IMAGE_LIMIT = 20_000_000
_ROWS, _COLUMNS, _LETTERS, _CELL = 100, 40, 50_000, 200
_PLOTLY_ELSEWHERE = "https://cdn.plot.ly/"
_LINKED = (
    "This figure loads plotly from another address, which the sandbox does not do, so it stays empty when drawn here."
    " Download it, or log it with run.figure, which puts plotly into the file."
)
_FIGURE = (
    "A figure of plotly as data. To see it: download it, then plotly.io.read_json(PATH).show()."
    " With a name that ends in .html, run.figure keeps one that is drawn here."
)
_IMAGES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
    "image/svg+xml": b"<",
}


@dataclass(frozen=True, slots=True)
class Preview:
    """A file as a page shows it; `cut` says that there is more of it.

    `kind` is "text", "table" (with the names of its columns in the first row), "image" (drawn from where it is
    downloaded), "page" (HTML: a text here, and a frame for those who ask for it) or "none". `note` says how to see more
    than that.
    """

    kind: str
    text: str = ""
    note: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    cut: bool = False


def look(files: Files, kept: Artifact) -> Preview:
    """The preview of a file that is kept; only as much of it is read as the preview needs."""
    if kept.path.lower().endswith(".parquet"):
        rows = rows_of(files.stream(kept)) if kept.size_bytes <= LIMIT_BYTES else ()
        return _shown(rows) if rows else Preview(NONE)
    return preview(kept.path, b"".join(files.stream(kept, 0, min(_READ, kept.size_bytes))), kept.size_bytes)


def preview(path: str, head: bytes, size_bytes: int) -> Preview:
    """The preview of a file.

    Args:
        path: Its path; only the ending is looked at.
        head: Its first bytes.
        size_bytes: How long it is.

    >>> preview("a.csv", b"x,y\\n1,2\\n", 8).rows
    (('x', 'y'), ('1', '2'))
    >>> preview("a.bin", bytes([0, 159]), 2).kind
    'none'
    """
    magic, ending = _IMAGES.get(media_type(path)), path.lower().rpartition(".")[2]
    if magic is not None and head.lstrip().startswith(magic):
        return Preview(IMAGE if size_bytes <= _IMAGE_LIMIT else NONE)
    cut = len(head) < size_bytes
    text = _text(head, cut=cut)
    if text is None:
        return Preview(NONE)
    if ending in ("csv", "tsv"):
        return _table(text, "\t" if ending == "tsv" else ",", cut=cut)
    if ending == "json" and not cut:
        return _json(text)
    kind, note = (PAGE, _LINKED if _PLOTLY_ELSEWHERE in text else "") if is_page(path) else (TEXT, "")
    return Preview(kind, text[:_LETTERS], note, cut=cut or len(text) > _LETTERS)


def _text(head: bytes, *, cut: bool) -> str | None:
    if b"\x00" in head:
        return None
    for missing in range(4 if cut else 1):  # a cut may fall into a character of up to four bytes
        try:
            return head[: len(head) - missing].decode()
        except UnicodeDecodeError:
            continue
    return None


def _shown(rows: Iterable[Iterable[object]], *, cut: bool = False) -> Preview:
    """A table of as many rows and columns as a page has room for."""
    kept, letters = list[tuple[str, ...]](), 0
    for row in rows:
        cells = tuple(_cell(value) for value in islice(row, _COLUMNS))
        letters += sum(map(len, cells))
        if len(kept) > _ROWS or (kept and letters > _LETTERS):
            return Preview(TABLE, rows=tuple(kept), cut=True)
        kept.append(cells)
    return Preview(TABLE, rows=tuple(kept), cut=cut) if kept else Preview(TEXT, cut=cut)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text[:_CELL]


def _table(text: str, separator: str, *, cut: bool) -> Preview:
    try:
        return _shown(_whole(csv.reader(io.StringIO(text), delimiter=separator), cut=cut), cut=cut)
    except csv.Error:
        return Preview(TEXT, text[:_LETTERS], cut=cut or len(text) > _LETTERS)


def _whole(rows: Iterator[list[str]], *, cut: bool) -> Iterator[list[str]]:
    """Rows, without the last one when it is only a part of one."""
    before = next(rows, None)
    for row in rows:
        if before is not None:
            yield before
        before = row
    if before is not None and not cut:
        yield before


def _json(text: str) -> Preview:
    """A value; a table when it has the form that `run.table` and clients of MLflow write tables in."""
    note = ""
    try:
        value = json.loads(text)
        if isinstance(value, dict) and value.keys() == {"columns", "data"}:
            columns, data = value["columns"], value["data"]
            if isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
                return _shown([columns, *data])
        if isinstance(value, dict) and {"data", "layout"} <= value.keys():
            note = _FIGURE
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return Preview(TEXT, text[:_LETTERS], note, cut=len(text) > _LETTERS)
