"""Who this server is to a client of MLflow."""

from __future__ import annotations

from mainspring.mlflow.calls import Nothing, call
from mainspring.mlflow.wire import Message

VERSION = "3.18.0"
"""The release of MLflow whose protocol is spoken; clients choose what they use by it."""

PUBLIC_PATHS = ("/version", "/api/2.0/mlflow/server-info")
"""What is answered without a login: clients ask it before they have one."""


class ServerInfo(Message):
    """What the server can do beyond the protocol every server speaks."""

    store_type: str = "SqlStore"
    workspaces_enabled: bool = False
    trace_archival_enabled: bool = False
    multipart_uploads_enabled: bool = False
    multipart_downloads_enabled: bool = False
    artifact_serving_enabled: bool = True
    artifacts_presigned_only: bool = False
    presigned_upload_run_id_supported: bool = False
    presigned_upload_model_id_supported: bool = False
    model_artifact_presigned_downloads_supported: bool = False
    tracking_auth: str = ""
    features_enabled: dict[str, bool] = {}


@call("GET", "server-info", "public")
async def server_info(ask: Nothing) -> dict[str, object]:
    """Say what this server can do."""
    made = ServerInfo()
    return {name: getattr(made, name) for name in ServerInfo.__struct_fields__}  # defaults are part of this answer


calls = [server_info]
