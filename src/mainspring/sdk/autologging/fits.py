"""One fit that is logged: which run it goes to, and what is recorded of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from mainspring.core.errors import MainspringError
from mainspring.core.values import dataclass
from mainspring.sdk.run import ActiveRun, current
from mainspring.sdk.session import default_session
from mainspring.tracking.rules import MAX_VALUE

log = logging.getLogger("mainspring.sdk")
ESTIMATOR, SECONDS, MODEL = "mainspring.estimator", "mainspring.fit_seconds", "mainspring.model"
_MOST_PARAMS = 300
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Options:
    """What `autolog` was asked for."""

    experiment: str
    models: bool
    children: int


class Fit:
    """A fit that is under way.

    Args:
        library: The package of what is fitted.
        run: Where it is logged.
        own: Whether the run was started for it.
        options: What to record.
    """

    def __init__(self, library: str, run: ActiveRun, *, own: bool, options: Options) -> None:
        self.library = library
        self.run = run
        self.options = options
        self._own = own
        self._started = time.perf_counter()

    def params(self, params: Mapping[str, object]) -> None:
        """Log what the fit was given; long texts are cut, and of very many the first ones are kept."""
        texts = {_key(key): str(value)[:MAX_VALUE].replace("\x00", "") for key, value in params.items()}
        rows = list(texts.items())[:_MOST_PARAMS]
        for start in range(0, len(rows), _CHUNK):
            self.run.params(dict(rows[start : start + _CHUNK]))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics under names that can be kept."""
        self.run.log({_key(key): value for key, value in values.items()}, step=step)

    def model(self, model: object, example: Any) -> None:
        """Keep the model in its safe format: as a package with signature and example, or just its file.

        Args:
            model: What was fitted.
            example: Some rows of its inputs as a frame of Polars; None when they are not known.
        """
        if not self.options.models:
            return
        from mainspring.registry.flavours import flavour_for
        from mainspring.registry.manifests import MANIFEST
        from mainspring.registry.packages import build

        try:
            kind = flavour_for(model)
            if example is None:
                self.run.file(kind.dump(model), f"model/{kind.FILE}")
            else:
                made = build(model, example)
                for name, data in {**made.files, MANIFEST: made.manifest.to_bytes()}.items():
                    self.run.file(data, f"model/{name}")
            self.run.tags({MODEL: kind.NAME})
        except MainspringError as reason:
            self.run.tags({MODEL: f"not kept: {reason.what}"[:MAX_VALUE]})

    def child(self, name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Log a part of the fit as a run of its own below it."""
        with default_session().run(name, parent=self.run, capture=False) as run:
            part = Fit(self.library, run, own=True, options=self.options)
            part.params(params)
            part.metrics(metrics, step=0)

    def close(self, status: str) -> None:
        """Say how long it took, and end the run when it was started for this."""
        with guarded("the end of a fit"):
            self.run.tags({SECONDS: f"{time.perf_counter() - self._started:.3f}"})
        if self._own:
            with guarded("the end of a run"):
                self.run.finish(status)


_options: Options | None = None
_fit: ContextVar[Fit | bool] = ContextVar("mainspring_fit", default=False)
_taken: set[str] = set()
_warned: set[str] = set()


def choose(options: Options | None) -> None:
    """What to record from now on; None = nothing."""
    global _options
    _options = options
    _warned.clear()


def options() -> Options | None:
    """What to record; None = nothing."""
    return _options


@contextmanager
def fitting(library: str, name: str, about: Mapping[str, object]) -> Iterator[Fit | None]:
    """A fit for the length of a block; None inside of another fit, when it is off, and when no run can be started."""
    if _options is None or _fit.get():
        yield None
        return
    fit = _opened(library, name, about, _options)
    token = _fit.set(fit or True)
    try:
        yield fit
    except BaseException as reason:
        if fit is not None:
            fit.close("killed" if isinstance(reason, KeyboardInterrupt) else "failed")
        raise
    else:
        if fit is not None:
            fit.close("finished")
    finally:
        _fit.reset(token)


@contextmanager
def quiet() -> Iterator[None]:
    """Log no fit in this block: it is part of another one, in whatever thread."""
    token = _fit.set(_fit.get() or True)
    try:
        yield
    finally:
        _fit.reset(token)


def innermost(library: str) -> Fit | None:
    """The fit that is under way here, when it is one of this package."""
    found = _fit.get()
    return found if isinstance(found, Fit) and found.library == library else None


class guarded:  # noqa: N801  # read as a verb where it is used
    """Whatever goes wrong in this block is one warning, and the user's program goes on."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(reason, Exception):
            return False
        if self._what not in _warned:
            _warned.add(self._what)
            log.warning("autolog.failed what=%s kind=%s reason=%s", self._what, type(reason).__name__, reason)
        return True


def _opened(library: str, name: str, about: Mapping[str, object], options: Options) -> Fit | None:
    with guarded("the start of a run"):
        run = current()
        own = run is None or not run.is_open or run.id in _taken
        if own:
            made = default_session().run(name, experiment=options.experiment)
            fit = Fit(library, made, own=True, options=options)
        else:
            assert run is not None
            _taken.add(run.id)
            fit = Fit(library, run, own=False, options=options)
        with guarded("tags"):
            fit.run.tags(about)
        return fit
    return None


def _key(name: str) -> str:
    """A name that can be kept, made from any."""
    plain = "".join(letter if letter.isalnum() or letter in "/_.- :" else "_" for letter in str(name))
    return plain.strip("/").replace("//", "/").replace("..", "_")[:250] or "_"
