"""The unpickler's stack machine with inert stubs for values: it follows what a load would import and call.

Every name is held against the allow-list at the place where it is looked up, and every call at the place where it is
made. What is not known as a constant is unknown for good: a name or callable that was computed is refused.
"""

from __future__ import annotations

import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import field

from mainspring.core.values import dataclass
from mainspring.registry.pickles.allowed import Use, use_of
from mainspring.registry.pickles.report import MOST_FINDINGS, Finding, Limits
from mainspring.registry.pickles.tokens import Broken, Token, Tokens
from mainspring.registry.pickles.values import (
    CHECKED,
    Made,
    Name,
    Unknown,
    array_size,
    line_number,
    signed,
    string,
    text,
)

_HIGHEST = 5
_ARRAY = ("joblib.numpy_pickle", "NumpyArrayWrapper")


@dataclass(slots=True)
class Budget:
    """What is left of the limits, over all parts of a file; and what was met in them."""

    limits: Limits
    opcodes: int = 0
    bytes: int = 0
    parts: int = 0
    pickles: int = 0
    names: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def find(self, part: str, offset: int, reason: str) -> None:
        """Add a finding; the first ones are kept."""
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(part, offset, reason))


class Machine:
    """Follows one pickle.

    Args:
        tokens: Its opcodes; the position afterwards is behind STOP.
        budget: Where names and findings go.
        part: What the findings call it.
        arrays: Raw arrays follow joblib's array wrappers, as joblib's unpickler reads them.
        storages: References to the storages of a PyTorch archive are let through.
        guess: Nobody says that it is a pickle: a name that can't be one ends it like any other broken opcode.
    """

    def __init__(
        self,
        tokens: Tokens,
        budget: Budget,
        part: str,
        *,
        arrays: bool = False,
        storages: bool = False,
        guess: bool = False,
    ) -> None:
        self.strings: list[tuple[int, bytes]] = []
        self.met_arrays = False
        self._tokens = tokens
        self._budget = budget
        self._part = part
        self._arrays = arrays
        self._storages = storages
        self._guess = guess
        self._stack: list[object] = []
        self._marked: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self._protocol = 0
        self._frame_end = 0
        self._at = 0

    def run(self) -> None:
        """Follow it to STOP.

        Raises:
            Broken: An unpickler would not reach STOP, or the limits were passed.
        """
        for token in self._tokens:
            self._at = token.offset
            self._budget.opcodes += 1
            if self._budget.opcodes > self._budget.limits.opcodes:
                self._find(f"more than {self._budget.limits.opcodes} opcodes")
                raise Broken("too many opcodes", token.offset)
            step = _STEPS.get(token.name)
            if step is None:
                self._find(f"opcode {token.name} is not understood")
                raise Broken(f"opcode {token.name}", token.offset)
            step(self, token)

    # --- stack

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> object:
        """Take the last value, never one below a mark."""
        if not self._stack:
            raise Broken("the stack is empty", self._at)
        return self._stack.pop()

    def peek(self) -> object:
        """The last value."""
        if not self._stack:
            raise Broken("the stack is empty", self._at)
        return self._stack[-1]

    def mark(self, _: Token) -> None:
        """MARK."""
        self._marked.append(self._stack)
        self._stack = []

    def unmark(self) -> list[object]:
        """The values above the last mark, which goes away."""
        if not self._marked:
            raise Broken("no mark", self._at)
        items, self._stack = self._stack, self._marked.pop()
        return items

    def drop(self, _: Token) -> None:
        """POP takes a value, or a mark when nothing is above it."""
        if self._stack:
            self._stack.pop()
        else:
            self.unmark()

    def forget(self, _: Token) -> None:
        """POP_MARK."""
        self.unmark()

    def done(self) -> None:
        """STOP gives the last value."""
        self.pop()

    # --- memo

    def put(self, index: int) -> None:
        """Remember the last value."""
        if index < 0:
            raise Broken("a negative place in the memo", self._at)
        self._memo[index] = self.peek()

    def memoize(self, _: Token) -> None:
        """MEMOIZE: the next free place is the number of places taken."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        if index not in self._memo:
            raise Broken(f"nothing was remembered under {index}", self._at)
        self.push(self._memo[index])

    # --- constants

    def proto(self, token: Token) -> None:
        """PROTO."""
        self._protocol = token.argument[0]
        if self._protocol > _HIGHEST:
            raise Broken(f"protocol {self._protocol}", self._at)

    def frame(self, token: Token) -> None:
        """FRAME promises bytes that have to be there."""
        (size,) = struct.unpack("<Q", token.argument)
        if size > len(self._tokens.data) - self._tokens.position:
            raise Broken("truncated: a frame is longer than the file", self._at)
        self._frame_end = self._tokens.position + size

    def bytes_(self, token: Token) -> None:
        """Byte strings are looked into afterwards: a pickle may hold a pickle."""
        if len(token.argument) >= 4:
            self.strings.append((token.offset, token.argument))
        self.push(token.argument if len(token.argument) <= 256 else Unknown("bytes"))

    # --- names and calls

    def global_(self, token: Token) -> None:
        """GLOBAL: module and name on a line each."""
        self.push(self._name(token))

    def stack_global(self, _: Token) -> None:
        """STACK_GLOBAL: both have to be constants."""
        name, module = self.pop(), self.pop()
        if isinstance(name, str) and isinstance(module, str):
            self.push(self._looked_up(module, name))
            return
        if not (_is_open(name) or _is_open(module)):
            raise Broken("a name that is no text", self._at)
        self._find("a name is computed, so what is imported is not known")
        self.push(Unknown("name"))

    def reduce(self, _: Token) -> None:
        """REDUCE calls with a tuple."""
        args, called = self.pop(), self.pop()
        self.push(self._call(called, args))

    def build(self, _: Token) -> None:
        """BUILD gives a made object its state; on anything else it would change what others use too."""
        state, target = self.pop(), self.peek()
        if not isinstance(target, Made):
            what = str(target) if isinstance(target, Name) else "something that was not made here"
            if isinstance(target, Name) or _is_open(target) or not self._guess:
                self._find(f"BUILD changes {what}")
            return
        again, target.state = target.state is not None, state
        if (target.of.module, target.of.name) == _ARRAY:
            self.met_arrays = True
            if again:
                self._find("an array whose wrapper is changed after it was read")
            if self._arrays:
                self._array(target)

    def inst(self, token: Token) -> None:
        """INST: name on two lines, arguments above the mark."""
        self.push(self._call(self._name(token), tuple(self.unmark())))

    def obj(self, _: Token) -> None:
        """OBJ: class and arguments above the mark."""
        items = self.unmark()
        if not items:
            raise Broken("OBJ without a class", self._at)
        self.push(self._call(items[0], tuple(items[1:])))

    def newobj(self, token: Token) -> None:
        """NEWOBJ and NEWOBJ_EX make an object without its constructor."""
        if token.name == "NEWOBJ_EX":
            self.pop()
        args, made = self.pop(), self.pop()
        self.push(self._new(made, args))

    def extension(self, token: Token) -> None:
        """EXT: a number that stands for a name registered in the loading process: nobody can say which."""
        self._refused_by_default(token.name)
        self._find(f"{token.name} imports by a number of the extension registry")
        self.push(Unknown("name"))

    def persistent(self, token: Token) -> None:
        """PERSID and BINPERSID ask the loader; only PyTorch's storages are known."""
        self._refused_by_default(token.name)
        said = self.pop() if token.name == "BINPERSID" else None
        known = isinstance(said, tuple) and len(said) == 5 and said[0] == "storage" and isinstance(said[1], Name)
        if not (self._storages and known):
            self._find("a persistent id, which the loader turns into whatever it likes")
        self.push(Unknown("storage"))

    def buffer(self, token: Token) -> None:
        """NEXT_BUFFER takes bytes that are not in the file."""
        self._refused_by_default(token.name)
        self._find("a buffer that is not in the file")
        self.push(Unknown("bytes"))

    def add(self, token: Token) -> None:
        """APPEND, SETITEM and their plurals: constants of dictionaries are kept, for the state of arrays."""
        if token.name == "APPEND":
            self.pop()
            items: list[object] = []
        elif token.name == "SETITEM":
            value, key = self.pop(), self.pop()
            items = [key, value]
        else:
            items = self.unmark()
        target = self.peek()
        if isinstance(target, Name):
            self._find(f"{token.name} changes {target}")
        if isinstance(target, dict) and token.name.startswith("SETITEM"):
            _fill(target, items)

    def _refused_by_default(self, opcode: str) -> None:
        """An unpickler that was not prepared for these stops here; whoever prepares one knows that it is a pickle."""
        if self._guess:
            raise Broken(f"opcode {opcode}", self._at)

    def _name(self, token: Token) -> Name | Unknown:
        module, _, name = token.argument.partition(b"\n")
        try:
            return self._looked_up(module.decode(), name.decode())
        except UnicodeDecodeError:
            raise Broken("a name is not UTF-8", self._at) from None

    def _looked_up(self, module: str, name: str) -> Name:
        if self._guess and not (module.replace(".", "").isidentifier() and name.replace(".", "").isidentifier()):
            raise Broken("a name that can't be one", self._at)
        if self._protocol < 3:
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            elif module in IMPORT_MAPPING:
                module = IMPORT_MAPPING[module]
        found = Name(module, name)
        self._budget.names.add(str(found))
        if use_of(module, name) is None:
            self._find(f"names {found}, which is not on the allow-list")
        return found

    def _call(self, called: object, args: object) -> object:
        if not isinstance(called, Name):
            if not (isinstance(called, Made) or _is_open(called)):
                raise Broken("a call of something that is no callable", self._at)
            self._find("calls something that is no name")
            return Unknown("result")
        use = use_of(called.module, called.name)
        if use is None:
            return Made(called, args)  # the name was found already
        if str(called) in CHECKED:
            trouble = CHECKED[str(called)](args)
        else:
            trouble = "" if use & Use.CALL else "which may be named and made but not called"
        if trouble:
            self._find(f"calls {called}, {trouble}")
        return Made(called, args)

    def _new(self, made: object, args: object) -> object:
        if not isinstance(made, Name):
            if not (isinstance(made, Made) or _is_open(made)):
                raise Broken("an object of something that is no class", self._at)
            self._find("makes something that is no name")
            return Unknown("object")
        use = use_of(made.module, made.name)
        if use is not None and not use & Use.NEW:
            self._find(f"makes {made}, which is no class on the allow-list")
        return Made(made, args)

    def _array(self, wrapper: Made) -> None:
        """joblib writes the bytes of an array right behind its wrapper; those of objects as a pickle of their own."""
        state = wrapper.state if isinstance(wrapper.state, dict) else {}
        size = array_size(state)
        if size is None or self._tokens.position < self._frame_end:  # joblib would read behind the frame
            self._find("an array whose place or size is not known")
            raise Broken("an array whose place or size is not known", self._at)
        if size < 0:
            inner = Machine(self._tokens, self._budget, self._part, arrays=False)
            inner.run()
            self.strings += inner.strings
            self._budget.pickles += 1
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self._tokens.take(self._tokens.take(1)[0])
        self._tokens.take(size)

    def _find(self, reason: str) -> None:
        self._budget.find(self._part, self._at, reason)


