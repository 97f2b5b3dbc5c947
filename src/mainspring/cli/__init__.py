"""The command line. A command's module is imported when the command is used, so `mainspring --help` stays quick."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from mainspring import __version__

if TYPE_CHECKING:
    from mainspring.core.errors import MainspringError
    from mainspring.core.wiring import Wiring

COMMANDS: dict[str, tuple[str, str]] = {
    "alarms": ("mainspring.monitoring.commands:alarms", "What is wrong, and since when."),
    "audit": ("mainspring.access.commands:group", "Seal and verify the event log."),
    "card": ("mainspring.governance.commands:card", "The model card of a version."),
    "data": ("mainspring.data.commands:group", "Ingest and look at datasets."),
    "demo": ("mainspring.demo.commands:demo", "One whole turn of the loop on a year of real flights."),
    "deploy": ("mainspring.serving.commands:deploy", "Put a model version behind an endpoint."),
    "doctor": ("mainspring.cli.doctor:doctor", "Where things live, and what is wrong."),
    "feedback": ("mainspring.serving.commands:feedback", "Send labels for predictions."),
    "gate": ("mainspring.gates.commands:group", "Judge a version by declared checks."),
    "init": ("mainspring.cli.init:init", "Start a project from a CSV file."),
    "loop": ("mainspring.loop.commands:group", "Cycles, policies and the kill switch."),
    "models": ("mainspring.registry.commands:group", "Registered models, versions and aliases."),
    "monitor": ("mainspring.monitoring.commands:group", "Drift and performance of what is live."),
    "pipeline": ("mainspring.pipelines.commands:group", "Run pipelines and look at their runs."),
    "predict": ("mainspring.serving.commands:predict", "Ask an endpoint."),
    "rollout": ("mainspring.serving.commands:rollout", "Canaries: start, status, promote, roll back."),
    "runs": ("mainspring.tracking.commands:group", "Tracked runs."),
    "up": ("mainspring.cli.up:up", "Start the server."),
    "why": ("mainspring.loop.commands:why", "Why a prediction was what it was."),
}
EXIT_CODES = {"invalid": 2, "not_found": 3, "refused": 4, "unavailable": 5}


class Commands(click.Group):
    """A group that knows names and one-line helps, and imports nothing before it must."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was asked for, or the near name of one that exists."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from mainspring.core.errors import did_you_mean

            near = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"{error.message} {near}".strip(), ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mainspring")
@click.option("--data", default=None, metavar="DIR", help="Data folder (default: .mainspring beside mainspring.toml).")
@click.option("--db", default=None, metavar="URL", help="Metadata database (default: SQLite in the data folder).")
@click.option("--blobs", default=None, metavar="URL", help="Where blobs and tables live (default: the data folder).")
@click.pass_context
def root(ctx: click.Context, data: str | None, db: str | None, blobs: str | None) -> None:
    """Mainspring keeps machine-learning models good for their whole life."""
    flags = {"storage.data": data, "storage.db": db, "storage.blobs": blobs}
    opened: list[Wiring] = []

    def opener() -> Wiring:
        if not opened:
            from mainspring.core.settings import load
            from mainspring.server.house import open_house

            opened.append(open_house(load(flags=flags)))
            ctx.call_on_close(opened[0].close)
        return opened[0]

    ctx.obj = opener
    ctx.meta["mainspring.flags"] = flags


def main() -> None:
    """Run the command line; errors are three lines and an exit code, never a trace."""
    from mainspring.core.errors import MainspringError

    try:
        code = root.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except MainspringError as error:
        _complain(error)
        sys.exit(EXIT_CODES.get(error.code, 1))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno is None:
            raise
        click.echo(f"{error.strerror}\nwhere: {error.filename or 'this machine'}\ntry: mainspring doctor", err=True)
        sys.exit(1)


def _complain(error: MainspringError) -> None:
    first, *rest = str(error).splitlines()
    click.echo(click.style(first, fg="red"), err=True)
    for line in rest:
        click.echo(line, err=True)
