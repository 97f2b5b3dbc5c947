"""The root of the commands: finds one by name, imports it then, and opens the house when it asks for a room."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

from mainspring.cli import COMMANDS, help_text

if TYPE_CHECKING:
    from mainspring.core.wiring import Wiring


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
            raise click.UsageError(f"{error.message.removesuffix('.')}: {near}".removesuffix(": "), ctx) from None

    def get_help(self, ctx: click.Context) -> str:
        """The same text that `main` prints without importing a command."""
        return help_text()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
