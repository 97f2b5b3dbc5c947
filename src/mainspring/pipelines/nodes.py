"""What a hand on a node of a cluster finds of the house: the project's copy, its storage, and a folder to work in."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from mainspring.core.errors import Refused, Unavailable
from mainspring.core.settings import AWAY
from mainspring.engines import Message

_MARK = "worker-is-here"


def leave_mark(folder: Path) -> Path:
    """A file by which a node can tell that it sees the project's data folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _MARK
    path.touch()
    return path


def for_nodes(payload: Message, mark: Path) -> Message:
    """The payload of a hand that finds the project's folder as its working folder, wherever it is.

    Raises:
        Refused: The pipeline is not in the project's folder, which is all that nodes get.
    """
    root, target = Path(str(payload["root"])), str(payload["target"])
    place, _, name = target.rpartition(":")
    if place.endswith(".py"):
        if not Path(place).is_relative_to(root):
            hint = f"move it into {root}, or start the worker in its project"
            raise Refused("the pipeline is outside of the project's folder", where=place, hint=hint)
        target = f"{Path(place).relative_to(root).as_posix()}:{name}"
    return {**payload, "target": target, "root": ".", "secrets": "", "folder": "", "mark": str(mark)}


def check_storage(payload: Message, unseen: Callable[[Sequence[Path]], Mapping[str, Path]]) -> None:
    """Refuse a run before any of its steps, when nodes could not reach the project's storage.

    Args:
        payload: Of the run.
        unseen: Gives the nodes that do not see all of some paths.
    Raises:
        Unavailable: A node sees no storage of the project.
    """
    env = cast("dict[str, str]", payload["house_env"])
    if not _is_shared(env):
        blind = unseen([leave_mark(Path(str(payload["folder"])))])
        if blind:
            raise _no_storage(", ".join(sorted(blind)), env)


@contextmanager
def working_folder(payload: Message) -> Iterator[Path]:
    """The scratch folder of a hand: that of its run, or one on its node when it is far from it.

    Raises:
        Unavailable: The node sees no storage of the project.
    """
    if payload["folder"]:
        yield Path(str(payload["folder"]))
        return
    with tempfile.TemporaryDirectory(prefix="mainspring-hand-") as name:
        folder = Path(name)
        if not Path(str(payload["mark"])).is_file():
            _stand_in(folder / "data", cast("dict[str, str]", payload["house_env"]))
        yield folder / "hand"


def _stand_in(folder: Path, env: dict[str, str]) -> None:
    """Take a data folder of the node's own where everything that lasts is elsewhere: in Postgres and in S3."""
    if not _is_shared(env):
        raise _no_storage(socket.gethostname(), env)
    folder.mkdir()
    (folder / AWAY).touch()
    os.environ["MAINSPRING_STORAGE_DATA"] = str(folder)


def _is_shared(env: Mapping[str, str]) -> bool:
    """Whether all that lasts is at addresses that a node reaches without the data folder."""
    db, blobs = env.get("MAINSPRING_STORAGE_DB", ""), env.get("MAINSPRING_STORAGE_BLOBS", "")
    return db.startswith("postgresql") and blobs.startswith("s3://")


def _no_storage(nodes: str, env: Mapping[str, str]) -> Unavailable:
    what = f"node {nodes} does not see {env.get('MAINSPRING_STORAGE_DATA', 'the data folder')} of the project"
    hint = "mount it there at the same path, or keep tables in Postgres (storage.db) and blobs in S3 (storage.blobs)"
    return Unavailable(what, where="engine ray", hint=hint)
