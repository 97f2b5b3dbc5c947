"""HTTP: the files that pages load."""

from __future__ import annotations

from litestar import Response, get

from mainspring.ui.files import MEDIA_TYPES, content, tag

_FOREVER = "private, max-age=31536000, immutable"
_ASK = "no-cache"


@get("/files/{digest:str}/{name:str}", opt={"permission": "files:read"}, sync_to_thread=False, include_in_schema=False)
def file(digest: str, name: str) -> Response[bytes]:
    """A file of the pages. Under the address of its content a browser may keep it for good."""
    data = content(name)
    headers = {"Cache-Control": _FOREVER if digest == tag(name) else _ASK, "ETag": f'"{tag(name)}"'}
    return Response(data, media_type=MEDIA_TYPES[name], headers=headers)


handlers = [file]
