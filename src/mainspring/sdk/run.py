"""A run that is being logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound, TooLarge
from mainspring.sdk.sender import Sender, log, micros_now
from mainspring.sdk.sinks import LATER, Sink
from mainspring.tracking.rules import check_key
from mainspring.tracking.spool import Spool
from mainspring.tracking.wire import encode

MAX_ARTIFACT = 512 * 1024**2


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

    `log` never waits and may be called from many threads; everything else is stored when the call returns.
    """

    def __init__(self, run_id: str, name: str, *, sink: Sink, spool: Spool, close_s: float) -> None:
        self.id = run_id
        self.name = name
        self._sink = sink
        self._spool = spool
        self._sender = Sender(run_id, sink, spool)
        self._close_s = close_s
        self._keys: set[str] = set()
        self._steps = 0
        self._ended = False

    @property
    def ref(self) -> str:
        """Reference, `runs/ID`."""
        return f"runs/{self.id}"

    def log(self, metrics: Mapping[str, Number], step: int | None = None) -> None:
        """Log one point for each metric; it is safe from the death of this process within 200 ms.

        Args:
            metrics: Name to value; NaN and infinities are kept.
            step: Position on the x axis; counted up from 0 when absent.
        Raises:
            Invalid: A name that can't be used, or a value that is no number.
            Conflict: The run ended.
        """
        if self._ended:
            raise Conflict("the run ended, so nothing more can be logged", where=self.ref, hint="start a new run")
        if step is None:
            step, self._steps = self._steps, self._steps + 1
        at = micros_now()
        for key, value in metrics.items():
            if key not in self._keys:
                self._keys.add(check_key(key, "metric"))
            self._sender.put((key, _number(key, value), step, at))

    def params(self, params: Mapping[str, object]) -> None:
        """Keep what the run was given, as text.

        Raises:
            Conflict: A param has another value already.
        """
        self._sink.log(self.id, encode([], params={key: str(value) for key, value in params.items()}))

    def tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; they may change."""
        self._sink.log(self.id, encode([], tags={key: str(value) for key, value in tags.items()}))

    def artifact(self, path: str | Path, name: str = "") -> None:
        """Keep a file, or all files of a folder.

        Args:
            path: The file or folder.
            name: Its path in the run; the last part of `path` when absent.
        Raises:
            NotFound: There is no such file.
            TooLarge: A file over 512 MiB.
        """
        place = Path(path)
        name = name or place.name
        if place.is_dir():
            for file in sorted(entry for entry in place.rglob("*") if entry.is_file()):
                self.artifact(file, f"{name}/{file.relative_to(place).as_posix()}")
            return
        if not place.is_file():
            raise NotFound("there is no such file", where=str(place), hint="give the path of a file or folder")
        if place.stat().st_size > MAX_ARTIFACT:
            raise TooLarge(f"{place.stat().st_size} bytes, at most {MAX_ARTIFACT}", where=str(place))
        self.artifact_bytes(name, place.read_bytes())

    def artifact_bytes(self, name: str, data: bytes) -> None:
        """Keep bytes as a file of the run."""
        self._sink.artifact(self.id, name, data)

    def input(self, dataset: str | HasRef, context: str = "training") -> None:
        """Note that the run read a dataset version, by reference or as the value that `Data.get` gives."""
        self._sink.input(self.id, dataset if isinstance(dataset, str) else dataset.ref, context)

    def finish(self, status: str = "finished") -> None:
        """Send what is left and end the run. A second call does nothing.

        When the target does not answer, the rest stays in the spool for the next session.

        Raises:
            MainspringError: The target refused what was logged.
        """
        if self._ended:
            return
        self._ended = True
        try:
            self._sender.close(self._close_s)
            self._sink.finish(self.id, status)
        except LATER as reason:
            self._spool.end(status)
            self._spool.close(remove=False)
            log.warning("run.kept_in_spool run=%s reason=%s path=%s", self.id, reason.what, self._spool.path)
        except MainspringError:
            self._sink.finish(self.id, "failed")
            self._spool.close(remove=True)
            raise
        else:
            self._spool.close(remove=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.finish("killed" if issubclass(kind, KeyboardInterrupt) else "failed")


def _number(key: str, value: Number) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Invalid(f"a {type(value).__name__} is no number", where=f"metric {key}", hint="log a param") from None
