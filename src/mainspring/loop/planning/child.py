"""Reads the declarations of a Python file, in a process of its own: `python -m mainspring.loop.planning.child FILE`.

A process of its own, for whoever asks may be a server, which runs no code of projects, and must see what the file says
now. The answer is one JSON object on what was standard output; what the file prints goes to standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from mainspring.core.errors import MainspringError
from mainspring.loop.planning import python
from mainspring.pipelines.targets import load_place


def main(place: str) -> None:
    """Import `place`, and say what it declared, or what is wrong with it."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    root = Path.cwd()
    try:
        load_place(place, root)
    except MainspringError as error:
        said: dict[str, object] = {"error": [error.code, error.what, error.where, error.hint]}
    except SystemExit as end:
        hint = "let it only declare; what is run belongs below: if __name__ == '__main__'"
        said = {"error": ["invalid", f"importing it ended the program, with {end.code!r}", place, hint]}
    else:
        said = {"objects": python.made, "files": _files(root)}
    with answer:
        answer.write(msgspec.json.encode(said))


def _files(root: Path) -> list[str]:
    """Files of the project that were imported: while they stay as they are, so does what they declare."""
    found = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return sorted(path for path in found if Path(path).is_relative_to(root) and "site-packages" not in path)


if __name__ == "__main__":
    main(sys.argv[1])
