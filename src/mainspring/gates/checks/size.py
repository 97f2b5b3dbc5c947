"""How large the candidate's package is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{size_mb = 200}`.

    Args:
        size_mb: The largest size of the package in megabytes of 1,000,000 bytes.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("size_mb",)
    size_mb: float

    def __post_init__(self) -> None:
        if not 0 < self.size_mb < math.inf:
            raise Invalid(f"the limit is {self.size_mb} MB", hint="use a size above 0")

    def title(self) -> str:
        """The check in a few words."""
        return f"size at most {self.size_mb:g} MB"

    def measure(self, case: Case) -> Finding:
        """The size on record."""
        from mainspring.gates.rules.finding import fact

        size_mb = case.version.size_bytes / 1e6
        return fact(size_mb <= self.size_mb, value=size_mb, threshold=self.size_mb, method="size of the package")
