"""`mlwright reproduce`."""

import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from mlwright.app import settings
from mlwright.app.connect import address, connect
from mlwright.compute.environments import Environments
from mlwright.compute.spec import Limits
from mlwright.kernel.cli import show
from mlwright.kernel.client import Client, HttpTransport
from mlwright.kernel.errors import Denied, MlwrightError, Unauthenticated
from mlwright.kernel.ids import RandomIds
from mlwright.reproduction import reporting, reproducing, rerun, tolerances
from mlwright.reproduction.checking import Given, Plan
from mlwright.reproduction.execution import Execution
from mlwright.reproduction.guard import Guard
from mlwright.reproduction.reproducing import Place, Repetition, Wishes
from mlwright.reproduction.rerun import Server
from mlwright.reproduction.spec import Missing, Outcome, Report

_EXIT = {Outcome.REPRODUCED: 0, Outcome.READY: 0, Outcome.DIFFERS: 1, Outcome.CANNOT: 2}
_INTERRUPTED = 130
_PROCESSES = 4_096
_SHOWN = ["likeness", "kind", "name", "original", "reproduction", "note"]


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--repository", default="", help="Folder or address of the code (default: the repository around here).")
@click.option("--commit", default="", help="Commit of the code, where the run names none or another one is meant.")
@click.option("--command", "command", default="", help="What to run, where the run does not say it.")
@click.option("--lock", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File that lists packages.")
@click.option("--allow-builds", is_flag=True, help="Build packages that have no wheel, which runs their code.")
@click.option("--tolerance", "allowed", multiple=True, help="Such as auc=0.01, 'loss*=1%'. Repeatable.")
@click.option("--ignore", "ignored", multiple=True, help="Metrics, files and models set apart, such as 'plots/*'.")
@click.option("--history", is_flag=True, help="Compare each step of metrics, too.")
@click.option("--experiment", default="", help="Id of the experiment for the new run (default: that of the run).")
@click.option("--timeout", default=86_400.0, show_default=True, type=click.FloatRange(1), help="Seconds it may take.")
@click.option("--memory", default=0, type=click.IntRange(0), help="MiB of memory it may use (default: all).")
@click.option("--dry-run", is_flag=True, help="Only say what is missing.")
@click.option("--yes", is_flag=True, help="Do not ask before the run's command is run.")
@click.option("--server", default="", envvar="MLWRIGHT_SERVER", help="URL of the server [env: MLWRIGHT_SERVER].")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory of the server.")
@click.option("--output", "-o", default="table", type=click.Choice(["table", "json", "yaml", "markdown"]))
def reproduce(run_id: str, server: str, data: Path | None, dry_run: bool, yes: bool, output: str, **asked: Any) -> int:
    """Repeat RUN from its commit, packages, data and command, as a run of its own, and compare the two.

    Exits with 0 when it is reproduced, 1 when it differs, 2 when something is missing, which is told before anything
    is run. It runs the code of whoever made RUN, as you, and with your access to the server.
    """
    allowed = tolerances.Tolerances(tolerances.parse(asked["allowed"]), asked["ignored"])
    url = address(server, data)
    client = connect(server, data)
    run = client.get(f"/v1/runs/{run_id}")
    command = shlex.split(asked["command"])
    given = Given(
        Path.cwd(), asked["repository"], asked["commit"], command, asked["lock"], asked["allow_builds"]
    )  # fmt: skip
    environments = Environments((data or settings.default_data_dir()).absolute() / "environments")
    with _cancelling() as cancelled, _scratch() as (scratch, guard):
        place = Place(
            scratch, guard, environments, os.environ, cancelled, lambda text: click.echo(f"{text} ...", err=True)
        )
        plan = reproducing.prepare(client, run, given, place)
        if cancelled.is_set():
            return _INTERRUPTED
        access = Server(url, os.environ.get("MLFLOW_TRACKING_TOKEN") or os.environ.get("MLWRIGHT_TOKEN", ""))
        plan.missing += _no_access(access, run_id)
        if plan.missing or dry_run:
            return _show(reproducing.unrun(plan), output)
        _confirm(client, run, plan, yes=yes)
        experiment = int(asked["experiment"] or run["experiment_id"])
        limits = Limits(asked["timeout"], asked["memory"] << 20 or 1 << 60, _PROCESSES, 1 << 60)
        execution = Execution.new(client, RandomIds())
        wishes = Wishes(experiment, allowed, asked["history"], limits)
        report = Repetition(client, access, run, plan, wishes, place, execution).go(builds=given.builds)
        status = _show(report, output)
        return _INTERRUPTED if cancelled.is_set() else status


def _no_access(server: Server, run_id: str) -> list[Missing]:
    """Whether the command can reach the server: it gets a token that is in the environment, and no other secret."""
    try:
        Client(HttpTransport(server.url, server.token)).get(f"/v1/runs/{run_id}")
    except (Denied, Unauthenticated) as error:
        hint = "export MLFLOW_TRACKING_TOKEN=…; see: mlwright tokens create"
        return [Missing("environment variable", f"the command cannot log to the server: {error.message}", hint)]
    return []


def _confirm(client: Client, run: dict[str, Any], plan: Plan, *, yes: bool) -> None:
    """Ask before somebody's code is run, unless it can only be the caller's own. Raises Abort, Denied."""
    if yes or _is_alone(client):
        return
    line = shlex.join(plan.record.command)
    if not sys.stdin.isatty():
        message = f"this runs the code of {run['user_id'] or 'somebody'} as you: {line}"
        raise Denied(message, hint="say --yes, if you trust it")
    click.echo(
        f"This runs, as you and with your access to the server, the code of {run['user_id'] or 'somebody'}:", err=True
    )
    click.echo(f"  {line}\n  commit {plan.record.commit}, {len(plan.record.lock)} packages", err=True)
    click.confirm("Run it?", abort=True, err=True)


def _is_alone(client: Client) -> bool:
    """Whether nobody but the caller can have made runs: the server knows no one else."""
    try:
        return client.get("/v1/me")["name"] == "local" and not client.get("/v1/principals")
    except MlwrightError:
        return False


@contextmanager
def _cancelling() -> Iterator[threading.Event]:
    """A flag that Ctrl-C and the like set."""
    cancelled = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: cancelled.set()) for number in numbers}
    try:
        yield cancelled
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _scratch() -> Iterator[tuple[Path, Guard]]:
    """A folder that is removed afterwards, whatever happens, and what sees to that."""
    folder = Path(tempfile.mkdtemp(prefix="mlwright-reproduce-"))
    try:
        with Guard(folder) as guard:
            yield folder, guard
    finally:
        rerun.remove(folder)


def _show(report: Report, output: str) -> int:
    """Print it. Returns the exit status."""
    if output == "markdown":
        click.echo(reporting.markdown(report), nl=False)
    elif output == "table":
        _table(report)
    else:
        show(msgspec.to_builtins(report), output)
    return _EXIT[report.outcome]


def _table(report: Report) -> None:
    click.echo(f"{report.outcome}: {report.reason}")
    if report.reproduction:
        click.echo(f"run {report.reproduction}")
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.missing:
        click.echo()
        show([msgspec.to_builtins(each) for each in report.missing], "table", ["what", "detail", "hint"])
    if report.likened:
        click.echo()
        rows = [
            {
                **msgspec.to_builtins(each),
                "original": reporting.shown(each.before),
                "reproduction": reporting.shown(each.after),
            }
            for each in reporting.ordered(report.likened)
        ]
        show(rows, "table", _SHOWN)
