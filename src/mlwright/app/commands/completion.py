"""`mlwright completion`."""

import click
from click.shell_completion import get_completion_class

from mlwright.app.cli import cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell, for: source <(mlwright completion bash)."""
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "mlwright", "_MLWRIGHT_COMPLETE").source())
