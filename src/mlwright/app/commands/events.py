"""`mlwright events` and `mlwright audit`."""

import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click
import msgspec

from mlwright.kernel.cli import fitted, local_time, output_option, show, terminal_width, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid

_PAGE = 500
_HASH = re.compile(r"[0-9a-f]{64}")
Event = Mapping[str, Any]


@click.command()
@click.option("--from", "after", default=0, show_default=True, help="Only events with a higher sequence number.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--tail", "-n", type=click.IntRange(1), help="Only the newest so many, the newest last.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing what happens.")
@with_client
@output_option
def events(client: Client, after: int, limit: int, tail: int | None, follow: bool, output: str) -> None:
    """Show what happened, oldest first: who, what, when, before and after.

    Lines end at the edge of a terminal; json and yaml have everything.
    """
    newest = _newest(client, after, tail) if tail else []
    if newest:
        after = newest[0]["seq"] - 1
    if follow:
        for event in client.stream("/v1/events", **{"from": after}):
            click.echo(msgspec.json.encode(event) if output == "json" else _line(event))
        return
    found = newest if tail else list(islice(_after(client, after, min(limit, _PAGE)), limit))
    if output == "table":
        for event in found:
            click.echo(_line(event))
    else:
        show(found, output)


def _after(client: Client, after: int, together: int = _PAGE) -> Iterator[Event]:
    """The events with a higher sequence number, oldest first."""
    while page := client.get("/v1/events", **{"from": after, "limit": together}):
        yield from page
        after = page[-1]["seq"]


def _newest(client: Client, after: int, count: int) -> list[Event]:
    """The last `count` events with a higher sequence number than `after`.

    The log is read from its start only: where its end is, is found by halving.
    """
    low, high = after, after + 1
    while client.get("/v1/events", **{"from": high, "limit": 1}):
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if client.get("/v1/events", **{"from": middle, "limit": 1}):
            low = middle + 1
        else:
            high = middle
    back = count  # further when others' events, which the caller may not see, lie between
    while True:
        found = deque(_after(client, max(after, low - back)), count)
        if len(found) == count or low - back <= after:
            return list(found)
        back *= 4


def _line(event: Event) -> str:
    data = msgspec.json.encode(event["data"]).decode()
    text = f"{local_time(event['at_ms'])}  {event['actor']}  {event['type']}  {event['subject']}  {data}"
    return fitted(f"{event['seq']:>7}  {text}", terminal_width())


@click.group()
def audit() -> None:
    """The event log as evidence."""


@audit.command("verify")
@click.option("--expect", default="", help="Hash of the newest event as noted before: the log must still contain it.")
@with_client
@output_option
def verify(client: Client, expect: str, output: str) -> None:
    """Check every event against the hash chain. Exits with 1 when a row was changed, removed or added."""
    if expect and not _HASH.fullmatch(expect):
        hint = "it is the `head` that an earlier `mlwright audit verify` printed: 64 hexadecimal digits"
        raise Invalid(f"{expect!r} is not the hash of an event", path="--expect", hint=hint)
    verdict = client.get("/v1/audit", expect=expect or None)
    show({"ok": not verdict["findings"], **verdict} if output != "table" else _summary(verdict), output)
    for finding in verdict["findings"]:
        click.echo(f"error: {finding['problem']}", err=True)
    if verdict["findings"]:
        sys.exit(1)


def _summary(verdict: Mapping[str, Any]) -> dict[str, object]:
    return {"ok": not verdict["findings"], "events": verdict["events"], "head": verdict["head"]}
