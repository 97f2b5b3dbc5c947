"""The first rows of a Parquet file, read by a process of its own with limits on memory and time.

The file is a stranger's and its decoder is native code: what goes wrong with it goes wrong there, and shows no preview.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable

LIMIT_BYTES = 64 << 20
"""Larger files have no preview."""
_ROWS, _COLUMNS, _CELL = 101, 40, 200
_SECONDS, _MEMORY = 10, 4 << 30
_AT_ONCE = threading.BoundedSemaphore(2)


def rows_of(pieces: Iterable[bytes]) -> list[list[object]]:
    """The names of the columns and then the first rows, as plain values; nothing when it can't be read.

    Args:
        pieces: All of the file.
    """
    with _AT_ONCE, tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        command = [sys.executable, "-P", __file__, file.name]  # by its path: nothing else of ours is loaded
        environ = {**os.environ, "POLARS_MAX_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, timeout=2 * _SECONDS, check=True, env=environ)
            rows: list[list[object]] = json.loads(done.stdout)
        except (subprocess.SubprocessError, ValueError):
            return []
        return rows


def main(path: str) -> None:
    """Print the rows of a file as JSON, in the process that `rows_of` starts."""
    import polars as pl

    for what, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, _SECONDS), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(what, (most, most))
    lazy = pl.scan_parquet(path, glob=False)
    names = lazy.collect_schema().names()[:_COLUMNS]
    rows = lazy.select(names).head(_ROWS).collect().rows()
    sys.stdout.write(json.dumps([names, *([_plain(value) for value in row] for row in rows)]))


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)[:_CELL]


if __name__ == "__main__":
    main(sys.argv[1])
