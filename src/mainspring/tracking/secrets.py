"""Secrets never stay in what is recorded: passwords and tokens in arguments and addresses are masked."""

from __future__ import annotations

import re
from collections.abc import Sequence

MASK = "***"
_WORDS = (
    r"pass(?:word|wd|phrase)?|secrets?|tokens?|api[-_]?keys?|access[-_]?keys?(?:[-_]?id)?|private[-_]?keys?"
    r"|credentials?|auth|pwd"
)
_NAME = rf"[-\w.]*?(?<![A-Za-z])(?:{_WORDS})"
_FLAG = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_PAIR = re.compile(rf"((?:--?)?{_NAME})=(.+)", re.IGNORECASE | re.DOTALL)
_LOGIN = re.compile(r"(\w[\w+.\-]*://[^/@\s:]*):[^/@\s]+@")
_ISSUED = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|sk-[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)


def masked(arguments: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Arguments of a program with what is obviously secret replaced, and whether something was.

    Masked are the values of flags and variables whose names say that they are secret, passwords in addresses, and
    tokens of the forms that well-known services give out.

    >>> masked(["train.py", "--db-password", "hunter2", "API_TOKEN=abc", "--depth=6"])
    (('train.py', '--db-password', '***', 'API_TOKEN=***', '--depth=6'), True)
    """
    made: list[str] = []
    for argument in arguments:
        after_flag = bool(made) and _FLAG.fullmatch(made[-1]) is not None
        made.append(MASK if after_flag and not argument.startswith("-") else masked_text(argument))
    return tuple(made), made != list(arguments)


def masked_text(text: str) -> str:
    """One argument, or an address, with what is secret replaced.

    >>> masked_text("postgresql://me:hunter2@db/flights")
    'postgresql://me:***@db/flights'
    """
    pair = _PAIR.fullmatch(text)
    if pair:
        return f"{pair[1]}={MASK}"
    return _ISSUED.sub(MASK, _LOGIN.sub(rf"\1:{MASK}@", text))
