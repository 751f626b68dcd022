"""`mlwright keys`: the keys that sign model versions."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from mlwright.kernel.cli import output_option, show, with_client, with_connection
from mlwright.kernel.client import Client
from mlwright.kernel.resources import API_VERSION, check_name
from mlwright.registry.cli import pems
from mlwright.registry.cli.signing import Connect
from mlwright.registry.signatures.spec import SigningKeySpec

_RESOURCES = "/v1/resources"
_COLUMNS = ["name", "state", "fingerprint", "created", "ended", "reason"]
_project = click.option("--project", default="", help="The project; your own when not given.")
_description = click.option("--description", default="", help="Whose key it is.")
_when = click.option(
    "--at", "when", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="From when on, in UTC [default: now]."
)


@click.group()
def keys() -> None:
    """Keys that sign model versions. A project knows public keys only."""


@keys.command("create")
@click.argument("name")
@click.option("--private", type=click.Path(path_type=Path), help="Where the private key is put [default: NAME.pem].")
@click.option("--public", type=click.Path(path_type=Path), help="Where the public key is put [default: NAME.pub.pem].")
@click.option("--password", is_flag=True, help=f"Encrypt the private key; asks, or takes {pems.PASSWORD}.")
@click.option("--add/--no-add", default=True, show_default=True, help="Add the public key to the project.")
@_description
@_project
@with_connection
def create(
    connect: Connect,
    name: str,
    private: Path | None,
    public: Path | None,
    password: bool,
    add: bool,
    description: str,
    project: str,
) -> None:
    """Make a pair of keys on this machine, and add the public one to the project."""
    check_name(name, "NAME")
    private, public = private or Path(f"{name}.pem"), public or Path(f"{name}.pub.pem")
    secret = pems.new_password() if password else ""
    client = connect() if add else None
    pem = pems.write_pair(private, public, secret)
    click.echo(f"private key: {private}   (keep it secret, and a copy of it safe)")
    click.echo(f"public key: {public}")
    if client is not None:
        _apply(client, name, {"publicKey": pem.decode(), "description": description}, project)
        click.echo(f"{name} added")


@keys.command("add")
@click.argument("name")
@click.argument("public", type=click.Path(path_type=Path))
@_description
@_project
@with_client
def add(client: Client, name: str, public: Path, description: str, project: str) -> None:
    """Trust signatures by the public key in the file PUBLIC."""
    pem = pems.read(public).decode("ascii", "replace")
    done = _apply(client, name, {"publicKey": pem, "description": description}, project)
    click.echo(f"{name} {'added' if done['action'] == 'created' else done['action']}")


@keys.command("list")
@_project
@with_client
@output_option
def list_keys(client: Client, project: str, output: str) -> None:
    """List the keys of a project."""
    found = client.get(f"{_RESOURCES}/signingkeys", project=project or None)
    show([_row(each) for each in found], output, _COLUMNS if output in {"table", "name"} else [])


@keys.command("retire")
@click.argument("name")
@_when
@click.option("--reason", default="", help="Why.")
@_project
@with_client
def retire(client: Client, name: str, when: datetime | None, reason: str, project: str) -> None:
    """Let a key sign nothing new. What it has signed stays trusted."""
    _end(client, name, project, {"retiredAt": _time(when), "reason": reason})
    click.echo(f"{name} retired")


@keys.command("revoke")
@click.argument("name")
@_when
@click.option("--reason", required=True, help="Why, for everybody who meets what it has signed.")
@_project
@with_client
def revoke(client: Client, name: str, when: datetime | None, reason: str, project: str) -> None:
    """Trust nothing any more that a key ever signed."""
    _end(client, name, project, {"revokedAt": _time(when), "reason": reason})
    click.echo(f"{name} revoked")


def _apply(client: Client, name: str, spec: dict[str, Any], project: str, version: str = "") -> dict[str, Any]:
    metadata = {"name": name, "project": project, "resourceVersion": version}
    manifest = {"apiVersion": API_VERSION, "kind": "SigningKey", "metadata": metadata, "spec": spec}
    done: dict[str, Any] = client.post(_RESOURCES, manifest)
    return done


def _end(client: Client, name: str, project: str, changes: dict[str, Any]) -> None:
    found = client.get(f"{_RESOURCES}/signingkeys/{quote(name, safe='')}", project=project or None)
    place = found["metadata"]
    _apply(client, name, {**found["spec"], **changes}, place["project"], place["resourceVersion"])


def _time(when: datetime | None) -> str:
    return (when or datetime.now(UTC)).replace(tzinfo=UTC).isoformat()


def _row(resource: dict[str, Any]) -> dict[str, Any]:
    spec = msgspec.convert(resource["spec"], SigningKeySpec)
    ended = spec.revoked_at or spec.retired_at
    return {
        "name": resource["metadata"]["name"],
        "project": resource["metadata"]["project"],
        "state": spec.state(int(time.time() * 1000)).value,
        "fingerprint": spec.fingerprint,
        "description": spec.description,
        "created": resource["metadata"]["creationTimestamp"],
        "ended": ended.isoformat() if ended else "",
        "reason": spec.reason,
    }
