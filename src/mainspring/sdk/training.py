"""Many families of models on the same folds, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.training import Leaderboard


def train(
    data: object,
    target: str,
    *,
    budget_s: float = 120.0,
    families: Sequence[str] = (),
    register: str = "",
    name: str = "",
    resume: str = "",
    **options: object,
) -> Leaderboard:
    """Make a leaderboard, here and now, and give it back when it is whole or its budget is used up.

    Args:
        data: A dataset such as "flights" or "flights/3", a CSV or Parquet file, or a frame of Polars or pandas, which
            is ingested first.
        target: The column to predict.
        budget_s: Seconds of work; the best so far is kept when they are over.
        families: Names of families; all that are installed when empty.
        register: Register the best under this model name.
        name: Name of the dataset that a frame becomes.
        resume: Id of a leaderboard that goes on instead, with so many seconds more.
        options: Whatever else `TrainRequest` takes, such as `how="time"`, `fair="region"` or `open_test=True`.
    Raises:
        Invalid: The request does not fit the rows; nothing was begun.
        Unavailable: The session speaks to a server: use its API.
    """
    from mainspring.core.errors import Invalid, did_you_mean
    from mainspring.data import Data
    from mainspring.sdk.session import default_session
    from mainspring.training import Training, TrainRequest
    from mainspring.training.sources import ingested

    known = [entry for entry in TrainRequest.__dataclass_fields__ if entry not in ("data", "target")]
    for option in options:
        if option not in known:
            raise Invalid(f"train takes no {option!r}", where="train", hint=did_you_mean(option, known))
    session = default_session()
    training = session.get(Training)
    if resume:
        return training.work(training.resume(resume, budget_s=budget_s, here=True).id)
    request = TrainRequest(
        data="frame",
        target=target,
        budget_s=budget_s,
        families=tuple(families),
        register=register,
        **{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()},  # type: ignore[arg-type]
    )
    is_named = isinstance(data, str) and not data.endswith((".csv", ".parquet", ".pq"))
    ref = str(data) if is_named else ingested(session.get(Data), data, name)
    return training.work(training.start(replace(request, data=ref), here=True).id)
