"""The screen of the model server's processes."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.serving.overview import TONES
from mainspring.serving.service import Serving


@get("/workers", opt={"permission": "deployments:read"}, sync_to_thread=True, include_in_schema=False)
def workers_page(serving: Serving) -> Template:
    """Who answers, how their number changed, and which deployments nobody asks."""
    context = {"found": serving.workers(), "idle": serving.idle(), "tones": TONES}
    return Template("serving/page/workers.html", context=context)


handlers = [workers_page]
