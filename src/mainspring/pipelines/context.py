"""What a running step can reach: `context()` inside a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from mainspring.core.clock import SystemClock, iso
from mainspring.core.errors import Refused
from mainspring.core.wiring import Wiring
from mainspring.pipelines.model import Json

if TYPE_CHECKING:
    from mainspring.data import Data, DatasetVersion
    from mainspring.pipelines.flow import Judge
    from mainspring.tracking import Tracking

T = TypeVar("T")


class RegisteredVersion(Protocol):
    """What registering a model gives back: enough to return it from a pipeline."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def number(self) -> int:
        """Number of the version."""
        ...

    @property
    def ref(self) -> str:
        """Reference, such as `models/flights/3`."""
        ...


class Models(Protocol):
    """The registry as a step sees it. The room itself is above this one: ask for it with `context().room(Registry)`."""

    def register(self, name: str, model: object, **details: object) -> RegisteredVersion:
        """See `Registry.register`; pass `key=context().key`, so that a step that is repeated registers once."""
        ...


class StepContext:
    """The surroundings of one running step."""

    def __init__(
        self,
        *,
        run_id: str,
        step: str,
        params: Mapping[str, Json],
        wiring: Wiring,
        note: Callable[[str], None],
        attempt: int = 1,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.run_id = run_id
        self.step = step
        self.params = params
        self.attempt = attempt
        self.reads: dict[str, int] = {}
        self.inputs: dict[str, None] = {}
        self._wiring = wiring
        self._note = note
        self._secrets = dict(secrets or {})

    @property
    def key(self) -> str:
        """The same for every try of this step in this run: what makes a repeated effect happen once."""
        return f"{self.run_id}/{self.step}"

    @property
    def data(self) -> Data:
        """The data room. What is read without a version is noted: a newer version makes the stored result stale."""
        from mainspring.data import Data

        return cast("Data", _ReadingData(self._wiring.get(Data), self))

    @property
    def tracking(self) -> Tracking:
        """The tracking room; this run is `run_id` there."""
        from mainspring.tracking import Tracking

        return self._wiring.get(Tracking)

    @property
    def registry(self) -> Models:
        """The registry, as far as steps usually need it."""
        import importlib

        registry: type[Models] = importlib.import_module("mainspring.registry").Registry
        return self._wiring.get(registry)

    @property
    def judge(self) -> Judge:
        """Who judges versions by the gates of the house."""
        from mainspring.pipelines.flow import Judge

        return self._wiring.get(Judge)  # type: ignore[type-abstract]  # the wiring knows it by its protocol

    def secret(self, name: str) -> str:
        """A secret that the step has named in `@step(secrets=...)`. It is masked in the log, and refused in results.

        Raises:
            Refused: The step has not named it.
        """
        if name not in self._secrets:
            hint = f"write @step(secrets=[{name!r}])"
            raise Refused(f"step {self.step} did not say that it needs {name}", where=f"step {self.step}", hint=hint)
        return self._secrets[name]

    def room(self, kind: type[T]) -> T:
        """Any service of the house by its type."""
        return self._wiring.get(kind)

    def log(self, message: str = "", /, *, at_step: int = 0, **metrics: float) -> None:
        """Write a line to the step's log, and metrics to the tracked run.

        Args:
            message: The line; empty for none.
            at_step: Training step of the metrics.
            metrics: Values by name, such as `auc=0.91`.
        """
        shown = " ".join(f"{name}={value:.6g}" for name, value in metrics.items())
        self._note(f"{iso(SystemClock().now())[:19]} {message} {shown}".rstrip())
        if metrics:
            from mainspring.tracking import Metric

            now = time.time_ns() // 1000
            batch = [Metric(key=name, value=float(value), step=at_step, at=now) for name, value in metrics.items()]
            self.tracking.log_batch(self.run_id, metrics=batch)


class _ReadingData:
    """The data room, noting which versions were read, and which of them as "the newest"."""

    def __init__(self, data: Data, surroundings: StepContext) -> None:
        self._data = data
        self._noted = surroundings

    def get(self, name: str, version: int | None = None) -> DatasetVersion:
        found = self._data.get(name, version)
        if version is None:
            self._noted.reads[name] = found.number
        return found

    def frame(self, name: str, version: int | None = None) -> object:
        return self._data.frame(name, self._read(name, version))

    def quarantined(self, name: str, version: int | None = None) -> object:
        return self._data.quarantined(name, self._read(name, version))

    def _read(self, name: str, version: int | None) -> int:
        found = self.get(name, version)
        self._noted.inputs[found.ref] = None
        return found.number

    def __getattr__(self, name: str) -> object:
        return getattr(self._data, name)


_current: ContextVar[StepContext | None] = ContextVar("step_context", default=None)


def context() -> StepContext:
    """The surroundings of the step that is running.

    Raises:
        Refused: No step is running: the function was called by hand.
    """
    found = _current.get()
    if found is None:
        raise Refused(
            "no step is running", where="mainspring.context()", hint="run it with: mainspring pipeline run FILE:NAME"
        )
    return found


@contextmanager
def entered(surroundings: StepContext) -> Iterator[StepContext]:
    """Make `surroundings` what `context()` gives inside the block."""
    token = _current.set(surroundings)
    try:
        yield surroundings
    finally:
        _current.reset(token)
