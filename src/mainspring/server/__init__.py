"""The server: one Litestar app over the wiring, with one guard, one error table and one door for every request."""

from __future__ import annotations
