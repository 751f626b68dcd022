"""`mlwright gate`."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import GateClosed, Invalid, Untrusted
from mlwright.registry.cli.standings import (
    REPORTS,
    Found,
    closed,
    gates_path,
    report,
    require_server,
    settled,
    standings,
    where,
)

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_COLUMNS = ["gate", "policy", "kind", "state", "verdict", "reason"]
_report_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml", "name", *REPORTS]),
    default="table",
    show_default=True,
    help="Format.",
)
_project = click.option("--project", default="", help="Where the model is; your own project when not given.")
_policy = click.option("--policy", default="", help="Only the gates of this policy.")
_comment = click.option("--comment", default="", help="Why.")


@click.group()
def gate() -> None:
    """What a model version must show before an alias may lead to it. A version is written MODEL/3."""


@gate.command("explain")
@click.argument("version")
@_policy
@_project
@with_client
@_report_option
def explain(client: Client, version: str, policy: str, project: str, output: str) -> None:
    """Show how VERSION stands before each gate, and why."""
    _show(version, standings(client, version, policy, project), output)


@gate.command("run")
@click.argument("version")
@_policy
@click.option("--again", is_flag=True, help="Also the gates that have an answer.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the answers.")
@_project
@with_client
@_report_option
def run(client: Client, version: str, policy: str, again: bool, wait: bool, project: str, output: str) -> None:
    """Have the gates of VERSION run. Fails unless all of them are passed; people's approval is not waited for."""
    if wait:
        require_server(client)
    body = {"policy": policy, "again": again}
    asked = client.post(f"{gates_path(version)}{where(project)}", body)
    if not wait:
        count = asked["requested"]
        click.echo(f"{count} gate{'s' * (count != 1)} will run", err=True)
        return
    found = settled(client, version, policy, project)
    _show(version, found, output)
    missing = closed(found)
    if missing:
        hint = f"mlwright gate explain {version} shows why"
        raise GateClosed(f"{len(missing)} of {len(found)} gates of {version} not passed", hint=hint)


@gate.command("evidence")
@click.argument("version")
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@_policy
@_project
@with_client
def evidence(client: Client, version: str, target: Path, policy: str, project: str) -> None:
    """Save what the answers about VERSION rest on into the folder TARGET, as POLICY/GATE/FILE."""
    for found in standings(client, version, policy, project):
        folder = target / quote(found["policy"], safe="") / quote(found["gate"], safe=" ")
        for name, file in sorted(found["decision"].get("evidence", {}).items()):
            _save(client, file, folder / quote(name, safe=" "))


def _save(client: Client, file: dict[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(client.download(f"{_ARTIFACTS}/{quote(file['path'])}"))
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != file["digest"]:
        raise Untrusted(f"{file['path']}: its bytes are not those that the answer was given with", path=file["path"])
    target.write_bytes(content)
    click.echo(str(target))


@gate.command("approve")
@click.argument("version")
@click.argument("name", metavar="POLICY/GATE")
@_comment
@_project
@with_client
@output_option
def approve(client: Client, version: str, name: str, comment: str, project: str, output: str) -> None:
    """Say yes to VERSION at a gate."""
    _say(client, version, name, {"approves": True, "comment": comment}, project, output)


@gate.command("reject")
@click.argument("version")
@click.argument("name", metavar="POLICY/GATE")
@_comment
@_project
@with_client
@output_option
def reject(client: Client, version: str, name: str, comment: str, project: str, output: str) -> None:
    """Say no to VERSION at a gate."""
    _say(client, version, name, {"approves": False, "comment": comment}, project, output)


def _say(client: Client, version: str, name: str, body: dict[str, object], project: str, output: str) -> None:
    policy, slash, gate_name = name.partition("/")
    if not slash:
        raise Invalid(f"{name!r} names no gate", path="POLICY/GATE", hint="write it as in: mlwright gate explain")
    place = f"{quote(policy, safe='')}/{quote(gate_name, safe='')}"
    found = client.put(f"{gates_path(version)}/{place}/approval{where(project)}", body)
    show([_flat(found)] if output == "table" else found, output, _COLUMNS)


def _show(version: str, found: Found, output: str) -> None:
    if output in REPORTS:
        click.echo(report(version, found, output), nl=False)
    else:
        show([_flat(each) for each in found] if output == "table" else found, output, _COLUMNS)


def _flat(standing: dict[str, Any]) -> dict[str, Any]:
    return {**standing, "verdict": standing["decision"]["verdict"], "reason": standing["decision"]["reason"]}
