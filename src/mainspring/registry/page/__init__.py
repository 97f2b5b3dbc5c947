"""The screens of the registry."""

from __future__ import annotations

from mainspring.registry.page.models import model_page, models_page
from mainspring.registry.page.version import convert_page, framed_file, version_file_page, version_page

handlers = [models_page, model_page, version_page, version_file_page, framed_file, convert_page]
