"""So what, and what to do: from an alarm to the likely cause and the next step, in words."""

from __future__ import annotations

from collections.abc import Mapping

_BY_CAUSE = {
    "performance": "The loop retrains where a policy says so: mainspring loop ls. By hand: mainspring loop start.",
    "drift": "Look at the columns below. While realized performance holds, nothing has to be done.",
    "missing": "Ask whoever delivers these columns; until then the model answers without them.",
    "errors": "Look at mainspring workers and the log of the server; roll back if the version is new.",
    "latency": "Look at the load: mainspring workers. More of them: [serving] max_workers.",
    "resources": "Look at mainspring workers: a leak, more load, a heavier model? For load: [serving] max_workers.",
    "stale": "Ask whoever calls this deployment whether it still does; look at what stands between.",
    "coverage": "Intervals are too narrow for what comes now: fit them again on newer rows, or train again.",
    "gap": "The inputs look as before and the answers are worse: retrain on newer labels.",
}
_BY_FINDING = {
    "absent": "The column does not arrive at all: has it been renamed or dropped upstream?",
    "missing": "Ask whoever delivers the column what became of these values.",
    "invalid": "The values have another type than at training: look at what the callers send.",
    "unit": "Convert the unit where the column is made, or train again on the new one; do not mix both.",
    "encoding": "The levels are written differently: map them back where the column is made.",
    "unseen": "New levels: check that they are real, then train again once there are enough rows of them.",
    "constant": "Everything has the same value: a default or a source that is stuck.",
    "season": "The training data has looked like this before: most likely a season. Wait for realized performance.",
    "moved": "The world may have changed: compare realized performance, and train again if it falls.",
    "together": "Several columns lost the same rows: a source they share is late or gone.",
}


def finding_of(evidence: Mapping[str, object]) -> str:
    """What most columns of an alarm look like, "together" where three lost the same rows, "" without columns."""
    columns = evidence.get("columns")
    entries = [entry for entry in columns if isinstance(entry, dict)] if isinstance(columns, list) else []
    if not entries:
        return ""
    shares = sorted(share for entry in entries if isinstance(share := entry.get("missing_share"), float))
    if len(shares) >= 3 and shares[-1] - shares[0] <= 0.02:
        return "together"
    kinds = [str(entry.get("finding", "moved")) for entry in entries]
    return max(sorted(set(kinds)), key=kinds.count)


def advice(cause: str, evidence: Mapping[str, object]) -> str:
    """The next step for whoever sees an alarm.

    >>> advice("stale", {}).startswith("Ask whoever calls")
    True
    """
    finding = finding_of(evidence)
    return _BY_FINDING[finding] if finding in _BY_FINDING else _BY_CAUSE.get(cause, "")
