"""Looking into pickles without loading them.

A pickle is a program: loading one imports modules and calls functions of its choice. `scan` follows that program with
stubs, in a process of its own, and holds every name against an allow-list. It fails closed: what it does not understand
is unsafe. A safe report means that loading imports and calls only what is on the list; it does not mean that the bytes
are harmless to the compiled code that reads them, so pickles are loaded in a process of their own in any case.
"""

from __future__ import annotations

from mainspring.registry.pickles.report import Finding, Limits, Report, joined
from mainspring.registry.pickles.scan import require_safe, scan, scan_file, scan_files, scan_folder

__all__ = [
    "Finding",
    "Limits",
    "Report",
    "joined",
    "require_safe",
    "scan",
    "scan_file",
    "scan_files",
    "scan_folder",
]
