"""The table of runs: filtered, sorted, grouped, with columns of one's choice. Its address is all of its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from litestar import get
from litestar.params import Parameter
from litestar.response import Template

from mainspring.core.errors import Invalid
from mainspring.tracking.comparing import cell
from mainspring.tracking.grammar import RUNS, Page, read_fields, read_order
from mainspring.tracking.grammar.tree import ATTRIBUTES, Field, Order
from mainspring.tracking.model import Experiment, Run, View
from mainspring.tracking.page import columns as cells
from mainspring.tracking.page.run import READ
from mainspring.tracking.searching import VIEWS, Search
from mainspring.tracking.service import Tracking
from mainspring.tracking.views import Views

ROWS = 100
GROUPED = 2_000
"""How many runs are looked at to group them."""
_OFFERED = 400


@dataclass(frozen=True, slots=True)
class Question:
    """What an address asks for."""

    experiment: str = ""
    filter: str = ""
    order: str = ""
    view: str = "active"
    columns: tuple[str, ...] = ()
    group: str = ""

    def address(self, **changes: object) -> str:
        """The address of the same question with other words; what is empty is left out."""
        words: dict[str, object] = {
            "experiment": self.experiment,
            "filter": self.filter,
            "order": self.order,
            "view": "" if self.view == "active" else self.view,
            "columns": list(self.columns),
            "group": self.group,
        } | changes
        return "/runs?" + urlencode({key: text for key, text in words.items() if text}, doseq=True)

    @staticmethod
    def of(view: View) -> str:
        """The address of a saved view."""
        return Question(view.experiment, view.filter, ", ".join(view.order_by), columns=view.columns).address()


@dataclass(frozen=True, slots=True)
class Found:
    """What answers a question; `problem` says why nothing does."""

    page: Page[Run]
    order: tuple[Order, ...] = ()
    columns: tuple[cells.Column, ...] = ()
    group: Field | None = None
    problem: Invalid | None = None


@get("/runs", opt=READ, sync_to_thread=True, include_in_schema=False)
def runs_page(
    tracking: Tracking,
    search: Search,
    views: Views,
    experiment: str = "",
    filter: str = "",
    order: str = "",
    view: str = "active",
    columns: Annotated[list[str] | None, Parameter(required=False)] = None,
    group: str = "",
    page_token: str = "",
) -> Template:
    """Runs with their latest metrics."""
    asked = Question(experiment, filter, order, view, tuple(columns or ()), group)
    experiments = tracking.experiments()
    found = _found(search, asked, experiments, page_token)
    known = cells.known_fields(found.page.items)
    shown = found.columns or tuple(cells.column(field) for field in cells.chosen(found.page.items, known))
    context = {
        "asked": asked,
        "experiments": experiments,
        "saved": views.list(),
        "views": VIEWS,
        "problem": found.problem,
        "runs": found.page.items[:ROWS],
        "groups": None if found.group is None else cells.grouped(found.page.items, found.group, shown),
        "columns": shown,
        "offered": _offered(known, shown),
        "values": cell,
        "order_after": lambda field: cells.following_order(found.order, field),
        "direction": {item.field: "descending" if item.descending else "ascending" for item in found.order},
        "started": Field(ATTRIBUTES, "started_at"),
        "following": found.page.next_token if found.group is None else "",
        "later": bool(page_token),
        "cut": found.group is not None and bool(found.page.next_token),
    }
    status = 400 if found.problem else 200
    return Template("tracking/page/list.html", context=context, status_code=status)


def _found(search: Search, asked: Question, experiments: list[Experiment], token: str) -> Found:
    try:
        ids = None if not asked.experiment else [e.id for e in experiments if e.name == asked.experiment]
        order = read_order([asked.order] if asked.order else [], RUNS)
        columns = tuple(cells.column(field) for field in read_fields(", ".join(asked.columns), RUNS, ()))
        grouping = read_fields(asked.group, RUNS, ())
        page = search.runs(
            ids,
            asked.filter,
            view=asked.view,
            order_by=[asked.order] if asked.order else [],
            limit=GROUPED if grouping else ROWS,
            page_token=token,
        )
        return Found(page, tuple(order), columns, grouping[0] if grouping else None)
    except Invalid as reason:
        return Found(Page((), ""), problem=reason)


def _offered(known: list[Field], shown: tuple[cells.Column, ...]) -> list[cells.Column]:
    """The columns one may choose from: those that are shown, then those the runs have."""
    have = {one.field for one in shown}
    return [*shown, *(cells.column(field) for field in known if field not in have)][:_OFFERED]