def _is_open(value: object) -> bool:
    """Whether it may be a text or a callable that is not known here. Constants, lists and arrays are neither."""
    if isinstance(value, Made):
        return str(value.of) == "builtins.str" or use_of(value.of.module, value.of.name) is None
    return isinstance(value, Unknown) and value.could_be_text


def _fill(target: dict[object, object], items: list[object]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=False):
        if isinstance(key, str):
            target[key] = value


def _index(token: Token) -> int:
    if token.name not in ("GET", "PUT"):
        return int.from_bytes(token.argument, "little")
    try:
        return int(token.argument[:100])
    except ValueError:
        raise Broken("a place in the memo that is no number", token.offset) from None


def _pushing(make: Callable[[bytes], object]) -> Callable[[Machine, Token], None]:
    return lambda machine, token: machine.push(make(token.argument))


def _tuple_of(count: int) -> Callable[[Machine, Token], None]:
    def step(machine: Machine, _: Token) -> None:
        machine.push(tuple([machine.pop() for _ in range(count)][::-1]))

    return step


def _dict(machine: Machine, _: Token) -> None:
    made: dict[object, object] = {}
    _fill(made, machine.unmark())
    machine.push(made)


def _marked(make: Callable[[list[object]], object]) -> Callable[[Machine, Token], None]:
    return lambda machine, _: machine.push(make(machine.unmark()))


