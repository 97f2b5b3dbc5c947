"""One seed for all sources of randomness in this process, on record with the runs that follow."""

from __future__ import annotations

import random
import sys

from mainspring.core.errors import Invalid
from mainspring.sdk.run import current

SEED = "mainspring.seed"
"""The tag of a run whose seed was set while it ran."""
_MOST = 2**32
_last: int | None = None


def seed(value: int) -> int:
    """Start the randomness of Python, and of NumPy and PyTorch where they are loaded, from `value`; put it on record.

    Call it after the imports and before the run: runs that start later record it as their seed, a run whose block this
    is in as the tag `mainspring.seed`.

    Args:
        value: From 0 to 2**32 - 1, which is what NumPy takes.
    Returns: The value.
    Raises:
        Invalid: It is out of range.

    Example:
        >>> import random, mainspring
        >>> mainspring.seed(7)
        7
        >>> round(random.random(), 3)
        0.324
    """
    global _last
    if not isinstance(value, int) or not 0 <= value < _MOST:
        raise Invalid(f"{value!r} can't be a seed", where="seed", hint="use a whole number from 0 to 4294967295")
    random.seed(value)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed(value)
    if torch is not None:
        torch.manual_seed(value)  # of all devices
    _last = value
    run = current()
    if run is not None:
        run.tags({SEED: value})
    return value


def last() -> int | None:
    """What `seed` was called with last in this process."""
    return _last
