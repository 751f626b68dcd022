"""`mlwright release`."""

from typing import Any

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import GateClosed
from mlwright.registry.cli.naming import find_version, model_path
from mlwright.registry.cli.standings import closed, in_words, require_server, settled, where

_COLUMNS = ["version", "project", "digest", "aliases", "author"]


@click.command()
@click.argument("version", metavar="MODEL/3")
@click.option("--to", "to_project", required=True, help="The project where it is to be used.")
@click.option("--as", "to_name", default="", help="Name of the model there (default: the same).")
@click.option("--alias", default="", help="Wait for the gates there, and have this alias lead to it when they passed.")
@click.option("--project", default="", help="Where the model is; your own project when not given.")
@with_client
@output_option
def release(client: Client, version: str, to_project: str, to_name: str, alias: str, project: str, output: str) -> None:
    """Make VERSION, written MODEL/3 or MODEL@champion, a version in another project: the very same files.

    Releasing the same files again finds the version that is there. The gates of the other project decide anew.
    """
    if alias:
        require_server(client)
    found = find_version(client, version, project)
    path = f"{model_path(found['name'])}/versions/{found['version']}/release"
    body = {"to_project": to_project, "to_name": to_name}
    done = client.post(f"{path}{where(found['project'])}", body)
    there = done["version"]
    if not done["is_new"]:
        click.echo(f"it is {there['name']}/{there['version']} in {to_project} already", err=True)
    if alias:
        there = _promoted(client, there, alias)
    named = {**there, "version": f"{there['name']}/{there['version']}"}
    show([named] if output in {"table", "name"} else there, output, _COLUMNS)


def _promoted(client: Client, version: dict[str, Any], alias: str) -> Any:
    """The version with the alias. Raises GateClosed with what is missing."""
    name, project = f"{version['name']}/{version['version']}", version["project"]
    missing = closed(settled(client, name, "", project))
    path = f"{model_path(version['name'])}/aliases/{alias}"
    try:
        client.put(f"{path}{where(project)}", {"version": version["version"]})
    except GateClosed:
        for each in missing:
            click.echo(in_words(each), err=True)
        raise
    return find_version(client, name, project)