def _nothing(_: Machine, __: Token) -> None:
    """READONLY_BUFFER changes no value."""


_STEPS: dict[str, Callable[[Machine, Token], None]] = {
    "PROTO": Machine.proto,
    "FRAME": Machine.frame,
    "STOP": lambda machine, _: machine.done(),
    "MARK": Machine.mark,
    "POP": Machine.drop,
    "POP_MARK": Machine.forget,
    "DUP": lambda machine, _: machine.push(machine.peek()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, token: machine.put(_index(token))),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, token: machine.get(_index(token))),
    "MEMOIZE": Machine.memoize,
    "NONE": _pushing(lambda _: None),
    "NEWTRUE": _pushing(lambda _: True),
    "NEWFALSE": _pushing(lambda _: False),
    **dict.fromkeys(("INT", "LONG"), _pushing(line_number)),
    **dict.fromkeys(("BININT", "LONG1", "LONG4"), _pushing(signed)),
    **dict.fromkeys(("BININT1", "BININT2"), _pushing(lambda raw: int.from_bytes(raw, "little"))),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), _pushing(lambda _: Unknown("number"))),
    "STRING": _pushing(string),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _pushing(lambda raw: text(raw, "ascii"))),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _pushing(lambda raw: text(raw, "utf-8"))),
    "UNICODE": _pushing(lambda raw: text(raw, "raw-unicode-escape")),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), Machine.bytes_),
    "NEXT_BUFFER": Machine.buffer,
    "READONLY_BUFFER": _nothing,
    "EMPTY_LIST": _pushing(lambda _: Unknown("list")),
    "EMPTY_SET": _pushing(lambda _: Unknown("set")),
    "EMPTY_DICT": _pushing(lambda _: {}),
    "EMPTY_TUPLE": _pushing(lambda _: ()),
    "LIST": _marked(lambda _: Unknown("list")),
    "FROZENSET": _marked(lambda _: Unknown("set")),
    "TUPLE": _marked(tuple),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "DICT": _dict,
    **dict.fromkeys(("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"), Machine.add),
    "GLOBAL": Machine.global_,
    "STACK_GLOBAL": Machine.stack_global,
    "REDUCE": Machine.reduce,
    "BUILD": Machine.build,
    "INST": Machine.inst,
    "OBJ": Machine.obj,
    **dict.fromkeys(("NEWOBJ", "NEWOBJ_EX"), Machine.newobj),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Machine.extension),
    **dict.fromkeys(("PERSID", "BINPERSID"), Machine.persistent),
}
