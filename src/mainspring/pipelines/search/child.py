"""What a server has processes of their own for: to look at a pipeline that is to be searched, and to drive a search.

A server runs no code of projects, and must see what a file says now. And what proposes parameters may be large (torch,
for Gaussian processes) or busy: it is gone with its process when the search is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Invalid, Timeout
from mainspring.engines import Ask, Engine, Message, Outcome, OutcomeState, Task
from mainspring.pipelines.opening import open_house
from mainspring.pipelines.search.model import Search
from mainspring.pipelines.search.rules import of_plain, to_plain
from mainspring.pipelines.targets import load_target
from mainspring.pipelines.worker import Watching

LOOK, DRIVE = f"{__name__}:look", f"{__name__}:drive"
LOOK_S = 60.0
"""How long importing a pipeline's module may take."""


def look_at(
    engine: Engine, place: str, root: Path, folder: Path, said: Mapping[str, Mapping[str, object]]
) -> tuple[str, Search]:
    """The name of a pipeline and how it is to be searched, as a process of its own sees them.

    Args:
        engine: Runs that process.
        place: The target, with an absolute path when it names a file.
        root: Folder of the project.
        folder: For files of the process.
        said: The `section` and the `changes` of `search_for`.
    Raises:
        Invalid, NotFound: What `search_for` and loading the target raise; or importing it ended the process.
        Timeout: Importing it took longer than a minute.
    """
    payload: Message = {"target": place, "root": str(root), **said}
    outcome = engine.run(Task(entry=LOOK, payload=payload, folder=folder, cwd=root), Watching(LOOK_S))
    if outcome.state is OutcomeState.TIMED_OUT:
        hint = "let the module only declare; work belongs into the steps"
        raise Timeout(f"importing it took more than {LOOK_S:g} s", where=place, hint=hint)
    if outcome.state is OutcomeState.DIED:
        hint = "let the module only declare; what is run belongs below: if __name__ == '__main__'"
        raise Invalid(f"importing it ended its process{_last_line(outcome)}", where=place, hint=hint)
    if outcome.error is not None:
        raise outcome.error
    return str(outcome.result["pipeline"]), of_plain(cast("Mapping[str, object]", outcome.result["search"]))


def look(payload: Message, ask: Ask) -> Message:
    """Load a pipeline, and say how it is to be searched. The entry of `look_at`."""
    from mainspring.pipelines.search.declaring import search_for

    pipeline = load_target(str(payload["target"]), Path(str(payload["root"])))
    section, changes = (cast("Mapping[str, object]", payload[name]) for name in ("section", "changes"))
    return {"pipeline": pipeline.name, "search": to_plain(search_for(pipeline, section, changes))}


def drive(payload: Message, ask: Ask) -> Message:
    """Drive a search under the lease of who started this process."""
    from mainspring.pipelines.search.service import Searches

    with calling(Caller(str(payload["actor"]), str(payload["project"]))):
        wiring = open_house(str(payload["house"]))
        try:
            attempt = int(cast(int, payload["attempt"]))
            study = wiring.get(Searches).drive(str(payload["job"]), str(payload["worker"]), attempt)
            return {"state": study.state}
        finally:
            wiring.close()


def _last_line(outcome: Outcome) -> str:
    lines = outcome.log.read_text(errors="replace").strip().splitlines() if outcome.log else []
    return f": {lines[-1]}" if lines else ""
