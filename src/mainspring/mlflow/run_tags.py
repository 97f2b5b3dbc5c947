"""Tags by which clients of MLflow say what we keep in fields: read from what they log, shown for runs of our own."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.core.errors import Invalid
from mainspring.tracking.model import CodeState, Run, RunChange

NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
USER = "mlflow.user"
SOURCE = "mlflow.source.name"
COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
KEPT_APART = (NAME, PARENT)
"""Tags that are fields and nothing else: the field is written, and the tag is what the field says."""

_CODE = {COMMIT: "commit", BRANCH: "branch", SOURCE: "entry"}
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
