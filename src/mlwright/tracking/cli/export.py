"""`mlwright export`: moving out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlwright.kernel.cli import with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid
from mlwright.tracking.cli import finding

_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_FILTER = "metrics.auc > 0.7"
_TARGET = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What both commands take."""
    forms = click.Choice(["csv", "json", "parquet"])
    for option in reversed([
        click.option("--experiment", "names", multiple=True, help="Id or name. May be repeated; all when not given."),
        click.option("--filter", "query", default="", help=f"Such as: {_FILTER}."),
        click.option("--view", type=click.Choice(["active", "deleted", "all"]), default="active", show_default=True),
        click.option("--format", "form", type=forms, help="By the file's name if not given."),
        click.option("--project", default="", help="Project of the experiments that are named."),
        click.option("--output", "-o", "target", required=True, type=_TARGET),
    ]):  # fmt: skip
        command = option(command)
    return command


@click.command("runs")
@_options
@with_client
def runs(client: Client, **asked: Any) -> None:
    """Write a table with a row for each run.

    JSON has one object for each line. The target may be - for standard output, which gets CSV unless --format says
    otherwise.
    """
    _export(client, "runs", **asked)


@click.command("metrics")
@_options
@with_client
def metrics(client: Client, **asked: Any) -> None:
    """Write a table with a row for each point of each metric, as `export runs` does."""
    _export(client, "metrics", **asked)


def _export(
    client: Client,
    what: str,
    names: tuple[str, ...],
    query: str,
    view: str,
    form: str | None,
    project: str,
    target: Path,
) -> None:
    chosen = form or _format_of(target)
    ids = finding.experiment_ids(client, names, project)
    with finding.example(filter=_FILTER):
        pieces = client.download(f"/v1/export/{what}", experiment=ids, filter=query or None, view=view, format=chosen)
    if str(target) == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    part = target.with_name(f"{target.name}.part")
    size = 0
    try:
        with part.open("wb") as file:
            for piece in pieces:
                size += file.write(piece)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"{size:,} bytes of {chosen} written to {target}", err=True)


def _format_of(target: Path) -> str:
    """The format that a file's name says. Raises Invalid for a name that says none."""
    found = "csv" if str(target) == "-" else _SUFFIXES.get(target.suffix.lower())
    if found is None:
        hint = f"use one of {', '.join(_SUFFIXES)}, or say --format csv, json or parquet"
        raise Invalid(f"the name {target.name!r} does not say which format to write", path="--output", hint=hint)
    return found
