"""The house: every service of one data folder, built when it is first asked for.

Each room has a module here that says how its services are made; it is imported when one of them is first asked for, so
that a command that looks at runs loads nothing of serving or gates.
"""

from __future__ import annotations

import importlib

from mainspring.core.caller import Caller, adopt
from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.settings import Settings, fill, load
from mainspring.core.wiring import Wiring
from mainspring.server.house import floor

ROOMS = (
    "access",
    "data",
    "tracking",
    "pipelines",
    "registry",
    "governance",
    "gates",
    "training",
    "serving",
    "monitoring",
    "loop",
    "upkeep",
)

APART = {
    "data": ("data.service",),
    "tracking": ("tracking.service",),
    "pipelines": ("pipelines.service", "pipelines.flow"),
}
"""Of these rooms the modules whose services a run of a pipeline needs; their other services are made in `ROOM_more`."""

DECLARED_ROOMS = ("gates", "monitoring", "loop")
"""Rooms that go by what was applied, once something was."""


def open_house(settings: Settings | None = None) -> Wiring:
    """Open the data folder of `settings` (default: those of the working folder), and bring its schema up to date.

    What is heavy is imported when a room first needs it.

    Raises:
        Invalid: A setting is wrong.
        Unavailable: The database or the object store does not answer.
    """
    settings = settings or load()
    try:
        check_rooms(settings)
    except MainspringError as error:
        from mainspring.loop.planning.reading import Reading, places_in

        with Reading(settings, places_in(settings)).placed():
            raise error from None
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    adopt(Caller(project=settings.project.name))

    furnished: set[str] = set()

    def furnish(module: str) -> None:
        room = module.partition(".")[0]
        part = f"{room}_more" if room in APART and module not in APART[room] else room
        if room in ROOMS and part not in furnished:
            furnished.add(part)
            importlib.import_module(f"{__name__}.{part}").furnish(wiring, counting(room))

    def counting(room: str) -> Settings:
        if room == "serving" and settings.project.declarations:  # what is deployed by hand goes by what is declared
            from mainspring.loop.planning.reading import read_declared

            return read_declared(settings).settings
        if room not in DECLARED_ROOMS:
            return settings
        from mainspring.loop.planning.standing import standing

        return standing(settings, floor.tables(wiring))

    wiring = Wiring(furnish)
    wiring.add(Settings, lambda w: settings)
    floor.furnish(wiring, settings)
    floor.tables(wiring).migrate()
    return wiring


def check_rooms(settings: Settings) -> None:
    """Refuse at once what a room would refuse later, where its settings are given.

    Raises:
        Invalid: A name or value in the section of a room is not known or not right.
    """
    if "monitor" in settings.tables:
        from mainspring.monitoring.model import MonitorSpec

        fill(MonitorSpec, settings.section("monitor"), where="monitor")
    if "otel" in settings.tables:
        from mainspring.monitoring.telemetry import OtelSpec

        fill(OtelSpec, settings.section("otel"), where="otel")
    if "notify" in settings.tables:
        from mainspring.monitoring.notices.model import channels_of

        channels_of(settings.section("notify"))
    if "deployment" in settings.tables:
        from mainspring.serving.modelserver.plan import options_of

        for name, section in settings.section("deployment").items():
            options_of(section, f"deployment.{name}")
    if "search" in settings.tables:
        from mainspring.pipelines.search.rules import search_of

        for name, section in settings.section("search").items():
            said = dict(section) if isinstance(section, dict) else {}
            if not isinstance(said.pop("pipeline", None), str):
                hint = 'pipeline = "train.py:model"'
                raise Invalid("it names no pipeline", where=f"search.{name}", hint=hint)
            if "space" in said and "objective" in said:  # else the rest is declared over the pipeline
                search_of(said, where=f"search.{name}")
    if "gate" in settings.tables:
        from mainspring.gates import gates_of

        gates_of(settings.tables["gate"])
    if not settings.project.declarations:  # else what is named here may be declared there
        check_names(settings)


def check_names(settings: Settings) -> None:
    """Refuse policies and triggers that are wrong, or name a gate or policy that is not declared.

    Raises:
        Invalid: One is, or does.
    """
    if "policy" in settings.tables or "trigger" in settings.tables:
        from mainspring.loop.planning import declared

        declared.policies(settings)
        declared.triggers(settings)
