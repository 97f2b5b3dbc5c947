"""What the machine keeps on its stack: constants as they are, everything else as a stub that can do nothing."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from mainspring.core.values import dataclass
from mainspring.registry.pickles.allowed import Use, use_of

_MOST_SHOWN = 120
_DEEPEST_TYPE = 4
_HOLDS_OBJECTS = 3


@dataclass(frozen=True, slots=True)
class Name:
    """What a pickle imports: a module and a name in it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:_MOST_SHOWN]


@dataclass(slots=True, eq=False)
class Made:
    """The result of a call; never made, only remembered."""

    of: Name
    args: object = ()
    state: object = None


@dataclass(slots=True, eq=False)
class Unknown:
    """A value of which only the kind matters."""

    kind: str = "value"

    @property
    def could_be_text(self) -> bool:
        """Whether it may be a string that is not known here."""
        return self.kind in ("text", "name", "result", "object")


def array_size(state: dict[object, object]) -> int | None:
    """Bytes of the array that a wrapper announces; -1 for an array of objects, None when it can't be said."""
    shape, size = state.get("shape"), _item_size(state.get("dtype"))
    if size is None or size < 0 or not isinstance(shape, tuple):
        return size if isinstance(shape, tuple) else None
    for length in shape:
        if type(length) is not int or length < 0:
            return None
        size *= length
    return size


def _item_size(dtype: object, depth: int = 0) -> int | None:
    if not isinstance(dtype, Made) or str(dtype.of) != "numpy.dtype" or depth > _DEEPEST_TYPE:
        return None
    text = dtype.args[0] if isinstance(dtype.args, tuple) and dtype.args else None
    if not isinstance(text, str) or not text.isascii():
        return None
    if text in ("O", "O8"):
        return -1
    if text[:1] not in tuple("biufcSUmMV") or not text[1:].isdecimal():
        return None
    size = int(text[1:]) * (4 if text[0] == "U" else 1)
    return size if _is_usual(text[0], size, dtype.state, depth) else None


def _is_usual(kind: str, size: int, state: object, depth: int) -> bool:
    """Whether the state of a type says what its name says: a state can change sizes and flags behind the name."""
    if state is None:
        return kind not in "SUV"
    if not isinstance(state, tuple) or len(state) < 8 or state[2] is not None:
        return False
    if type(state[7]) is not int or state[7] & _HOLDS_OBJECTS:
        return False
    if kind in "SUV" and state[5] != size:
        return False
    if kind != "V":
        return state[3] is None and state[4] is None
    return state[4] is None or (isinstance(state[4], dict) and all(_is_field(f, depth) for f in state[4].values()))


def _is_field(entry: object, depth: int) -> bool:
    size = _item_size(entry[0], depth + 1) if isinstance(entry, tuple) and entry else None
    return size is not None and size >= 0


def _is_latin(args: object) -> str:
    """`_codecs.encode(text, "latin1")` is how old protocols write bytes; other codecs run other code."""
    fine = isinstance(args, tuple) and len(args) == 2 and args[1] in ("latin1", "latin-1")
    return "" if fine else "other than for text as latin1"


def _is_plain_object(args: object) -> str:
    fine = isinstance(args, tuple) and len(args) == 3 and args[1] == Name("builtins", "object")
    return _is_class(args) if fine else "with a base other than object"


def _is_class(args: object) -> str:
    first = args[0] if isinstance(args, tuple) and args else None
    use = use_of(first.module, first.name) if isinstance(first, Name) else None
    return "" if use is not None and use & Use.NEW else "on something that is no class on the allow-list"


CHECKED: dict[str, Callable[[object], str]] = {
    "_codecs.encode": _is_latin,
    "copyreg._reconstructor": _is_plain_object,
    "copyreg.__newobj__": _is_class,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _is_class,
    "sklearn.metrics._dist_metrics.newObj": _is_class,
    "sklearn.neighbors._kd_tree.newObj": _is_class,
    "sklearn.neighbors._ball_tree.newObj": _is_class,
}


def string(raw: bytes) -> object:
    """A protocol 0 string: quoted, with Python's escapes."""
    text = raw.strip(b" \t\r")
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        return Unknown("text")
    try:
        return codecs.escape_decode(text[1:-1])[0].decode("ascii")
    except (ValueError, UnicodeDecodeError):
        return Unknown("text")


def text(raw: bytes, encoding: str) -> object:
    """Text in an encoding."""
    try:
        return raw.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
    except (UnicodeDecodeError, LookupError):
        return Unknown("text")


def line_number(raw: bytes) -> object:
    """A number on a line of its own; 00 and 01 are the booleans of protocol 0."""
    if raw in (b"00", b"01"):
        return raw == b"01"
    try:
        return int(raw.rstrip(b"L")[:100])
    except ValueError:
        return Unknown("number")


def signed(raw: bytes) -> object:
    """A little-endian number in two's complement."""
    return int.from_bytes(raw, "little", signed=True) if len(raw) <= 64 else Unknown("number")
