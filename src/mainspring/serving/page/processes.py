"""The screen of the model server's processes."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.serving.service import Serving


@get("/workers", opt={"permission": "deployments:read"}, sync_to_thread=True, include_in_schema=False)
def workers_page(serving: Serving) -> Template:
    """Who answers, and how their number changed."""
    return Template("serving/page/workers.html", context={"found": serving.workers()})


handlers = [workers_page]
