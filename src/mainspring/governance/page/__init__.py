"""The screen of a model card."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Template

from mainspring.core.errors import NotFound
from mainspring.governance.rules import gaps
from mainspring.governance.service import Governance


@get("/models/{name:str}/{version:str}/card", opt={"permission": "cards:read"}, sync_to_thread=True)
def card_page(governance: NamedDependency[Governance], name: str, version: str, revision: int = 0) -> Template:
    """The newest card of a version, or an older revision."""
    try:
        found = governance.read(name, version, revision=revision or None)
    except NotFound as reason:
        if reason.where != "card" or revision:
            raise
        return Template("governance/page/none.html", context={"name": name, "version": version})
    context = {
        "card": found,
        "content": found.content,
        "gaps": gaps(found.content),
        "revisions": governance.revisions(name, found.content.version),
    }
    return Template("governance/page/card.html", context=context)


handlers = [card_page]
