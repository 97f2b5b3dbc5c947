"""Continuous integration: data checks, pipeline and gate on the working tree, with no server, and the reports of it."""

from __future__ import annotations

from mainspring.loop.ci.model import Case, CiSpec, Report

__all__ = ["Case", "CiSpec", "Report"]
