"""Finds the pipeline that a target names: "package.module:function" or "path/to/file.py:function"."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from mainspring.core.canonical import digest
from mainspring.core.errors import Invalid, MainspringError, NotFound, Refused, did_you_mean
from mainspring.pipelines.decorators import Pipeline, Step

_NOT_WRITTEN = (f"{Path(__file__).parents[1]}{os.sep}", "<")
"""Where frames are that a reader did not write: ours, and what was generated."""
AnyPipeline = Pipeline[..., object]


def check_target(target: str, root: Path) -> str:
    """The target with an absolute path, when it names a file; nothing is imported.

    Raises:
        Invalid: It has another form.
        NotFound: There is no such file.
    """
    place, _, name = target.rpartition(":")
    if not place or not name.isidentifier():
        hint = 'write "path/to/file.py:function" or "package.module:function"'
        raise Invalid(f"{target!r} names no pipeline", where="target", hint=hint)
    return f"{_check_place(place, root)}:{name}"


def load_place(place: str, root: Path) -> ModuleType:
    """Import a Python file, whose path may start from `root`, or a module.

    Raises:
        Invalid: It cannot be imported, or is neither.
        NotFound: There is no such file or module.
    """
    found = _check_place(place, root)
    return _load_file(Path(found)) if found.endswith(".py") else _load_module(found, root)


def _check_place(place: str, root: Path) -> str:
    if not place.endswith(".py"):
        if all(part.isidentifier() for part in place.split(".")):
            return place
        raise Invalid(f"{place!r} is neither a module nor a Python file", where="target", hint="a file ends in .py")
    path = (root / place).absolute()
    if not path.is_file():
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*.py"))) if path.parent.is_dir() else ""
        raise NotFound(f"no file {place}", where=str(path.parent), hint=near or "give the path of a Python file")
    return str(path)


def check_inside(target: str, root: Path) -> None:
    """Refuse a target that names a file outside of `root`, by whatever way.

    Raises:
        Refused: It does.
    """
    place = target.rpartition(":")[0]
    if place.endswith(".py") and not (root / place).resolve().is_relative_to(root.resolve()):
        hint = "submit a file of the project, or use the command line on the server's machine"
        raise Refused("the target is outside the project folder", where="target", hint=hint)


def load_target(target: str, root: Path, *, module: str = "") -> AnyPipeline:
    """Import the module or file and return its pipeline.

    Args:
        target: The pipeline.
        root: Where relative paths start.
        module: What the file's module is called in the process that asks for it, where that had another one of the
            file's own name already: steps are found by the names of their modules.
    Raises:
        Invalid: The module cannot be imported, or has no such pipeline.
        NotFound: There is no such file or module.
    """
    place, _, name = check_target(target, root).rpartition(":")
    is_beside = bool(module) and place.endswith(".py") and module == _name_beside(Path(place))
    loaded = _load_file(Path(place), is_beside=True) if is_beside else load_place(place, root)
    found = getattr(loaded, name, None)
    if isinstance(found, Pipeline):
        return found
    known = [key for key, value in vars(loaded).items() if isinstance(value, Pipeline)]
    if found is None:
        hint = did_you_mean(name, known) or f"it has {', '.join(known) or 'no pipelines'}"
        raise Invalid(f"no pipeline {name!r} in {loaded.__name__}", where=target, hint=hint)
    kind = "a step" if isinstance(found, Step) else f"a {type(found).__name__}"
    raise Invalid(f"{name} is {kind}, not a pipeline", where=target, hint=f"write @pipeline above def {name}")


def _load_file(path: Path, *, is_beside: bool = False) -> ModuleType:
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    name = name.removesuffix(".__init__")
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if (
        loaded is not None or is_beside
    ) and "." not in name:  # a file may have the name of a module that is loaded already
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # at the end: whoever imports that name later means the other one
        return _load_beside(path)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return _load(name, str(path))


def _name_beside(path: Path) -> str:
    return f"{path.stem}_{digest(str(path).encode())[:8]}"


def _load_beside(path: Path) -> ModuleType:
    name = _name_beside(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Invalid(f"{path} cannot be imported", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as reason:  # noqa: BLE001 - a module may raise anything; it is told below
        del sys.modules[name]
        _complain(reason, str(path))
    return module


def _load_module(name: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return _load(name, name)


def _load(name: str, where: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as reason:  # noqa: BLE001 - a module may raise anything; it is told below
        _complain(reason, where)


def _complain(reason: Exception, where: str) -> NoReturn:
    if isinstance(reason, ModuleNotFoundError) and reason.name:
        hint = f"install {reason.name.split('.')[0]} beside Mainspring, or start in the project's folder"
        raise NotFound(f"no module named {reason.name!r}", where=where, hint=hint) from reason
    frames = [each for each in traceback.extract_tb(reason.__traceback__) if not each.filename.startswith(_NOT_WRITTEN)]
    if isinstance(reason, MainspringError) and frames:  # it says better than we could what is wrong there
        told = f"{frames[-1].filename}, line {frames[-1].lineno}" + (f" ({reason.where})" if reason.where else "")
        raise type(reason)(reason.what, where=told, hint=reason.hint) from None
    last = frames[-1] if frames else None
    line = reason.lineno if isinstance(reason, SyntaxError) else last and last.lineno
    file = reason.filename if isinstance(reason, SyntaxError) else last.filename if last else where
    what = f"importing it raised {type(reason).__name__}: {reason.msg if isinstance(reason, SyntaxError) else reason}"
    raise Invalid(what, where=f"{file}, line {line}", hint=f"python -c 'import ...' shows the whole trace of {where}")
