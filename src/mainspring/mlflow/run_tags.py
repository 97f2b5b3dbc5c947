"""Tags by which clients of MLflow say what we keep in fields: read from what they log, shown for runs of our own."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mainspring.core.errors import Invalid
from mainspring.tracking.model import CodeState, Run, RunChange

NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
USER = "mlflow.user"
SOURCE = "mlflow.source.name"
COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
MODELS = "mlflow.log-model.history"
"""A JSON list of the models that a client of MLflow 2 logged."""

KEPT_APART = (NAME, PARENT)
"""Tags that are fields and nothing else: the field is written, and the tag is what the field says."""

_CODE = {COMMIT: "commit", BRANCH: "branch", SOURCE: "entry"}
_MODEL_FIELDS = frozenset(("artifact_path", "flavors", "utc_time_created", "run_id"))
_SAYS = frozenset((NAME, PARENT, USER, *_CODE))


def change_of(tags: Mapping[str, str]) -> tuple[dict[str, str], RunChange | None]:
    """The tags to store, and what tags say about the fields of a run; None when they say nothing."""
    if _SAYS.isdisjoint(tags):
        return dict(tags), None
    code = {field: tags[key] for key, field in _CODE.items() if tags.get(key)}
    change = RunChange(
        name=tags.get(NAME),
        parent=tags.get(PARENT),
        user_id=tags.get(USER),
        code=CodeState(**code) if code else None,  # type: ignore[arg-type]  # the three are texts
    )
    return {key: value for key, value in tags.items() if key not in KEPT_APART}, change


def name_of(run_name: str, tags: Mapping[str, str]) -> str:
    """The name of a new run, which may be given as a field, as a tag, or both alike.

    Raises:
        Invalid: The two differ.
    """
    tagged = tags.get(NAME, "")
    if run_name and tagged and run_name != tagged:
        both = f"Both 'run_name' argument and '{NAME}' tag are specified, but with different values"
        raise Invalid(f"{both} (run_name='{run_name}', {NAME}='{tagged}').", where="run_name")
    return run_name or tagged


def model_entry(model_json: str) -> dict[str, object]:
    """What the tag of models says of a model.

    Raises:
        Invalid: It is no JSON object, or lacks what every model has.
    """
    try:
        model = msgspec.json.decode(model_json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Invalid(f"Malformed model info: {model_json[:60]!r} is not a valid JSON.", where="model_json") from None
    missing = _MODEL_FIELDS - (set(model) if isinstance(model, dict) else set())
    if missing:
        raise Invalid(f"Model json is missing mandatory fields: {sorted(missing)}", where="model_json")
    entry = {key: model[key] for key in (*sorted(_MODEL_FIELDS), "model_uuid") if key in model}
    if isinstance(model["flavors"], dict):
        entry["flavors"] = {name: _without_config(flavour) for name, flavour in model["flavors"].items()}
    return entry


def _without_config(flavour: object) -> object:
    """As MLflow does: the configuration of a flavour would be too long for a tag."""
    return {key: value for key, value in flavour.items() if key != "config"} if isinstance(flavour, dict) else flavour


def shown(run: Run) -> dict[str, str]:
    """The tags of a run as clients of MLflow expect them."""
    tags = {**run.tags, NAME: run.name}
    if run.parent:
        tags[PARENT] = run.parent
    if not run.user_id:  # a run of our own client
        said = {USER: run.created_by}
        if run.code is not None:
            said |= {key: getattr(run.code, field) for key, field in _CODE.items()}
        tags = {key: value for key, value in said.items() if value} | tags
    return dict(sorted(tags.items()))
