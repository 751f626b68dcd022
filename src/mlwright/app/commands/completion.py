"""`mlwright completion`."""

import re

import click
from click.shell_completion import get_completion_class

from mlwright.app.cli import cli

#: Where the scripts of bash, zsh and fish say for which command they are: those that end in its name.
_FOR = re.compile(r"^(#compdef|\s*compdef \S+|\s*complete .*-F \S+|complete .*(--command)) mlwright\b", re.MULTILINE)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell, for: source <(mlwright completion bash)."""
    kind = get_completion_class(shell)
    if kind is not None:
        script = kind(cli, {}, "mlwright", "_MLWRIGHT_COMPLETE").source()
        click.echo(_FOR.sub(_for_both_names, script))


def _for_both_names(found: re.Match[str]) -> str:
    return f"{found[0]} {found[2]} mlw" if found[2] else f"{found[0]} mlw"
