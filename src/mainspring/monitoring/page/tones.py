"""The colour of each state on the screens of monitoring."""

from __future__ import annotations

TONES = {
    "ok": "ok",
    "waiting": "muted",
    "watch": "warn",
    "alarm": "bad",
    "open": "bad",
    "escalated": "bad",
    "silenced": "muted",
    "acknowledged": "warn",
    "repeated": "muted",
    "closed": "muted",
}
