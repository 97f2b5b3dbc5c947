"""The screens of batches: what was answered in one go, how far it is, and a form for another one."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Template

from mainspring.core.values import dataclass
from mainspring.data.service import Data
from mainspring.serving.batch.desk import BatchDesk, BatchOrder, Format
from mainspring.serving.service import Serving

_READ, _WRITE = {"permission": "deployments:read"}, {"permission": "deployments:write"}
_TONES = {"queued": "", "running": "", "finished": "ok", "failed": "bad", "cancelled": "warn"}


@dataclass(frozen=True, slots=True)
class OrderForm:
    """What a person filled in; a box that is not ticked is not sent."""

    deployment: str
    dataset: str
    format: Format = "parquet"
    log: str = ""
    time_column: str = ""


@dataclass(frozen=True, slots=True)
class BatchVerb:
    """What shall happen to a batch."""

    verb: Literal["cancel", "resume"]


@get("/batches", opt=_READ, sync_to_thread=True, include_in_schema=False)
def batches_page(batches: BatchDesk, serving: Serving, datasets: Data, deployment: str = "") -> Template:
    """Batches, newest first, and the form for another one."""
    context = {
        "batches": batches.list(),
        "tones": _TONES,
        "deployments": [entry.name for entry in serving.deployments()],
        "datasets": [entry.name for entry in datasets.datasets()],
        "chosen": deployment,
    }
    return Template("serving/page/batches.html", context=context)


@post("/batches", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def order_page(
    batches: BatchDesk, data: Annotated[OrderForm, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Start a batch, then show it."""
    order = BatchOrder(
        deployment=data.deployment,
        dataset=data.dataset,
        format=data.format,
        log=bool(data.log),
        time_column=data.time_column,
    )
    return Redirect(f"/batches/{batches.start(order).id}", status_code=303)


@get("/batches/{batch_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def batch_page(batches: BatchDesk, batch_id: str) -> Template:
    """One batch: how far it is, what came of it, and how to fetch that."""
    return Template("serving/page/batch.html", context={"batch": batches.get(batch_id), "tones": _TONES})


@post("/batches/{batch_id:str}", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def steer_batch(
    batches: BatchDesk, batch_id: str, data: Annotated[BatchVerb, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Cancel a batch, or go on with it, and show it."""
    batches.cancel(batch_id) if data.verb == "cancel" else batches.resume(batch_id)
    return Redirect(f"/batches/{batch_id}", status_code=303)


handlers = [batches_page, order_page, batch_page, steer_batch]
