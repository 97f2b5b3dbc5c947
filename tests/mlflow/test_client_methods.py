"""Every method of the client that asks a server: what it asks is answered here, or named as what is not there."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

from mlflow.protos.model_registry_pb2 import ModelRegistryService
from mlflow.protos.service_pb2 import MlflowService
from mlflow.protos.webhooks_pb2 import WebhookService
from mlflow.store.model_registry import rest_store as registry_store
from mlflow.store.tracking import rest_store as tracking_store
from mlflow.utils.rest_utils import extract_api_info_for_service
from tests.mlflow.http import Http

NOT_THERE = re.compile(r"label_schema|review_queue|user_queue|_issues?$|trace_filter_correlation|trace_metrics")
"""Of the docs' list of what is not there: label schemas, review queues, issues, sums and correlations of traces. The
gateway's methods are in a module of their own."""
_ASKING = ("self._call_endpoint", "self._call_webhook_endpoint")
UNKNOWN = (404, "ENDPOINT_NOT_FOUND")


def asked(store: ModuleType) -> dict[str, set[str]]:
    """The kinds of question that each method of a store asks, by the name of its message."""
    found: dict[str, set[str]] = {}
    methods = [node for node in ast.walk(ast.parse(inspect.getsource(store))) if isinstance(node, ast.FunctionDef)]
    for method in methods:
        for node in ast.walk(method):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in _ASKING:
                continue
            if isinstance(node.args[0], ast.Name) and node.args[0].id[:1].isupper():
                found.setdefault(method.name, set()).add(node.args[0].id)
    return found


def addresses() -> dict[str, tuple[str, str]]:
    """Where each kind of question goes: method and path."""
    found = {}
    for service in (MlflowService, ModelRegistryService, WebhookService):
        for message, (path, method) in extract_api_info_for_service(service, "/api/2.0").items():
            found[message.DESCRIPTOR.name] = (method, re.sub(r"\{[^}]*\}", "none", path))
    return found


def is_answered(http: Http, method: str, path: str) -> bool:
    """Whether there is a call at an address, whatever it says of a question without fields."""
    places = (path, path.replace("/2.0/", "/3.0/"))  # methods about traces choose themselves
    answers = [http.call(method, place) for place in places]
    return any(a.status_code != 405 and (a.status_code, _code(a.text)) != UNKNOWN for a in answers)


def _code(text: str) -> str:
    found = re.search(r'"error_code": ?"(\w+)"', text)
    return found[1] if found else "ENDPOINT_NOT_FOUND"  # a page of MLflow's server in place of an error


def test_every_method_of_the_client_is_answered_or_named_as_not_there(http: Http) -> None:
    where = addresses()
    wanted = {**asked(tracking_store), **asked(registry_store)}
    assert len(wanted) > 90
    here = {name: kinds for name, kinds in wanted.items() if not NOT_THERE.search(name)}
    lost = {name for name, kinds in here.items() for kind in kinds if not is_answered(http, *where[kind])}
    assert not lost
    absent = {kind for name, kinds in wanted.items() if name not in here for kind in kinds}
    assert absent, "the client has none of what is not there: shorten the list"
