"""Containers, read more strictly than any loader reads them: two readers must not see two different files in one.

Whatever is ambiguous is refused: bytes before, between and behind the parts, two parts of one name, a local header that
says something else than the directory, an encrypted flag, an unknown method, links.
"""

from __future__ import annotations

import ast
import bz2
import io
import lzma
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

from mainspring.core.values import dataclass

_LOCAL = struct.Struct("<4s5H3I2H")
_PLAIN_FLAGS = 0x0002 | 0x0004 | 0x0008 | 0x0800
_DESCRIBED = 0x0008
_MOST_HEADER = 64 * 1024
_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x93NUMPY", "npy"),
    (b"7z\xbc\xaf\x27\x1c", "7z, which is not read here"),
    (b"\x28\xb5\x2f\xfd", "Zstandard, which is not read here"),
    (b"\x04\x22\x4d\x18", "LZ4, which is not read here"),
    (b"Rar!", "RAR, which is not read here"),
    (b"\x1f\x9d", "compress, which is not read here"),
    (b"MSCF", "CAB, which is not read here"),
)
COMPRESSED = ("gzip", "bzip2", "xz", "lzma", "zlib")


class Bad(Exception):
    """The container is not one that is read here.

    Args:
        reason: Why.
        offset: Where.
    """

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive; `read` gives its bytes."""

    name: str
    size: int
    read: Callable[[], bytes]


def kind_of(data: memoryview) -> str:
    """The container that the first bytes announce; "" for none.

    >>> kind_of(memoryview(b"BZh91AY")), kind_of(memoryview(b"tree"))
    ('bzip2', '')
    """
    head = bytes(data[:8])
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) > 2 and head[0] & 0x8F == 8 and int.from_bytes(head[:2], "big") % 31 == 0:
        return "zlib"
    return "tar" if bytes(data[257:262]) == b"ustar" else ""


def inflated(data: memoryview, kind: str, most: int) -> bytes:
    """The content of a compressed file, all streams of it.

    Raises:
        Bad: It is damaged, has something behind its end, or more in it than `most` bytes.
    """
    parts: list[bytes] = []
    left, rest = most, bytes(data)
    while rest:
        content, rest = _one_stream(rest, kind, left)
        parts.append(content)
        left -= len(content)
        if rest and (kind == "zlib" or kind_of(memoryview(rest)) != kind):
            raise Bad(f"{len(rest)} bytes follow the end of the {kind} stream", len(data) - len(rest))
    return b"".join(parts)


def _one_stream(data: bytes, kind: str, most: int) -> tuple[bytes, bytes]:
    try:
        content, ended, rest = _zlib_stream(data, kind, most) if kind in ("gzip", "zlib") else _stream(data, kind, most)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as reason:
        raise Bad(f"a broken {kind} stream: {reason}") from None
    if len(content) > most:
        raise Bad("more comes out of it than is looked into")
    if not ended:
        raise Bad(f"a truncated {kind} stream")
    return content, rest


def _zlib_stream(data: bytes, kind: str, most: int) -> tuple[bytes, bool, bytes]:
    stream = zlib.decompressobj(31 if kind == "gzip" else 15)
    content = stream.decompress(data, most + 1)
    return content, stream.eof, stream.unused_data


def _stream(data: bytes, kind: str, most: int) -> tuple[bytes, bool, bytes]:
    if kind == "bzip2":
        unpacked = bz2.BZ2Decompressor()
        content = unpacked.decompress(data, most + 1)
        return content, unpacked.eof or len(content) > most, unpacked.unused_data
    xz = lzma.LZMADecompressor(lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE, memlimit=1 << 30)
    content = xz.decompress(data, most + 1)
    return content, xz.eof or len(content) > most, xz.unused_data


def zip_members(data: memoryview) -> list[Member]:
    """The files of a zip archive.

    Raises:
        Bad: It is damaged or ambiguous.
    """
    raw = bytes(data)
    if len(raw) < 22 or raw[-22:-18] != b"PK\x05\x06" or raw[-2:] != b"\0\0":
        raise Bad("the zip does not end with its directory", max(0, len(raw) - 22))
    if raw[257:262] == b"ustar":
        raise Bad("a zip that is a tar as well", 257)
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error) as reason:
        raise Bad(f"a broken zip: {reason}") from None
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise Bad("two files of the zip have the same name")
    ends = [info.header_offset for info in infos[1:]] + [archive.start_dir]
    position = 0
    for info, end in zip(infos, ends, strict=True):
        if info.header_offset != position:
            raise Bad("bytes in the zip that belong to no file", position)
        _check_local(raw, info, end)
        position = end
    return [Member(info.filename, info.file_size, _reader(archive, info)) for info in infos if not info.is_dir()]


def _check_local(raw: bytes, info: zipfile.ZipInfo, end: int) -> None:
    """The header beside the data has to say what the directory says, and the data has to reach to the next one."""
    start = info.header_offset
    if end - start < _LOCAL.size:
        raise Bad("a truncated local header", start)
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack_from(raw, start)
    if magic != b"PK\x03\x04":
        raise Bad("no local header", start)
    if flags != info.flag_bits or flags & ~_PLAIN_FLAGS:
        raise Bad(f"flags {flags:#06x} beside {info.flag_bits:#06x} in the directory", start)
    if method != info.compress_type or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Bad(f"method {method} beside {info.compress_type} in the directory", start)
    name = raw[start + _LOCAL.size : start + _LOCAL.size + name_size]
    if name != info.orig_filename.encode("utf-8" if flags & 0x800 else "cp437", "replace") or b"\0" in name:
        raise Bad("another name than in the directory", start)
    said = {(crc, info.CRC), (packed, info.compress_size), (size, info.file_size)}
    if not flags & _DESCRIBED and any(here not in (there, 0xFFFFFFFF) for here, there in said):
        raise Bad("other sizes than in the directory", start)
    gap = raw[start + _LOCAL.size + name_size + extra_size + info.compress_size : end]
    if not _is_descriptor(gap, info) if flags & _DESCRIBED else gap:
        raise Bad("bytes behind a file of the zip", start)


def _is_descriptor(gap: bytes, info: zipfile.ZipInfo) -> bool:
    body = gap.removeprefix(b"PK\x07\x08")
    forms = [struct.pack(form, info.CRC, info.compress_size, info.file_size) for form in ("<III", "<IQQ")]
    return body in forms


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(info) as opened:
                content = opened.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, NotImplementedError) as reason:
            raise Bad(f"a broken file in the zip: {reason}") from None
        if len(content) != info.file_size:
            raise Bad("a file of another size than the zip says")
        return content

    return read


def tar_members(data: memoryview) -> list[Member]:
    """The files of a tar archive.

    Raises:
        Bad: It is damaged, has links or devices, or something behind its end.
    """
    raw = bytes(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            found = list(_tar(archive, raw))
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as reason:
        raise Bad(f"a broken tar: {reason}") from None
    if raw[end:].strip(b"\0"):
        raise Bad("bytes behind the end of the tar", end)
    return found


def _tar(archive: tarfile.TarFile, raw: bytes) -> Iterator[Member]:
    for info in archive:
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise Bad(f"{info.name[:100]!r} in the tar is no plain file", info.offset)
        start, size = info.offset_data, info.size
        if start + size > len(raw):
            raise Bad("a truncated tar", info.offset)
        yield Member(info.name, size, lambda start=start, size=size: raw[start : start + size])  # type: ignore[misc]


def npy_content(data: memoryview) -> memoryview | None:
    """The pickle behind the header of an `.npy` file of objects; None for a file of plain numbers of the right size.

    Raises:
        Bad: It is damaged.
    """
    form, width = {1: ("<H", 2), 2: ("<I", 4), 3: ("<I", 4)}.get(data[6] if len(data) > 12 else 0, ("", 0))
    if not form:
        raise Bad("an npy version that is not known", 6)
    (size,) = struct.unpack(form, data[8 : 8 + width])
    start = 8 + width + size
    if size > _MOST_HEADER or start > len(data):
        raise Bad("an npy header that is too long", 8)
    try:
        header = ast.literal_eval(bytes(data[8 + width : start]).decode("latin1"))
        descr, shape = header["descr"], header["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        raise Bad("an npy header that can't be read", 10) from None
    rest = data[start:]
    size = _npy_item(descr)
    if size is None:
        return rest
    if len(rest) != size * _npy_count(shape):
        raise Bad("an npy file of another size than its header says", start)
    return None


def _npy_item(descr: object, depth: int = 0) -> int | None:
    """Bytes of one entry; None when there are objects in it."""
    if isinstance(descr, list) and depth < 4:
        sizes = [_npy_field(field, depth + 1) for field in descr]
        return None if None in sizes else sum(size or 0 for size in sizes)
    text = descr.lstrip("<>=|") if isinstance(descr, str) else ""
    if text == "O":
        return None
    if text[:1] not in tuple("biufcSUmMV") or not text[1:].partition("[")[0].isdecimal():
        raise Bad("an npy type that is not known", 10)
    return int(text[1:].partition("[")[0]) * (4 if text[0] == "U" else 1)


def _npy_field(field: object, depth: int) -> int | None:
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        raise Bad("an npy type that is not known", 10)
    size = _npy_item(field[1], depth)
    return None if size is None else size * (_npy_count(field[2]) if len(field) == 3 else 1)


def _npy_count(shape: object) -> int:
    if not isinstance(shape, tuple) or any(type(length) is not int or length < 0 for length in shape):
        raise Bad("an npy shape that is no shape", 10)
    return math.prod(shape)
