"""Storage: five small ports and one file per backend. Rooms import the ports; the roof opens the backends.

This package is light: nothing heavy is imported until a backend is opened.
"""

from __future__ import annotations
