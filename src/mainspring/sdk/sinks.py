"""Where runs go: into the data folder in this process, to a server over HTTP, or nowhere yet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Conflict, NoRoom, Overloaded, Timeout, Unavailable
from mainspring.core.values import dataclass
from mainspring.tracking.spool import EMBEDDED, Taker

if TYPE_CHECKING:
    import httpx

    from mainspring.tracking import Files, Tracking
    from mainspring.tracking.shelf import Shelf
    from mainspring.tracking.wire import NewRun

LATER = (NoRoom, Overloaded, Unavailable, Timeout)
"""Errors after which the same entry may be sent again."""
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that goes on: its name and experiment, and the step after the last one that was logged."""

    name: str
    experiment: str
    next_step: int


class Sink(Taker, Protocol):
    """A taker that a session holds open."""

    @property
    def target(self) -> str:
        """Names the sink in spool files."""
        ...

    @property
    def project(self) -> str:
        """Whose runs it takes."""
        ...

    def resume(self, run_id: str) -> Resumed:
        """Open a run that ended, and say where it stands."""
        ...

    def shelf(self) -> Shelf:
        """Where it keeps the files of runs.

        Raises:
            Unavailable: Nowhere yet.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class EmbeddedSink:
    """Logs straight into the tables of a data folder."""

    target = EMBEDDED

    def __init__(self, tracking: Tracking, files: Files) -> None:
        from mainspring.tracking.local import LocalTaker

        self._taker = LocalTaker(tracking, files)
        self._files = files
        self._who: Caller = caller()

    @property
    def project(self) -> str:
        """See `Sink.project`."""
        return self._who.project

    def create(self, run_id: str, new: NewRun) -> str:
        """See `Taker.create`."""
        with calling(self._who):
            return self._taker.create(run_id, new)

    def resume(self, run_id: str) -> Resumed:
        """See `Sink.resume`."""
        with calling(self._who):
            run = self._taker.resume(run_id)
        return Resumed(run.name, run.experiment, 1 + max((point.step for point in run.metrics.values()), default=-1))

    def log(self, run_id: str, batch: bytes) -> None:
        """See `Taker.log`."""
        with calling(self._who):
            self._taker.log(run_id, batch)

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        """See `Taker.artifact`."""
        with calling(self._who):
            self._taker.artifact(run_id, path, content)

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """See `Taker.input`."""
        with calling(self._who):
            self._taker.input(run_id, dataset, context)

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        """See `Taker.finish`."""
        with calling(self._who):
            self._taker.finish(run_id, status, ended_at)

    def shelf(self) -> Shelf:
        """See `Sink.shelf`."""
        from mainspring.tracking.shelf import LocalShelf

        return LocalShelf(self._files)

    def close(self) -> None:
        """Nothing is held."""


class AbsentSink:
    """Takes nothing: all that is logged stays in spool files, to be sent to its target later."""

    def __init__(self, target: str, project: str) -> None:
        self.target = target
        self.project = project

    def create(self, run_id: str, new: NewRun) -> str:
        """See `Taker.create`."""
        raise self._offline()

    def resume(self, run_id: str) -> Resumed:
        """See `Sink.resume`."""
        raise self._offline()

    def log(self, run_id: str, batch: bytes) -> None:
        """See `Taker.log`."""
        raise self._offline()

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        """See `Taker.artifact`."""
        raise self._offline()

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """See `Taker.input`."""
        raise self._offline()

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        """See `Taker.finish`."""
        raise self._offline()

    def shelf(self) -> Shelf:
        """See `Sink.shelf`."""
        raise self._offline()

    def close(self) -> None:
        """Nothing is held."""

    def _offline(self) -> Unavailable:
        return Unavailable("this session is offline", where=self.target, hint="mainspring sync")


class HttpSink:
    """Logs to a server.

    Args:
        url: Address of the server, such as `http://127.0.0.1:7600`.
        token: Sent as a bearer token when not empty.
        project: Whose runs these are; "" leaves it to the server.
    """

    def __init__(self, url: str, *, token: str = "", project: str = "") -> None:
        import httpx

        from mainspring.sdk.transfers import Transfers

        self.target = url.rstrip("/")
        self.project = project
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"X-Mainspring-Project": project} if project else {}
        self._client = httpx.Client(base_url=self.target, timeout=_TIMEOUT_S, headers=headers)
        self._transfers = Transfers(self.target, headers)

    def create(self, run_id: str, new: NewRun) -> str:
        """See `Taker.create`."""
        return str(self._send("POST", "/api/v1/runs", {**asdict(new), "run_id": run_id}).json()["name"])

    def resume(self, run_id: str) -> Resumed:
        """See `Sink.resume`."""
        plain = self._send("POST", f"/api/v1/runs/{run_id}/resume", {}).json()
        steps = [int(point["step"]) for point in plain["metrics"].values()]
        return Resumed(str(plain["name"]), str(plain["experiment"]), 1 + max(steps, default=-1))

    def log(self, run_id: str, batch: bytes) -> None:
        """See `Taker.log`."""
        self._send("POST", f"/api/v1/runs/{run_id}/log", batch)

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        """See `Taker.artifact`."""
        self.shelf().keep(run_id, path, content)

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """See `Taker.input`."""
        self._send("POST", f"/api/v1/runs/{run_id}/inputs", {"dataset": dataset, "context": context})

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        """See `Taker.finish`."""
        with suppress(Conflict):
            self._send("POST", f"/api/v1/runs/{run_id}/finish", {"status": status, "ended_at": ended_at})

    def shelf(self) -> Shelf:
        """See `Sink.shelf`."""
        from mainspring.sdk.shelf import HttpShelf

        return HttpShelf(self._send, self._transfers)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, method: str, path: str, body: bytes | Mapping[str, object]) -> httpx.Response:
        import httpx

        try:
            if isinstance(body, Mapping):
                answer = self._client.request(method, path, json=body)
            else:
                kind = "application/octet-stream" if method == "PUT" else "application/json"
                answer = self._client.request(method, path, content=body, headers={"Content-Type": kind})
        except httpx.TransportError as reason:
            what = f"the server does not answer: {type(reason).__name__}"
            raise Unavailable(what, where=self.target, hint="mainspring up") from None
        if answer.is_success:
            return answer
        from mainspring.sdk.transfers import error_of

        raise error_of(answer.status_code, answer.content, self.target)
