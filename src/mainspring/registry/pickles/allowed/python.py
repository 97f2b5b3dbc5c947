"""The standard library: containers, numbers and times. No function that takes a name, a file or code."""

from __future__ import annotations

CLASSES = {
    "builtins": "object dict list tuple set frozenset bytearray complex int float str bytes bool",
    "collections": "OrderedDict defaultdict deque Counter",
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "types": "SimpleNamespace",
    "uuid": "UUID",
}
CALLS = {
    "builtins": "dict list tuple set frozenset bytearray bytes complex slice range object int float str bool",
    "collections": "OrderedDict defaultdict deque Counter",
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "types": "SimpleNamespace",
    "_codecs": "encode",
    "copyreg": "_reconstructor __newobj__",
}
