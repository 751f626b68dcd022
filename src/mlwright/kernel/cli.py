"""What all commands share: reaching the server, and printing data.

Data goes to stdout as a table for people or JSON and YAML for programs; all else goes to stderr.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import msgspec

if TYPE_CHECKING:
    from mlwright.kernel.client import Client  # brings HTTP, which many commands do not need

Row = Mapping[str, object]

output_option: Callable[[Any], Any] = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml", "name"]),
    default="table",
    show_default=True,
    help="Format.",
)


class Connector(Protocol):
    """Reaches a server; the command line puts one into click's context."""

    def __call__(self, server: str, data: Path | None) -> "Client":
        """A client of the server at a URL, or of the one that owns a data directory."""
        ...


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --server and --data, and a `client` for its first argument."""

    @click.option("--server", default="", envvar="MLWRIGHT_SERVER", help="URL of the server [env: MLWRIGHT_SERVER].")
    @click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory of the server.")
    @click.pass_context
    @functools.wraps(command)
    def connected(context: click.Context, /, server: str, data: Path | None, **arguments: Any) -> Any:
        connect: Connector = context.obj
        return command(connect(server, data), **arguments)

    return connected


def show(data: Row | Sequence[Row], output: str, columns: Sequence[str] = ()) -> None:
    """Print one thing or many.

    Args:
        data: a mapping, or a sequence of mappings with the same keys.
        output: "table", "json", "yaml", or "name" for the first column alone.
        columns: for tables, which keys to show and in which order; all when empty.
    """
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2))
    elif output == "yaml":
        click.echo(msgspec.yaml.encode(msgspec.to_builtins(data)), nl=False)
    elif output == "name":
        for row in [data] if isinstance(data, Mapping) else data:
            click.echo(_cell(row[columns[0]] if columns else next(iter(row.values()), "")))
    elif isinstance(data, Mapping):
        width = max((len(name) for name in data), default=0)
        for name, value in data.items():
            click.echo(f"{name.ljust(width)}  {_cell(value)}")
    else:
        _table(data, columns)


def _table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    names = list(columns) or (list(rows[0]) if rows else [])
    lines = [[name.upper() for name in names], *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max((len(line[index]) for line in lines), default=0) for index in range(len(names))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(value).decode()
    return str(value)
