"""`mlwright image`."""

import errno
import fnmatch
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from mlwright.app import settings
from mlwright.app.connect import connect
from mlwright.compute.environments import Environments
from mlwright.kernel.cli import show
from mlwright.kernel.client import Client
from mlwright.kernel.errors import GateClosed, Invalid, StorageFull
from mlwright.registry.cli import naming
from mlwright.registry.cli.copies import Copy
from mlwright.registry.cli.standings import closed, in_words, standings
from mlwright.serving.images import archive, docker
from mlwright.serving.images.building import Builder, Built, Source, Wishes

_DAY_S = 86_400.0
_UNUSED_S = 30 * _DAY_S
_COLUMNS = ["image", "digest", "size", "layers", "platform", "python", "seconds", "written_to"]
_PATH = click.Path(path_type=Path, dir_okay=False)
_ROWS = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def image() -> None:
    """Container images of model versions."""


@image.command("build")
@click.argument("version", metavar="MODEL@ALIAS")
@click.option("--output", "-o", "target", default="", metavar="FILE.tar|oci:DIR", help="Where the image is written.")
@click.option("--docker", "to_docker", is_flag=True, help="Give it to Docker.")
@click.option("--tag", default="", help="Its name [default: mlwright/MODEL:VERSION].")
@click.option("--endpoint", default="", help="Name under which it answers [default: the model's].")
@click.option("--base", default="", metavar="DIR|TAR|oci:DIR", help="Its ground, with Python [default: of Debian].")
@click.option("--pull", is_flag=True, help="Make the ground of the newest packages, not of those of the last time.")
@click.option("--platform", default="", help="Such as linux/amd64; only that of this machine can be built.")
@click.option("--allow-builds", is_flag=True, help="Build packages that have no wheel, which runs their code.")
@click.option("--onnx", is_flag=True, help="Compile the model, which loads it here, if that answers the same.")
@click.option("--rows", multiple=True, type=_ROWS, help="Rows to prove that on: JSON, CSV or Parquet. Repeatable.")
@click.option("--sbom", type=_PATH, help="Write the bill of materials there, too; the image has it.")
@click.option("--project", default="", help="Where the model is; your own project when not given.")
@click.option("--server", default="", envvar="MLWRIGHT_SERVER", help="URL of the server [env: MLWRIGHT_SERVER].")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory of the server.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "yaml", "name"]), default="table", show_default=True
)
def build(
    version: str,
    target: str,
    to_docker: bool,
    sbom: Path | None,
    project: str,
    server: str,
    data: Path | None,
    form: str,
    **asked: Any,
) -> None:
    """Build an image that answers predictions of MODEL@ALIAS or MODEL/3, on port 8080.

    The same version gives the same image, byte for byte. No daemon is needed; where Docker runs and no file is named,
    Docker gets the image. Refused are versions that the server does not let anyone load, and those whose gates are not
    passed.
    """
    began = time.perf_counter()
    if target and to_docker:
        raise Invalid("an image is written to a file, or given to Docker", path="--output")
    folder = (data or settings.default_data_dir()).absolute()
    wishes = Wishes(
        asked["endpoint"], asked["tag"], asked["platform"], asked["base"], asked["pull"], asked["allow_builds"],
        asked["onnx"], asked["rows"],
    )  # fmt: skip
    source = fetch(connect(server, data), version, project, folder / "images" / "models")
    builder = Builder(folder / "images", Environments(folder / "environments"), _say)
    try:
        built = builder.build(source, wishes)
        place = _deliver(built, target, to_docker=to_docker)
        if sbom is not None:
            sbom.write_bytes(built.bill)
    except OSError as error:
        kind = StorageFull if error.errno == errno.ENOSPC else Invalid
        raise kind(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    show({**_told(built), "seconds": round(time.perf_counter() - began, 3), "written_to": place}, form, _COLUMNS)
    _forget(folder / "images", builder)


def fetch(client: Client, text: str, project: str, folder: Path) -> Source:
    """The version that a text names, with its files below a folder, verified; they are downloaded once.

    Raises GateClosed, and Untrusted for a version that must not be loaded or has other bytes.
    """
    found = naming.find_version(client, text, project)
    named = f"{found['name']}/{found['version']}"
    require_open(client, text, named, found["project"])
    copy = Copy.of(client, named, found["project"], load=True)
    files = {each.path: each.sha256 for each in copy.manifest.files}
    place = folder / str(found["digest"]).removeprefix("sha256:")
    if place.exists() and _digests(place) != files:
        shutil.rmtree(place)
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as name:
            copy.download(Path(name, "model"), Path(name, "signature"), [])
            with suppress(OSError):  # somebody else was faster: theirs is as good
                Path(name, "model").rename(place)
    os.utime(place)
    code = (found.get("facts") or {}).get("code") or {}
    return Source(
        found["name"], found["project"], found["version"], found["digest"], place, files,
        found["run_id"] or "", code.get("commit") or "", code.get("repository") or "",
    )  # fmt: skip


def require_open(client: Client, text: str, version: str, project: str) -> None:
    """Raises GateClosed when gates of the alias are not passed; of any alias, when a version is named by its number."""
    alias = text.rpartition("@")[2] if "@" in text else ""
    model = version.rpartition("/")[0]
    for policy in client.get("/v1/resources/gatepolicies", project=project):
        spec = policy["spec"]
        covers = any(fnmatch.fnmatchcase(model, pattern) for pattern in spec.get("models", ["*"]))
        guards = alias in spec.get("aliases", []) if alias else spec.get("aliases", [])
        if covers and guards:
            name = policy["metadata"]["name"]
            missing = closed(standings(client, version, name, project))
            if missing:
                reasons = "; ".join(map(in_words, missing))
                raise GateClosed(f"{version} may not be served: {reasons}", hint=f"mlwright gate run {version}")


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _deliver(built: Built, target: str, *, to_docker: bool) -> str:
    """Put the image where it is wanted. Returns where that is."""
    if to_docker or (not target and docker.is_running()):
        docker.load(built.image, built.layers)
        return "Docker"
    if target.startswith("oci:"):
        archive.write_folder(built.image, built.layers, Path(target.removeprefix("oci:")))
        return target
    path = Path(target or f"{built.image.name.rpartition('/')[2].replace(':', '-')}.tar")
    archive.write_tar(built.image, built.layers, path)
    return str(path)


def _told(built: Built) -> dict[str, Any]:
    image = built.image
    return {
        "image": image.name,
        "digest": image.digest,
        "size": image.size,
        "layers": len(image.layers),
        "platform": built.platform,
        "python": built.python,
    }


def _say(text: str) -> None:
    click.echo(f"{text} ...", err=True)


def _forget(folder: Path, builder: Builder) -> None:
    """Remove what no image has needed for a month."""
    before_s = time.time() - _UNUSED_S
    builder.collect(before_s)
    for place in (*(folder / "models").glob("*"), *(folder / "graphs").glob("*")):
        with suppress(FileNotFoundError):
            if place.stat().st_mtime < before_s:
                shutil.rmtree(place) if place.is_dir() else place.unlink()
