"""What tracking keeps in tables, and the statements over it."""

from mainspring.tracking.records import tables as tables
