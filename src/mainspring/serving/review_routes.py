"""Reviews over HTTP: predictions that wait for a person, and what was decided."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post
from litestar.params import Parameter, QueryParameter

from mainspring.core.values import dataclass
from mainspring.serving.model import Label, Review
from mainspring.serving.service import Serving

_READ = {"permission": "reviews:read"}
_WRITE = {"permission": "reviews:write"}
State = Annotated[Literal["open", "decided", ""], QueryParameter(name="state")]
Limit = Annotated[int, Parameter(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """What the answer should be, and why."""

    value: Label
    note: str = ""


@get("/api/v1/reviews", opt=_READ, sync_to_thread=True)
def list_reviews(
    serving: Serving, in_state: State = "open", deployment: str = "", before: str = "", limit: Limit = 100
) -> list[Review]:
    """Reviews, newest first; `before` is the id of the last one of the page before."""
    return serving.reviews(deployment, state=in_state, before=before, limit=limit)


@get("/api/v1/reviews/{review_id:str}", opt=_READ, sync_to_thread=True)
def show_review(serving: Serving, review_id: str) -> Review:
    """One review, with its decision if there is one."""
    return serving.review(review_id)


@post(
    "/api/v1/reviews/{review_id:str}/decide", opt={"permission": "reviews:write"}, sync_to_thread=True, status_code=200
)
def decide_review(serving: Serving, review_id: str, data: DecisionRequest) -> Review:
    """Say what the answer should be; said twice, it is said once."""
    return serving.decide(review_id, data.value, data.note)


handlers = [list_reviews, show_review, decide_review]
