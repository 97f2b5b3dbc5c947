"""The screens of the queue of people: what waits, and one prediction with the form for its decision."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect, Template

from mainspring.core.values import dataclass
from mainspring.registry.service import Registry
from mainspring.serving.review_commands import label_of
from mainspring.serving.service import Serving

_ROWS = 100


@dataclass(frozen=True, slots=True)
class DecisionForm:
    """What a person filled in."""

    value: str
    note: str = ""


@get("/reviews", opt={"permission": "reviews:read"}, sync_to_thread=True, include_in_schema=False)
def reviews_page(
    serving: Serving,
    in_state: Annotated[Literal["open", "decided", ""], QueryParameter(name="state")] = "open",
    deployment: str = "",
    before: str = "",
) -> Template:
    """What waits for a person, and what was decided."""
    found = serving.reviews(deployment, state=in_state, before=before, limit=_ROWS + 1)
    context = {
        "reviews": found[:_ROWS],
        "older": found[_ROWS - 1].id if len(found) > _ROWS else "",
        "state": in_state,
        "deployment": deployment,
        "waiting": serving.open_reviews(),
        "full": serving.full_queues(),
    }
    return Template("serving/page/reviews.html", context=context)


@get("/reviews/{review_id:str}", opt={"permission": "reviews:read"}, sync_to_thread=True, include_in_schema=False)
def review_page(serving: Serving, registry: Registry, review_id: str) -> Template:
    """One prediction, why it waits, and the form for the decision."""
    found = serving.review(review_id)
    live = serving.get(found.deployment)
    rules = {rule.name: rule.text for rule in live.options.rules}
    context = {
        "review": found,
        "asked": serving.prediction(found.prediction_id, deployment=found.deployment),
        "classes": registry.get(live.model, found.version).classes,
        "model": live.model,
        "rules": [(mark, rules.get(mark.partition(":")[0], "")) for mark in found.marks],
    }
    return Template("serving/page/review.html", context=context)


@post("/reviews/{review_id:str}", opt={"permission": "reviews:write"}, sync_to_thread=True, include_in_schema=False)
def decide_page(
    serving: Serving,
    review_id: str,
    data: Annotated[DecisionForm, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Store a decision, then show the queue."""
    serving.decide(review_id, label_of(data.value), data.note)
    return Redirect("/reviews", status_code=303)


handlers = [reviews_page, review_page, decide_page]
