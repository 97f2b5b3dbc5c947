"""Artifacts over the protocol: the proxy, lists, and what the pages of MLflow download.

An URI `mlflow-artifacts:/a/b` is the path `a/b` below the artifact root of the project. Files stream in and out, and
every one leaves as an attachment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from litestar import Response, delete, get, put
from litestar.handlers import BaseRouteHandler

from mainspring.core.errors import Invalid, NotFound
from mainspring.mlflow.calls import call
from mainspring.mlflow.model_versions import found_in
from mainspring.mlflow.packages import Folder, folder_at, folder_of, is_packaged, refuse_write
from mainspring.mlflow.paths import below, file_path, folder_path
from mainspring.mlflow.spelling import ARTIFACTS, BASE
from mainspring.mlflow.wire import UNSET, MaybeInt, MaybeText, Message, Text, chosen
from mainspring.registry import Registry
from mainspring.tracking.files import Files
from mainspring.tracking.logged_models import LoggedModels
from mainspring.tracking.model import PROXIED, Entry
from mainspring.tracking.service import Tracking
from mainspring.tracking.transfer import PLAIN, Ask, announced, answer, answer_with, receive

_READ = {"permission": "runs:read", "reads": True}
_WRITE = {"permission": "runs:write", "reads": False}


class FileInfo(Message):
    """A file or a folder; a folder has no size."""

    path: str
    is_dir: bool
    file_size: MaybeInt = UNSET


class Listing(Message):
    """What is in a folder."""

    files: list[FileInfo] = []


class RootedListing(Message):
    """What is in a folder, by paths from the root of a run or model."""

    root_uri: str
    files: list[FileInfo] = []


class AskListing(Message):
    """A folder below the artifact root."""

    path: MaybeText = UNSET


class AskRunListing(Message):
    """A folder of a run."""

    run_id: Text
    path: MaybeText = UNSET


class AskModelListing(Message):
    """A folder of a logged model."""

    model_id: Text
    artifact_directory_path: MaybeText = UNSET


@call("GET", f"{ARTIFACTS}/artifacts", "runs:read")
def list_root(ask: AskListing, files: Files, registry: Registry) -> Listing:
    """What is in a folder below the artifact root, by name; nothing when there is no such folder."""
    path = folder_path(chosen(ask.path, ""))
    if is_packaged(path):
        package, inside = folder_at(registry, path)
        return Listing(files=_shown("", package.level(inside)))
    return Listing(files=_shown("", files.level(path)))


@call("GET", "artifacts/list", "runs:read")
def list_run(ask: AskRunListing, tracking: Tracking, files: Files) -> RootedListing:
    """What is in a folder of a run."""
    run, folder = tracking.get(ask.run_id), folder_path(chosen(ask.path, ""))
    root = below(run.location, run.id, "artifacts")
    return RootedListing(root_uri=root, files=_shown(folder, files.level(run.folder + folder)))


@call("GET", "logged-models/{model_id:str}/artifacts/directories", "runs:read")
def list_model(ask: AskModelListing, logged_models: LoggedModels, files: Files) -> RootedListing:
    """What is in a folder of a logged model."""
    model, folder = logged_models.get(ask.model_id), folder_path(chosen(ask.artifact_directory_path, ""))
    root = below(model.location, "models", model.id, "artifacts")
    return RootedListing(root_uri=root, files=_shown(folder, files.level(model.folder + folder)))


@put(
    ARTIFACTS + "/artifacts/{path:path}",
    opt=_WRITE,
    request_max_body_size=None,
    status_code=200,
    include_in_schema=False,
)
async def upload(files: Files, request: Ask) -> Response[bytes]:
    """Keep the body as a file below the artifact root."""
    place = _place(request)
    refuse_write(place)
    with await asyncio.to_thread(files.receive, place, announced(request)) as received:
        await receive(request, received)
        await asyncio.to_thread(files.store, place, received)
    return Response(b"{}", status_code=200, media_type="application/json")


@get(ARTIFACTS + "/artifacts/{path:path}", opt=_READ, include_in_schema=False)
async def download(files: Files, registry: Registry, request: Ask) -> Response[object]:
    """A file below the artifact root."""
    place = _place(request)
    if is_packaged(place):
        package, inside = await asyncio.to_thread(folder_at, registry, place)
        return await _of_package(request, files, package, inside)
    return await answer(request, files, place)


@delete(ARTIFACTS + "/artifacts/{path:path}", opt=_WRITE, status_code=200, include_in_schema=False)
async def remove(files: Files, request: Ask) -> Response[bytes]:
    """Delete a file below the artifact root, or a folder with all that is in it."""
    place = _place(request)
    refuse_write(place)
    await asyncio.to_thread(files.delete, place)
    return Response(b"{}", status_code=200, media_type="application/json")


@get("/get-artifact", opt=_READ, include_in_schema=False)
async def download_of_run(
    files: Files, request: Ask, run_id: str = "", run_uuid: str = "", path: str = ""
) -> Response[object]:
    """A file of a run."""
    folder = await asyncio.to_thread(files.run_folder, _given(run_id or run_uuid, "run_id"))
    return await answer(request, files, folder + file_path(_given(path, "path")))


@get(BASE + "/logged-models/{model_id:str}/artifacts/files", opt=_READ, include_in_schema=False)
async def download_of_model(
    files: Files, request: Ask, model_id: str, artifact_file_path: str = ""
) -> Response[object]:
    """A file of a logged model."""
    folder = await asyncio.to_thread(files.model_folder, model_id)
    return await answer(request, files, folder + file_path(_given(artifact_file_path, "artifact_file_path")))


@get("/model-versions/get-artifact", opt={"permission": "models:read", "reads": True}, include_in_schema=False)
async def download_of_version(
    registry: Registry, files: Files, request: Ask, name: str = "", version: str = "", path: str = ""
) -> Response[object]:
    """A file of a version whose files are kept here."""
    inside = file_path(_given(path, "path"))
    asked = (_given(name, "name"), _given(version, "version"))
    found = await asyncio.to_thread(found_in, registry, *asked)
    place = urlsplit(found.location or found.source)
    if place.scheme == PROXIED:
        return await answer(request, files, f"{unquote(place.path).strip('/')}/{inside}")
    if not found.digest:
        raise NotFound(f"the files of {found.ref} are not kept here", where="source", hint="they are at its source")
    return await _of_package(request, files, await asyncio.to_thread(folder_of, registry, found), inside)


async def _of_package(request: Ask, files: Files, package: Folder, path: str) -> Response[object]:
    found = package.find(path)
    if isinstance(found, bytes):
        return Response(found, media_type=PLAIN)
    return await answer_with(request, files, found)


def _place(request: Ask) -> str:
    """The path that an address names: read from the address as it came, as the framework takes double slashes away."""
    raw = request.scope["raw_path"].partition(b"?")[0].partition(b"/mlflow-artifacts/artifacts/")[2]
    return file_path(unquote(raw.decode("ascii", "replace"), errors="replace"))


def _shown(folder: str, entries: Iterable[Entry]) -> list[FileInfo]:
    start = f"{folder}/" if folder else ""
    return [
        FileInfo(
            path=start + entry.name,
            is_dir=entry.is_folder,
            file_size=UNSET if entry.is_folder else entry.size_bytes,
        )
        for entry in entries
    ]


def _given(text: str, name: str) -> str:
    if not text:
        raise Invalid(f"Missing value for required parameter '{name}'.", where=name)
    return text


calls = [list_root, list_run, list_model]
handlers: list[BaseRouteHandler] = [upload, download, remove, download_of_run, download_of_model, download_of_version]
"""What streams, and so is no call."""
