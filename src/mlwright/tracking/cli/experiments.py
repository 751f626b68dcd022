"""`mlwright experiments`."""

from typing import Any

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid
from mlwright.tracking.cli import finding

_COLUMNS = ["experiment_id", "name", "project", "active", "updated_ms"]
_FILTER = "name LIKE 'flight%'"
_project = click.option("--project", default="", help="Only in this project.")


@click.group()
def experiments() -> None:
    """Experiments: the folders of runs."""


@experiments.command("list")
@click.option("--filter", "query", default="", help=f"Such as: {_FILTER}.")
@click.option("--view", type=click.Choice(["active", "deleted", "all"]), default="active", show_default=True)
@click.option("--limit", default=1_000, show_default=True, type=click.IntRange(1), help="At most so many.")
@_project
@with_client
@output_option
def list_experiments(client: Client, query: str, view: str, limit: int, project: str, output: str) -> None:
    """List experiments, newest first."""
    with finding.example(filter=_FILTER):
        found = client.pages("/v1/experiments", limit, filter=query or None, view=view, project=project or None)
    show(found, output, _COLUMNS)


@experiments.command("create")
@click.argument("name")
@click.option("--project", default="", help="Where; your own project when not given.")
@click.option("--tag", "tags", multiple=True, help="A tag as KEY=VALUE. May be repeated.")
@with_client
@output_option
def create(client: Client, name: str, project: str, tags: tuple[str, ...], output: str) -> None:
    """Create an experiment."""
    body = {"name": name, "project": project, "tags": dict(_pair(tag) for tag in tags)}
    show(client.post("/v1/experiments", body), output, ["experiment_id"])


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise Invalid(f"{text!r} is not KEY=VALUE", path="--tag")
    return key, value


@experiments.command("rename")
@click.argument("experiment")
@click.argument("name")
@_project
@with_client
@output_option
def rename(client: Client, experiment: str, name: str, project: str, output: str) -> None:
    """Give EXPERIMENT (an id or name) another name."""
    found = finding.experiment(client, experiment, project)
    show(client.patch(f"/v1/experiments/{found['experiment_id']}", {"name": name}), output, ["experiment_id"])


@experiments.command("delete")
@click.argument("experiment")
@_project
@with_client
def delete(client: Client, experiment: str, project: str) -> None:
    """Delete EXPERIMENT (an id or name) and its runs; `restore` brings them back."""
    found = finding.experiment(client, experiment, project)
    client.delete(f"/v1/experiments/{found['experiment_id']}")
    _say(found, "deleted")


@experiments.command("restore")
@click.argument("experiment")
@_project
@with_client
def restore(client: Client, experiment: str, project: str) -> None:
    """Bring EXPERIMENT (an id or name) and its runs back."""
    found = finding.experiment(client, experiment, project)
    client.post(f"/v1/experiments/{found['experiment_id']}/restore")
    _say(found, "restored")


def _say(found: dict[str, Any], what: str) -> None:
    click.echo(f"experiment {found['experiment_id']} ({found['name']}) {what}", err=True)
