"""`mlwright export`: tables of what was tracked, and manifests of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from mlwright.app.cli import LazyGroup
from mlwright.kernel.cli import with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import AlreadyExists, Invalid
from mlwright.registry.cli import naming

_COMMANDS = {
    "runs": ("mlwright.tracking.cli.export:runs", "Write a table with a row for each run."),
    "metrics": ("mlwright.tracking.cli.export:metrics", "Write a table with a row for each point of each metric."),
    "compose": ("mlwright.app.commands.exports:compose", "Write a file for Docker Compose."),
    "k8s": ("mlwright.app.commands.exports:k8s", "Write manifests for Kubernetes."),
    "kserve": ("mlwright.app.commands.exports:kserve", "Write an InferenceService for KServe."),
}
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(cls=LazyGroup, commands_table=_COMMANDS)
def export() -> None:
    """Write runs or metric histories to a table file, or manifests that run the image of a model version."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What all kinds of manifests take."""
    for option in reversed([
        click.argument("target", metavar="ENDPOINT|MODEL@ALIAS"),
        click.option("--output", "-o", "folder", type=_FOLDER, help="Folder for the files [default: standard output]."),
        click.option("--image", default="", help="The image, as it was pushed [default: mlwright/MODEL:VERSION]."),
        click.option("--cpus", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Of one container."),
        click.option("--memory", default=0, type=click.IntRange(0), help="MiB of one [default: the endpoint's]."),
        click.option("--replicas", nargs=2, type=int, metavar="MIN MAX", help="Containers [default: the endpoint's]."),
        click.option("--force", is_flag=True, help="Replace files that say something else."),
        click.option("--project", default="", help="Where it is; your own project when not given."),
    ]):  # fmt: skip
        command = option(command)
    return command


@click.command("compose")
@_options
@with_client
def compose(client: Client, **asked: Any) -> None:
    """Write a file for Docker Compose that runs the image of an endpoint's version, or of MODEL@ALIAS."""
    _write(client, "compose", **asked)


@click.command("k8s")
@_options
@with_client
def k8s(client: Client, **asked: Any) -> None:
    """Write a Deployment, Service, PodDisruptionBudget and HorizontalPodAutoscaler for Kubernetes 1.30 or newer.

    They run the image of an endpoint's version, or of MODEL@ALIAS, as a user without rights on a read-only root.
    """
    _write(client, "k8s", **asked)


@click.command("kserve")
@_options
@with_client
def kserve(client: Client, **asked: Any) -> None:
    """Write an InferenceService for KServe, which speaks the Open Inference Protocol."""
    _write(client, "kserve", **asked)


def _write(client: Client, kind: str, target: str, folder: Path | None, *, force: bool, **asked: Any) -> None:
    from mlwright.serving import manifests  # of no use to tables

    texts = manifests.manifests(kind, _subject(client, target, **asked))
    if folder is None:
        click.echo("---\n".join(texts.values()), nl=False)
        return
    present = [name for name, text in texts.items() if _is_other(folder / name, text)]
    if present and not force:
        raise AlreadyExists(f"{', '.join(present)} exist already", path=str(folder), hint="--force replaces them")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(str(folder / name))


def _is_other(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode()


def _subject(
    client: Client, target: str, *, image: str, cpus: float, memory: int, replicas: tuple[int, int] | None, project: str
) -> Any:
    from mlwright.serving.images.building import name_of
    from mlwright.serving.manifests import Subject
    from mlwright.serving.spec import Endpoint, Limits, Scaling

    endpoint, reference, scaling, limits = "", target, Scaling(), Limits()
    if not naming.is_version(target):
        found = client.get(f"/v1/resources/endpoints/{quote(target, safe='')}", project=project or None)
        spec = msgspec.convert(found["spec"], Endpoint)
        endpoint, reference, project = target, spec.model, found["metadata"]["project"]
        scaling, limits = spec.scaling, spec.limits
    version = naming.find_version(client, reference, project)
    if replicas:
        if not 0 <= replicas[0] <= max(replicas[1], 1):
            raise Invalid("MIN is above MAX", path="--replicas")
        scaling = msgspec.structs.replace(scaling, min=replicas[0], max=max(replicas[1], 1))
    if memory:
        limits = msgspec.structs.replace(limits, memory_mib=memory)
    name = image or name_of(version["name"], version["version"])
    return Subject(
        endpoint or version["name"], name, version["name"], version["version"], version["digest"] or "",
        version["run_id"] or "", scaling, limits, cpus,
    )  # fmt: skip
