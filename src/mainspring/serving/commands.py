"""Serving on the command line."""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import cast

import click
import msgspec

from mainspring.core.clock import SystemClock
from mainspring.core.console import json_option, room, show
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.settings import Settings
from mainspring.serving.client import Client, Reasons, Value
from mainspring.serving.modelserver.plan import Options, ViewUse, options_of
from mainspring.serving.notices import tell_served
from mainspring.serving.service import Serving

_SHOWN_REASONS = 10


@click.command()
@click.argument("model")
@click.option("--version", default="champion", show_default=True, help="Number or alias.")
@click.option("--name", default="", help="Name of the endpoint (default: the model's).")
@click.option("--deadline-ms", type=click.IntRange(min=0), help="How long an answer may take; 0: as the server says.")
@click.option(
    "--on-log-failure", type=click.Choice(["refuse", "answer"]), help="Fate of an answer that can't be logged."
)
@click.option("--redact", multiple=True, metavar="COLUMN", help="An input that is never logged; '': none.")
@click.option("--rules", metavar="FILE", help="TOML with [[rules]] of humility and [interval]; '': none.")
@click.option(
    "--features", multiple=True, metavar="VIEW[:null|INPUT=VALUE,...]", help="Looks inputs up by entity; '': none."
)
@click.option("--log-share", type=click.FloatRange(0, 1), help="Part of the requests that are logged; 0: none.")
@click.option("--idle-s", type=click.IntRange(min=0), help="Unload it when nobody asks for so long; 0: never.")
@click.option("--cold-ms", type=click.IntRange(min=1), help="How long a request waits until it is loaded again.")
@click.option("--process", type=click.Choice(["server", "own"]), help="Where its models are: each in its own process.")
@click.option(
    "--threads", type=click.IntRange(min=0), help="Of numeric libraries in its own process; 0: as the server."
)
@click.option("--core", "cores", multiple=True, type=click.IntRange(min=-1), help="For its own process; -1: any.")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def deploy(
    ctx: click.Context, /, model: str, version: str, name: str, *, reason: str, as_json: bool, **options: object
) -> None:
    """Put a version behind an endpoint, with all traffic.  Example: mainspring deploy flights --version 3

    Options that are not given stay as they are.
    """
    serving = room(ctx, Serving)
    made = serving.deploy(
        name or model, model, version, reason=reason, options=_options(serving, name or model, options)
    )
    tell_served(serving, made.name)
    show(made, f"{made.ref} serves {made.model} {made.champion}; ask it with: mainspring predict {made.name} ROW.json")


@click.command()
@click.argument("name")
@click.argument("rows", default="-")
@click.option("--version", type=click.IntRange(min=1), default=None, help="Name a version, past the traffic split.")
@click.option("--id", "request_id", default="", help="Key for late labels (default: one is made).")
@click.option("--time", "event_time", default=None, help="When it happened, ISO 8601 (default: now).")
@click.option("--url", default="", help="The model server (default: that of this project).")
@click.option("--explain", is_flag=True, help="With the reason codes of each row, the strongest first.")
@click.option("--keep-reasons", is_flag=True, help="The same, and put them into the prediction log.")
@click.option(
    "--batch",
    nargs=2,
    metavar="IN OUT",
    help="Answer a Parquet or CSV file, a Delta table, or datasets/NAME, into a file.",
)
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="How many answer a batch.")
@click.option("--engine", type=click.Choice(["process", "ray"]), default="process", help="Where a batch is answered.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Column of the batch that goes to OUT (default: all).")
@click.option("--log", is_flag=True, help="Put the rows of a batch into the prediction log, where monitors count them.")
@click.option("--time-column", default="", help="Event time of the rows of a batch in the log (default: now).")
@json_option
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    name: str,
    rows: str,
    *,
    version: int | None,
    request_id: str,
    event_time: str | None,
    url: str,
    explain: bool,
    keep_reasons: bool,
    batch: tuple[str, str] | None,
    as_json: bool,
    **about: object,
) -> None:
    """Ask an endpoint. ROWS is a JSON object (one row), a list of them, a file that holds it, or - for standard input.

    Example: mainspring predict flights '{"distance": 300, "carrier": "AA"}'

    A batch needs no model server. Killed or stopped, the same command goes on where it was.
    Example: mainspring predict flights --batch january.parquet answers.parquet --processes 2
    """
    if batch is not None:
        if explain or keep_reasons:
            raise Invalid("a batch has no reason codes", where="--explain", hint="ask for single rows")
        _batch(ctx, {"deployment": name, "source": batch[0], "out": batch[1], "version": version, **about})
        return
    columns = _columns(_text(rows))
    settings = room(ctx, Settings) if not url else None
    address = url or (f"http://{settings.server.host}:{settings.serving_port}" if settings else "")
    with Client(address) as client:
        answer = client.predict(
            name,
            columns,
            version=version,
            request_id=request_id,
            event_time=event_time,
            explain="keep" if keep_reasons else explain,
        )
    lines = []
    for i, key in enumerate(answer.ids):
        lines.append(f"{key}  {', '.join(f'{n} {v[i]}' for n, v in answer.outputs.items())}")
        lines += _told(answer.reasons[i] if answer.reasons else None)
    show(answer, "\n".join([*lines, f"answered by version {answer.version} ({answer.arm})"]))


