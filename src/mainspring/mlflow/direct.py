"""Direct transfer of artifacts between a client and an object store. This server does not do it: files go through it.

Clients that ask for it all the same are told so in the words and with the status by which they fall back to that.
"""

from __future__ import annotations

from typing import NoReturn
from urllib.parse import unquote

from litestar import Response, get, post
from litestar.handlers import BaseRouteHandler

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.errors import Told
from mainspring.mlflow.paths import file_path
from mainspring.mlflow.spelling import ARTIFACTS
from mainspring.mlflow.wire import UNSET, MaybeInt, MaybeText, Message, Text, chosen
from mainspring.tracking.logged_models import LoggedModels
from mainspring.tracking.service import Tracking
from mainspring.tracking.transfer import Ask

_LONGEST_S = 604_800


class UploadAddress(Message):
    """Where a client may put a file of a run or a logged model itself."""

    path: Text
    run_id: MaybeText = UNSET
    model_id: MaybeText = UNSET
    expiration: MaybeInt = UNSET


class DownloadAddress(Message):
    """Where a client may fetch a file of a run itself."""

    run_id: Text
    path: Text
    expiration: MaybeInt = UNSET


@call("POST", "artifacts/presigned-upload-url", "runs:write")
def upload_address(ask: UploadAddress, tracking: Tracking, logged_models: LoggedModels) -> None:
    """Refused: artifacts go through the server."""
    run_id, model_id = chosen(ask.run_id, ""), chosen(ask.model_id, "")
    if bool(run_id) == bool(model_id):
        raise Invalid("Exactly one of run_id and model_id must be provided.", where="run_id")
    file_path(ask.path)
    _ = tracking.get(run_id) if run_id else logged_models.get(model_id)
    raise _proxied("Presigned upload is not supported for proxied artifact storage")


@call("POST", "artifacts/presigned-download-url", "runs:read")
def download_address(ask: DownloadAddress, tracking: Tracking) -> None:
    """Refused: artifacts go through the server."""
    file_path(ask.path)
    seconds = chosen(ask.expiration, 900)
    if not 1 <= seconds <= _LONGEST_S:
        raise Invalid(f"expiration must be between 1 and {_LONGEST_S} seconds (got {seconds}).", where="expiration")
    tracking.get(ask.run_id)
    raise _proxied("Presigned download is not supported for runs with proxied artifact storage")


@post(
    [f"{ARTIFACTS}/mpu/{verb}/{{path:path}}" for verb in ("create", "complete", "abort")],
    opt={"permission": "runs:write", "reads": False},
    include_in_schema=False,
    sync_to_thread=False,
)
def multipart_upload(request: Ask) -> Response[None]:
    """Refused: a client that hears this sends the file in one piece."""
    _refuse(request, "Multipart upload")


@get(
    f"{ARTIFACTS}/presigned/{{path:path}}",
    opt={"permission": "runs:read", "reads": True},
    include_in_schema=False,
    sync_to_thread=False,
)
def multipart_download(request: Ask) -> Response[None]:
    """Refused: a client that hears this fetches the file in one piece."""
    _refuse(request, "Presigned download")


def _refuse(request: Ask, what: str) -> NoReturn:
    raw = request.scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")
    start = "/mpu/" if "/mpu/" in raw else "/presigned/"
    rest = raw.partition(start)[2]
    file_path(unquote(rest.partition("/")[2] if start == "/mpu/" else rest, errors="replace"))
    # clients know it by this text, to the letter
    raise Told("NOT_IMPLEMENTED", f"{what} is not supported for the current artifact repository")


def _proxied(what: str) -> Invalid:
    scheme = "(artifact URI scheme: mlflow-artifacts)"
    return Invalid(f"{what} {scheme}. This endpoint requires a direct cloud storage artifact URI.", where="run_id")


calls = [upload_address, download_address]
handlers: list[BaseRouteHandler] = [multipart_upload, multipart_download]
"""What refuses by the address alone, and so is no call."""
