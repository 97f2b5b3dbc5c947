"""Where runs go: into the data folder in this process, or to a server over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.errors import Conflict, Failed, Overloaded, Timeout, Unavailable, error_codes
from mainspring.tracking.model import CodeState, Environment
from mainspring.tracking.rules import check_path
from mainspring.tracking.spool import EMBEDDED
from mainspring.tracking.wire import decode

if TYPE_CHECKING:
    import httpx

    from mainspring.tracking import Files, Tracking

LATER = (Overloaded, Unavailable, Timeout)
"""Errors after which the same batch may be sent again."""
_TIMEOUT_S = 30.0


class Sink(Protocol):
    """Takes what a run logs. Every method may be called twice with the same arguments to the same effect."""

    @property
    def target(self) -> str:
        """Names the sink in spool files."""
        ...

    def create(
        self,
        run_id: str,
        *,
        experiment: str,
        name: str,
        parent: str,
        tags: Mapping[str, str],
        seed: int | None,
        code: CodeState | None,
        environment: Environment | None,
    ) -> str:
        """Start a run and return its name."""
        ...

    def log(self, run_id: str, batch: bytes) -> None:
        """Store a batch as `tracking.wire.encode` makes it."""
        ...

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """Keep a file of a run."""
        ...

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """Note a dataset version that a run read."""
        ...

    def finish(self, run_id: str, status: str) -> None:
        """End a run; a run that ended already stays as it is."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class EmbeddedSink:
    """Logs straight into the tables of a data folder."""

    target = EMBEDDED

    def __init__(self, tracking: Tracking, files: Files) -> None:
        self._tracking = tracking
        self._files = files
        self._who: Caller = caller()

    def create(
        self,
        run_id: str,
        *,
        experiment: str,
        name: str,
        parent: str,
        tags: Mapping[str, str],
        seed: int | None,
        code: CodeState | None,
        environment: Environment | None,
    ) -> str:
        """See `Sink.create`."""
        with calling(self._who):
            made = self._tracking.create_run(
                experiment,
                name=name,
                parent=parent,
                tags=tags,
                seed=seed,
                code=code,
                environment=environment,
                run_id=run_id,
            )
        return made.name

    def log(self, run_id: str, batch: bytes) -> None:
        """See `Sink.log`."""
        found = decode(batch)
        with calling(self._who):
            self._tracking.log_batch(run_id, metrics=found.points(), params=found.params, tags=found.tags)

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """See `Sink.artifact`."""
        with calling(self._who):
            self._files.put(self._files.run_folder(run_id) + check_path(path), data)

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """See `Sink.input`."""
        with calling(self._who):
            self._tracking.log_input(run_id, dataset, context)

    def finish(self, run_id: str, status: str) -> None:
        """See `Sink.finish`."""
        with calling(self._who), suppress(Conflict):
            self._tracking.finish(run_id, status)

    def close(self) -> None:
        """Nothing is held."""


class HttpSink:
    """Logs to a server.

    Args:
        url: Address of the server, such as `http://127.0.0.1:7600`.
        token: Sent as a bearer token when not empty.
        project: Whose runs these are; "" leaves it to the server.
    """

    def __init__(self, url: str, *, token: str = "", project: str = "") -> None:
        import httpx

        self.target = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"X-Mainspring-Project": project} if project else {}
        self._client = httpx.Client(base_url=self.target, timeout=_TIMEOUT_S, headers=headers)

    def create(
        self,
        run_id: str,
        *,
        experiment: str,
        name: str,
        parent: str,
        tags: Mapping[str, str],
        seed: int | None,
        code: CodeState | None,
        environment: Environment | None,
    ) -> str:
        """See `Sink.create`."""
        plain = {
            "run_id": run_id,
            "experiment": experiment,
            "name": name,
            "parent": parent,
            "tags": dict(tags),
            "seed": seed,
            "code": None if code is None else asdict(code),
            "environment": None if environment is None else asdict(environment),
        }
        return str(self._send("POST", "/api/v1/runs", plain).json()["name"])

    def log(self, run_id: str, batch: bytes) -> None:
        """See `Sink.log`."""
        self._send("POST", f"/api/v1/runs/{run_id}/log", batch)

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """See `Sink.artifact`."""
        from urllib.parse import quote

        self._send("PUT", f"/api/v1/runs/{run_id}/artifacts/{quote(path)}", data)

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """See `Sink.input`."""
        self._send("POST", f"/api/v1/runs/{run_id}/inputs", {"dataset": dataset, "context": context})

    def finish(self, run_id: str, status: str) -> None:
        """See `Sink.finish`."""
        with suppress(Conflict):
            self._send("POST", f"/api/v1/runs/{run_id}/finish", {"status": status})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, method: str, path: str, body: bytes | Mapping[str, object]) -> httpx.Response:
        import httpx

        try:
            if isinstance(body, bytes):
                kind = {"Content-Type": "application/octet-stream" if method == "PUT" else "application/json"}
                answer = self._client.request(method, path, content=body, headers=kind)
            else:
                answer = self._client.request(method, path, json=body)
        except httpx.TransportError as reason:
            what = f"the server does not answer: {type(reason).__name__}"
            raise Unavailable(what, where=self.target, hint="mainspring up") from None
        if answer.is_success:
            return answer
        raise _error(answer, self.target)


def _error(answer: httpx.Response, target: str) -> Exception:
    """The error that the server met, raised again here."""
    try:
        plain = answer.json()
        kind = error_codes()[plain["code"]]
        return kind(str(plain["what"]), where=str(plain.get("where", "")), hint=str(plain.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        kind = Overloaded if answer.status_code in (429, 502, 503, 504) else Failed
        return kind(f"the server answered {answer.status_code}", where=target, hint="look at the server's log")
