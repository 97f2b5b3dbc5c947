"""The page of one run: curves, params, files, code, environment, and what came before and after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from litestar import Response, get
from litestar.response import Template

from mainspring.core.values import dataclass
from mainspring.tracking.files import Files
from mainspring.tracking.model import Artifact, Curve, Run
from mainspring.tracking.page.preview import look
from mainspring.tracking.rules import check_path, smoothed, thinned
from mainspring.tracking.searching import Search
from mainspring.tracking.service import Tracking
from mainspring.tracking.transfer import Ask, answer_framed

READ = {"permission": "runs:read"}
SMOOTHING = {"0": "none", "0.5": "little", "0.8": "some", "0.95": "much"}
"""How far the memory of a smoothed curve reaches, and what the page calls it."""
SHOWN_FILES = 200
"""How many files one page lists."""
_POINTS = 400
_CHARTS = 24
_CHILDREN = 50
_DIFF_SHOWN = 20_000


@dataclass(frozen=True, slots=True)
class Look:
    """How curves are drawn, as the address of the page says it."""

    smooth: str = "0"
    log: bool = False
    against: str = "step"

    @classmethod
    def of(cls, smooth: str, scale: str, against: str) -> Look:
        """The look an address asks for; what it does not know it leaves as it is."""
        known = smooth if smooth in SMOOTHING else "0"
        return cls(known, scale == "log", against if against in ("step", "time") else "step")

    def drawn(self, curve: Curve, started_at: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """A history as the points to draw, and when these are smoothed, as they were; time is in seconds."""
        if self.against == "time":
            along = [(at - started_at) / 1e6 for at in curve.times]
        else:
            along = [float(step) for step in curve.steps]
        places = list(zip(along, curve.values, strict=True))
        if self.smooth == "0":
            return thinned(places, _POINTS), []
        return thinned(smoothed(places, float(self.smooth)), _POINTS), thinned(places, _POINTS)


@get("/runs/{run_id:str}", opt=READ, sync_to_thread=True, include_in_schema=False)
def run_page(
    tracking: Tracking,
    search: Search,
    files: Files,
    run_id: str,
    smooth: str = "0",
    scale: str = "linear",
    against: str = "step",
    part: str = "",
    after: str = "",
) -> Template:
    """One run. `part` shows only metrics whose name begins with it, `after` the files after a path."""
    run = tracking.get(run_id)
    drawn = Look.of(smooth, scale, against)
    shown = [key for key in run.metrics if key.startswith(part)]
    charts = [_chart(tracking, run, key, drawn) for key in shown[:_CHARTS]]
    kept = files.below(run.folder, after=after, limit=SHOWN_FILES + 1)
    diff = run.code.diff if run.code else ""
    context = {
        "run": run,
        "other": next((one for one in search.runs([run.experiment_id], limit=2).items if one.id != run.id), None),
        "children": search.runs(None, f"parent = '{run.id}'", limit=_CHILDREN).items,
        "charts": charts,
        "parts": parts_of(run.metrics),
        "part": part,
        "look": drawn,
        "smoothing": SMOOTHING,
        "more": len(shown) - len(charts),
        "folders": folders_of(kept[:SHOWN_FILES]),
        "following": kept[SHOWN_FILES - 1].path if len(kept) > SHOWN_FILES else "",
        "diff": diff[:_DIFF_SHOWN],
        "diff_cut": len(diff) > _DIFF_SHOWN or bool(run.code and run.code.diff_cut),
    }
    return Template("tracking/page/run.html", context=context)


@get("/runs/{run_id:str}/files/{path:path}", opt=READ, sync_to_thread=True, include_in_schema=False)
def file_page(tracking: Tracking, files: Files, run_id: str, path: str, framed: bool = False) -> Template:
    """What can be shown of a file without running anything of it, or with `framed` an HTML file in a sandbox."""
    run, path = tracking.get(run_id), path.removeprefix("/")
    kept = replace(files.find(run.folder + path), path=path)
    context = {"run": run, "artifact": kept, "shown": look(files, kept), "framed": framed}
    return Template("tracking/page/file.html", context=context)


@get("/runs/{run_id:str}/framed/{path:path}", opt=READ, include_in_schema=False)
async def framed_file(files: Files, request: Ask, run_id: str, path: str) -> Response[object]:
    """An HTML file of a run, for the frame on its page."""
    path = check_path(path.removeprefix("/"))
    kept = await asyncio.to_thread(lambda: files.find(files.run_folder(run_id) + path))
    return await answer_framed(request, files, replace(kept, path=path))


def parts_of(keys: Iterable[str]) -> dict[str, int]:
    """The first parts of names with a slash, and how many names begin with each, when there is more than one part.

    >>> parts_of(["train/loss", "train/auc", "val/loss", "speed"])
    {'train/': 2, 'val/': 1}
    """
    found: dict[str, int] = {}
    for key in keys:
        head, slash, _ = key.partition("/")
        if slash:
            found[head + slash] = found.get(head + slash, 0) + 1
    return found if len(found) > 1 else {}


def folders_of(files: Iterable[Artifact]) -> dict[str, list[Artifact]]:
    """Files by the folder they lie in, "" first."""
    found: dict[str, list[Artifact]] = {}
    for file in sorted(files, key=lambda entry: (entry.path.rpartition("/")[0], entry.path)):
        folder, slash, _ = file.path.rpartition("/")
        found.setdefault(folder + slash, []).append(file)
    return found


def _chart(tracking: Tracking, run: Run, key: str, look: Look) -> dict[str, object]:
    curve = tracking.curve(run.id, key)
    points, faint = look.drawn(curve, run.started_at)
    return {"key": key, "last": run.metrics[key], "count": len(curve.values), "points": points, "faint": faint}
