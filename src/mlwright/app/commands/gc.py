"""`mlwright gc`."""

import re

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@click.command()
@click.option("--older-than", default="30d", show_default=True, help="Only what was deleted, or not used, so long ago.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@with_client
@output_option
def gc(client: Client, older_than: str, dry_run: bool, output: str) -> None:
    """Remove deleted experiments, runs and models for good, and all bytes that nothing needs.

    Abandoned uploads, stored bytes that no file refers to, and environments of models that nobody used go too. Events
    stay.
    """
    body = {"older_than_ms": _milliseconds(older_than), "dry_run": dry_run}
    show(client.post("/v1/gc", body), output)


def _milliseconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise Invalid(f"{text!r} is not a length of time", path="--older-than", hint="use for example 12h or 30d")
    return int(match[1]) * _UNITS_MS[match[2]]
