"""Batches over HTTP: a dataset version in by its name, a file of answers back."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import Parameter
from litestar.response import File

from mainspring.serving.batch.desk import Batch, BatchDesk, BatchOrder

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
Limit = Annotated[int, Parameter(ge=1, le=500)]


@get("/api/v1/batches", opt=_READ, sync_to_thread=True)
def list_batches(batches: BatchDesk, limit: Limit = 100) -> list[Batch]:
    """Batches of the project, newest first."""
    return batches.list(limit=limit)


@post("/api/v1/batches", opt=_WRITE, sync_to_thread=True)
def start_batch(batches: BatchDesk, data: BatchOrder) -> Batch:
    """Have a dataset version answered; the server works on it as soon as it can."""
    return batches.start(data)


@get("/api/v1/batches/{batch_id:str}", opt=_READ, sync_to_thread=True)
def show_batch(batches: BatchDesk, batch_id: str) -> Batch:
    """One batch, and how far it is."""
    return batches.get(batch_id)


@post("/api/v1/batches/{batch_id:str}/cancel", opt=_WRITE, sync_to_thread=True, status_code=200)
def cancel_batch(batches: BatchDesk, batch_id: str) -> Batch:
    """Stop a batch; what is answered stays."""
    return batches.cancel(batch_id)


@post("/api/v1/batches/{batch_id:str}/resume", opt=_WRITE, sync_to_thread=True, status_code=200)
def resume_batch(batches: BatchDesk, batch_id: str) -> Batch:
    """Go on with a batch that was cancelled or failed, from where it was."""
    return batches.resume(batch_id)


@get("/api/v1/batches/{batch_id:str}/answers", opt=_READ, sync_to_thread=True)
def fetch_answers(batches: BatchDesk, batch_id: str) -> File:
    """The answers of a finished batch, as an attachment."""
    path = batches.file(batch_id, "answers")
    return File(path, filename=f"{batch_id}{path.suffix}", media_type="application/octet-stream")


@get("/api/v1/batches/{batch_id:str}/quarantine", opt=_READ, sync_to_thread=True)
def fetch_quarantine(batches: BatchDesk, batch_id: str) -> File:
    """The rows that a batch put aside, each with its reasons, as an attachment."""
    path = batches.file(batch_id, "quarantine")
    return File(path, filename=f"{batch_id}.quarantine{path.suffix}", media_type="application/octet-stream")


handlers = [list_batches, start_batch, show_batch, cancel_batch, resume_batch, fetch_answers, fetch_quarantine]
