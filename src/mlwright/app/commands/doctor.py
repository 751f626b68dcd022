"""`mlwright doctor`."""

import sys
from pathlib import Path

import click
import msgspec

from mlwright.app import doctor as checks
from mlwright.app.commands.options import data_option
from mlwright.app.doctor import Health
from mlwright.app.settings import load
from mlwright.kernel.cli import output_option, show

_COLOURS = {Health.OK: "green", Health.WARNING: "yellow", Health.ERROR: "red"}


@click.command()
@data_option
@output_option
def doctor(data: Path, output: str) -> None:
    """Check this installation. Exits with 1 when something is broken; changes nothing."""
    found = checks.run(load(data))
    if output == "table":
        for check in found:
            mark = click.style(check.health.value.ljust(7), fg=_COLOURS[check.health])
            click.echo(f"{mark}  {check.name.ljust(8)}  {check.detail}")
            if check.fix:
                click.echo(f"{' ' * 19}fix: {check.fix}")
    else:
        show([msgspec.to_builtins(check) for check in found], output)
    if any(check.health is Health.ERROR for check in found):
        sys.exit(1)
