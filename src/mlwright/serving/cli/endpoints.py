"""`mlwright endpoints`."""

from urllib.parse import quote

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.serving.cli.asking import document, endpoint_path, where

_COLUMNS = ["name", "project", "model", "serves", "candidate", "share", "phase"]
_REVISIONS = ["number", "model", "version", "state", "author", "created_ms", "reason"]
_PREDICTIONS = ["prediction_id", "time_ms", "version", "rows", "latency_ms", "outputs", "inputs"]
_project = click.option("--project", default="", help="Where the endpoint is; your own project when not given.")


@click.group()
def endpoints() -> None:
    """Names under which versions of models answer requests."""


@endpoints.command("list")
@_project
@with_client
@output_option
def list_(client: Client, project: str, output: str) -> None:
    """List endpoints, what they serve, and how they are."""
    show(client.get("/v1/endpoints", project=project or None), output, _COLUMNS)


@endpoints.command("get")
@click.argument("name")
@_project
@with_client
@output_option
def get(client: Client, name: str, project: str, output: str) -> None:
    """Show an endpoint in full: what it is asked for, what serves, and what is not as it should be."""
    found, place = document(client, name, project), client.get("/v1/serving")
    urls = {"invocations": f"{place['url']}/endpoints/{name}/invocations", "v2": f"{place['url']}/v2/models/{name}"}
    urls |= {"grpc": place["grpc"]} if place["grpc"] else {}
    if output != "table":
        show({**found, "urls": urls}, output)
        return
    shown = {**found["summary"], **urls}
    problems = [each for each in found["conditions"] if each["status"] != "True"]
    show({**shown, **{each["reason"]: each.get("message", "") for each in problems}}, output)


@endpoints.command("revisions")
@click.argument("name")
@_project
@with_client
@output_option
def revisions(client: Client, name: str, project: str, output: str) -> None:
    """List what an endpoint has served, newest first."""
    show(document(client, name, project)["revisions"], output, _REVISIONS)


@endpoints.command("predictions")
@click.argument("name")
@click.option("--limit", "-n", default=20, show_default=True, type=click.IntRange(1, 1_000), help="How many.")
@_project
@with_client
@output_option
def predictions(client: Client, name: str, limit: int, project: str, output: str) -> None:
    """Show the newest answers, with what was asked as far as that is kept."""
    found = client.get(f"{endpoint_path(name)}/predictions", project=project or None, limit=limit)
    show(found, output, _PREDICTIONS)


@endpoints.command("delete")
@click.argument("name")
@_project
@with_client
def delete(client: Client, name: str, project: str) -> None:
    """Serve it no longer, and forget it."""
    client.delete(f"/v1/resources/Endpoint/{quote(name, safe='')}{where(project)}")
    click.echo(f"endpoint {name} deleted", err=True)


@endpoints.group("keys")
def keys() -> None:
    """Keys that open an endpoint. From the first one on, nobody gets in without."""


@keys.command("list")
@click.argument("name")
@_project
@with_client
@output_option
def list_keys(client: Client, name: str, project: str, output: str) -> None:
    """List the keys of an endpoint, without what opens it."""
    show(client.get(f"{endpoint_path(name)}/keys", project=project or None), output, ["name", "author", "created_ms"])


@keys.command("create")
@click.argument("name")
@click.argument("key")
@_project
@with_client
@output_option
def create_key(client: Client, name: str, key: str, project: str, output: str) -> None:
    """Make a key called KEY. It is shown this once; send it as Authorization: Bearer."""
    show(client.post(f"{endpoint_path(name)}/keys{where(project)}", {"name": key}), output)


@keys.command("revoke")
@click.argument("name")
@click.argument("key")
@_project
@with_client
def revoke_key(client: Client, name: str, key: str, project: str) -> None:
    """The key called KEY opens nothing any more."""
    client.delete(f"{endpoint_path(name)}/keys/{quote(key, safe='')}{where(project)}")
    click.echo(f"key {key} of {name} revoked", err=True)
