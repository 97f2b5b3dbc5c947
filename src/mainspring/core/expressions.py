"""Expressions over the columns of a row: arithmetic, comparisons and a few functions. They are data, never code.

The text is read with Python's grammar and made into an expression of Polars node by node; what is not listed here is
refused, so nothing in it can call, import or reach anything.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl

_LONGEST = 2_000
_MOST_NODES = 300
_MOST_DEEP = 40
_MOST_WHOLE = 2**63
FUNCTIONS: dict[str, tuple[int, int]] = {
    "abs": (1, 1), "sqrt": (1, 1), "log": (1, 1), "log1p": (1, 1), "exp": (1, 1), "floor": (1, 1), "ceil": (1, 1),
    "round": (1, 2), "min": (2, 20), "max": (2, 20), "coalesce": (2, 20), "is_missing": (1, 1), "lower": (1, 1),
    "upper": (1, 1), "length": (1, 1), "number": (1, 1), "text": (1, 1), "hour": (1, 1), "weekday": (1, 1),
    "day": (1, 1), "month": (1, 1), "year": (1, 1), "col": (1, 1),
}  # fmt: skip
"""What may be called, with the least and the most values it takes. `col("a name")` is for names with odd characters."""
_OPERATORS: dict[type[ast.AST], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.And: lambda a, b: a & b,
    ast.Or: lambda a, b: a | b,
}
_SIGNS: dict[type[ast.AST], Callable[[pl.Expr], pl.Expr]] = {
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
    ast.Not: lambda a: ~a,
}


@dataclass(frozen=True, slots=True)
class Expression:
    """What is computed from the columns of a row. A missing value makes the result missing, as in SQL.

    Args:
        text: Such as "delay / max(distance, 1)", "late if delay > 15 else 0", 'carrier in ["AA", "UA"]'.
    Raises:
        Invalid: It is no expression, or has in it what is none of the language.

    >>> Expression("log1p(max(delay, 0)) * 2").names
    ('delay',)
    """

    text: str

    def __post_init__(self) -> None:
        tree = self._tree()
        nodes = list(ast.walk(tree))
        if len(nodes) > _MOST_NODES or _depth(tree) > _MOST_DEEP:
            raise self._wrong("it is too long or too deep", f"at most {_MOST_NODES} parts; make several of it")
        for _ in self._walk(tree):
            pass

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it looks at, each once, in the order they are named."""
        return tuple(dict.fromkeys(name for name in self._walk(self._tree()) if name))

    def polars(self) -> pl.Expr:
        """The expression that computes it. A number that is not finite, as of a division by zero, is missing."""
        return self._made(self._tree())

    def _tree(self) -> ast.AST:
        if len(self.text) > _LONGEST:
            raise Invalid(f"an expression of {len(self.text)} characters", where="expression", hint=f"{_LONGEST}")
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as reason:
            raise self._wrong(f"no expression: {reason}", 'such as "delay / max(distance, 1)"') from None

    def _walk(self, node: ast.AST) -> Iterator[str]:
        """Check a part and all below it; gives the names of columns, and "" for what is none."""
        match node:
            case ast.Name():
                yield node.id
            case ast.Constant(value=value):
                self._check_constant(value)
            case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str() as name)], keywords=[]):
                yield name
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                self._check_call(name, len(arguments))
                for part in arguments:
                    yield from self._walk(part)
            case ast.BinOp() | ast.BoolOp() | ast.UnaryOp() | ast.Compare() | ast.IfExp():
                for below in self._parts(node):
                    yield from self._walk(below)
            case _:
                raise self._wrong(
                    f"{ast.unparse(node)[:60]!r} is none of the language",
                    "use columns, numbers, texts, + - * / // % **, comparisons, and, or, not, `a if b else c` and "
                    + ", ".join(FUNCTIONS),
                )

    def _parts(self, node: ast.AST) -> list[ast.AST]:
        match node:
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
                return [left, right]
            case ast.BoolOp(values=values):
                return list(values)
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
                return [operand]
            case ast.IfExp(test=test, body=body, orelse=other):
                return [test, body, other]
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[ast.List(elts=listed)]):
                for one in listed:
                    if not isinstance(one, ast.Constant):
                        raise self._wrong("a list has columns in it", 'lists have values: carrier in ["AA", "UA"]')
                return [left, *listed]
            case ast.Compare(left=left, ops=signs, comparators=others) if all(type(s) in _OPERATORS for s in signs):
                return [left, *others]
        raise self._wrong(f"{ast.unparse(node)[:60]!r} is none of the language", "see the operators in the docs")

    def _check_constant(self, value: object) -> None:
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise self._wrong(f"a {type(value).__name__} is no value here", "use numbers, texts, True, False and None")
        if isinstance(value, int) and not -_MOST_WHOLE <= value < _MOST_WHOLE:
            raise self._wrong(f"{str(value)[:20]} is too large", "write it as a float, such as 1e30")

    def _check_call(self, name: str, count: int) -> None:
        if name not in FUNCTIONS or name == "col":
            hint = did_you_mean(name, FUNCTIONS) or "there are " + ", ".join(FUNCTIONS)
            raise self._wrong(f"there is no function {name!r}", hint)
        least, most = FUNCTIONS[name]
        if not least <= count <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self._wrong(f"{name} takes {wanted} values, found {count}", f"{name}(...)")

    def _made(self, node: ast.AST) -> pl.Expr:
        import polars as pl

        match node:
            case ast.Name():
                return pl.col(node.id)
            case ast.Constant(value=value):
                return pl.lit(value)
            case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str() as name)]):
                return pl.col(name)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return _called(name, [self._made(part) for part in arguments], arguments)
            case ast.BinOp(left=left, op=sign, right=right):
                return _OPERATORS[type(sign)](self._made(left), self._made(right))
            case ast.BoolOp(op=sign, values=values):
                return reduce(_OPERATORS[type(sign)], [self._made(part) for part in values])
            case ast.UnaryOp(op=sign, operand=operand):
                return _SIGNS[type(sign)](self._made(operand))
            case ast.IfExp(test=test, body=body, orelse=other):
                return pl.when(self._made(test)).then(self._made(body)).otherwise(self._made(other))
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as sign], comparators=[ast.List(elts=listed)]):
                found = self._made(left).is_in([one.value for one in listed if isinstance(one, ast.Constant)])
                return ~found if isinstance(sign, ast.NotIn) else found
            case ast.Compare(left=left, ops=signs, comparators=others):
                ends = [self._made(part) for part in (left, *others)]
                pairs = zip(signs, ends, ends[1:], strict=False)
                return reduce(lambda a, b: a & b, [_OPERATORS[type(sign)](a, b) for sign, a, b in pairs])
        raise self._wrong("it is none of the language", "see the docs")

    def _wrong(self, what: str, hint: str) -> Invalid:
        return Invalid(what, where=f"expression {self.text[:80]!r}", hint=hint)


def _depth(node: ast.AST) -> int:
    deepest, level = 0, [node]
    while level and deepest <= _MOST_DEEP:
        deepest += 1
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
    return deepest


def _called(name: str, given: list[pl.Expr], nodes: list[ast.expr]) -> pl.Expr:
    import polars as pl

    first = given[0]
    match name:
        case "min":
            return pl.min_horizontal(given)
        case "max":
            return pl.max_horizontal(given)
        case "coalesce":
            return pl.coalesce(given)
        case "is_missing":
            return first.is_null()
        case "round":
            digits = nodes[1].value if len(nodes) > 1 and isinstance(nodes[1], ast.Constant) else 0
            return first.round(digits if isinstance(digits, int) and 0 <= digits <= 15 else 0)
        case "lower" | "upper":
            return first.str.to_lowercase() if name == "lower" else first.str.to_uppercase()
        case "length":
            return first.str.len_chars()
        case "number":
            return first.cast(pl.Float64, strict=False)
        case "text":
            return first.cast(pl.String)
        case "hour" | "weekday" | "day" | "month" | "year":
            found: pl.Expr = getattr(first.dt, name)()
            return found
    plain: pl.Expr = getattr(first, name)()
    return plain
