"""A run that is being logged."""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, SupportsIndex, TypeVar

from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound
from mainspring.sdk import rendering
from mainspring.sdk.sender import Sender, log, micros_now
from mainspring.sdk.sinks import LATER, Sink
from mainspring.tracking.model import TOLERANCE
from mainspring.tracking.rules import MAX_TAG, MAX_VALUE, changed_params, check_key, check_path, check_texts
from mainspring.tracking.spool import Spool, end_line, input_line
from mainspring.tracking.wire import encode, number_or_word

V = TypeVar("V")
_STEPS = 2**63
"""Steps are at most this far from 0."""
NOTE = "mlflow.note.content"
"""The tag that both doors show as the description of a run."""


class Number(Protocol):
    """Anything that `float()` takes: numbers, NumPy scalars, tensors of one element."""

    def __float__(self) -> float:
        """The value."""
        ...


class HasRef(Protocol):
    """Anything with a reference, such as a dataset version."""

    @property
    def ref(self) -> str:
        """The reference, `datasets/NAME/NUMBER`."""
        ...


class ActiveRun:
    """A run in this process. Use it as a context manager: it ends as finished, failed (an error) or killed (Ctrl-C).

    Runs that are started inside of its block are its children. `log` never waits and may be called from many threads;
    everything else is stored when the call returns, or safe on disk while the target does not answer.

    Args:
        run_id: The run.
        name: What people call it.
        experiment: Under which it is kept; "" when that is not known.
        sink: Where it goes.
        spool: Where what it logs is safe until then.
        close_s: How long its end waits for the target.
        next_step: What `log` counts steps from.
        offline: Keep all in the spool.
    """

    def __init__(
        self,
        run_id: str,
        name: str,
        *,
        experiment: str = "",
        sink: Sink,
        spool: Spool,
        close_s: float,
        next_step: int = 0,
        offline: bool = False,
    ) -> None:
        self.id = run_id
        self.name = name
        self.experiment = experiment
        self.offline = offline
        self._sink = sink
        self._spool = spool
        self._sender = Sender(run_id, sink, spool, offline=offline)
        self._close_s = close_s
        self._keys: set[str] = set()
        self._params: dict[str, str] = {}
        self._steps = next_step
        self._ended = ""
        self._ending = threading.Lock()
        _all.add(self)

    @property
    def ref(self) -> str:
        """Reference, `runs/ID`."""
        return f"runs/{self.id}"

    @property
    def is_open(self) -> bool:
        """Whether it takes what is logged."""
        return not self._ended

    @property
    def next_step(self) -> int:
        """The step that `log` gives to the next point when none is said; in a resumed run, where to go on."""
        return self._steps

    def log(self, metrics: Mapping[str, Number], step: SupportsIndex | None = None) -> None:
        """Log one point for each metric; it is safe from the death of this process within 200 ms.

        Args:
            metrics: Name to value; NaN and infinities are kept.
            step: Position on the x axis; counted up from `next_step` when absent.
        Raises:
            Invalid: A name that can't be used, a value that is no number, or a step that is no whole number; then
                nothing of this call is logged.
            Conflict: The run ended.
        """
        if self._ended:
            raise self._over()
        place = self._steps if step is None else step
        if type(place) is not int or not -_STEPS <= place < _STEPS:
            place = _whole(place)
        at, rows = micros_now(), []
        for key, value in pairs(metrics, "metrics"):
            if key not in self._keys:
                key = check_key(str(key), "metric")
                self._keys.add(key)
            rows.append((key, number_or_word(_number(key, value)), place, at))
        if place >= self._steps:
            self._steps = place + 1
        for row in rows:
            self._sender.put(row)

    def params(self, params: Mapping[str, object]) -> None:
        """Keep what the run was given, as text.

        Raises:
            Conflict: A param has another value already, or the run ended.
            Invalid, TooLarge: A name or text that can't be kept.
        """
        texts = {str(key): str(value) for key, value in pairs(params, "params")}
        check_texts(texts, "param", MAX_VALUE)  # here too: offline nobody else would say so before all is sent
        changed_params(self._params, texts)
        self._tell(encode([], params=texts))
        self._params |= texts

    def tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; they may change.

        Raises:
            Invalid, TooLarge: A name or text that can't be kept.
        """
        texts = {str(key): str(value) for key, value in pairs(tags, "tags")}
        check_texts(texts, "tag", MAX_TAG)
        self._tell(encode([], tags=texts))

    def note(self, text: str) -> None:
        """Set the description that people read on the page of the run, at most 8000 characters; it may change."""
        self.tags({NOTE: text})

    def tolerance(self, relative: float | Mapping[str, float]) -> None:
        """Declare how far metrics may be off when the run is reproduced; without it they must be the same to the bit.

        Args:
            relative: Greatest difference divided by the recorded value, for all metrics or by name.
        Raises:
            Invalid: It is no number of at least 0.
        """
        import json

        given = relative if isinstance(relative, Mapping) else {"*": relative}
        known = {key: _number(key, value) for key, value in given.items()}
        for key, value in known.items():
            if not value >= 0:
                raise Invalid(f"{value} is no tolerance", where=f"metric {key}", hint="use 0 or more, such as 1e-6")
        self.tags({TOLERANCE: json.dumps(known)})

    def file(self, content: str | Path | bytes, name: str = "") -> None:
        """Keep a file, or bytes as a file.

        Args:
            content: The path of a file, or bytes.
            name: Its path in the run; the name of the file when absent.
        Raises:
            NotFound: There is no such file.
            Invalid: Bytes without a name, or a name that leaves the run.
            TooLarge: More bytes than the target takes.
        """
        if isinstance(content, bytes):
            if not name:
                raise Invalid("bytes have no name of their own", where=self.ref, hint='run.file(data, "model.bin")')
            self._send_file(name, content)
            return
        place = Path(content)
        if not place.is_file():
            hint = "run.folder(...) keeps a folder" if place.is_dir() else "give the path of a file"
            raise NotFound("there is no such file", where=str(place), hint=hint)
        self._send_file(name or place.name, place)

    def folder(self, path: str | Path, name: str = "") -> None:
        """Keep all files of a folder and of the folders in it.

        Args:
            path: The folder.
            name: Its path in the run; its own name when absent.
        Raises:
            NotFound: There is no such folder.
            TooLarge: A file has more bytes than the target takes.
        """
        place = Path(path)
        if not place.is_dir():
            raise NotFound("there is no such folder", where=str(place), hint="run.file(...) keeps a file")
        for file in sorted(entry for entry in place.rglob("*") if entry.is_file()):
            self.file(file, f"{name or place.resolve().name}/{file.relative_to(place).as_posix()}")

    def text(self, name: str, text: str) -> None:
        """Keep a text as a file; `.txt` is added to a name without an ending, `.md` and others are kept."""
        self.file(text.encode(), rendering.with_ending(name, ".txt"))

    def json(self, name: str, value: object) -> None:
        """Keep a value as a JSON file: numbers, texts, lists, mappings, dataclasses, times, arrays.

        Raises:
            Invalid: Something in it has no form in JSON.
        """
        self.file(rendering.json_bytes(value), rendering.with_ending(name, ".json"))

    def table(self, name: str, rows: object) -> None:
        """Keep a table as a file, `.csv` unless the name ends in `.json` or `.parquet`.

        Args:
            name: Its path in the run.
            rows: A frame of Polars or pandas, an Arrow table, a list of mappings, or a mapping of columns.
        Raises:
            Invalid: It is no table, or the ending is another one.
        """
        self.file(*rendering.table(name, rows))

    def figure(self, name: str, figure: object) -> None:
        """Keep a figure of matplotlib (`.png`; `.svg`, `.pdf`) or plotly (`.html` that needs no network; `.json`).

        Raises:
            Invalid: It is no figure, or can't be written with this ending.
        """
        self.file(*rendering.figure(name, figure))

    def image(self, name: str, image: object, step: int | None = None) -> None:
        """Keep an image as a file, `.png` unless the name of a PIL image ends otherwise.

        Args:
            name: Its path in the run.
            image: Of PIL, or an array (height, width) or (height, width, 1, 3 or 4) of bytes, booleans, or floats in
                [0, 1].
            step: For one of a series, kept as `NAME/STEP.png`.
        Raises:
            Invalid: It is no image.
        """
        self.file(*rendering.image(name if step is None else f"{name}/{step:08d}", image))

    def input(self, dataset: str | HasRef, context: str = "training") -> None:
        """Note that the run read a dataset version, by reference or as the value that `Data.get` gives.

        A dataset that is kept elsewhere is named by what tells its content from others: `NAME@DIGEST`.

        Raises:
            Invalid: It names nothing.
        """
        ref = dataset if isinstance(dataset, str) else getattr(dataset, "ref", "")
        if not ref:
            hint = 'write run.input("datasets/NAME/1"), or give what data.get gave'
            raise Invalid(f"{str(dataset)[:60]!r} names no dataset", where="input", hint=hint)
        self._tell(input_line(ref, context))

    def finish(self, status: str = "finished") -> None:
        """Send what is left and end the run. A second call does nothing.

        When the target does not answer, the rest stays in the spool for the next session.

        Raises:
            MainspringError: The target refused what was logged.
        """
        with self._ending:
            if self._ended:
                return
            self._ended = status
        ended_at = micros_now()
        try:
            self._sender.end(status, ended_at, self._close_s)
        except LATER as reason:
            self._spool.append(end_line(status, ended_at))
            self._spool.close(remove=False)
            if not self.offline:
                log.warning("run.kept_in_spool run=%s reason=%s path=%s", self.id, reason.what, self._spool.path)
        except MainspringError:
            self._sink.finish(self.id, "failed", ended_at)
            self._spool.close(remove=True)
            raise
        else:
            self._spool.close(remove=True)

    def _send_file(self, name: str, content: bytes | Path) -> None:
        if self._ended:
            raise self._over()
        self._sender.send_file(check_path(name), content)

    def _tell(self, line: bytes) -> None:
        if self._ended:
            raise self._over()
        self._sender.tell(line)

    def _over(self) -> Conflict:
        if self._ended == _FORKED:
            hint = f'with mainspring.run("part", parent="{self.id}") as run: ...'
            return Conflict("the run belongs to the process this one was forked from", where=self.ref, hint=hint)
        hint = f'mainspring.run(resume="{self.id}") goes on with it'
        return Conflict("the run ended, so nothing more can be logged", where=self.ref, hint=hint)

    def __enter__(self) -> Self:
        _inside.set((*_inside.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _inside.set(tuple(run for run in _inside.get() if run is not self))
        if kind is None:
            self.finish()
        else:
            self.finish("killed" if issubclass(kind, KeyboardInterrupt) else "failed")

    def _forget(self) -> None:
        self._ended = _FORKED


def current() -> ActiveRun | None:
    """The run whose `with` block this code is in, the innermost one; None outside of all.

    A new thread is in no block: hand it the run, or start runs there with `parent=run`.

    Example:
        >>> import mainspring
        >>> mainspring.current() is None
        True
    """
    return next((run for run in reversed(_inside.get()) if not run._ended or run._ended == _FORKED), None)


_FORKED = "forked"
_inside: ContextVar[tuple[ActiveRun, ...]] = ContextVar("mainspring_runs", default=())
_all: weakref.WeakSet[ActiveRun] = weakref.WeakSet()


def _forget_after_fork() -> None:
    """The threads that send are not in a forked child, so its copies of runs take nothing rather than lose it."""
    for run in list(_all):
        run._forget()


os.register_at_fork(after_in_child=_forget_after_fork)


def _number(key: str, value: Number) -> float:
    try:
        return float(value)
    except OverflowError:
        what = f"a {type(value).__name__} beyond what a float can be"
        raise Invalid(what, where=f"metric {key}", hint="log a param") from None
    except (TypeError, ValueError, RuntimeError):
        raise Invalid(f"a {type(value).__name__} is no number", where=f"metric {key}", hint="log a param") from None


def pairs(given: Mapping[str, V], what: str) -> Iterable[tuple[str, V]]:
    """The names and values of a mapping.

    Args:
        what: What it holds, for errors: "metrics".
    Raises:
        Invalid: It is no mapping.
    """
    try:
        return given.items()
    except AttributeError:
        found = f"a {type(given).__name__} is no mapping of names to values"
        raise Invalid(found, where=what, hint='write it like {"name": 0.5}') from None


def _whole(step: SupportsIndex) -> int:
    """A step that is a whole number by another type, such as one of NumPy's."""
    try:
        found = operator.index(step)
    except TypeError:
        raise Invalid(f"a {type(step).__name__} is no step", where="step", hint="count in whole numbers") from None
    if not -_STEPS <= found < _STEPS:
        raise Invalid(f"step {str(found)[:30]} is out of range", where="step", hint="use one of 64 bits")
    return found
