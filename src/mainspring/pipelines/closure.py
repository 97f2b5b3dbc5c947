"""What code a function reaches, found without running it: the static closure that the cache key follows.

Of the function's own module only the definitions that it reaches count, transitively, and the statements that run at
import without defining anything; of every other project module that is reached, the whole. Layout, comments,
docstrings and the options of `@step` do not count. What is reached by computed names (`getattr`, `importlib`) or read
from files at import is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import lru_cache

from mainspring.core.canonical import digest
from mainspring.core.values import dataclass

_OURS = ("step", "pipeline")


@dataclass(frozen=True, slots=True)
class Module:
    """A project module as it lies on disk."""

    text: str
    is_package: bool = False


Source = Callable[[str], Module | None]
"""Finds a project module by its name; None for a module that is not the project's."""


@dataclass(frozen=True, slots=True)
class Imported:
    """An import as it is written: the module, the name taken from it ("" for none), and the dots in front."""

    module: str
    name: str = ""
    dots: int = 0


@dataclass(frozen=True, slots=True)
class Fragment:
    """A top-level statement (or a whole module): its digest, the names it uses, and what it imports."""

    digest: str
    uses: frozenset[str]
    imports: tuple[Imported, ...]
    defines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a function is: its module, whether that is a package, and the line of its first decorator or `def`."""

    module: str
    label: str
    is_package: bool
    line: int


def reach(place: Place, text: str, source: Source) -> dict[str, str]:
    """Digests of all code that the function at `place` reaches, by name.

    Args:
        place: Where the function is.
        text: The source of its module.
        source: Finds the other modules.
    """
    fragments, root = split(text, place.line)
    found = {"function": root.digest}
    imports = list(root.imports)
    names = set(root.uses)
    seen: set[str] = set()
    for number, fragment in enumerate(fragments):
        if not fragment.defines:
            found[f"{place.label}#{number}"] = fragment.digest
            names |= fragment.uses
            imports += fragment.imports
    while names - seen:
        name = min(names - seen)
        seen.add(name)
        defining = [f for f in fragments if name in f.defines and f.digest != root.digest]
        if defining:
            found[f"{place.label}.{name}"] = digest("".join(f.digest for f in defining).encode())
        for fragment in defining:
            names |= fragment.uses
            imports += fragment.imports
    found |= modules(place, imports, source)
    return dict(sorted(found.items()))


def modules(place: Place, imports: list[Imported], source: Source) -> dict[str, str]:
    """Digests of the project modules that these imports of a module reach, transitively."""
    found: dict[str, str] = {}
    waiting = [(place.module, place.is_package, each) for each in imports]
    while waiting:
        importer, is_package, each = waiting.pop()
        for name, module in _targets(importer, is_package, each, source):
            if name in found or name == place.module:
                continue
            fragment = whole(module.text)
            found[name] = fragment.digest
            waiting += [(name, module.is_package, other) for other in fragment.imports]
    return found


def _targets(importer: str, is_package: bool, each: Imported, source: Source) -> Iterator[tuple[str, Module]]:
    base = _absolute(importer, is_package, each)
    names = [base, f"{base}.{each.name}"] if each.name else [base]
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = source(".".join(parts[:end]))
            if module is not None:
                yield ".".join(parts[:end]), module


def _absolute(importer: str, is_package: bool, each: Imported) -> str:
    if not each.dots:
        return each.module
    parts = importer.split(".")
    kept = parts[: len(parts) - each.dots + (1 if is_package else 0)]
    return ".".join([*kept, *([each.module] if each.module else [])])


@lru_cache(maxsize=256)
def split(text: str, line: int) -> tuple[tuple[Fragment, ...], Fragment]:
    """The top-level fragments of a module that can matter, and the function that starts at `line`."""
    tree = ast.parse(text)
    root = next(
        (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and _first(n) == line), None
    )
    if root is None:
        raise LookupError(f"no function starts at line {line}")
    fragments = tuple(_fragment([node]) for node in _without_docstring(tree.body) if not _is_aside(node))
    return fragments, _fragment([root])


@lru_cache(maxsize=1024)
def whole(text: str) -> Fragment:
    """A whole module as one fragment."""
    return _fragment(_without_docstring(ast.parse(text).body))


def _fragment(body: list[ast.stmt]) -> Fragment:
    nodes = [_Normal().visit(node) for node in body]
    uses = {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}
    text = "\n".join(ast.dump(node) for node in nodes)
    return Fragment(digest(text.encode()), frozenset(uses), tuple(_imports(nodes)), _defines(body))


def _imports(nodes: list[ast.stmt]) -> Iterator[Imported]:
    for node in (inner for each in nodes for inner in ast.walk(each)):
        if isinstance(node, ast.Import):
            yield from (Imported(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Imported(node.module or "", "" if alias.name == "*" else alias.name, node.level)


def _defines(body: list[ast.stmt]) -> tuple[str, ...]:
    if len(body) != 1:
        return ()
    node = body[0]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return tuple((alias.asname or alias.name).split(".")[0] for alias in node.names if alias.name != "*")
    if isinstance(node, (ast.Assign, ast.AnnAssign, getattr(ast, "TypeAlias", ast.Assign))):
        return tuple(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return ()


def _is_aside(node: ast.stmt) -> bool:
    """Statements that do not matter to a step: `if __name__ == "__main__"` and imports for type checking."""
    if not isinstance(node, ast.If):
        return isinstance(node, ast.Pass)
    test = ast.unparse(node.test)
    return "__name__" in test or test in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _first(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body


class _Normal(ast.NodeTransformer):
    """Drops docstrings and the decorators `step` and `pipeline`."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._plain(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._plain(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._plain(node)

    def _plain(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _without_docstring(node.body) or [ast.Pass()]
        node.decorator_list = [each for each in node.decorator_list if _called(each) not in _OURS]
        return node


def _called(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
