"""A file that a step made, returned as its `Path`. The next step gets a read-only copy with another name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

from mainspring.core.errors import Invalid

NAME = "file"


def takes(value: object) -> bool:
    """Whether it is a path."""
    return isinstance(value, Path)


def write(value: object, path: Path) -> None:
    """Copy the file.

    Raises:
        Invalid: There is no file, or it is a folder.
    """
    source = cast(Path, value)
    if not source.is_file():
        kind = "a folder" if source.is_dir() else "no file"
        raise Invalid(
            f"a step returned the path {source}, which is {kind}", hint="return the paths of files, in a list"
        )
    shutil.copyfile(source, path)


def read(path: Path) -> object:
    """The path of a copy."""
    path.chmod(0o444)
    return path
