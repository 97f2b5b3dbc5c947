"""Delta tables in folders of any name: the library names files as an address does, and Polars wants paths."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from deltalake import DeltaTable

if TYPE_CHECKING:
    from deltalake.table import FilePruningPredicateType, FilterType


class PlainPaths(DeltaTable):
    """A table on this machine that names its files as they are, also below `Köln/my data`."""

    def file_uris(
        self,
        partition_filters: FilterType | None = None,
        *,
        file_pruning_predicate: FilePruningPredicateType | None = None,
    ) -> list[str]:
        """Paths of the files."""
        addresses = super().file_uris(partition_filters, file_pruning_predicate=file_pruning_predicate)
        return [unquote(address) for address in addresses]
