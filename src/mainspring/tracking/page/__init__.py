"""The screens of tracking."""

from __future__ import annotations

from mainspring.tracking.page.compare import compare_page
from mainspring.tracking.page.run import file_page, framed_file, run_page
from mainspring.tracking.page.table import runs_page

handlers = [runs_page, run_page, file_page, framed_file, compare_page]
