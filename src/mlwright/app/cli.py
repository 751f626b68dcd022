"""The command line: a table of commands, each imported only when it runs, so that help is instant."""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mlwright import __version__
from mlwright.kernel.errors import MlwrightError

if TYPE_CHECKING:
    from pathlib import Path

    from mlwright.kernel.client import Client

#: command -> ("module:object", help in one line)
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("mlwright.app.commands.up:up", "Start the platform on this machine."),
    "down": ("mlwright.app.commands.server:down", "Stop the platform after it has finished its work."),
    "status": ("mlwright.app.commands.server:status", "Show whether the platform runs, and where."),
    "logs": ("mlwright.app.commands.server:logs", "Print the server's log."),
    "experiments": ("mlwright.tracking.cli.experiments:experiments", "Experiments: list, create, rename, delete."),
    "runs": ("mlwright.tracking.cli.runs:runs", "Runs: list, get, compare, comment, delete."),
    "run": ("mlwright.app.commands.run:run", "Run a command, and record what its runs need to be repeated."),
    "reproduce": ("mlwright.app.commands.reproduce:reproduce", "Repeat a run, and tell what differs or is missing."),
    "models": ("mlwright.registry.cli.models:models", "Registered models: list, show, versions, aliases, delete."),
    "keys": ("mlwright.registry.cli.keys:keys", "Keys that sign model versions: create, add, retire, revoke."),
    "gate": ("mlwright.registry.cli.gates:gate", "Gates of model versions: run, explain, approve, reject."),
    "release": ("mlwright.registry.cli.releasing:release", "Make the same files a version in another project."),
    "ci": ("mlwright.registry.cli.ci:ci", "Train, register, gate and promote in one command; workflows."),
    "deploy": ("mlwright.serving.cli.deploy:deploy", "Serve a model version under a name."),
    "endpoints": ("mlwright.serving.cli.endpoints:endpoints", "Endpoints: list, get, revisions, keys, delete."),
    "rollout": ("mlwright.serving.cli.rollout:rollout", "How a new version gets its traffic: explain, pause, promote."),
    "rollback": ("mlwright.serving.cli.rollout:rollback", "Serve an earlier revision of an endpoint again."),
    "image": ("mlwright.app.commands.images:image", "Container images of model versions: build."),
    "webhooks": (
        "mlwright.registry.cli.webhooks:webhooks",
        "Webhooks of the registry: list, create, test, deliveries.",
    ),
    "artifacts": ("mlwright.artifacts.cli:artifacts", "Files of runs and logged models."),
    "export": ("mlwright.app.commands.exports:export", "Write runs, metrics or manifests of images to files."),
    "import": ("mlwright.tracking.cli.moving:import_", "Move in what was tracked elsewhere, such as in MLflow."),
    "users": ("mlwright.security.cli:users", "People, service accounts and agents."),
    "tokens": ("mlwright.security.cli:tokens", "Access tokens, for MLFLOW_TRACKING_TOKEN and scripts."),
    "projects": ("mlwright.security.cli:projects", "Projects: the unit of access."),
    "roles": ("mlwright.security.cli:roles", "Who may do what in a project."),
    "scan": ("mlwright.security.scanning.cli:scan", "Say whether loading a model file would run code."),
    "apply": ("mlwright.app.commands.resources:apply", "Create or change resources to what a file declares."),
    "diff": ("mlwright.app.commands.resources:diff", "Show what apply would change."),
    "get": ("mlwright.app.commands.resources:get", "Show resources of a kind."),
    "delete": ("mlwright.app.commands.resources:delete", "Delete a resource."),
    "explain": ("mlwright.app.commands.resources:explain", "Explain a kind of resources, or a field."),
    "events": ("mlwright.app.commands.events:events", "What happened: who, what, when, before and after."),
    "lineage": ("mlwright.app.commands.lineage:lineage", "What came from what: data, runs, models, versions."),
    "audit": ("mlwright.app.commands.events:audit", "Verify that nobody tampered with the event log."),
    "gc": ("mlwright.app.commands.gc:gc", "Remove for good what was deleted, and bytes that nothing needs."),
    "doctor": ("mlwright.app.commands.doctor:doctor", "Check this installation, with a fix for each problem."),
    "completion": ("mlwright.app.commands.completion:completion", "Print the shell completion script."),
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest commands for one that does not exist."""
        name = args[0]
        if name in self._table or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches  # only for mistakes

        near = " or ".join(repr(each) for each in get_close_matches(name, self._table, n=2))
        raise click.UsageError(f"No such command {name!r}." + (f" Did you mean {near}?" if near else ""), ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands from the table: completing must not import them all."""
        found = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in self._table.items()
            if name.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._table.items()])


@click.group(
    cls=LazyGroup,
    commands_table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """A complete machine-learning platform on one machine."""
    context.obj = _connect
    context.color = _colour()


def _connect(server: str, data: "Path | None") -> "Client":
    return importlib.import_module("mlwright.app.connect").connect(server, data)  # type: ignore[no-any-return]


def _colour() -> bool | None:
    """False where nobody wants colours (https://no-color.org), None where the terminal decides."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


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
        click.echo(f"{click.style('error', fg='red', bold=True)}: {error.message}", err=True, color=_colour())
        if error.path:
            click.echo(f"  at {error.path}", err=True)
        if error.hint:
            click.echo(f"\n{click.style('hint', fg='cyan', bold=True)}: {error.hint}", err=True, color=_colour())
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
