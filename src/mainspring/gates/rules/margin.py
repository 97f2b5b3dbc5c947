"""How much worse is still good enough, as it is written in the settings."""

from __future__ import annotations

import math

from mainspring.core.errors import Invalid


def margin_of(said: float | str) -> tuple[float, bool]:
    """The size of a margin, and whether it is a share of the value it is held against.

    Args:
        said: A number in units of the metric, or a percentage: "2%".
    Raises: Invalid: It is neither.

    >>> margin_of(0.005), margin_of("2%")
    ((0.005, False), (0.02, True))
    """
    percent = isinstance(said, str)
    try:
        size = float(str(said).strip().removesuffix("%"))
    except ValueError:
        size = math.nan
    if not math.isfinite(size) or (percent and not str(said).strip().endswith("%")):
        raise Invalid(f"the margin {said!r} is not a number or a percentage", hint='0.005 or "2%"')
    return (size / 100, True) if percent else (size, False)
