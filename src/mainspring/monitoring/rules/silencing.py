"""Whether an alarm is silenced, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mainspring.monitoring.model import Silence


def silence_of(
    silences: Iterable[Silence], deployment: str, cause: str, evidence: Mapping[str, object], now: int
) -> Silence | None:
    """The silence that an alarm falls under, the one that lasts longest; None when somebody should be told.

    A silence of columns holds for an alarm whose columns are all silenced: one more column breaks it.

    Args:
        silences: Those that there are.
        deployment: What the alarm is about.
        cause: Of the alarm.
        evidence: Of the alarm; its "columns" say which they are.
        now: Wall time.
    """
    mine = [
        silence
        for silence in silences
        if silence.holds(now) and silence.deployment in ("", deployment) and silence.cause in ("", cause)
    ]
    whole = [silence for silence in mine if not silence.column]
    if whole:
        return max(whole, key=lambda silence: silence.until)
    entries = evidence.get("columns")
    columns = {str(entry["column"]) for entry in entries} if isinstance(entries, list) else set()
    named = {silence.column for silence in mine}
    if not columns or not columns <= named:
        return None
    return min((silence for silence in mine if silence.column in columns), key=lambda silence: silence.until)
