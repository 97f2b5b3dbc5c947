"""Files of runs and logged models over HTTP.

A file comes in with one PUT. A large one is better sent under its digest (`X-Digest`, blake3) and with a
`Content-Range`: `bytes */TOTAL` asks how much of it is here, and is all that is needed when the project keeps that
content already; `bytes FIRST-LAST/TOTAL` sends what is missing, after a break from where it broke off.

Who asks so from the same machine, as the same user, may name with `X-Meet` where it waits with the open file: then that
is copied, and nothing needs to be sent. A file that is asked for is passed there too, and the answer is 204.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
from litestar import Response, delete, get, put

from mainspring.core.errors import Invalid
from mainspring.core.passing import MEET
from mainspring.core.values import dataclass
from mainspring.tracking.files import Files
from mainspring.tracking.model import Artifact, Entry
from mainspring.tracking.rules import check_folder, check_path
from mainspring.tracking.transfer import Ask, Part, announced, answer, part_of, receive

_READ = {"permission": "runs:read"}
_WRITE = {"permission": "runs:write"}
DIGEST = "x-digest"


@dataclass(frozen=True, slots=True)
class Received:
    """How many bytes of a file are here; the rest is still to be sent."""

    received: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many files were deleted."""

    files: int


@get("/api/v1/runs/{run_id:str}/artifacts", opt=_READ, sync_to_thread=True)
def list_artifacts(files: Files, run_id: str, folder: str = "") -> list[Artifact]:
    """Every file of a run, or of one of its folders, by path."""
    return files.below(files.run_folder(run_id) + check_folder(folder))


@get("/api/v1/runs/{run_id:str}/folder", opt=_READ, sync_to_thread=True)
def show_folder(files: Files, run_id: str, path: str = "") -> list[Entry]:
    """One level of the files of a run."""
    return files.level(files.run_folder(run_id) + check_folder(path))


@put("/api/v1/runs/{run_id:str}/artifacts/{path:path}", opt=_WRITE, request_max_body_size=None, status_code=201)
async def put_artifact(files: Files, request: Ask, run_id: str, path: str) -> Response[bytes]:
    """Keep the body as a file of a run, or a part of it: 202 with the count received until all of it is here."""
    return await _put(files, request, await asyncio.to_thread(files.run_folder, run_id), path)


@get("/api/v1/runs/{run_id:str}/artifacts/{path:path}", opt=_READ)
async def show_artifact(files: Files, request: Ask, run_id: str, path: str) -> Response[object]:
    """A file of a run, always as an attachment that may run nothing; `Range` is understood."""
    return await answer(request, files, await asyncio.to_thread(files.run_folder, run_id) + _plain(path))


@delete("/api/v1/runs/{run_id:str}/artifacts/{path:path}", opt=_WRITE, status_code=200)
async def delete_artifact(files: Files, run_id: str, path: str) -> Deleted:
    """Delete a file of a run, or a folder with all that is in it."""
    folder = await asyncio.to_thread(files.run_folder, run_id)
    return Deleted(await asyncio.to_thread(files.delete, folder + _plain(path)))


@get("/api/v1/logged-models/{model_id:str}/artifacts", opt=_READ, sync_to_thread=True)
def list_model_artifacts(files: Files, model_id: str, folder: str = "") -> list[Artifact]:
    """Every file of a logged model, or of one of its folders, by path."""
    return files.below(files.model_folder(model_id) + check_folder(folder))


@put(
    "/api/v1/logged-models/{model_id:str}/artifacts/{path:path}",
    opt=_WRITE,
    request_max_body_size=None,
    status_code=201,
)
async def put_model_artifact(files: Files, request: Ask, model_id: str, path: str) -> Response[bytes]:
    """Keep the body as a file of a logged model, or a part of it."""
    return await _put(files, request, await asyncio.to_thread(files.model_folder, model_id), path)


@get("/api/v1/logged-models/{model_id:str}/artifacts/{path:path}", opt=_READ)
async def show_model_artifact(files: Files, request: Ask, model_id: str, path: str) -> Response[object]:
    """A file of a logged model, as an attachment; `Range` is understood."""
    return await answer(request, files, await asyncio.to_thread(files.model_folder, model_id) + _plain(path))


async def _put(files: Files, request: Ask, folder: str, path: str) -> Response[bytes]:
    place, digest = folder + _plain(path), request.headers.get(DIGEST, "")
    if not digest:
        if "content-range" in request.headers:
            raise Invalid("a part of a file came without its digest", where="X-Digest", hint="send blake3 of the whole")
        with await asyncio.to_thread(files.receive, place, announced(request)) as upload:
            await receive(request, upload)
            made = await asyncio.to_thread(files.store, place, upload)
        return _json(replace(made, path=_plain(path)), 201)
    part = part_of(request.headers.get("content-range", ""))
    made_or_count = await (
        _ask(files, request, place, digest, part) if part.start is None else _go_on(files, request, place, digest, part)
    )
    if isinstance(made_or_count, Received):
        return _json(made_or_count, 202)
    return _json(replace(made_or_count, path=_plain(path)), 201)


async def _ask(files: Files, request: Ask, place: str, digest: str, part: Part) -> Artifact | Received:
    """Whether a file needs no sending, as it is kept already or was passed; and if it does, from where on."""
    made = await asyncio.to_thread(files.name_known, place, digest, part.total)
    if made is None and (name := request.headers.get(MEET)):
        made = await asyncio.to_thread(files.take_passed, place, digest, part.total, name)
    return made or Received(await asyncio.to_thread(files.received, digest))


async def _go_on(files: Files, request: Ask, place: str, digest: str, part: Part) -> Artifact | Received:
    with await asyncio.to_thread(files.resume, place, digest, part.total) as upload:
        if upload.received != part.start:
            return Received(upload.received)
        await receive(request, upload)
        if upload.received < part.total:
            return Received(upload.received)
        return await asyncio.to_thread(files.store, place, upload, digest)


def _plain(path: str) -> str:
    return check_path(path.removeprefix("/"))


def _json(value: Artifact | Received, status: int) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


handlers = [
    list_artifacts,
    show_folder,
    put_artifact,
    show_artifact,
    delete_artifact,
    list_model_artifacts,
    put_model_artifact,
    show_model_artifact,
]
