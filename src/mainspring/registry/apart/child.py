"""The program of the process: `python -m mainspring.registry.apart.child SOCKET FOLDER MEMORY_MB`."""

from __future__ import annotations

import io
import os
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from mainspring.core.errors import MainspringError
from mainspring.registry.apart.wire import Gone, Head, receive, send

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.reasons import Cells, Explainer

_LOOK_S = 0.5


class Hosted(Protocol):
    """What runs in the process."""

    def said(self) -> Head:
        """What it says about itself, plain JSON."""
        ...

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> object:
        """Scores of rows."""
        ...

    def explainer(self, cells: Sequence[Cells] | None) -> Explainer:
        """How to explain them.

        Raises: Refused: There are no exact reason codes for it.
        """
        ...


class Explaining:
    """What runs in the process with the last explainer that was made of it: making one may take a moment."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted
        self._cells: object = None
        self._explainer: Explainer | None = None

    def explainer(self, cells: object) -> Explainer:
        """The explainer for what training had of the inputs, as it came in a message."""
        if self._explainer is None or self._cells != cells:
            entries = cast("list[list[list[float | str]]] | None", cells)
            read = None if entries is None else [[(value, float(w)) for value, w in entry] for entry in entries]
            self._explainer, self._cells = self.hosted.explainer(read), cells
        return self._explainer


def main(arguments: list[str]) -> None:
    """Load what is sent first, then answer until the other side is gone."""
    sock = socket.socket(fileno=int(arguments[0]))
    folder, memory = Path(arguments[1]), int(arguments[2]) * 1024**2
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        hosted = _guarded(sock, lambda: Explaining(_loaded(sock, folder)))
        while hosted is not None:
            head, body = receive(sock)
            _guarded(sock, lambda head=head, body=body: _answer(sock, hosted, head, body))  # type: ignore[misc]
    except Gone:
        return


def _loaded(sock: socket.socket, folder: Path) -> Hosted:
    head, body = receive(sock)
    files, at = {}, 0
    for entry in cast("list[dict[str, object]]", head["files"]):
        size = int(str(entry["size"]))
        files[str(entry["path"])] = body[at : at + size]
        at += size
    settings = cast(Head, head["settings"])
    if head["kind"] == "pickle":
        from mainspring.registry.apart.unpickled import Unpickled

        hosted: Hosted = Unpickled(files, settings)
    elif head["kind"] == "kept":
        from mainspring.registry.apart.kept import Kept

        hosted = Kept(files, settings)
    else:
        from mainspring.registry.apart.function import Function

        hosted = Function(folder, files, settings)
    send(sock, hosted.said())
    return hosted


def _answer(sock: socket.socket, asked: Explaining, head: Head, body: bytes) -> Explaining:
    import numpy as np

    if head["do"] == "explainer":
        send(sock, {"scale": asked.explainer(head["cells"]).scale})
        return asked
    rows = _rows(head, body)
    made = asked.explainer(head["cells"]).explain(rows) if head["do"] == "explain" else asked.hosted.score(rows)
    answer = np.ascontiguousarray(made, dtype=np.float64)
    if not answer.ndim or len(answer) != head["rows"]:
        raise ValueError(f"{head['rows']} rows were asked, the answer has the shape {answer.shape}")
    send(sock, {"shape": list(answer.shape)}, answer.tobytes())
    return asked


def _rows(head: Head, body: bytes) -> NDArray[np.float64] | pl.DataFrame:
    if head["frame"]:
        import polars as pl

        return pl.read_ipc(io.BytesIO(body))
    import numpy as np

    return np.frombuffer(body, dtype=np.float64).reshape(cast("list[int]", head["shape"]))


def _guarded(sock: socket.socket, work: Callable[[], Explaining]) -> Explaining | None:
    try:
        return work()
    except Gone:
        raise
    except MainspringError as error:
        send(sock, {"error": error.what, "code": error.code, "hint": error.hint})
    except BaseException as error:  # noqa: BLE001 - foreign code may raise anything, SystemExit too
        traceback.print_exc()
        send(sock, {"error": f"the model raised {type(error).__name__}: {error}"[:1000]})
    return None


def _end_with(parent: int) -> None:
    """The process is of no use to anybody else."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