def _told(reasons: Reasons | None) -> list[str]:
    """The strongest reason codes of a row, a line each."""
    if reasons is None:
        return []
    strongest = list(reasons.contributions.items())[:_SHOWN_REASONS]
    return [f"  {code:+.4g}  {name}" for name, code in strongest] + [f"  {reasons.base:+.4g}  base ({reasons.scale})"]


def _batch(ctx: click.Context, given: Mapping[str, object]) -> None:
    from mainspring.core.settings import Settings
    from mainspring.data import Data
    from mainspring.engines.ray import SCHEME
    from mainspring.registry import Registry
    from mainspring.serving.batch.job import BatchRequest
    from mainspring.serving.batch.running import Batches, EngineName

    def tell(done: int, of: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {of} chunks", err=True, nl=False)

    plain = {key: value for key, value in given.items() if key not in ("processes", "engine")}
    request = msgspec.convert(plain, BatchRequest)
    engine = room(ctx, Settings).pipelines.engine
    batches = Batches(
        serving=room(ctx, Serving),
        registry=room(ctx, Registry),
        data=room(ctx, Data),
        clock=SystemClock(),
        cluster=engine if engine.startswith(SCHEME) else "",
    )
    processes, where = cast(int, given["processes"]), cast(EngineName, given["engine"])
    report = batches.run(request, processes=processes, engine=where, tell=tell)
    aside = f", {report.quarantined} put aside in {report.quarantine}" if report.quarantined else ""
    show(report, f"{report.answered} of {report.rows} rows answered by version {report.model_version}{aside}")


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--rejected", type=click.Path(path_type=Path, dir_okay=False), help="Where lines go that are put aside.")
@json_option
@click.pass_context
def feedback(ctx: click.Context, name: str, file: Path, *, rejected: Path | None, as_json: bool) -> None:
    """Send labels for predictions of an endpoint. FILE is CSV with the columns prediction_id and value (kind, at), or
    JSON lines with these names. Sent twice it is stored once; bad lines are put aside with their reasons.

    Example: mainspring feedback flights labels.csv
    """
    done = room(ctx, Serving).feedback_file(name, file.read_bytes(), most=sys.maxsize)
    aside = ""
    if done.rejected:
        place = rejected or file.with_name(f"{file.name}.rejected.csv")
        with place.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([("line", "prediction_id", "reason"), *map(astuple, done.rejected)])
        aside = f", {done.refused} put aside in {place}"
    show(done, f"{done.new} of {done.received} labels are new{aside}")


def _options(serving: Serving, name: str, given: Mapping[str, object]) -> Options | None:
    """What an endpoint's options become by those that were given; None when none was."""
    changes = {key: value for key, value in given.items() if value not in (None, ())}
    if changes.get("redact") == ("",):
        changes["redact"] = ()
    if "features" in changes:
        changes["features"] = tuple(ViewUse.of(text) for text in cast("tuple[str, ...]", changes["features"]) if text)
    if changes.get("cores") == (-1,):
        changes["cores"] = ()
    if "rules" in changes:
        changes |= _rules(str(changes["rules"]))
    return replace(serving.options(name), **changes) if changes else None  # type: ignore[arg-type]  # checked by it


def _rules(file: str) -> dict[str, object]:
    """Rules and interval of a file."""
    if not file:
        return {"rules": (), "interval": None}
    try:
        entries = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"no file {file}", where="--rules", hint="give a TOML file with [[rules]]") from None
    except ValueError as reason:
        raise Invalid(f"not TOML: {reason}", where=file, hint="write [[rules]] tables") from None
    found = options_of({key: entries[key] for key in ("rules", "interval") if key in entries}, file)
    return {"rules": found.rules, "interval": found.interval}


def _text(rows: str) -> str:
    """JSON as it was given, from a file, or from standard input.

    Raises: NotFound: It is neither JSON nor a file.
    """
    if rows == "-":
        return sys.stdin.read()
    if rows.lstrip()[:1] in ("{", "["):
        return rows
    if not Path(rows).is_file():
        raise NotFound(f"no file {rows}", where="ROWS", hint="give a file, or JSON such as '{\"distance\": 300}'")
    return Path(rows).read_text(encoding="utf-8")


def _columns(text: str) -> dict[str, list[Value]]:
    try:
        given = json.loads(text)
    except ValueError as reason:
        raise Invalid(f"not JSON: {reason}", where="FILE", hint='give an object such as {"distance": 300}') from None
    rows = given if isinstance(given, list) else [given]
    if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise Invalid("not a row, nor a list of rows with the same keys", where="FILE", hint='{"distance": 300}')
    return {name: [cast(Value, row[name]) for row in rows] for name in rows[0]}
