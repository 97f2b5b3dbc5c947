"""The screens of training: leaderboards, and one leaderboard."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.training.model import HIGHER, Candidate, CandidateState, Leaderboard
from mainspring.training.service import Training

_READ = {"permission": "training:read"}
_ROWS = 100
COLUMNS = {
    "score": "score",
    "behind": "behind the best",
    "latency_ms": "ms a row",
    "size_bytes": "size",
    "cpu_s": "CPU s",
    "gap": "gap",
}
"""What measured candidates can be sorted by."""


@get("/leaderboards", opt=_READ, sync_to_thread=True, include_in_schema=False)
def leaderboards_page(training: Training, dataset: str = "", before: int = 0) -> Template:
    """Leaderboards, newest first."""
    boards = training.leaderboards(dataset, before=before, limit=_ROWS)
    following = boards[-1].created_at if len(boards) == _ROWS else 0
    context = {"boards": boards, "dataset": dataset, "following": following}
    return Template("training/page/list.html", context=context)


@get("/leaderboards/{leaderboard:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def leaderboard_page(training: Training, leaderboard: str, sort: str = "score", down: str = "") -> Template:
    """One leaderboard: a table that can be sorted, and accuracy against latency."""
    board = training.get(leaderboard)
    chosen = sort if sort in COLUMNS else "score"
    measured = [each for each in board.candidates if each.state is CandidateState.MEASURED]
    context = {
        "board": board,
        "rows": _sorted(board, measured, chosen, down=bool(down)),
        "rest": [each for each in board.candidates if each.state is not CandidateState.MEASURED],
        "columns": {name: words for name, words in COLUMNS.items() if name != "gap" or board.request.fair},
        "sort": chosen,
        "down": bool(down),
        "higher": HIGHER[board.metric],
        "points": [(each.score.value, each.latency_ms, each.name) for each in measured if each.score],
    }
    return Template("training/page/leaderboard.html", context=context)


def _sorted(board: Leaderboard, measured: list[Candidate], column: str, *, down: bool) -> list[Candidate]:
    """By a column, the better end first; `down` turns it round."""
    if column in ("score", "behind"):
        return measured[::-1] if down else measured

    def key(candidate: Candidate) -> float:
        value = getattr(candidate, column)
        return float("inf") if value is None else float(value)

    return sorted(measured, key=key, reverse=down)


handlers = [leaderboards_page, leaderboard_page]
