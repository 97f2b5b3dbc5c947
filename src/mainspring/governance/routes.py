"""Model cards over HTTP."""

from __future__ import annotations

from litestar import MediaType, get, put
from litestar.di import NamedDependency
from litestar.response import Response

from mainspring.core.values import dataclass
from mainspring.governance.model import Card
from mainspring.governance.service import Governance

_READ = {"permission": "cards:read"}
_WRITE = {"permission": "cards:write"}


@dataclass(frozen=True, slots=True)
class CardRequest:
    """The words of a person; what is null stays as it was."""

    purpose: str | None = None
    limitations: str | None = None


@get("/api/v1/models/{name:str}/versions/{version:str}/card", opt=_READ, sync_to_thread=True)
def show_card(governance: NamedDependency[Governance], name: str, version: str, revision: int = 0) -> Card:
    """The stored card of a version, the newest revision by default."""
    return governance.read(name, version, revision=revision or None)


@get("/api/v1/models/{name:str}/versions/{version:str}/card.md", opt=_READ, sync_to_thread=True)
def show_card_as_markdown(governance: NamedDependency[Governance], name: str, version: str) -> Response[str]:
    """The stored card as Markdown."""
    text = governance.read(name, version).markdown()
    return Response(text, media_type=f"{MediaType.TEXT}; charset=utf-8")


@put("/api/v1/models/{name:str}/versions/{version:str}/card", opt=_WRITE, sync_to_thread=True)
def write_card(governance: NamedDependency[Governance], name: str, version: str, data: CardRequest) -> Card:
    """Write the card from what is on record now, with the purpose and limitations given."""
    return governance.card(name, version, purpose=data.purpose, limitations=data.limitations)


handlers = [show_card, show_card_as_markdown, write_card]
