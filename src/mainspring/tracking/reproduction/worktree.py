"""The code of a run: its commit, checked out beside the repository, with the changes that were on top of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from mainspring.core.errors import Failed, NotFound
from mainspring.tracking.model import CodeState

_SHOWN = 5


def missing(code: CodeState | None, repository: Path, *, instead: Sequence[str] = ()) -> str:
    """What is needed to run a run again and is not there, in words; "" when all of it is.

    Args:
        code: What was recorded.
        repository: A folder in the repository that should have its commit.
        instead: Arguments given in place of the recorded ones.
    """
    if code is None or not code.commit:
        return "no commit was recorded: the program ran outside of a git repository"
    if not git(repository, "rev-parse", "--git-dir"):
        return f"{repository} is in no git repository; go to the one that has the commit {code.commit[:12]}"
    if not git(repository, "cat-file", "-t", f"{code.commit}^{{commit}}"):
        return f"the commit {code.commit[:12]} is not in this repository; git fetch may bring it"
    if code.diff_cut:
        return "the changes on top of the commit were too long and only their beginning was kept"
    arguments = tuple(instead) or code.arguments
    if not arguments:
        return f"no entry point was recorded that can be run again, only {code.entry!r}"
    if code.masked and not instead:
        hidden = next((f"{a} {b}" for a, b in pairwise(arguments) if b == "***"), "")
        shown = hidden or next((part for part in arguments if "***" in part), "one")
        return f"a secret argument was not recorded: {shown}; give all arguments after --"
    entry = os.path.normpath(os.path.join(code.folder, arguments[0]))
    if entry in code.untracked:
        return f"the program {entry} was not in git, so it is not in the commit"
    if arguments[0] != "-m" and entry.startswith(".."):
        return f"the program {entry} lies outside of the repository"
    return ""


def unknown_files(code: CodeState) -> str:
    """A line about files that git did not know when the run started; "" when there were none."""
    if not code.untracked:
        return ""
    more = len(code.untracked) - _SHOWN
    names = ", ".join(code.untracked[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"not in git then, so not there now: {names}"


@contextmanager
def worktree(code: CodeState, repository: Path, place: Path, *, keep: bool = False) -> Iterator[Path]:
    """The working folder of a run as it was, at `place`, for the length of a block.

    Args:
        code: What was recorded; nothing of it is missing.
        repository: A folder in the repository.
        place: Where the worktree goes; nothing is there yet.
        keep: Leave it there afterwards.
    Raises:
        NotFound: The changes do not fit on the commit.
        Failed: Git can't make the worktree.
    """
    _git(repository, "worktree", "add", "--detach", "--quiet", str(place), code.commit)
    try:
        if code.diff:
            _apply(code, place)
        folder = place / code.folder
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
            git(repository, "worktree", "prune")


def git(folder: Path, *arguments: str) -> str:
    """What a git command says, "" when it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _git(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"git {arguments[0]}: {done.stderr.strip()[-300:]}", where=str(folder))


def _apply(code: CodeState, place: Path) -> None:
    command = ["git", "-C", str(place), "apply", "--whitespace=nowarn", "-"]
    done = subprocess.run(command, input=code.diff.encode(), capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-300:]
        raise NotFound(f"the recorded changes do not fit on {code.commit[:12]}: {reason}", where="code.diff")
