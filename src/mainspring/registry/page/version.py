"""The screens of a version: its card, files, signature, history and origin, and one of its files."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from litestar import Response, get, post
from litestar.response import Redirect, Template

from mainspring.registry.conversions import Conversions
from mainspring.registry.flavours.pickle import NAME as PICKLE
from mainspring.registry.flavours.sklearn import NAME as SKLEARN
from mainspring.registry.page.models import READ, WRITE
from mainspring.registry.rules import missing
from mainspring.registry.service import Registry
from mainspring.tracking.files import Files
from mainspring.tracking.page.preview import look
from mainspring.tracking.page.run import SHOWN_FILES, folders_of
from mainspring.tracking.transfer import Ask, answer_framed

_CHANGES = 50
_COLUMNS = 100
"""How many inputs a page lists."""


@get("/models/{name:str}/{version:str}", opt=READ, sync_to_thread=True, include_in_schema=False)
def version_page(registry: Registry, conversions: Conversions, name: str, version: str, after: str = "") -> Template:
    """One version; `after` shows the files after a path."""
    found = registry.get(name, version)
    kept = [entry for entry in registry.files(name, found.number) if not after or entry.path > after]
    kept.sort(key=lambda entry: entry.path)
    is_pickle = found.flavour == PICKLE
    context = {
        "version": found,
        "card": registry.card(found.model, found.number),
        "inputs": found.inputs[:_COLUMNS],
        "folders": folders_of(kept[:SHOWN_FILES]),
        "following": kept[SHOWN_FILES - 1].path if len(kept) > SHOWN_FILES else "",
        "missing": missing(found),
        "users": registry.users(found.model, found.number),
        "is_pickle": is_pickle,
        "composition": registry.composition(found),
        "parity": registry.parity(found),
        "converts": found.flavour == SKLEARN,
        "conversion": conversions.last(found) if found.flavour == SKLEARN else None,
        "importance": registry.importance(found),
        "most": _COLUMNS,
        "grant": registry.grants.of(found) if is_pickle else None,
        "grants": registry.grants.history(found, limit=_CHANGES) if is_pickle else [],
        "changes": registry.alias_history(found.model, version=found.number, limit=_CHANGES),
        "moves": registry.stage_history(found.model, found.number, limit=_CHANGES),
    }
    return Template("registry/page/version.html", context=context)


@post("/models/{name:str}/{version:str}/onnx", opt=WRITE, sync_to_thread=True, include_in_schema=False)
def convert_page(conversions: Conversions, name: str, version: str) -> Redirect:
    """Have the version kept as ONNX, too, and show where what became of it will be."""
    conversions.ask(name, version)
    return Redirect(f"/models/{quote(name)}/{quote(version)}#onnx", status_code=303)


@get("/models/{name:str}/{version:str}/files/{path:path}", opt=READ, sync_to_thread=True, include_in_schema=False)
def version_file_page(
    registry: Registry, files: Files, name: str, version: str, path: str, framed: bool = False
) -> Template:
    """What can be shown of a file without running anything of it, or with `framed` an HTML file in a sandbox."""
    found = registry.get(name, version)
    kept = registry.find_file(name, found.number, path.removeprefix("/"))
    context = {"version": found, "artifact": kept, "shown": look(files, kept), "framed": framed}
    return Template("registry/page/file.html", context=context)


@get("/models/{name:str}/{version:str}/framed/{path:path}", opt=READ, include_in_schema=False)
async def framed_file(
    registry: Registry, files: Files, request: Ask, name: str, version: str, path: str
) -> Response[object]:
    """An HTML file of a version, for the frame on its page."""
    kept = await asyncio.to_thread(registry.find_file, name, version, path.removeprefix("/"))
    return await answer_framed(request, files, kept)
