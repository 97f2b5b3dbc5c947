"""Looks through a file and everything inside it, in this process; `scan` runs it in a process of its own.

Three claims say how sure the caller is. PICKLE: it will be unpickled, so it has to be understood to the last byte.
FILE: some file, such as one of a folder; what its first bytes or its name announce has to be understood, anything else
is followed as far as an unpickler would get. BYTES: a constant inside a pickle or the storage of a tensor; only what is
surely there counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from mainspring.registry.pickles.archives import (
    COMPRESSED,
    Bad,
    Member,
    inflated,
    kind_of,
    npy_content,
    tar_members,
    zip_members,
)
from mainspring.registry.pickles.machine import Budget, Machine
from mainspring.registry.pickles.report import Limits, Report
from mainspring.registry.pickles.tokens import Broken, Tokens

SUFFIXES = (".pkl", ".pickle", ".pk", ".joblib", ".dill", ".cloudpickle", ".p", ".pt", ".pth", ".ckpt", ".bin.pkl")
_CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".exe", ".pth.py", ".ipynb")
_TORCH = "data.pkl"


class Claim(Enum):
    """What the bytes are said to be."""

    PICKLE = "pickle"
    FILE = "file"
    BYTES = "bytes"


def look(parts: Sequence[tuple[str, Claim, bytes]], limits: Limits | None = None) -> Report:
    """Look through parts, each with its name and claim.

    >>> look([("m.pkl", Claim.PICKLE, b"cos\\nsystem\\n(S'id'\\ntR.")]).said()
    'm.pkl at byte 0: names os.system, which is not on the allow-list'
    """
    budget = Budget(limits or Limits())
    for name, claim, data in parts:
        budget.bytes += len(data)
        if claim is Claim.FILE and name.lower().endswith(_CODE):
            budget.find(name, 0, "code, which a load may run")
        _Part(budget, name, claim, 0).look(memoryview(data))
    findings = tuple(dict.fromkeys(budget.findings))
    return Report(findings, tuple(sorted(budget.names)), budget.pickles)


class _Part:
    def __init__(self, budget: Budget, name: str, claim: Claim, depth: int, *, storages: bool = False) -> None:
        self._budget = budget
        self._name = name
        self._claim = claim
        self._depth = depth
        self._storages = storages

    def look(self, data: memoryview) -> None:
        """Find what it is and go through it."""
        if not self._within(data):
            return
        kind = kind_of(data)
        sure = self._claim is not Claim.BYTES and kind != "zlib"  # old pickles can begin like zlib
        before = len(self._budget.findings)
        try:
            understood = self._container(data, kind)
        except Bad as reason:
            if sure:
                self._find(reason.offset, reason.reason)
                return
            understood = False
        if not understood and len(self._budget.findings) == before:
            self._pickle(data)
        elif kind == "tar":
            self._guess(data)  # the name of the first file is where an unpickler would begin

    def _container(self, data: memoryview, kind: str) -> bool:
        """Whether it was a container; its content was looked at then."""
        limits, budget = self._budget.limits, self._budget
        if kind in COMPRESSED:
            content = inflated(data, kind, max(0, limits.bytes - budget.bytes))
            budget.bytes += len(content)
            self._inside("", self._claim).look(memoryview(content))
        elif kind == "npy":
            pickled = npy_content(data)
            if pickled is not None:
                self._inside("objects", Claim.PICKLE).look(pickled)
        elif kind in ("zip", "tar"):
            self._members(zip_members(data) if kind == "zip" else tar_members(data))
        elif kind:
            raise Bad(f"a file of {kind}")
        return bool(kind)

    def _members(self, members: list[Member]) -> None:
        torch = next((m.name.removesuffix(_TORCH) for m in members if m.name.endswith("/" + _TORCH)), None)
        for member in members:
            if not self._room(member.size):
                self._find(0, "more comes out of it than is looked into")
                return
            pickled = member.name.lower().endswith(SUFFIXES)
            claim = Claim.PICKLE if pickled else Claim.BYTES if self._claim is Claim.BYTES else Claim.FILE
            if torch is not None and member.name.startswith(f"{torch}data/"):
                claim = Claim.BYTES  # the raw numbers of a tensor
            if torch is not None and member.name.startswith(f"{torch}code/"):
                self._find(0, f"TorchScript code in {member.name[:100]}")
            within = self._inside(member.name, claim, storages=torch is not None and member.name == torch + _TORCH)
            within.look(memoryview(member.read()))

    def _pickle(self, data: memoryview) -> None:
        announced = len(data) > 1 and data[0] == 0x80 and data[1] in range(2, 6)
        named = self._name.lower().endswith(SUFFIXES)
        if self._claim is Claim.PICKLE or (self._claim is Claim.FILE and (announced or named)):
            self._follow(data)
        elif len(data):
            self._guess(data)

    def _follow(self, data: memoryview) -> None:
        """It has to be one pickle from the first byte to the last."""
        tokens = Tokens(data)
        machine = Machine(tokens, self._budget, self._name, arrays=True, storages=self._storages)
        try:
            machine.run()
        except Broken as reason:
            self._find(reason.offset, f"not understood: {reason.reason}")
            return
        self._budget.pickles += 1
        if tokens.position != len(data):
            self._find(tokens.position, f"{len(data) - tokens.position} bytes follow the end of the pickle")
        if machine.met_arrays:  # what joblib skips as numbers, another unpickler would execute
            self._guess(data)
        for offset, content in machine.strings:
            self._inside(f"bytes@{offset}", Claim.BYTES).look(memoryview(content))

    def _guess(self, data: memoryview) -> None:
        """As far as an unpickler would get: what it would have imported until then counts."""
        machine = Machine(Tokens(data), self._budget, self._name, guess=True)
        try:
            machine.run()
        except Broken:
            return

    def _inside(self, name: str, claim: Claim, *, storages: bool = False) -> _Part:
        path = f"{self._name}!{name[:200]}"
        return _Part(self._budget, path, claim, self._depth + 1, storages=storages)

    def _within(self, data: memoryview) -> bool:
        limits, budget = self._budget.limits, self._budget
        if self._claim is not Claim.BYTES:
            budget.parts += 1
        if self._depth > limits.depth:
            self._find(0, f"more than {limits.depth} containers inside each other")
        elif budget.parts > limits.parts:
            self._find(0, f"more than {limits.parts} parts")
        elif budget.bytes > limits.bytes:
            self._find(0, f"more than {limits.bytes} bytes")
        elif not len(data) and self._claim is Claim.PICKLE:
            self._find(0, "not understood: it is empty")
        else:
            return True
        return False

    def _room(self, size: int) -> bool:
        self._budget.bytes += size
        return self._budget.bytes <= self._budget.limits.bytes

    def _find(self, offset: int, reason: str) -> None:
        self._budget.find(self._name, offset, reason)
