"""What all commands share: reaching the server, and printing data.

Data goes to stdout as a table for people or JSON and YAML for programs; all else goes to stderr.
"""

import functools
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import msgspec

if TYPE_CHECKING:
    from mlwright.kernel.client import Client  # brings HTTP, which many commands do not need

Row = Mapping[str, object]

#: A column that a narrow terminal makes narrower keeps at least so many places.
_LEAST = 8
_GAP = "  "
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

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

    @functools.wraps(command)
    def connected(connect: Callable[[], "Client"], /, **arguments: Any) -> Any:
        return command(connect(), **arguments)

    return with_connection(connected)


def with_connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `with_client`, with a function that connects, for commands that do not always need a server."""

    @click.option("--server", default="", envvar="MLWRIGHT_SERVER", help="URL of the server [env: MLWRIGHT_SERVER].")
    @click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory of the server.")
    @click.pass_context
    @functools.wraps(command)
    def connected(context: click.Context, /, server: str, data: Path | None, **arguments: Any) -> Any:
        connect: Connector = context.obj
        return command(lambda: connect(server, data), **arguments)

    return connected


def show(data: Row | Sequence[Row], output: str, columns: Sequence[str] = ()) -> None:
    """Print one thing or many.

    For people, times (whole numbers whose names end in `_ms`) are dates of this machine's zone, and on a terminal long
    cells end in "…", so that lines fit. Programs get everything.

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
        width = max((len(_title(name)) for name in data), default=0)
        for name, value in data.items():
            click.echo(f"{_title(name).ljust(width)}  {_cell(shown(name, value))}")
    else:
        _table(data, columns)


def shown(name: str, value: object) -> object:
    """A value as people read it: a time as local date."""
    if _is_time(name) and isinstance(value, int):
        return local_time(value)
    return value


def local_time(unix_ms: int) -> str:
    """A time in this machine's zone, to the second; the number itself when no calendar has it."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(unix_ms)


def terminal_width() -> int | None:
    """Places in a line of the terminal that standard output is; None when it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(text: str, width: int | None) -> str:
    """One line of text, cut to `width` places (None: as long as it is). What controls a terminal is left out."""
    line = _CONTROL.sub(" ", text)
    if width is None or _width(line) <= width:
        return line
    while line and _width(line) >= width:
        line = line[: min(len(line) - 1, width)]
    return f"{line}…"


def _is_time(name: str) -> bool:
    return name.endswith("_ms") and "." not in name  # a metric may have any name


def _title(name: str) -> str:
    return name.removesuffix("_ms") if _is_time(name) else name


def _table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    names = list(columns) or (list(rows[0]) if rows else [])
    lines = [[_title(name).upper() for name in names]]
    lines += [[fitted(_cell(shown(name, row.get(name))), None) for name in names] for row in rows]
    widths = _narrowed([max((_width(line[index]) for line in lines), default=0) for index in range(len(names))])
    for line in lines:
        cells = (_padded(fitted(cell, width), width) for cell, width in zip(line, widths, strict=True))
        click.echo(_GAP.join(cells).rstrip())


def _narrowed(widths: Sequence[int]) -> list[int]:
    """Widths of columns that fit the terminal if that is possible: the widest give most. The first stays whole."""
    places = terminal_width()
    if places is None or not widths:
        return list(widths)
    first, others = widths[0], widths[1:]
    room = places - first - len(_GAP) * len(others)
    cap = max(others, default=0)
    while cap > _LEAST and sum(min(width, cap) for width in others) > room:
        cap -= 1
    return [first, *(min(width, cap) for width in others)]


def _width(text: str) -> int:
    """How many places a terminal takes for a text: East Asian characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(value).decode()
    return str(value)
