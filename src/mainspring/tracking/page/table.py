"""The table of runs: filtered, sorted, grouped, with columns of one's choice. Its address is all of its state."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from litestar import get
from litestar.params import Parameter
from litestar.response import Template

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.tracking.comparing import cell
from mainspring.tracking.grammar import RUNS, Page, read_fields, read_order
from mainspring.tracking.grammar.tree import ATTRIBUTES, Field, Order
from mainspring.tracking.model import Experiment, Run, RunGroups, View
from mainspring.tracking.page import columns as cells
from mainspring.tracking.page.run import READ
from mainspring.tracking.searching import MAX_MEANS, VIEWS, Search
from mainspring.tracking.service import Tracking
from mainspring.tracking.views import Views

ROWS, MAX_COLUMNS = 100, 50
_CELLS = 2500
"""How many cells a page has at most besides those that every table has: wide tables have fewer rows."""
_OFFERED = 300


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
            "columns": ",".join(self.columns),
            "group": self.group,
        } | changes
        return "/runs?" + urlencode({key: text for key, text in words.items() if text}, safe=",")

    @staticmethod
    def of(view: View) -> str:
        """The address of a saved view."""
        return Question(view.experiment, view.filter, ", ".join(view.order_by), columns=view.columns).address()


@dataclass(frozen=True, slots=True)
class Found:
    """What answers a question; `problem` says why nothing does."""

    page: Page[Run]
    rows: int = ROWS
    order: tuple[Order, ...] = ()
    columns: tuple[cells.Column, ...] = ()
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
    known = [*cells.known_fields(found.page.items)[: _OFFERED - len(cells.OWN)], *cells.OWN]
    shown = found.columns or tuple(cells.column(field) for field in cells.chosen(found.page.items, known))
    averaged = [one.field.key for one in shown if one.field.entity == "metrics"][:MAX_MEANS]
    groups, problem = _groups(search, asked, experiments, averaged) if asked.group else (None, None)
    problem = found.problem or problem
    context = {
        "asked": asked,
        "experiments": experiments,
        "saved": views.list(),
        "views": VIEWS,
        "problem": problem,
        "runs": found.page.items,
        "rows": found.rows,
        "groups": groups,
        "averaged": averaged,
        "columns": shown,
        "offered": (offered := _offered(known, shown)),
        "grouping": [*cells.GROUPING, *(one.name for one in offered if not one.number and one.field not in cells.OWN)],
        "values": cell,
        "order_after": lambda field: cells.following_order(found.order, field),
        "direction": {item.field: "descending" if item.descending else "ascending" for item in found.order},
        "attribute": lambda name: Field(ATTRIBUTES, name),
        "filter_of": cells.filter_of,
        "following": found.page.next_token,
        "later": bool(page_token),
    }
    status = 400 if problem else 200
    return Template("tracking/page/list.html", context=context, status_code=status)


def _found(search: Search, asked: Question, experiments: list[Experiment], token: str) -> Found:
    try:
        order = read_order([asked.order] if asked.order else [], RUNS)
        columns = tuple(cells.column(field) for field in read_fields(", ".join(asked.columns), RUNS, ()))
        if len(columns) > MAX_COLUMNS:
            raise Invalid(f"{len(columns)} columns", where="columns", hint=f"choose at most {MAX_COLUMNS}")
        rows = min(ROWS, _CELLS // max(1, len(columns)))
        page = search.runs(
            _ids(asked, experiments),
            asked.filter,
            view=asked.view,
            order_by=[asked.order] if asked.order else [],
            limit=rows,
            page_token=token,
        )
        return Found(page, rows, tuple(order), columns)
    except Invalid as reason:
        return Found(Page((), ""), problem=reason)


def _groups(
    search: Search, asked: Question, experiments: list[Experiment], metrics: list[str]
) -> tuple[RunGroups | None, Invalid | None]:
    try:
        ids = _ids(asked, experiments)
        return search.groups(ids, asked.group, asked.filter, view=asked.view, metrics=metrics), None
    except Invalid as reason:
        return None, reason


def _ids(asked: Question, experiments: list[Experiment]) -> list[str] | None:
    return None if not asked.experiment else [e.id for e in experiments if e.name == asked.experiment]


def _offered(known: list[Field], shown: tuple[cells.Column, ...]) -> list[cells.Column]:
    """The columns one may choose from: those that are shown, then those the runs have."""
    have = {one.field for one in shown}
    return [*shown, *(cells.column(field) for field in known if field not in have)]
