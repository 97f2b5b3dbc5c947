"""Puts together what a step's cache key is made of: code, parameters, inputs, data, files, environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Failed, MainspringError, NotFound
from mainspring.core.values import dataclass
from mainspring.pipelines import hints
from mainspring.pipelines.closure import reach, whole
from mainspring.pipelines.decorators import AnyStep
from mainspring.pipelines.lock import installed, lock_of
from mainspring.pipelines.model import Argument, Artifact, Choice, Items, Json, KeyParts, Literal, Node, Result
from mainspring.pipelines.rules import pick, same_code
from mainspring.pipelines.sources import ProjectSources, digest_path, place_of, read_text
from mainspring.pipelines.targets import AnyPipeline


@dataclass(frozen=True, slots=True)
class Code:
    """The code that a function reaches, the packages it uses, and why it cannot be compared, if so."""

    digests: Mapping[str, str]
    packages: tuple[str, ...]
    barrier: str = ""

    @property
    def lock(self) -> str:
        """The digest of the list of packages."""
        return digest(self.listed)

    @property
    def listed(self) -> bytes:
        """The list of packages as bytes, one a line."""
        return "\n".join(self.packages).encode()

    @property
    def digest(self) -> str:
        """One digest for all of the code."""
        return digest(canonical_json(dict(self.digests)))


def codes_of(steps: Iterable[AnyStep]) -> dict[str, Code]:
    """The code that each of these steps reaches, with what it says it depends on, by the steps' references."""
    known = installed()  # asked once: it looks at every folder that modules come from
    found: dict[str, Code] = {}
    for step in {step.reference: step for step in steps}.values():
        digests, foreign, barrier = _all_reached(step)
        found[step.reference] = Code(digests, lock_of(foreign, known), barrier)
    return found


def code_of_pipeline(pipeline: AnyPipeline, steps: Mapping[str, Code]) -> Code:
    """The code that a pipeline function reaches besides its steps and what they reach.

    Args:
        pipeline: The pipeline.
        steps: The code of its steps by their references.
    """
    digests, _, barrier = _reached(pipeline.function, pipeline.made_at)
    theirs = {name for code in steps.values() for name in code.digests} - {"function"}
    names = {reference.rpartition(":")[2] for reference in steps}
    own = {key: each for key, each in digests.items() if key not in theirs and key.rpartition(".")[2] not in names}
    return Code(own, (), barrier)


def check_code(step: AnyStep, expected: str) -> None:
    """Refuse a step that is not, in this process, the one that its run was planned with.

    Args:
        step: The step.
        expected: The digest of its code there; "" when that could not be compared.
    Raises:
        Conflict: Its code has changed.
    """
    if expected and Code(_all_reached(step)[0], ()).digest != expected:
        same_code({step.reference: expected}, {step.reference: ""})


def _all_reached(step: AnyStep) -> tuple[dict[str, str], set[str], str]:
    digests, foreign, barrier = _reached(step.function, step.made_at)
    for name in step.options.depends_on:
        more, others, reason = _named(name, step.function.__module__)
        digests |= {f"{name}/{key}": value for key, value in more.items()}
        foreign |= others
        barrier = barrier or reason
    return digests, foreign, barrier


def key_parts(
    node: Node, step: AnyStep, code: Code, outputs: Mapping[str, Artifact], pins: Mapping[str, str]
) -> KeyParts:
    """Everything the result of `node` depends on.

    Args:
        node: The step in its graph.
        step: Its function.
        code: What `codes_of` found for it.
        outputs: Results of the steps before it.
        pins: Full reference of each dataset that was named without a version.
    Raises:
        NotFound: A file that counts is not there.
    """
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
    folder = Path(step.function.__code__.co_filename).parent
    files |= {name: digest_path(folder / name) for name in node.options.files}
    captured, reason = _captured(step.function)
    return KeyParts(
        function=node.function.rpartition(":")[2],
        code=code.digests,
        params=params | captured,
        inputs=inputs,
        datasets=datasets,
        files=files,
        env={name: digest(os.environ.get(name, "\0").encode())[:16] for name in node.options.env},
        lock=code.lock,
        barrier=code.barrier or reason,
    )


def _leaves(name: str, argument: Argument) -> Iterator[tuple[str, Literal | Result]]:
    if isinstance(argument, Choice):
        raise Failed("a choice that was not made", where=name)
    if not isinstance(argument, Items):
        yield name, argument
        return
    yield f"{name}:", Literal(argument.kind)
    for key, entry in argument.entries:
        yield from _leaves(f"{name}[{key}]", entry)


def _reached(function: Callable[..., object], made_at: float) -> tuple[dict[str, str], set[str], str]:
    found = place_of(function)
    if found is None:
        return {}, set(), "its source is in no file"
    place, path = found
    sources = ProjectSources(place.module)
    try:
        code = reach(place, read_text(path), sources)
    except (LookupError, SyntaxError):
        return {}, set(), "its file is no longer what was imported"
    changed = max(sources.newest, path.stat().st_mtime) > made_at
    return code, sources.foreign, "its code changed on disk after it was imported" if changed else ""


def _named(name: str, own: str) -> tuple[dict[str, str], set[str], str]:
    module, _, inner = name.partition(":")
    sources = ProjectSources(own)
    if inner:
        found = getattr(sys.modules.get(module), inner.partition(".")[0], None)
        function = getattr(found, "function", found)
        if isinstance(function, FunctionType):
            return _reached(function, float("inf"))
    code = {each: whole(text.text).digest for each in (module,) if (text := sources(module))}
    if not code and not sources.foreign:
        hint = "name a module of the project, or a function that is imported"
        raise NotFound(f"there is no code {name!r}", where="step depends_on", hint=hint)
    return code, sources.foreign, ""


def _captured(function: Callable[..., object]) -> tuple[dict[str, Json], str]:
    """Values that a nested function took from around it; those that are not plain JSON cannot be compared."""
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    found: dict[str, Json] = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            value = cell.cell_contents
            canonical_json(value)
        except (ValueError, MainspringError):
            return {}, f"it uses {name} of the function around it, which is not plain JSON"
        found[f"around.{name}"] = value
    return found, ""
