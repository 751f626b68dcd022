"""`mlwright import`: moving in."""

import importlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import click
import msgspec

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.tracking.importer.counts import Counts, Progress

#: What can be moved in -> "module:function" that opens a source.
SOURCES: Mapping[str, str] = {"mlflow": "mlwright.backends.mlflow.opening:open_source"}
#: Moves what tracking does not know of, after it.
REGISTRY = "mlwright.registry.importer.mover"
#: Without a terminal, a line is printed this often, in seconds.
_LINE_EVERY_S = 5.0
#: More lines about one thing would bury the rest; all are in `-o json`.
_LISTED = 20
_OVERRIDE = "Move aliases and stages of registered models though a gate is closed; for administrators."


@click.group("import")
def import_() -> None:
    """Move in what was tracked elsewhere."""


@import_.command("mlflow")
@click.argument("source")
@click.option("--experiment", "names", multiple=True, help="Only the experiment of this name. May be repeated.")
@click.option("--project", default="", help="Project to move to; your own when not given.")
@click.option("--prefix", default="", help="Put before the names of the experiments.")
@click.option("--model", "models", multiple=True, help="Only the registered model of this name. May be repeated.")
@click.option("--model-prefix", default="", help="Put before the names of the registered models.")
@click.option("--no-models", is_flag=True, help="Leave the registered models where they are.")
@click.option("--override", default="", metavar="REASON", help=_OVERRIDE)
@click.option("--artifacts-root", default="", help="Folder or URL of all artifacts, if not where MLflow noted.")
@click.option("--no-artifacts", is_flag=True, help="Leave the files where they are.")
@click.option("--verify-files", is_flag=True, help="Read also the files that are here already, and compare them.")
@click.option("--source-token", default="", envvar="MLWRIGHT_SOURCE_TOKEN", help="Token [env: MLWRIGHT_SOURCE_TOKEN].")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--no-progress", is_flag=True, help="Print no progress.")
@with_client
@output_option
def import_mlflow(
    client: Client,
    source: str,
    names: tuple[str, ...],
    project: str,
    prefix: str,
    models: tuple[str, ...],
    model_prefix: str,
    no_models: bool,
    override: str,
    artifacts_root: str,
    no_artifacts: bool,
    verify_files: bool,
    source_token: str,
    dry_run: bool,
    no_progress: bool,
    output: str,
) -> None:
    """Move in experiments, runs, files, logged and registered models of MLflow, and compare.

    SOURCE is the URL of a running MLflow server, an MLflow database (sqlite:///mlflow.db, a SQLite file, or
    postgresql://...), or an mlruns folder. The source is only read. Run the command again to go on after an
    interruption, or to bring what is new. Exits with 1 when not everything of the source is here. With --experiment,
    registered models come only if --model names them.
    """
    from mlwright.tracking.importer.mover import Mover, Options  # imports what the comparison needs

    module, _, function = SOURCES["mlflow"].partition(":")
    opened = getattr(importlib.import_module(module), function)(source, artifacts_root, source_token)
    options = Options(
        click.format_filename(source.rpartition("@")[2]),
        project,
        prefix,
        names,
        not no_artifacts,
        verify_files,
        dry_run,
    )
    wanted = not no_models and (bool(models) or not names)
    registry = {"project": project, "prefix": model_prefix, "names": models, "override": override, "dry_run": dry_run}
    try:
        with _progress(quiet=no_progress) as progress:
            mover = Mover(client, opened, options, progress)
            document = msgspec.to_builtins(mover.move())
            if wanted:
                part = importlib.import_module(REGISTRY)
                chosen = part.Options(options.source, **registry)
                found = part.Mover(client, opened, mover.files, chosen, progress).move()
                document = _joined(document, msgspec.to_builtins(found))
    finally:
        opened.close()
    _report(document, output, dry_run=dry_run)


def _joined(tracking: dict[str, Any], registry: dict[str, Any]) -> dict[str, Any]:
    """How the move of both ended."""
    return {
        **tracking,
        "verified": tracking["verified"] and not registry["differing"],
        "changes": tracking["changes"] | registry["changes"],
        "rows": tracking["rows"] + registry["rows"],
        "differing": tracking["differing"] + registry["differing"],
        "skipped": registry["skipped"],
        "unpinned": registry["unpinned"],
    }


def _report(document: dict[str, Any], output: str, *, dry_run: bool) -> None:
    show(document["rows"] if output == "table" else document, output)
    changes = {name: count for name, count in document["changes"].items() if count}
    listed = ", ".join(f"{count:,} {name}" for name, count in changes.items()) or "0 changes"
    click.echo(f"\n{'would change' if dry_run else 'changed'}: {listed}", err=True)
    for version in document.get("unpinned", ())[:_LISTED]:
        click.echo(f"not pinned, its files are not among those of the runs here: {version}", err=True)
    for skipped in document.get("skipped", ())[:_LISTED]:
        click.echo(f"skipped: {skipped}", err=True)
    if dry_run or document["verified"]:
        if not dry_run:
            click.echo("everything of the source is here: counts and digests are equal", err=True)
        return
    for differing in document["differing"][:_LISTED]:
        click.echo(f"error: {differing} differs from the source", err=True)
    click.echo("\nhint: run the same command again; what is equal is not moved twice", err=True)
    sys.exit(1)


def _progress(*, quiet: bool) -> "_Quiet":
    if quiet:
        return _Quiet()
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Quiet:
    """Says nothing; the others say more."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def experiment(self, name: str, number: int, total: int) -> None: ...
    def model(self, name: str, number: int, total: int) -> None: ...
    def counted(self, source: Counts) -> None: ...


class _Lines(_Quiet):
    """A line for each experiment, and one from time to time."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + _LINE_EVERY_S

    def experiment(self, name: str, number: int, total: int) -> None:
        click.echo(f"experiment {number} of {total}: {name}", err=True)

    def model(self, name: str, number: int, total: int) -> None:
        click.echo(f"registered model {number} of {total}: {name}", err=True)

    def counted(self, source: Counts) -> None:
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + _LINE_EVERY_S
            click.echo(f"  {_words(source)}", err=True)


class _Bar(_Quiet):
    """A bar over the experiments, with the counts beside it."""

    def __init__(self) -> None:
        from rich.console import Console  # heavy, and only for a terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[words]}"), console=Console(stderr=True))
        self._task = self._bar.add_task("reading", total=None, words="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._bar.update(self._task, description="compared", completed=self._bar.tasks[0].total)
        self._bar.stop()

    def experiment(self, name: str, number: int, total: int) -> None:
        self._bar.update(self._task, description=name[:40], completed=number - 1, total=total)

    def model(self, name: str, number: int, total: int) -> None:
        self.experiment(name, number, total)

    def counted(self, source: Counts) -> None:
        self._bar.update(self._task, words=_words(source))


def _words(source: Counts) -> str:
    return (
        f"{source.runs:,} runs, {source.points:,} points, {source.models:,} models,"
        f" {source.files:,} files, {source.bytes / 1e6:,.0f} MB"
    )
