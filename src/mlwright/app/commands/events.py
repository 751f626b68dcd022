"""`mlwright events` and `mlwright audit`."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client

_PAGE = 500


@click.command()
@click.option("--from", "after", default=0, show_default=True, help="Only events with a higher sequence number.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing what happens.")
@with_client
@output_option
def events(client: Client, after: int, limit: int, follow: bool, output: str) -> None:
    """Show what happened: who, what, when, before and after."""
    if follow:
        for event in client.stream("/v1/events", **{"from": after}):
            click.echo(msgspec.json.encode(event) if output == "json" else _line(event))
        return
    found: list[Mapping[str, Any]] = []
    while len(found) < limit:
        page = client.get("/v1/events", **{"from": after, "limit": min(_PAGE, limit - len(found))})
        if not page:
            break
        found += page
        after = page[-1]["seq"]
    if output == "table":
        for event in found:
            click.echo(_line(event))
    else:
        show(found, output)


def _line(event: Mapping[str, Any]) -> str:
    at = datetime.fromtimestamp(event["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    data = msgspec.json.encode(event["data"]).decode()
    return f"{event['seq']:>7}  {at}  {event['actor']}  {event['type']}  {event['subject']}  {data}"


@click.group()
def audit() -> None:
    """The event log as evidence."""


@audit.command("verify")
@click.option("--expect", default="", help="Hash of the newest event as noted before: the log must still contain it.")
@with_client
@output_option
def verify(client: Client, expect: str, output: str) -> None:
    """Check every event against the hash chain. Exits with 1 when a row was changed, removed or added."""
    verdict = client.get("/v1/audit", expect=expect or None)
    show({"ok": not verdict["findings"], **verdict} if output != "table" else _summary(verdict), output)
    for finding in verdict["findings"]:
        click.echo(f"error: {finding['problem']}", err=True)
    if verdict["findings"]:
        sys.exit(1)


def _summary(verdict: Mapping[str, Any]) -> dict[str, object]:
    return {"ok": not verdict["findings"], "events": verdict["events"], "head": verdict["head"]}
