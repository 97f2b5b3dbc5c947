"""`mainspring init`: from a CSV file to a project whose loop has run its first half."""

from __future__ import annotations

import json
import math
import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from mainspring.core.errors import Conflict, Failed, Invalid, Refused
from mainspring.core.ids import check_name
from mainspring.core.settings import FILE, load

if TYPE_CHECKING:
    import polars as pl

    from mainspring.core.wiring import Wiring
    from mainspring.data import Guess

PIPELINE = "pipeline.py"
METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
FLOORS = {"binary": "0.55", "regression": "0.00"}  # what a coin and the mean give, and a little
LEAST_OF_CLASS = 20
LEAST_ROWS = 200  # a quarter of them judges


@click.command()
@click.option("--data", "source", required=True, type=click.Path(path_type=Path), help="A CSV or Parquet file.")
@click.option("--target", required=True, help="The column to predict.")
@click.option("--name", default="", help="Name of the project (default: that of the file).")
@click.option(
    "--dir", "folder", default=".", type=click.Path(path_type=Path), help="Where the files go (default: here)."
)
@click.option("--force", is_flag=True, help="Write over a project that is there.")
@click.pass_context
def init(ctx: click.Context, source: Path, target: str, name: str, folder: Path, force: bool) -> None:
    """Start a project from a table: guess types and task, write two files, run the loop's first half.

    Example: mainspring init --data customers.csv --target churned
    """
    from mainspring.data import describe_frame
    from mainspring.data.sources import read_source

    frame, _ = read_source(source)
    guess = describe_frame(frame, target)
    _refuse_hopeless(frame, target, guess)
    project = check_name(name or _name_of(source), "project")
    _refuse_overwrite(folder, force=force)
    click.echo(f"{source.name}: {frame.height:,} rows; {guess.task} task on {len(guess.features)} columns")
    for column, reason in guess.left_out.items():
        click.echo(f"  left out {column}: {reason}")
    folder.mkdir(parents=True, exist_ok=True)
    for written, text in _files(project, target, guess, _floors(frame, target, guess)).items():
        (folder / written).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / written}")
    from mainspring.server.house import open_house

    house = open_house(load(folder, flags=ctx.meta["mainspring.flags"]))
    ctx.call_on_close(house.close)
    _first_half(house, project, frame, target, guess)


def _name_of(source: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", source.stem).strip("-._") or "project"


def _refuse_hopeless(frame: pl.DataFrame, target: str, guess: Guess) -> None:
    labelled = frame.height - frame[target].null_count()
    if guess.task != "regression":
        counts = frame[target].drop_nulls().value_counts().sort("count")
        rare, rows = counts.row(0)
        if rows < LEAST_OF_CLASS:
            what = f"{target} has {counts.height} classes, and only {rows} rows of {rare!r}"
            hint = f"bring {LEAST_OF_CLASS} rows of each, or put rare classes together"
            raise Invalid(what, where="target", hint=hint)
    if labelled < LEAST_ROWS:
        what = f"{labelled} rows with a {target} are too few to learn from and to judge by"
        raise Invalid(what, where="data", hint=f"bring {LEAST_ROWS} rows or more")


def _refuse_overwrite(folder: Path, *, force: bool) -> None:
    for name in (FILE, PIPELINE):
        if (folder / name).exists() and not force:
            hint = "mainspring init --force ..., or --dir ANOTHER"
            raise Conflict(f"{name} is there already", where=str((folder / name).absolute()), hint=hint)


def _floors(frame: pl.DataFrame, target: str, guess: Guess) -> tuple[str, str]:
    """The floor of the metric; of many classes what naming the most frequent gives, and a ceiling for the log loss."""
    if guess.task != "multiclass":
        return FLOORS[guess.task], ""
    known = frame[target].drop_nulls()
    shares = [count / known.len() for count in known.value_counts()["count"].to_list()]
    blind = -sum(share * math.log(share) for share in shares)
    extra = f'  {{ metric = "log_loss", ceiling = {blind:.2f} }},  # what the shares of the classes give\n'
    return f"{math.floor(max(shares) * 100) / 100:.2f}", extra


def _files(project: str, target: str, guess: Guess, floors: tuple[str, str]) -> dict[str, str]:
    values = {
        "project": project,
        "target": json.dumps(target),
        "task": guess.task,
        "metric": METRICS[guess.task],
        "floor": floors[0],
        "more": floors[1],
        "features": _listed(guess.features),
        "text": _listed(guess.text),
        "left_out": "".join(f"#   {name}: {reason}\n" for name, reason in guess.left_out.items()) or "#   none\n",
    }
    folder = resources.files("mainspring.cli").joinpath("templates")
    texts = {FILE: "mainspring.toml.txt", PIPELINE: f"{_template_of(guess)}.py.txt"}
    return {name: Template(folder.joinpath(text).read_text("utf-8")).substitute(values) for name, text in texts.items()}


def _template_of(guess: Guess) -> str:
    return {"regression": "regressor", "multiclass": "multiclassifier"}.get(guess.task, "classifier")


def _listed(names: tuple[str, ...]) -> str:
    return "[\n" + "".join(f"    {json.dumps(name)},\n" for name in names) + "]" if names else "[]"


def _first_half(house: Wiring, project: str, frame: pl.DataFrame, target: str, guess: Guess) -> None:
    """Data, train, gate, register."""
    from mainspring.data import Check, Data
    from mainspring.gates import Gates
    from mainspring.pipelines.service import Pipelines
    from mainspring.registry import Registry

    checks = [Check(target, "not_null")]
    dataset = house.get(Data).ingest(project, frame, checks=checks, time_column=guess.time_column)
    quarantined = f", {dataset.quarantined:,} in quarantine" if dataset.quarantined else ""
    click.echo(f"data   {dataset.ref}: {dataset.rows:,} rows{quarantined}")
    run = house.get(Pipelines).run_inline(f"{PIPELINE}:train_model", {})
    if not isinstance(run.result, dict):
        raise Failed(
            f"the pipeline {run.state}", where=f"pipeline-runs/{run.id}", hint=f"mainspring pipeline show {run.id}"
        )
    version = house.get(Registry).get(project, int(str(run.result["version"])))
    shown = ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items())
    click.echo(f"train  {version.ref}: {shown}")
    evaluation = str(run.result["evaluation"]).removeprefix("datasets/")
    verdict = house.get(Gates).run("promote", project, version.number, data=evaluation, label=target)
    click.echo(f"gate   promote: {verdict.outcome} ({verdict.id})")
    if verdict.outcome != "pass":
        hint = f"mainspring gate show {verdict.id}, then change {PIPELINE} or {FILE}"
        raise Refused(f"the gate says {verdict.outcome}", where=version.ref, hint=hint)
    house.get(Registry).set_alias(project, "champion", version.number, reason="passed promote; the first version")
    click.echo(f"next   mainspring up, and mainspring deploy {project} --version {version.number} --name {project}")
