"""The command line: a table of commands, each imported only when it runs, so that help is instant."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from mlwright.kernel.errors import MlwrightError

#: command -> ("module:object", help in one line)
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("mlwright.app.commands.up:up", "Start the platform on this machine."),
    "down": ("mlwright.app.commands.server:down", "Stop the platform after it has finished its work."),
    "status": ("mlwright.app.commands.server:status", "Show whether the platform runs, and where."),
    "logs": ("mlwright.app.commands.server:logs", "Print the server's log."),
    "version": ("mlwright.app.commands.server:version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported when called."""

    def __init__(self, *args: Any, commands_table: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = commands_table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module, name = entry[0].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._table.items()])


@click.group(
    cls=LazyGroup,
    commands_table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
def cli() -> None:
    """A complete machine-learning platform on one machine."""


def main() -> None:
    """Entry point: runs the command and turns errors into a message and an exit status."""
    try:
        status = cli.main(prog_name="mlwright", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except MlwrightError as error:
        click.echo(f"{click.style('error', fg='red', bold=True)}: {error.message}", err=True)
        if error.path:
            click.echo(f"  at {error.path}", err=True)
        if error.hint:
            click.echo(f"\n{click.style('hint', fg='cyan', bold=True)}: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
