"""One line that says how far an installer is."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from mainspring.core.console import printable

_STEPS = ("Collecting ", "Processing ", "+ ")
"""What pip begins a line about one more package with, and uv."""
_PARTS = 10


class Progress:
    """Shows what an installer says: on a terminal in one line that changes, else a line for each tenth of the packages.

    Args:
        packages: How many there are.
        stream: Where it is shown; standard error by default.
    """

    def __init__(self, packages: int, stream: TextIO | None = None) -> None:
        self._packages = packages
        self._stream = stream or sys.stderr
        self._done = 0
        self._shown = 0
        self._terminal = self._stream.isatty()

    def tell(self, line: str) -> None:
        """Show one line of the installer."""
        text = printable(line.strip(), keep="")
        if not text:
            return
        step = text.startswith(_STEPS)
        self._done = min(self._done + step, self._packages)
        said = f"[{self._done}/{self._packages}] {text}"
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[2K{said[:width]}")
        elif step and self._done * _PARTS // self._packages > self._shown:
            self._shown = self._done * _PARTS // self._packages
            self._write(f"{said}\n")

    def end(self) -> None:
        """Take the line away."""
        if self._terminal:
            self._write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
