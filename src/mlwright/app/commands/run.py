"""`mlwright run`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mlwright.app.connect import address, connect
from mlwright.kernel.errors import Invalid, MlwrightError
from mlwright.kernel.ids import RandomIds

_TRACKING = "MLFLOW_TRACKING_URI"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--input", "inputs", multiple=True, type=click.Path(path_type=Path), help="Data it reads. Repeatable.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A variable that it gets. Repeatable.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME", help="A variable that it needs. Repeatable.")
@click.option("--server", default="", envvar="MLWRIGHT_SERVER", help="URL of the server [env: MLWRIGHT_SERVER].")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory of the server.")
def run(
    command: tuple[str, ...],
    inputs: tuple[Path, ...],
    settings: tuple[str, ...],
    secrets: tuple[str, ...],
    server: str,
    data: Path | None,
) -> int:
    """Run COMMAND, and put on record what the runs that it starts need to be repeated.

    Recorded are the commit and what differs from it, all packages, the command, digests of the data, and the values of
    --set, but never those of --secret. COMMAND is ordinary MLflow code; write it after "--".
    """
    from mlwright.reproduction.execution import Execution
    from mlwright.reproduction.recording import Asked, record

    given = _settings(settings)
    url = address(server or _tracking_server(), data)
    client = connect(url if server or _tracking_server() else "", data)
    client.get("/v1/me")  # before anything runs: is the server there, and does it know us?
    recording = record(Asked(command, Path.cwd(), inputs, given, secrets))
    started_s = time.time()
    execution = Execution.new(client, RandomIds())
    environment = {_TRACKING: url, **os.environ, **given}
    if server:
        environment[_TRACKING] = server
    environment |= execution.variables(recording, environment)
    status = _run(command, environment, lambda: execution.keep(recording))
    runs = execution.runs()
    for found in runs:
        execution.keep_of(found["run_id"], recording.with_data(_data_of(found, started_s)))
    if not runs:
        click.echo("note: it started no run that is on record (mlflow.start_run starts one)", err=True)
    return status


def _settings(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise Invalid(f"{text!r} sets no variable", path="--set", hint="such as: --set OMP_NUM_THREADS=1")
        found[name] = value
    return found


def _tracking_server() -> str:
    """Where MLflow's code logs to anyway, when that is a server."""
    found = os.environ.get(_TRACKING, "")
    return found if found.startswith(("http://", "https://")) else ""


def _run(command: Sequence[str], environment: dict[str, str], look: Callable[[], Any]) -> int:
    """Run it, looking for its runs meanwhile. Returns its exit status; 128 and more for signals."""
    process = subprocess.Popen(command, env=environment)
    # Ctrl-C is for the command: it decides what becomes of that.
    handlers = {number: signal.signal(number, lambda number, _: _pass_on(process, number)) for number in _SIGNALS}
    pause_s = 1.0
    try:
        while True:
            try:
                status = process.wait(pause_s)
                return status if status >= 0 else 128 - status
            except subprocess.TimeoutExpired:
                pause_s = min(pause_s * 2, 30.0)
            with contextlib.suppress(MlwrightError):  # later is soon enough
                look()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _pass_on(process: "subprocess.Popen[bytes]", number: int) -> None:
    if number != signal.SIGINT or not sys.stdin.isatty():  # a terminal sends Ctrl-C to the command itself
        process.send_signal(number)


def _data_of(run: dict[str, Any], started_s: float) -> dict[str, str]:
    """Digests of the files that a run's datasets were read from, as far as they have not changed since."""
    from mlwright.reproduction.recording import digests
    from mlwright.reproduction.records import sources

    found: dict[str, str] = {}
    for text in sources(run):
        path = Path(text)
        with contextlib.suppress(OSError, MlwrightError):
            if path.is_file() and path.stat().st_mtime < started_s:
                found |= digests(path, Path.cwd())
    return found
