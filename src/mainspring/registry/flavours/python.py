"""A Python function: source and artifacts in one archive, always run in a process of its own.

The one format here that is code. Packaging reads it and does not run it; scoring starts a process with a deadline and a
limit on memory. The function gets a frame of the inputs, and what `load(folder)` made of the artifacts if there is one.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Corrupt, Invalid, NotFound
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Scorer, Trait
from mainspring.registry.model import TASKS, Label
from mainspring.registry.pickles.archives import Bad, zip_members

if TYPE_CHECKING:
    from mainspring.registry.apart import Apart

NAME = "python"
FILE = "function.zip"
PACKAGES = ("numpy", "polars")
_ABOUT = "function.json"
_LONGEST_S = 600.0
_MOST_MB = 65_536
_THEN = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """A function as a model.

    Args:
        entry: File and function, such as "score.py:predict".
        task: "binary", "multiclass" or "regression": what its numbers mean. Binary: probability of the second class.
        classes: Labels in the order of the probabilities; empty for regression.
        source: Python files by path; the entry is one of them.
        artifacts: Other files by path, in the folder that its `load(folder)` gets.
        deadline_s: Longest time of one answer.
        memory_mb: Most memory its process may ask for.
    """

    entry: str
    task: str = "regression"
    classes: tuple[Label, ...] = ()
    source: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    artifacts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    deadline_s: float = 10.0
    memory_mb: int = 4096

    def __post_init__(self) -> None:
        file, _, name = self.entry.partition(":")
        if file not in self.source or not name.isidentifier():
            raise Invalid(f"{self.entry!r} names no function of the source", where="entry", hint='"score.py:predict"')
        if self.task not in TASKS or (self.task == "regression") == bool(self.classes):
            raise Invalid(f"task {self.task!r} with classes {self.classes}", where="task", hint=f"{', '.join(TASKS)}")
        if len(self.classes) not in {"regression": (0,), "binary": (2,)}.get(self.task, range(3, 10_000)):
            raise Invalid(f"{len(self.classes)} classes of a {self.task} model", where="classes")
        for path in (*self.source, *self.artifacts):
            _check_path(path)
        if not 0 < self.deadline_s <= _LONGEST_S or not 64 <= self.memory_mb <= _MOST_MB:
            hint = f"deadline_s up to {_LONGEST_S:g}, memory_mb from 64 to {_MOST_MB}"
            raise Invalid(f"deadline {self.deadline_s} s, memory {self.memory_mb} MB", where="limits", hint=hint)

    @classmethod
    def of(
        cls,
        entry: str,
        *,
        task: str = "regression",
        classes: tuple[Label, ...] = (),
        artifacts: Mapping[str, Path | str] | None = None,
        deadline_s: float = 10.0,
        memory_mb: int = 4096,
    ) -> PythonFunction:
        """A function of a file here, such as "score.py:predict", with the files it needs.

        Raises:
            NotFound: A file is not there.
        """
        path, _, name = entry.partition(":")
        file = Path(path)
        needed = {key: Path(value) for key, value in (artifacts or {}).items()}
        for one in (file, *needed.values()):
            if not one.is_file():
                raise NotFound("there is no such file", where=str(one), hint='give it as "score.py:predict"')
        return cls(
            f"{file.name}:{name}",
            task,
            classes,
            {file.name: file.read_bytes()},
            {key: value.read_bytes() for key, value in needed.items()},
            deadline_s,
            memory_mb,
        )


def handles(model: object) -> bool:
    """Whether it is a `PythonFunction`."""
    return isinstance(model, PythonFunction)


def recognises(data: bytes) -> bool:
    """Whether it is an archive that begins with the description of a function."""
    return data.startswith(b"PK\x03\x04") and data[30 : 30 + len(_ABOUT)] == _ABOUT.encode()


def trait(model: object) -> Trait:
    """What the function was said to do."""
    function = cast(PythonFunction, model)
    return Trait(task=function.task, classes=function.classes, wants_frame=True)


def dump(model: object) -> bytes:
    """The archive: the same function gives the same bytes."""
    function = cast(PythonFunction, model)
    about = {
        "entry": function.entry,
        "task": function.task,
        "classes": list(function.classes),
        "deadline_s": function.deadline_s,
        "memory_mb": function.memory_mb,
    }
    files = {_ABOUT: json.dumps(about, sort_keys=True).encode(), **_paths(function)}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, _THEN), data)
    return made.getvalue()


def read(data: bytes) -> object:
    """The function of an archive; nothing of it runs."""
    try:
        files = {member.name: member.read() for member in zip_members(memoryview(data))}
        about = json.loads(files.pop(_ABOUT))
        parts: dict[str, dict[str, bytes]] = {"source": {}, "artifacts": {}}
        for path, content in files.items():
            kind, _, name = path.partition("/")
            parts[kind][name] = content
        return PythonFunction(
            str(about["entry"]),
            str(about["task"]),
            tuple(about["classes"]),
            parts["source"],
            parts["artifacts"],
            float(about["deadline_s"]),
            int(about["memory_mb"]),
        )
    except (Bad, KeyError, ValueError, TypeError, Invalid) as reason:
        raise Corrupt(f"not a packaged function: {reason}", where=FILE) from None


def scorer(model: object, trait: Trait) -> Scorer:
    """A process that is started with the first rows."""
    from mainspring.registry.apart import Apart, Job

    function = cast(PythonFunction, model)
    job = Job(
        "python",
        {"entry": function.entry},
        _paths(function),
        function.deadline_s,
        function.memory_mb,
        f"function {function.entry}",
    )
    process: Apart = Apart(job)
    return process


def _paths(function: PythonFunction) -> dict[str, bytes]:
    source = {f"source/{path}": data for path, data in sorted(function.source.items())}
    return {**source, **{f"artifacts/{path}": data for path, data in sorted(function.artifacts.items())}}


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or not path.isprintable():
        raise Invalid(f"{path!r} is no path below a folder", where="files", hint="use names such as weights.json")
