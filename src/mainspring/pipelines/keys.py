"""Puts together what a step's cache key is made of: code, parameters, inputs, data, files, environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import MainspringError
from mainspring.pipelines import hints
from mainspring.pipelines.closure import reach
from mainspring.pipelines.decorators import Step
from mainspring.pipelines.model import Argument, Artifact, Items, Json, KeyParts, Literal, Node, Result
from mainspring.pipelines.rules import pick
from mainspring.pipelines.sources import ProjectSources, digest_path, packages, place_of


def key_parts(
    node: Node,
    step: Step[..., object],
    outputs: Mapping[str, Artifact],
    pins: Mapping[str, str],
) -> KeyParts:
    """Everything the result of `node` depends on.

    Args:
        node: The step in its graph.
        step: Its function.
        outputs: Results of the steps before it.
        pins: Full reference of each dataset that was named without a version.
    Raises:
        NotFound: A file that counts is not there.
    """
    function = step.function
    code, barrier = _code(step)
    params: dict[str, Json] = {}
    inputs: dict[str, str] = {}
    datasets: dict[str, str] = {}
    files: dict[str, str] = {}
    for name, argument in node.arguments.items():
        for path, leaf in _leaves(name, argument):
            if isinstance(leaf, Result):
                inputs[path] = pick(outputs[leaf.step], leaf.path, leaf.step).digest
            elif isinstance(leaf.value, str) and hints.is_dataset(step.hints.get(name)):
                datasets[path] = pins.get(leaf.value, leaf.value)
            else:
                params[path] = leaf.value
                if isinstance(leaf.value, str) and hints.is_path(step.hints.get(name)):
                    files[path] = digest_path(Path(leaf.value))
    folder = Path(function.__code__.co_filename).parent
    files |= {name: digest_path(folder / name) for name in node.options.files}
    captured, reason = _captured(step)
    return KeyParts(
        function=node.function.rpartition(":")[2],
        code=code,
        params=params | captured,
        inputs=inputs,
        datasets=datasets,
        files=files,
        env={name: digest(os.environ.get(name, "\0").encode())[:16] for name in node.options.env},
        lock=digest("\n".join(packages()).encode()),
        barrier=barrier or reason,
    )


def _leaves(name: str, argument: Argument) -> Iterator[tuple[str, Literal | Result]]:
    if not isinstance(argument, Items):
        yield name, argument
        return
    yield f"{name}:", Literal(argument.kind)
    for key, entry in argument.entries:
        yield from _leaves(f"{name}[{key}]", entry)


def _code(step: Step[..., object]) -> tuple[dict[str, str], str]:
    found = place_of(step.function)
    if found is None:
        return {}, "its source is in no file"
    place, path = found
    sources = ProjectSources(place.module)
    try:
        module = path.read_text(encoding="utf-8")
        code = reach(place, module, sources)
    except (LookupError, SyntaxError):
        return {}, "its file is no longer what was imported"
    if max(sources.newest, path.stat().st_mtime) > step.made_at:
        return code, "its code changed on disk after it was imported"
    return code, ""


def _captured(step: Step[..., object]) -> tuple[dict[str, Json], str]:
    """Values that a nested function took from around it; those that are not plain JSON cannot be compared."""
    names, cells = step.function.__code__.co_freevars, step.function.__closure__ or ()
    found: dict[str, Json] = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            value = cell.cell_contents
            canonical_json(value)
        except (ValueError, MainspringError):
            return {}, f"it uses {name} of the function around it, which is not plain JSON"
        found[f"around.{name}"] = value
    return found, ""
