"""What a step says in a process that others speak in too: it goes into the step's log and on to where it went before.

Only the thread of the step is listened to, through `sys.stdout` and `sys.stderr`; what native code or a child process
writes goes past. Steps in processes of their own have all their output in the log: see `logs`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from mainspring.pipelines.secrets import masked

_STREAMS = ("stdout", "stderr")
_listening: dict[int, Listener] = {}
_lock = threading.Lock()


class Listener:
    """Writes down what a step says, without the secrets in it, which do not go on either."""

    def __init__(self, path: Path, masks: Sequence[bytes]) -> None:
        self._path, self._masks = path, masks
        self._held: dict[str, tuple[TextIO, bytes]] = {}

    def hear(self, name: str, stream: TextIO, text: str) -> None:
        """Take what was written to the stream of that name."""
        said = text.encode(errors="backslashreplace")
        if not self._masks:
            stream.write(text)
            self._keep(said)
            return
        said = masked(self._held.pop(name, (stream, b""))[1] + said, self._masks)
        keep = max(overlap(said, mask) for mask in self._masks)
        self._held[name] = (stream, said[len(said) - keep :])
        self._pass_on(stream, said[: len(said) - keep])

    def end(self) -> None:
        """Pass on what could have become a secret, and did not."""
        for stream, left in self._held.values():
            self._pass_on(stream, left)
        self._held.clear()

    def _pass_on(self, stream: TextIO, said: bytes) -> None:
        if said:
            stream.write(said.decode(errors="replace"))
            self._keep(said)

    def _keep(self, said: bytes) -> None:
        with suppress(OSError):  # a full disk is no reason to stop the step
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                file.write(said)


class _Heard:
    """A stream that is listened to in some threads, and the same as before in the others."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self.stream = name, stream

    def write(self, text: str) -> int:
        listener = _listening.get(threading.get_ident())
        if listener is None:
            return self.stream.write(text)
        listener.hear(self._name, self.stream, text)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


@contextmanager
def heard(path: Path, masks: Sequence[bytes] = ()) -> Iterator[None]:
    """Let what this thread writes to `sys.stdout` and `sys.stderr` in the block go into the file too."""
    listener, me = Listener(path, masks), threading.get_ident()
    with _lock:
        before = _listening.get(me)
        _listening[me] = listener
        for name in _STREAMS:
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, _Heard):
                setattr(sys, name, cast(TextIO, _Heard(name, stream)))
    try:
        yield
    finally:
        with _lock:
            if before is None:
                del _listening[me]
            else:
                _listening[me] = before
            for name in _STREAMS:
                stream = getattr(sys, name)
                if isinstance(stream, _Heard) and not _listening:
                    setattr(sys, name, stream.stream)
        listener.end()


def overlap(text: bytes, mask: bytes) -> int:
    """How many letters at the end of `text` may be the beginning of `mask`."""
    return next((n for n in range(min(len(mask) - 1, len(text)), 0, -1) if text.endswith(mask[:n])), 0)
