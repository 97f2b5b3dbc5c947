"""Reads an MLflow server through its REST protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mainspring.core.errors import Failed, NotFound, Unauthenticated, Unavailable
from mainspring.mlflow.moving.model import (
    SourceDataset,
    SourceExperiment,
    SourceFile,
    SourceMeasure,
    SourceModel,
    SourceName,
    SourcePoint,
    SourceRun,
    SourceVersion,
    Texts,
)
from mainspring.mlflow.moving.places import Places

if TYPE_CHECKING:
    import httpx

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_PAGE = 1000
_POINTS = 25_000
_TIMEOUT_S = 60.0
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Prompts are registered models that a search leaves out unless it asks for them."""
Json = dict[str, Any]


class Server:
    """Speaks REST to an MLflow server.

    Args:
        url: Its address; a name and password in it are sent as Basic, as are `MLFLOW_TRACKING_USERNAME` and
            `MLFLOW_TRACKING_PASSWORD`; `MLFLOW_TRACKING_TOKEN` is sent as a bearer token.
    Raises:
        Unavailable: It does not answer.
    """

    def __init__(self, url: str) -> None:
        import httpx

        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.label = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        name = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        word = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
        self.client = httpx.Client(
            base_url=self.label,
            timeout=_TIMEOUT_S,
            auth=(name, word) if name else None,
            headers={"Authorization": f"Bearer {token}"} if token and not name else {},
            transport=httpx.HTTPTransport(retries=3),
        )

    def get(self, path: str, **params: object) -> Json:
        """The answer to a GET; parameters that are empty are left out."""
        return self._json("GET", path, params={k: v for k, v in params.items() if v not in ("", None)})

    def post(self, path: str, body: Mapping[str, object]) -> Json:
        """The answer to a POST."""
        return self._json("POST", path, json=body)

    def send(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Any request that succeeds.

        Raises:
            Unavailable: The server does not answer.
            Unauthenticated: It wants to know who asks.
            NotFound: There is no such thing.
            Failed: It refuses, in its own words.
        """
        import httpx

        try:
            answer = self.client.request(method, path, **how)
        except httpx.TransportError as reason:
            what = f"the MLflow server does not answer: {type(reason).__name__}"
            raise Unavailable(what, where=self.label, hint="start it, or import its database file") from None
        if answer.is_success:
            return answer
        words = answer.text[:300]
        if answer.status_code in (401, 403):
            hint = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            raise Unauthenticated(f"the server answered {answer.status_code}", where=self.label, hint=hint)
        if answer.status_code == 404:
            raise NotFound(f"the server has nothing there: {words}", where=path)
        raise Failed(f"the server answered {answer.status_code}: {words}", where=path, hint="look at its log")

    def pages(self, path: str, field: str, wanted: Mapping[str, object], *, post: bool = False) -> Iterator[Json]:
        """The items of all pages of a listing."""
        token = ""
        while True:
            asked = {**wanted, **({"page_token": token} if token else {})}
            answer = self.post(path, asked) if post else self.get(path, **asked)
            yield from answer.get(field, ())
            token = answer.get("next_page_token", "")
            if not token:
                return

    def _json(self, method: str, path: str, **how: Any) -> Json:
        answer = self.send(method, API + path, **how)
        try:
            return cast(Json, answer.json())
        except ValueError:
            what = "the server does not speak MLflow's protocol"
            raise Failed(what, where=self.label + API + path, hint="check the address") from None


class ServerSource:
    """An MLflow server as a source: see `Source` and `Server`.

    Args:
        url: Its address.
        root: Where its `mlflow-artifacts:` addresses lie, when they are not to be asked from the server.
    """

    def __init__(self, url: str, root: str = "") -> None:
        self._server = Server(url)
        self._places = Places(root)
        self._proxied = not root
        self.label = self._server.label

    def experiments(self) -> Iterator[SourceExperiment]:
        """See `Source`."""
        asked = {"view_type": "ALL", "max_results": _PAGE}
        for plain in self._server.pages("/experiments/search", "experiments", asked, post=True):
            yield SourceExperiment(
                id=plain["experiment_id"],
                name=plain["name"],
                location=plain.get("artifact_location", ""),
                created_ms=int(plain.get("creation_time", 0)),
                updated_ms=int(plain.get("last_update_time") or plain.get("creation_time", 0)),
                deleted=plain.get("lifecycle_stage") == "deleted",
                tags=_texts(plain),
            )

    def runs(self, experiment_id: str) -> Iterator[SourceRun]:
        """See `Source`."""
        asked = {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": _PAGE}
        for plain in self._server.pages("/runs/search", "runs", asked, post=True):
            yield _run(plain)

    def points(self, run: SourceRun) -> Iterator[SourcePoint]:
        """See `Source`."""
        for key in run.metrics:
            asked = {"run_id": run.id, "metric_key": key, "max_results": _POINTS}
            for plain in self._server.pages("/metrics/get-history", "metrics", asked):
                yield SourcePoint(key, int(plain["timestamp"]), int(plain.get("step", 0)), float(plain["value"]))

    def models(self, experiment_id: str) -> Iterator[SourceModel]:
        """See `Source`."""
        asked = {"experiment_ids": [experiment_id], "max_results": 50}
        try:
            for plain in self._server.pages("/logged-models/search", "models", asked, post=True):
                yield _model(plain)
        except NotFound:
            return  # a release before 3.0

    def names(self) -> Iterator[SourceName]:
        """See `Source`."""
        asked: dict[str, object] = {"max_results": _PAGE}
        everything = list(self._server.pages("/registered-models/search", "registered_models", asked))
        asked = {"max_results": _PAGE, "filter": PROMPTS}
        everything += self._server.pages("/registered-models/search", "registered_models", asked)
        for name in sorted({plain["name"] for plain in everything}):
            plain = self._server.get("/registered-models/get", name=name)["registered_model"]
            yield SourceName(
                name=name,
                description=plain.get("description", ""),
                created_ms=int(plain.get("creation_timestamp", 0)),
                updated_ms=int(plain.get("last_updated_timestamp", 0)),
                tags=_texts(plain),
                aliases={entry["alias"]: int(entry["version"]) for entry in plain.get("aliases", ())},
            )

    def versions(self, name: str) -> Iterator[SourceVersion]:
        """See `Source`."""
        mark = '"' if "'" in name else "'"
        wanted = f"name = {mark}{name}{mark}"
        found = list(self._server.pages("/model-versions/search", "model_versions", {"filter": wanted}))
        wanted += f" AND {PROMPTS}"
        found += self._server.pages("/model-versions/search", "model_versions", {"filter": wanted})
        for plain in sorted(found, key=lambda entry: int(entry["version"])):
            yield _version(plain)

    def files(self, uri: str) -> Iterator[SourceFile]:
        """See `Source`."""
        path = self._proxied_path(uri)
        if path is None:
            yield from self._places.files(uri)
        else:
            yield from self._below(path, "")

    def fetch(self, uri: str, path: str, to: Path) -> None:
        """See `Source`."""
        place = self._proxied_path(uri)
        if place is None:
            self._places.fetch(uri, path, to)
            return
        with self._server.client.stream("GET", f"{PROXY}/{quote(f'{place}/{path}')}") as answer:
            if not answer.is_success:
                raise Failed(f"the server answered {answer.status_code}", where=f"{uri}/{path}")
            with to.open("wb") as file:
                for chunk in answer.iter_bytes(1 << 20):
                    file.write(chunk)

    def close(self) -> None:
        """See `Source`."""
        self._server.client.close()

    def _proxied_path(self, uri: str) -> str | None:
        parts = urlsplit(uri)
        return unquote(parts.path).strip("/") if self._proxied and parts.scheme == "mlflow-artifacts" else None

    def _below(self, root: str, folder: str) -> Iterator[SourceFile]:
        place = f"{root}/{folder}".rstrip("/")
        answer = self._server.send("GET", PROXY, params={"path": place}).json()
        for entry in answer.get("files", ()):
            path = f"{folder}/{entry['path']}".lstrip("/")
            if entry.get("is_dir"):
                yield from self._below(root, path)
            else:
                yield SourceFile(path, int(entry.get("file_size", -1)))


def _texts(plain: Json, field: str = "tags") -> Texts:
    return dict(sorted((entry["key"], entry.get("value", "")) for entry in plain.get(field, ())))


def _run(plain: Json) -> SourceRun:
    info, data = plain["info"], plain.get("data", {})
    inputs, outputs = plain.get("inputs", {}), plain.get("outputs", {})
    return SourceRun(
        id=info["run_id"],
        experiment_id=info["experiment_id"],
        name=info.get("run_name", ""),
        user_id=info.get("user_id", ""),
        status=info["status"],
        started_ms=int(info.get("start_time", 0)),
        ended_ms=int(info["end_time"]) if info.get("end_time") else None,
        artifact_uri=info.get("artifact_uri", ""),
        deleted=info.get("lifecycle_stage") == "deleted",
        params=_texts(data, "params"),
        tags=_texts(data),
        metrics=tuple(sorted(entry["key"] for entry in data.get("metrics", ()))),
        datasets=tuple(_dataset(entry) for entry in inputs.get("dataset_inputs", ())),
        models_read=tuple(entry["model_id"] for entry in inputs.get("model_inputs", ())),
        models_made=tuple((m["model_id"], int(m.get("step", 0))) for m in outputs.get("model_outputs", ())),
    )


def _dataset(plain: Json) -> SourceDataset:
    one = plain["dataset"]
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    return SourceDataset(**{field: one.get(field, "") for field in fields}, tags=_texts(plain))


def _model(plain: Json) -> SourceModel:
    info, data = plain["info"], plain.get("data", {})
    return SourceModel(
        id=info["model_id"],
        experiment_id=info["experiment_id"],
        name=info.get("name", ""),
        kind=info.get("model_type", ""),
        status=info.get("status", ""),
        run_id=info.get("source_run_id", ""),
        artifact_uri=info.get("artifact_uri", ""),
        created_ms=int(info.get("creation_timestamp_ms", 0)),
        updated_ms=int(info.get("last_updated_timestamp_ms", 0)),
        params=_texts(data, "params"),
        tags=_texts(info),
        measures=tuple(_measure(entry) for entry in data.get("metrics", ())),
    )


def _measure(plain: Json) -> SourceMeasure:
    return SourceMeasure(
        key=plain["key"],
        value=float(plain["value"]),
        timestamp_ms=int(plain["timestamp"]),
        step=int(plain.get("step", 0)),
        run_id=plain.get("run_id", ""),
        dataset_name=plain.get("dataset_name", ""),
        dataset_digest=plain.get("dataset_digest", ""),
    )


def _version(plain: Json) -> SourceVersion:
    words = ("name", "source", "run_id", "run_link", "description", "user_id", "status", "status_message", "model_id")
    source = plain.get("source", "")
    made = {word: plain.get(word) or "" for word in words}
    made["model_id"] = made["model_id"] or (source.removeprefix("models:/") if source.startswith("models:/m-") else "")
    return SourceVersion(
        **made,
        number=int(plain["version"]),
        stage=plain.get("current_stage") or "None",
        created_ms=int(plain.get("creation_timestamp", 0)),
        updated_ms=int(plain.get("last_updated_timestamp", 0)),
        tags=_texts(plain),
    )
