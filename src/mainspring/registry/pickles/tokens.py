"""A pickle as a row of opcodes with their raw arguments. Nothing is decoded that is not needed, nothing is executed.

The table of opcodes is that of `pickletools`. Its reader is not used: it decodes arguments by other rules than the
unpickler does and stops where the unpickler goes on, and what a scanner does not read it does not see.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Iterator

from mainspring.core.values import dataclass

_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}
_OPCODES = {kind.code: kind for kind in pickletools.opcodes}
_LINES = {"stringnl_noescape_pair": 2}


@dataclass(frozen=True, slots=True)
class Token:
    """One opcode: its name, its raw argument without length or newline, and where it starts."""

    name: str
    argument: bytes
    offset: int


class Broken(Exception):
    """The bytes are no pickle from here on: an unpickler would stop here too.

    Args:
        reason: Why.
        offset: Where.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Tokens:
    """Reads opcodes one after the other; `position` may be moved between two of them."""

    def __init__(self, data: memoryview, position: int = 0) -> None:
        self.data = data
        self.position = position

    def __iter__(self) -> Iterator[Token]:
        """Until STOP, which is the last one given.

        Raises:
            Broken: An unknown opcode, or the end came first.
        """
        while True:
            token = self._next()
            yield token
            if token.name == "STOP":
                return

    def take(self, size: int) -> memoryview:
        """The next bytes.

        Raises:
            Broken: There are not so many.
        """
        if size < 0 or size > len(self.data) - self.position:
            raise Broken(f"truncated: {size} bytes are announced", self.position)
        taken = self.data[self.position : self.position + size]
        self.position += size
        return taken

    def _next(self) -> Token:
        start = self.position
        code = chr(self.take(1)[0])
        kind = _OPCODES.get(code)
        if kind is None:
            raise Broken(f"0x{ord(code):02x} is no opcode", start)
        if kind.arg is None:
            return Token(kind.name, b"", start)
        if kind.arg.n == pickletools.UP_TO_NEWLINE:
            lines = [self._line() for _ in range(_LINES.get(kind.arg.name, 1))]
            return Token(kind.name, b"\n".join(lines), start)
        if kind.arg.n >= 0:
            return Token(kind.name, bytes(self.take(kind.arg.n)), start)
        form = _LENGTHS[kind.arg.n]
        (size,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return Token(kind.name, bytes(self.take(size)), start)

    def _line(self) -> bytes:
        start = self.position
        step = 4096
        while True:
            piece = bytes(self.data[self.position : self.position + step])
            end = piece.find(b"\n")
            if end >= 0:
                self.position += end + 1
                return bytes(self.data[start : self.position - 1])
            if len(piece) < step:
                raise Broken("truncated: a line without an end", start)
            self.position += len(piece)
