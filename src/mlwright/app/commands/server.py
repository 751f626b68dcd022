"""`mlwright down`, `status`, `logs` and `version`."""

import platform
import sys
import time
from collections import deque
from pathlib import Path

import click

import mlwright
from mlwright.app import process
from mlwright.app.commands.options import data_option
from mlwright.kernel.cli import output_option, show
from mlwright.kernel.errors import NotFound, Unavailable

_POLL_S = 0.25


@click.command()
@data_option
@click.option("--timeout", default=20.0, show_default=True, help="Seconds to wait for running requests.")
def down(data: Path, timeout: float) -> None:
    """Stop the platform after it has finished its work."""
    from mlwright.serving.host_process import end_left_alone  # imports HTTP

    state = process.running(data)
    if state is None:
        ended = end_left_alone(data.absolute() / "serving")
        click.echo("the serving host, left alone, stopped" if ended else "mlwright is not running")
        return
    if not process.stop(data, timeout):
        raise Unavailable(f"process {state.pid} still runs after {timeout:.0f} s", hint=f"kill {state.pid}")
    click.echo(f"mlwright stopped (process {state.pid})")


@click.command()
@data_option
@output_option
def status(data: Path, output: str) -> None:
    """Show whether the platform runs, and where. Exits with 1 when it does not."""
    state = process.running(data)
    row: dict[str, object] = {"running": state is not None, "data": str(data)}
    if state is not None:
        uptime_s = round(time.time() - state.started_ms / 1000)
        row |= {"url": state.url, "pid": state.pid, "uptime_s": uptime_s, "version": state.version}
    show(row, output)
    if state is None:
        sys.exit(1)


@click.command()
@data_option
@click.option("--lines", "-n", default=100, show_default=True, help="How many lines from the end.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing what is logged.")
def logs(data: Path, lines: int, follow: bool) -> None:
    """Print the server's log."""
    path = data / "logs" / "server.log"
    if not path.exists():
        raise NotFound(f"there is no log in {data}", path=str(path), hint="start the platform with: mlwright up")
    with path.open() as file:
        click.echo("".join(deque(file, lines)), nl=False)
        while follow:
            click.echo(file.read(), nl=False)
            time.sleep(_POLL_S)


@click.command()
@output_option
def version(output: str) -> None:
    """Print the version."""
    found: dict[str, object] = {"mlwright": mlwright.__version__, "python": platform.python_version()}
    show(found, output)
