"""`mlwright runs`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from mlwright.kernel.cli import output_option, show, shown, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid
from mlwright.tracking.cli import finding

_COLUMNS = ["run_id", "name", "status", "start_ms"]
_GROUPS = ("metrics", "params", "tags")
#: What every run has, in the order of the API.
FIELDS = ("run_id", "experiment_id", "name", "user_id", "status", "start_ms", "end_ms", "active", "artifact_uri")
_FILTER = "metrics.auc > 0.7 AND params.model = 'tree'"
_ORDER = "metrics.auc DESC"


@click.group()
def runs() -> None:
    """Runs: executions that were tracked."""


@runs.command("list")
@click.option("--experiment", "names", multiple=True, help="Id or name. May be repeated; all when not given.")
@click.option("--filter", "query", default="", help=f"Such as: {_FILTER}.")
@click.option("--order-by", "orders", multiple=True, help=f"Such as: {_ORDER}. May be repeated.")
@click.option("--view", type=click.Choice(["active", "deleted", "all"]), default="active", show_default=True)
@click.option("--columns", default="", help="Columns of the table, such as: name,metrics.auc,params.depth.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--project", default="", help="Project of the experiments that are named.")
@with_client
@output_option
def list_runs(
    client: Client,
    names: tuple[str, ...],
    query: str,
    orders: tuple[str, ...],
    view: str,
    columns: str,
    limit: int,
    project: str,
    output: str,
) -> None:
    """List runs, newest first unless ordered otherwise."""
    chosen = _columns(columns)
    ids = finding.experiment_ids(client, names, project)
    with finding.example(filter=_FILTER, order_by=_ORDER):
        found = client.pages("/v1/runs", limit, experiment=ids, filter=query or None, order_by=list(orders), view=view)
    if output in {"table", "name"}:
        found = [_flat(run) for run in found]
    if output == "table" and found:
        for name in chosen:
            if name not in FIELDS and not any(name in run for run in found):
                click.echo(f"note: none of these runs has {name}", err=True)
    show(found, output, chosen if output == "table" else ["run_id"])


def _columns(text: str) -> list[str]:
    """The columns that were asked for. Raises Invalid for what no run can have."""
    chosen = [name.strip() for name in text.split(",") if name.strip()] or _COLUMNS
    for name in chosen:
        group, _, key = name.partition(".")
        if name not in FIELDS and not (group in _GROUPS and key):
            hint = f"use {', '.join(FIELDS)}, or metrics.KEY, params.KEY, tags.KEY"
            raise Invalid(f"there is no column {name!r}", path="--columns", hint=hint)
    return chosen


@runs.command("get")
@click.argument("run_id")
@with_client
@output_option
def get(client: Client, run_id: str, output: str) -> None:
    """Show a run with the latest state of all it logged."""
    found = client.get(f"/v1/runs/{run_id}")
    show(_flat(found) if output == "table" else found, output, ["run_id"])


@runs.command("compare")
@click.argument("run_ids", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Show also what is the same in all of them.")
@with_client
@output_option
def compare(client: Client, run_ids: tuple[str, ...], everything: bool, output: str) -> None:
    """Show side by side what differs between runs: status, parameters, metrics and tags."""
    found = [client.get(f"/v1/runs/{run_id}") for run_id in run_ids]
    if len(set(run_ids)) < 2:
        raise Invalid("comparing needs two different runs or more", path="RUN_IDS")
    flat = [_flat(run) for run in found]
    rows = _differences(flat, everything=everything)
    if output == "table":
        rows = [{name: shown(str(row["what"]), value) for name, value in row.items()} for row in rows]
    show(rows, output, ["what", *[_label(run, flat) for run in flat]])


def _differences(flat: Sequence[Mapping[str, Any]], *, everything: bool) -> list[dict[str, object]]:
    names = list(dict.fromkeys(name for run in flat for name in run))
    rows: list[dict[str, object]] = []
    for name in names:
        values = [run.get(name) for run in flat]
        if name != "run_id" and (everything or any(value != values[0] for value in values)):
            rows.append({"what": name, **{_label(run, flat): value for run, value in zip(flat, values, strict=True)}})
    return rows


def _label(run: Mapping[str, Any], flat: Sequence[Mapping[str, Any]]) -> str:
    """The run's name where that tells the runs apart, else its id."""
    unique = len({each["name"] for each in flat}) == len(flat)
    return str(run["name"] if unique and run["name"] != "what" else run["run_id"])


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run with a key for each metric, parameter and tag."""
    found = {name: value for name, value in run.items() if not isinstance(value, (dict, list))}
    for group in _GROUPS:
        for key, value in run[group].items():
            found[f"{group}.{key}"] = value["value"] if group == "metrics" else value
    return found


@runs.command("delete")
@click.argument("run_ids", nargs=-1, required=True)
@with_client
def delete(client: Client, run_ids: tuple[str, ...]) -> None:
    """Delete runs; `restore` brings them back."""
    for run_id in run_ids:
        client.delete(f"/v1/runs/{run_id}")
        click.echo(f"run {run_id} deleted", err=True)


@runs.command("restore")
@click.argument("run_ids", nargs=-1, required=True)
@with_client
def restore(client: Client, run_ids: tuple[str, ...]) -> None:
    """Bring deleted runs back."""
    for run_id in run_ids:
        client.post(f"/v1/runs/{run_id}/restore")
        click.echo(f"run {run_id} restored", err=True)


@runs.command("comment")
@click.argument("run_id")
@click.argument("body", required=False)
@with_client
@output_option
def comment(client: Client, run_id: str, body: str | None, output: str) -> None:
    """Comment on a run in Markdown; without BODY, list the comments."""
    if body is None:
        show(client.get(f"/v1/runs/{run_id}/comments"), output, ["id", "author", "created_ms", "body"])
        return
    show(client.post(f"/v1/runs/{run_id}/comments", {"body": body}), output, ["id"])
