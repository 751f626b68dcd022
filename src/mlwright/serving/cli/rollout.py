"""`mlwright rollout` and `mlwright rollback`."""

import sys
from typing import Any

import click
import msgspec

from mlwright.kernel.cli import local_time, output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.serving import verdicts
from mlwright.serving.cli.asking import document, endpoint_path, where
from mlwright.serving.service.reading import RolloutExplained

_LOOKS = ["at", "step", "requests", "errors", "stable_requests", "stable_errors", "e_against", "e_for", "verdict"]
_ROLLOUTS = ["number", "state", "stable", "step", "looks", "began_ms", "ended_ms", "reason"]
_project = click.option("--project", default="", help="Where the endpoint is; your own project when not given.")
_revision = click.option("--revision", type=click.IntRange(1), help="The rollout of this one; the newest if not given.")
_reason = click.option("--reason", default="", help="Why; it is on the record.")


@click.group()
def rollout() -> None:
    """How a new version gets its traffic: by evidence that may be looked at at any time."""


@rollout.command("list")
@click.argument("name")
@_project
@with_client
@output_option
def list_(client: Client, name: str, project: str, output: str) -> None:
    """List the rollouts of an endpoint, newest first."""
    show(client.get(f"{endpoint_path(name)}/rollouts", project=project or None), output, _ROLLOUTS)


@rollout.command("explain")
@click.argument("name")
@_revision
@_project
@with_client
@output_option
def explain(client: Client, name: str, revision: int | None, project: str, output: str) -> None:
    """Show every look at a rollout: what was counted, the e-values, the verdict, and what is missing."""
    found = _explained(client, name, revision, project)
    if output != "table":
        show(found, output)
        return
    show([_line(each) for each in found["looks"]], output, _LOOKS)
    about = found["rollout"]
    click.echo(f"\nrevision {about['number']} against {about['stable']}: {about['state']} {about['reason']}".rstrip())
    if found["looks"]:
        last = found["looks"][-1]["judgement"]
        click.echo(f"against it: e = {last['worse']:.4g} of {last['worse_at']:.4g} that would end it")
        click.echo(f"for it:     e = {last['kept']:.4g} of {last['kept_at']:.4g} that are needed for this step")
    if found["missing"]:
        click.echo(f"missing:    {found['missing']}")
    if not found["replayed"]:
        click.echo(f"differs:    the numbers do not lead to all of these verdicts; see: mlwright rollout replay {name}")


@rollout.command("replay")
@click.argument("name")
@_revision
@_project
@with_client
@output_option
def replay(client: Client, name: str, revision: int | None, project: str, output: str) -> None:
    """Judge a rollout again, here, from the numbers that were stored. Exits with 1 when a verdict differs."""
    found = msgspec.convert(_explained(client, name, revision, project), RolloutExplained)
    about = found.rollout
    again = verdicts.replay(about.plan, about.began_ms, [each.look for each in found.looks])
    differing = [
        {"look": place, "stored": each.judgement.verdict.value, "replayed": mine.verdict.value}
        for place, (each, mine) in enumerate(zip(found.looks, again, strict=True), 1)
        if each.judgement != mine
    ]
    verdict = again[-1].verdict.value if again else "none yet"
    shown = {"revision": about.number, "looks": len(again), "verdict": verdict, "same": not differing}
    show({**shown, "differing": differing} if output != "table" else shown, output)
    if differing:
        sys.exit(1)


@rollout.command("pause")
@click.argument("name")
@_project
@with_client
@output_option
def pause(client: Client, name: str, project: str, output: str) -> None:
    """Keep the candidate's share as it is. What is bad is rolled back nevertheless."""
    _steer(client, name, project, output, "pause", "")


@rollout.command("resume")
@click.argument("name")
@_project
@with_client
@output_option
def resume(client: Client, name: str, project: str, output: str) -> None:
    """Go on by evidence."""
    _steer(client, name, project, output, "resume", "")


@rollout.command("promote")
@click.argument("name")
@_reason
@_project
@with_client
@output_option
def promote(client: Client, name: str, reason: str, project: str, output: str) -> None:
    """Let the candidate take over without further evidence."""
    _steer(client, name, project, output, "promote", reason)


@rollout.command("abort")
@click.argument("name")
@_reason
@_project
@with_client
@output_option
def abort(client: Client, name: str, reason: str, project: str, output: str) -> None:
    """Give all traffic to the version that served before."""
    _steer(client, name, project, output, "abort", reason)


@click.command()
@click.argument("name")
@click.option("--revision", type=click.IntRange(1), help="To serve again; the one that served before if not given.")
@_project
@with_client
@output_option
def rollback(client: Client, name: str, revision: int | None, project: str, output: str) -> None:
    """Serve an earlier revision of the endpoint NAME again. Nothing is built."""
    client.post(f"{endpoint_path(name)}/rollback{where(project)}", {"revision": revision})
    show(document(client, name, project)["summary"], output)


def _steer(client: Client, name: str, project: str, output: str, action: str, reason: str) -> None:
    found = client.post(f"{endpoint_path(name)}/rollout{where(project)}", {"action": action, "reason": reason})
    show([found] if output == "table" else found, output, _ROLLOUTS)


def _explained(client: Client, name: str, revision: int | None, project: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{endpoint_path(name)}/rollout", revision=revision, project=project or None)
    return found


def _line(each: dict[str, Any]) -> dict[str, Any]:
    look, judgement = each["look"], each["judgement"]
    candidate, stable = look["candidate"], look["stable"]
    return {
        "at": local_time(look["at_ms"]),
        "step": look["step"],
        "requests": candidate.get("requests", 0),
        "errors": candidate.get("errors", 0),
        "stable_requests": stable.get("requests", 0),
        "stable_errors": stable.get("errors", 0),
        "e_against": f"{judgement['worse']:.4g}",
        "e_for": f"{judgement['kept']:.4g}",
        "verdict": judgement["verdict"],
    }
