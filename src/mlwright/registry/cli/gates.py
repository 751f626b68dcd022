"""`mlwright gate`."""

import time
from typing import Any
from urllib.parse import quote

import click
import msgspec

from mlwright import __version__
from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import GateClosed, Invalid, Unavailable
from mlwright.registry.gates.spec import Standing

_COLUMNS = ["gate", "policy", "kind", "state", "verdict", "reason"]
_LOOK_AGAIN_S = 0.5
_REPORTS = ["junit", "sarif", "markdown"]
_report_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml", "name", *_REPORTS]),
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
    _show(version, _standings(client, version, policy, project), output)


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
    if wait and client.alone:
        raise Unavailable("gates are run by a server, and none is running", hint="start one: mlwright up --detach")
    body = {"policy": policy, "again": again}
    asked = client.post(f"{_path(version)}{_where(project)}", body)
    if not wait:
        count = asked["requested"]
        click.echo(f"{count} gate{'s' * (count != 1)} will run", err=True)
        return
    found = _standings(client, version, policy, project)
    while any(each["state"] in {"waiting", "running"} for each in found):
        time.sleep(_LOOK_AGAIN_S)
        found = _standings(client, version, policy, project)
    _show(version, found, output)
    closed = [each for each in found if not _passed(each)]
    if closed:
        hint = f"mlwright gate explain {version} shows why"
        raise GateClosed(f"{len(closed)} of {len(found)} gates of {version} not passed", hint=hint)


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
    found = client.put(f"{_path(version)}/{place}/approval{_where(project)}", body)
    show([_flat(found)] if output == "table" else found, output, _COLUMNS)


def _standings(client: Client, version: str, policy: str, project: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(_path(version), policy=policy or None, project=project or None)
    return found


def _show(version: str, found: list[dict[str, Any]], output: str) -> None:
    if output not in _REPORTS:
        show([_flat(each) for each in found] if output == "table" else found, output, _COLUMNS)
        return
    from mlwright.registry.gates import reports  # of no use to the other formats

    standings = msgspec.convert(found, list[Standing])
    if output == "sarif":
        show(reports.sarif(version, standings, __version__), "json")
    else:
        click.echo({"junit": reports.junit, "markdown": reports.markdown}[output](version, standings), nl=False)


def _flat(standing: dict[str, Any]) -> dict[str, Any]:
    return {**standing, "verdict": standing["decision"]["verdict"], "reason": standing["decision"]["reason"]}


def _passed(standing: dict[str, Any]) -> bool:
    return bool(standing["state"] == "done" and standing["decision"]["verdict"] == "pass")


def _path(version: str) -> str:
    name, slash, number = version.rpartition("/")
    if not slash:
        raise Invalid(f"{version!r} names no version", path="VERSION", hint="write MODEL/3")
    return f"/v1/models/{quote(name, safe='')}/versions/{quote(number, safe='')}/gates"


def _where(project: str) -> str:
    return f"?project={quote(project)}" if project else ""
