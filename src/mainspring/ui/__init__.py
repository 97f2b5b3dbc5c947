"""The user interface: the shell of every page, its style and one small script, charts as SVG, and the loop page.

Pages are rendered on the server; templates live with the room they show, as `<room>/page/NAME.html`.
"""

from __future__ import annotations
