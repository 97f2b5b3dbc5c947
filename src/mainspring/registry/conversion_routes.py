"""Conversions of versions to ONNX over HTTP."""

from __future__ import annotations

from litestar import get, post

from mainspring.core.errors import NotFound
from mainspring.core.values import dataclass
from mainspring.registry.conversions import Conversion, Conversions
from mainspring.registry.service import Registry

_READ = {"permission": "models:read"}
_WRITE = {"permission": "models:write"}
_PLACE = "/api/v1/models/{name:str}/versions/{version:str}/onnx"


@dataclass(frozen=True, slots=True)
class OnnxRequest:
    """The dataset by whose rows a converted version is compared with its source; "" is the source's reference."""

    dataset: str = ""


@post(_PLACE, opt=_WRITE, sync_to_thread=True, status_code=202)
def ask_for_onnx(conversions: Conversions, name: str, version: str, data: OnnxRequest) -> Conversion:
    """Have a version of scikit-learn kept as ONNX, too; it takes seconds, and GET says what became of it."""
    return conversions.ask(name, version, data.dataset)


@get(_PLACE, opt=_READ, sync_to_thread=True)
def show_onnx(registry: Registry, conversions: Conversions, name: str, version: str) -> Conversion:
    """What became of the conversion of a version that was asked for last."""
    found = registry.get(name, version)
    last = conversions.last(found)
    if last is None:
        raise NotFound("nobody asked for it as ONNX yet", where=found.ref, hint="ask with POST")
    return last


handlers = [ask_for_onnx, show_onnx]
