"""`mlwright artifacts`: files of runs and logged models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from mlwright.kernel.blobs import PIECE_BYTES
from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid, NotFound

_MODEL = "m-"


@click.group()
def artifacts() -> None:
    """Files of runs and logged models. OWNER is the id of a run, or of a logged model (m-...)."""


@artifacts.command("list")
@click.argument("owner")
@click.argument("path", default="")
@click.option("--all", "everything", is_flag=True, help="All files below, with digests.")
@with_client
@output_option
def list_files(client: Client, owner: str, path: str, everything: bool, output: str) -> None:
    """List the files and folders of OWNER in PATH."""
    found = client.get(_folder(owner), path=path or None, all="true" if everything else None)
    columns = ["path", "size", "digest"] if everything else ["path", "is_dir", "size"]
    if not found:
        click.echo(f"note: {owner} has no file or folder {path!r}" if path else f"note: {owner} has no files", err=True)
    show(found, output, columns)


@artifacts.command("get")
@click.argument("owner")
@click.argument("path", default="")
@click.argument("target", default=".", type=click.Path(path_type=Path))
@with_client
def get(client: Client, owner: str, path: str, target: Path) -> None:
    """Download a file or folder of OWNER into the folder TARGET; without PATH, everything."""
    path = path.strip("/")
    files = client.get(_folder(owner), path=path or None, all="true")
    if not files:
        _download(client, owner, path, target / path.rpartition("/")[2])
        return
    above = f"{path.rpartition('/')[0]}/" if "/" in path else ""
    for file in files:
        _download(client, owner, file["path"], target / _safe(file["path"].removeprefix(above)))


def _download(client: Client, owner: str, path: str, target: Path) -> None:
    pieces = client.download(f"{_folder(owner)}/{quote(path)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    click.echo(str(target))


def _safe(path: str) -> Path:
    """A path that stays in its folder, whatever the server says. Raises Invalid."""
    if path.startswith("/") or ".." in path.split("/"):
        raise Invalid(f"the server names a file {path!r}", path="path")
    return Path(path)


@artifacts.command("put")
@click.argument("owner")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("path", default="")
@with_client
@output_option
def put(client: Client, owner: str, source: Path, path: str, output: str) -> None:
    """Upload the file or folder SOURCE to OWNER, into the folder PATH."""
    if not source.exists():
        raise NotFound(f"there is no file {source}", path="SOURCE")
    files = sorted(each for each in source.rglob("*") if each.is_file()) if source.is_dir() else [source]
    base = source if source.is_dir() else source.parent
    done: list[Any] = []
    for file in files:
        name = "/".join(part for part in (path.strip("/"), file.relative_to(base).as_posix()) if part)
        done.append(client.upload(f"{_folder(owner)}/{quote(name)}", _pieces(file), file.stat().st_size))
    show(done, output, ["path", "size", "digest"])


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _folder(owner: str) -> str:
    kind = "logged-models" if owner.startswith(_MODEL) else "runs"
    return f"/v1/{kind}/{quote(owner, safe='')}/artifacts"
