"""The addresses of the protocol: one spelling that is served, and those that clients and pages of MLflow also use."""

from __future__ import annotations

import re

BASE = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts"
_OWN = re.compile(r"/(?:ajax-)?api/[23]\.0/mlflow(?:-artifacts)?(?:/|$)|/(?:model-versions/)?get-artifact$")
_THIRD = re.compile(r"/api/3\.0/mlflow(?:-artifacts)?(?!/traces)(?:/|$)")


def is_own(path: str) -> bool:
    """Whether an address belongs to the protocol, in any spelling.

    >>> is_own("/ajax-api/3.0/mlflow/runs/get"), is_own("/api/v1/runs")
    (True, False)
    """
    return _OWN.match(path) is not None


def served(path: str) -> str:
    """The spelling under which an address is served: without `ajax-`, and 2.0 unless 3.0 means something else.

    >>> served("/ajax-api/3.0/mlflow/runs/get"), served("/api/3.0/mlflow/traces/search")
    ('/api/2.0/mlflow/runs/get', '/api/3.0/mlflow/traces/search')
    """
    if not is_own(path):
        return path
    plain = path.replace("/ajax-api/", "/api/", 1)
    return plain.replace("/3.0/", "/2.0/", 1) if _THIRD.match(plain) else plain
