"""`mlwright deploy`."""

import time
from typing import Any

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid, NotFound, Unavailable
from mlwright.kernel.resources import API_VERSION
from mlwright.serving.cli.asking import document, endpoint_path, require_server, where

_LOOK_AGAIN_S = 0.02
_STRATEGIES = ("blue-green", "canary", "shadow", "ab", "bandit")
_COLUMNS = ["endpoint", "serves", "candidate", "share", "phase", "url"]


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--to", "name", required=True, help="Name of the endpoint.")
@click.option("--strategy", type=click.Choice(_STRATEGIES), help="How a new version gets its traffic.")
@click.option("--steps", help="Shares of a canary in percent, such as 5,25,50.")
@click.option("--look", type=float, metavar="SECONDS", help="Time between two looks at a rollout.")
@click.option("--entity", help="Parameter or input of requests by which they stay with one version.")
@click.option("--onnx/--no-onnx", default=None, help="Compile it, and serve it so where that answers the same.")
@click.option("--override", default="", metavar="WHY", help="Serve it though a gate is closed; for administrators.")
@click.option("--project", default="", help="Where the model and the endpoint are; your own when not given.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it gets requests.")
@click.option("--promoted", is_flag=True, help="Wait until its rollout is over; fails unless it was promoted.")
@with_client
@output_option
def deploy(
    client: Client,
    model: str,
    name: str,
    strategy: str | None,
    steps: str | None,
    look: float | None,
    entity: str | None,
    onnx: bool | None,
    override: str,
    project: str,
    wait: bool,
    promoted: bool,
    output: str,
) -> None:
    """Serve MODEL, written NAME@ALIAS or NAME/3, at an endpoint. What is not given stays as it was."""
    if wait or promoted:
        require_server(client)
    spec = _current(client, name, project)
    spec |= {"model": model}
    spec |= {key: value for key, value in (("entity", entity), ("onnx", onnx)) if value is not None}
    rollout = {"strategy": strategy, "steps": _steps(steps), "lookSeconds": look}
    spec["rollout"] = {**spec.get("rollout", {}), **{key: value for key, value in rollout.items() if value is not None}}
    metadata = {"name": name, **({"project": project} if project else {})}
    manifest = {"apiVersion": API_VERSION, "kind": "Endpoint", "metadata": metadata, "spec": spec}
    client.post("/v1/resources", manifest)
    revision = client.post(f"{endpoint_path(name)}/deploy{where(project)}", {"override": override})
    if wait or promoted:
        _wait(client, name, project, revision["number"], promoted=promoted)
    _show(client, name, project, output)


def _current(client: Client, name: str, project: str) -> dict[str, Any]:
    """The spec that there is, so that what is not named stays."""
    try:
        return dict(client.get(f"/v1/resources/Endpoint/{name}", project=project or None)["spec"])
    except NotFound:
        return {}


def _steps(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise Invalid(f"{text!r} are no shares", path="--steps", hint="write them as in 5,25,50") from error


def _wait(client: Client, name: str, project: str, number: int, *, promoted: bool) -> None:
    """Until the revision gets requests, or has all of them. Raises Unavailable with the reason when it never will."""
    told = ""
    while True:
        found = document(client, name, project)
        revision = next(each for each in found["revisions"] if each["number"] == number)
        traffic = found["traffic"]
        told = _tell(found, revision, told)
        if revision["state"] == "failed":
            raise Unavailable(f"revision {number} cannot be served: {revision['reason']}")
        served = traffic["stable"] == number and _is_ready(found)
        if served or (traffic["candidate"] == number and not promoted and _goes_on(found)):
            return
        if revision["state"] == "ready" and found["rollout"] is None and traffic["stable"] != number:
            rollout = client.get(f"{endpoint_path(name)}/rollout", revision=number, project=project or None)["rollout"]
            if rollout["ended_ms"]:
                raise Unavailable(
                    f"revision {number} was {rollout['state'].replace('-', ' ')}: {rollout['reason']}",
                    hint=f"mlwright rollout explain {name}",
                )
        time.sleep(_LOOK_AGAIN_S)


def _is_ready(found: dict[str, Any]) -> bool:
    """Whether the host answers. Raises Unavailable when it cannot be brought to."""
    conditions = {each["type"]: each for each in found["conditions"]}
    problem = conditions.get("AsAsked", {})
    if problem.get("reason") in {"CannotBeLoaded", "HostDown"}:
        raise Unavailable(f"{found['summary']['name']} does not answer: {problem['message']}")
    return bool(conditions.get("Ready", {}).get("status") == "True")


def _goes_on(found: dict[str, Any]) -> bool:
    """Blue-green is over in a moment: what comes of it is worth waiting for."""
    rollout = found["rollout"]
    return rollout is not None and rollout["plan"].get("strategy") != "blue-green"


def _tell(found: dict[str, Any], revision: dict[str, Any], before: str) -> str:
    """Say on stderr what has changed."""
    share = found["traffic"]["share"] if found["traffic"]["candidate"] == revision["number"] else 0
    state = f"{share:.0%} of the traffic" if share else revision["state"]
    text = f"revision {revision['number']} ({revision['model']}/{revision['version']}): {state}"
    if text != before:
        click.echo(text, err=True)
    return text


def _show(client: Client, name: str, project: str, output: str) -> None:
    found, place = document(client, name, project), client.get("/v1/serving")
    summary = found["summary"]
    row = {**summary, "endpoint": name, "url": f"{place['url']}/endpoints/{name}/invocations"}
    show([row] if output == "table" else {**found, "url": row["url"]}, output, _COLUMNS)
