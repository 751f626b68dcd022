"""How commands print data: table for people, JSON and YAML for programs. Data goes to stdout, all else to stderr."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

Row = Mapping[str, object]

output_option: Callable[[Any], Any] = click.option(
    "--output", "-o", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Format."
)


def show(data: Row | Sequence[Row], output: str, columns: Sequence[str] = ()) -> None:
    """Print one thing or many.

    Args:
        data: a mapping, or a sequence of mappings with the same keys.
        output: "table", "json" or "yaml".
        columns: for tables, which keys to show and in which order; all when empty.
    """
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2))
    elif output == "yaml":
        click.echo(msgspec.yaml.encode(msgspec.to_builtins(data)), nl=False)
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
