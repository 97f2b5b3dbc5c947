"""Tables, figures, images and values as files. Nothing is imported but what the user's object came from."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, cast

from mainspring.core.errors import Invalid

_PNG = b"\x89PNG\r\n\x1a\n"
_COLOURS = {1: 0, 3: 2, 4: 6}  # channels to the colour types of PNG
Named = tuple[bytes, str]


def with_ending(name: str, ending: str) -> str:
    """`name`, with `ending` when it has none.

    >>> with_ending("notes", ".txt"), with_ending("notes.md", ".txt"), with_ending("v1.2/notes", ".txt")
    ('notes.txt', 'notes.md', 'v1.2/notes.txt')
    """
    return name if posixpath.splitext(name)[1] else name + ending


def json_bytes(value: object) -> bytes:
    """A value as indented JSON.

    Raises:
        Invalid: Something in it has no form in JSON.
    """
    try:
        return json.dumps(value, indent=1, ensure_ascii=False, default=_plain).encode()
    except (TypeError, ValueError) as reason:
        hint = "use numbers, texts, lists and mappings, or run.file(...) for other data"
        raise Invalid(f"it has no form in JSON: {reason}", where="json", hint=hint) from None


def table(name: str, rows: object) -> Named:
    """The file of a table, and its name.

    Raises:
        Invalid: It is no table, or the ending is none of `.csv`, `.json`, `.parquet`.
    """
    name = with_ending(name, ".csv")
    ending = posixpath.splitext(name)[1].lower()
    if ending not in (".csv", ".json", ".parquet"):
        raise Invalid(f"no table is written as {ending}", where=name, hint="end the name in .csv, .json or .parquet")
    if ending == ".parquet":
        return _parquet(name, rows), name
    columns, lines = _split(name, rows)
    if ending == ".json":
        return json_bytes({"columns": columns, "data": lines}), name
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue().encode(), name


def figure(name: str, shown: object) -> Named:
    """The file of a figure, and its name.

    Raises:
        Invalid: It is no figure of matplotlib or plotly, or can't be written with this ending.
    """
    source: Any = shown
    home = type(shown).__module__.partition(".")[0]
    if hasattr(source, "to_plotly_json") and hasattr(source, "write_html"):
        name = with_ending(name, ".html")
        if name.endswith(".json"):
            return str(source.to_json()).encode(), name
        if name.endswith(".html"):
            page = source.to_html(include_plotlyjs=True, full_html=True, div_id="figure")
            return str(page).encode(), name
        raise Invalid("plotly figures are kept as .html or .json", where=name, hint="end the name in one of them")
    if not hasattr(source, "savefig"):
        source = getattr(source, "figure", None)  # axes, and what seaborn gives
    if not hasattr(source, "savefig"):
        hint = "give a figure of matplotlib or plotly; run.image takes images"
        raise Invalid(f"a {home}.{type(shown).__name__} is no figure", where=name, hint=hint)
    name = with_ending(name, ".png")
    kind, data = posixpath.splitext(name)[1][1:].lower(), io.BytesIO()
    # no date in the file, so that the same figure is the same bytes
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    try:
        source.savefig(data, format=kind, bbox_inches="tight", metadata=dated)
    except ValueError as reason:
        raise Invalid(f"matplotlib can't write it: {reason}", where=name, hint="use .png, .svg or .pdf") from None
    return data.getvalue(), name


def image(name: str, shown: object) -> Named:
    """The file of an image, and its name.

    Raises:
        Invalid: It is no image.
    """
    source: Any = shown
    name = with_ending(name, ".png")
    if type(shown).__module__.startswith("PIL."):
        data = io.BytesIO()
        ending = posixpath.splitext(name)[1].lower()
        try:
            source.save(data, format=sys.modules["PIL.Image"].registered_extensions().get(ending, ending[1:]))
        except (KeyError, OSError, ValueError) as reason:
            raise Invalid(f"PIL can't write it as {ending}: {reason}", where=name, hint="use .png") from None
        return data.getvalue(), name
    if not name.lower().endswith(".png"):
        raise Invalid("arrays are written as PNG", where=name, hint="end the name in .png, or give an image of PIL")
    return _png(name, _pixels(name, source)), name


def _plain(value: object) -> object:
    """What JSON has no form for, as something it has one for."""
    source: Any = value
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return dict(value)
    for name in ("isoformat", "tolist", "to_dict", "__fspath__"):
        if hasattr(source, name):
            return getattr(source, name)()
    raise TypeError(f"a {type(value).__name__}")


def _split(name: str, rows: object) -> tuple[list[str], list[list[object]]]:
    """Names of columns, and rows of plain values."""
    columns = _columns(rows)
    if columns is not None:
        if len({len(entry) for entry in columns.values()}) > 1:
            raise Invalid("the columns differ in length", where=name, hint="give each as many values")
        return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
    if isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        lines = cast("Sequence[Mapping[str, object]]", rows)
        names = list(dict.fromkeys(str(key) for line in lines for key in line))
        return names, [[line.get(key) for key in names] for line in lines]
    hint = "give a frame, a list of mappings, or a mapping of columns"
    raise Invalid(f"a {type(rows).__name__} is no table", where=name, hint=hint)


def _columns(rows: object) -> dict[str, Sequence[object]] | None:
    """Columns by name, of a frame or a mapping."""
    source: Any = rows
    home = type(rows).__module__.partition(".")[0]
    if home == "polars":
        source = source.collect() if hasattr(source, "collect") else source
        return cast("dict[str, Sequence[object]]", source.to_dict(as_series=False))
    if home == "pandas":
        source = source.to_frame() if not hasattr(source, "columns") else source
        kept = source.to_dict(orient="list")
        return {str(key): entries for key, entries in kept.items()}
    if home == "pyarrow":
        return cast("dict[str, Sequence[object]]", source.to_pydict())
    if isinstance(rows, Mapping):
        return {str(key): _listed(entry) for key, entry in rows.items()}
    return None


def _listed(entry: object) -> Sequence[object]:
    source: Any = entry
    return cast("Sequence[object]", source.tolist() if hasattr(source, "tolist") else list(source))


def _parquet(name: str, rows: object) -> bytes:
    import polars as pl

    source: Any = rows
    home, data = type(rows).__module__.partition(".")[0], io.BytesIO()
    if home == "polars":
        frame = source.collect() if hasattr(source, "collect") else source
    elif home == "pyarrow":
        frame = pl.from_arrow(source)
    else:
        columns, lines = _split(name, rows)
        frame = pl.DataFrame(lines, schema=columns, orient="row", infer_schema_length=None)
    frame.write_parquet(data)
    return data.getvalue()


def _pixels(name: str, source: Any) -> Any:
    """An array of bytes (height, width, channels)."""
    if hasattr(source, "detach"):  # a tensor, which may lie on a device and have its channels first
        source = source.detach().cpu().numpy()
        if source.ndim == 3 and source.shape[0] in _COLOURS and source.shape[2] not in _COLOURS:
            source = source.transpose(1, 2, 0)
    if not hasattr(source, "__array_interface__") or not hasattr(source, "dtype"):
        hint = "give an array (height, width, channels) or an image of PIL"
        raise Invalid(f"a {type(source).__name__} is no image", where=name, hint=hint)
    found = source[..., None] if source.ndim == 2 else source
    if found.ndim != 3 or found.shape[2] not in _COLOURS or 0 in found.shape:
        hint = "give (height, width), or (height, width, 1, 3 or 4)"
        raise Invalid(f"an array {tuple(source.shape)} is no image", where=name, hint=hint)
    if found.dtype.kind == "b":
        return found.astype("uint8") * 255
    if found.dtype.kind == "f":
        low, high = float(found.min()), float(found.max())
        if not 0 <= low <= high <= 1:
            hint = "scale it, or convert it to uint8"
            raise Invalid(f"values from {low:g} to {high:g}, expected 0 to 1", where=name, hint=hint)
        return (found * 255 + 0.5).astype("uint8")
    if found.dtype.kind in "iu" and found.min() >= 0 and found.max() <= 255:
        return found.astype("uint8")
    raise Invalid(f"values of type {found.dtype} do not fit a byte", where=name, hint="convert it to uint8")


def _png(name: str, pixels: Any) -> bytes:
    """The bytes of a PNG: one filter (none), one stream. Source: W3C PNG, third edition, sections 5 and 11."""
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    return _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines, 6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
