"""`mlwright scan`: looks into model files without a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

import click
import msgspec

from mlwright import __version__
from mlwright.kernel.cli import show
from mlwright.security.scanning.files import scan as scan_paths
from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.sarif import sarif
from mlwright.security.scanning.spec import FileReport, Finding, Report, Verdict, judged

_COLOURS = {Verdict.SAFE: "green", Verdict.UNSAFE: "red", Verdict.UNREADABLE: "yellow"}
_STATUS = {Verdict.SAFE: 0, Verdict.UNSAFE: 1, Verdict.UNREADABLE: 2}
_EVERY_S = 0.2


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml", "sarif"]),
    default="table",
    show_default=True,
    help="Format.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=Limits().seconds,
    show_default=True,
    help="Seconds for one file, after which it is refused.",
)
@click.option("--secrets", is_flag=True, help="Refuse files with keys, tokens or passwords in them, too.")
def scan(paths: tuple[str, ...], output: str, timeout: float, secrets: bool) -> None:
    """Say whether loading a model file would run code. Folders are scanned with all that is in them.

    Nothing is imported, executed or sent anywhere. Exits with 0 when all is safe, 1 when something is unsafe, and 2
    when something could not be read.
    """
    limits = msgspec.structs.replace(Limits(), seconds=timeout, secrets=secrets)
    found = scan_paths(paths, limits)
    report = judged(tuple(_counted(found) if sys.stderr.isatty() else found))
    if output == "table":
        _print(report)
    elif output == "sarif":
        show(sarif(report, __version__), "json")
    else:
        show(msgspec.to_builtins(report), output)
    sys.exit(_STATUS[report.verdict])


def _counted(reports: Iterable[FileReport]) -> Iterator[FileReport]:
    """The same reports, with their count on the terminal meanwhile."""
    next_at = time.monotonic() + _EVERY_S
    for count, each in enumerate(reports, start=1):
        if time.monotonic() >= next_at:
            click.echo(f"\r{count:,} files", nl=False, err=True)
            next_at = time.monotonic() + _EVERY_S
        yield each
    click.echo("\r\x1b[K", nl=False, err=True)


def _print(report: Report) -> None:
    for each in report.files:
        mark = click.style(each.verdict.value.ljust(10), fg=_COLOURS[each.verdict])
        click.echo(f"{mark}  {_line(each.path)}  ({each.kind})")
        for found in each.findings:
            click.echo(f"{' ' * 12}{_line(_sentence(found))}")
        for hint in dict.fromkeys(found.hint for found in each.findings):
            click.echo(f"{' ' * 12}hint: {hint}")
    counts = {verdict: sum(each.verdict is verdict for each in report.files) for verdict in Verdict}
    parts = [f"{count:,} {verdict.value}" for verdict, count in counts.items() if count]
    click.echo(", ".join(parts) or "no files", err=True)


def _sentence(found: Finding) -> str:
    where = [found.member] if found.member else []
    if found.opcodes:
        where.append(found.opcodes)
    elif found.offset >= 0:
        where.append(f"byte {found.offset:,}")
    return f"{found.rule}: {found.message}" + (f" [{'; '.join(where)}]" if where else "")


def _line(text: str) -> str:
    """One line without what controls a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
