"""What the registry keeps in tables, and the statements over it. Every statement is of the caller's project."""

from mainspring.registry.records import tables as tables
