"""Who this server is to a client of MLflow."""

from __future__ import annotations

from mainspring.mlflow.calls import Nothing, call
from mainspring.mlflow.errors import Told
from mainspring.mlflow.spelling import is_own
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


def refuse_workspace(path: str, workspace: str) -> None:
    """Refuse a request into a workspace rather than answer it out of another place.

    Args:
        path: The address; what the server can do is told whatever workspace is named.
        workspace: The header `X-MLFLOW-WORKSPACE`.
    Raises:
        Told: A workspace is named.
    """
    if workspace.strip() and is_own(path) and not path.rstrip("/").endswith("/mlflow/server-info"):
        what = "Workspace APIs are not available: workspaces are not enabled on this server"
        hint = "unset MLFLOW_WORKSPACE; projects are chosen with the header X-Mainspring-Project"
        raise Told("FEATURE_DISABLED", what, where="X-MLFLOW-WORKSPACE", hint=hint)


calls = [server_info]
