"""Splits over HTTP. Sealed rows are not handed out here."""

from __future__ import annotations

from litestar import get, post

from mainspring.core.values import dataclass
from mainspring.data.splits import Split, SplitSpec
from mainspring.data.splits.model import Uses
from mainspring.data.splits.service import Splits

_READ = {"permission": "datasets:read"}
_WRITE = {"permission": "datasets:write"}


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """A dataset version to split, and how; the name is that of the dataset unless another is given."""

    dataset: str
    spec: SplitSpec
    name: str = ""


@get("/api/v1/splits", opt=_READ, sync_to_thread=True)
def list_splits(splits: Splits, dataset: str = "", limit: int = 100) -> list[Split]:
    """Splits, newest first."""
    return splits.splits(dataset, limit=limit)


@post("/api/v1/splits", opt=_WRITE, sync_to_thread=True)
def make_split(splits: Splits, data: SplitRequest) -> Split:
    """Split a dataset version; the same wish on the same rows gives the split that is there."""
    return splits.make(data.dataset, data.spec, name=data.name)


@get("/api/v1/splits/{name:str}/{number:int}", opt=_READ, sync_to_thread=True)
def show_split(splits: Splits, name: str, number: int) -> Split:
    """One split; 0 is the newest."""
    return splits.get(name, number or None)


@get("/api/v1/splits/{name:str}/{number:int}/uses", opt=_READ, sync_to_thread=True)
def list_uses(splits: Splits, name: str, number: int) -> Uses:
    """How often the sealed rows were opened, by whom and what for."""
    return splits.uses(splits.get(name, number or None))


handlers = [list_splits, make_split, show_split, list_uses]
