"""`mlwright apply`, `get`, `delete`, `diff` and `explain`: resources as manifests."""

import difflib
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid, NotFound

_file = click.option(
    "--filename", "-f", "path", required=True, type=click.Path(path_type=Path), help="YAML or JSON; - is stdin."
)
#: Most values in one manifest.
_MAX_VALUES = 100_000
_project = click.option("--project", default=None, help="The project; the default one when not given.")


@click.command()
@_file
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@with_client
def apply(client: Client, path: Path, dry_run: bool) -> None:
    """Create resources, or change them to what a file declares. Doing it again changes nothing."""
    for number, document in enumerate(_documents(path), 1):
        done = _post(client, document, _place(path, number), dry=dry_run)
        suffix = " (dry run)" if dry_run else ""
        click.echo(f"{_subject(done['resource'])} {done['action']}{suffix}")


@click.command()
@_file
@with_client
def diff(client: Client, path: Path) -> None:
    """Show what `apply` would change. Exits with 1 when there is something."""
    different = False
    for number, document in enumerate(_documents(path), 1):
        done = _post(client, document, _place(path, number), dry=True)
        if done["action"] == "unchanged":
            continue
        different = True
        after = done["resource"]
        before = _current(client, after) if done["action"] == "updated" else None
        subject = _subject(after)
        old = _lines(before) if before else []
        for line in difflib.unified_diff(old, _lines(after), f"{subject} (now)", f"{subject} (applied)", lineterm=""):
            click.echo(line)
    if different:
        sys.exit(1)


@click.command()
@click.argument("kind")
@click.argument("name", required=False)
@click.option("--labels", "-l", default=None, help="Only those with labels, such as team=vision,stage in (dev,test).")
@_project
@with_client
@output_option
def get(client: Client, kind: str, name: str | None, labels: str | None, project: str | None, output: str) -> None:
    """Show one resource, or list those of a kind."""
    if name is None:
        found = client.get(f"/v1/resources/{_segment(kind)}", project=project, labels=labels)
    else:
        found = [client.get(f"/v1/resources/{_segment(kind)}/{_segment(name)}", project=project)]
    if output in {"table", "name"}:
        show([_row(each) for each in found], output, ["name", "project", "generation", "created", "phase"])
    else:
        show(found if name is None else found[0], output)


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--filename", "-f", "path", type=click.Path(path_type=Path), help="Delete what a file declares.")
@_project
@with_client
def delete(client: Client, kind: str | None, name: str | None, path: Path | None, project: str | None) -> None:
    """Delete a resource. Something that still holds it back lets it wait."""
    if path is not None:
        wanted = [(each["kind"], each["metadata"]["name"], each["metadata"].get("project")) for each in _named(path)]
    elif kind and name:
        wanted = [(kind, name, project)]
    else:
        raise click.UsageError("name a KIND and a NAME, or a file with -f")
    for each_kind, each_name, each_project in wanted:
        query = f"?project={quote(each_project, safe='')}" if each_project else ""
        client.delete(f"/v1/resources/{_segment(each_kind)}/{_segment(each_name)}{query}")
        click.echo(f"{each_kind.lower()}/{each_name} deleted")


@click.command()
@click.argument("field")
@with_client
@output_option
def explain(client: Client, field: str, output: str) -> None:
    """Explain a kind or one of its fields, such as project.spec.description."""
    kind, _, path = field.partition(".")
    found = client.get(f"/v1/kinds/{_segment(kind)}", field=path or None)
    if output != "table":
        show(found, output)
        return
    click.echo(f"{found['path']}  <{found['type']}>{'  required' if found['required'] else ''}")
    if found["description"]:
        click.echo(f"\n{found['description']}")
    if found["fields"]:
        click.echo("\nfields:")
        width = max(map(len, found["fields"]))
        for name, kind_of in found["fields"].items():
            click.echo(f"  {name.ljust(width)}  <{kind_of}>")


def _post(client: Client, document: Mapping[str, Any], where: str, *, dry: bool) -> Any:
    """What became of one manifest. Raises Invalid, which says also in which document of which file."""
    try:
        return client.post(f"/v1/resources?dryRun={str(dry).lower()}", document)
    except Invalid as error:
        hint = error.hint
        if not hint and not {"apiVersion", "kind"} <= document.keys():
            hint = "every resource begins with apiVersion: mlwright.dev/v1 and kind:"
        raise Invalid(error.message, path=f"{error.path}, {where}" if error.path else where, hint=hint) from error


def _documents(path: Path) -> Iterator[Mapping[str, Any]]:
    """The manifests in a file. Raises Invalid for broken YAML, NotFound for a missing file."""
    import yaml  # only manifests need it

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", path="--filename") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} cannot be read: {error}", path="--filename") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"{path} is not YAML: {error}", path="--filename") from error
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict):
            raise Invalid(f"{_place(path, number)} is not a manifest", path="--filename")
        _check_plain(document, _place(path, number))
        yield document


def _place(path: Path, number: int) -> str:
    return f"document {number} of {'standard input' if str(path) == '-' else path}"


def _check_plain(document: object, where: str) -> None:
    """Raises Invalid for what JSON cannot say: dates, infinite numbers, and references in circles or that multiply."""
    waiting, count = [document], 0
    while waiting:
        value, count = waiting.pop(), count + 1
        if count > _MAX_VALUES:
            raise Invalid(f"{where} has too many values, or refers to itself", path="--filename")
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif not isinstance(value, str | int | float | None):
            raise Invalid(f"{where}: {value} is no text", path="--filename", hint=f"put it in quotes: '{value}'")
        elif isinstance(value, float) and not math.isfinite(value):
            raise Invalid(
                f"{where}: {value} is no finite number", path="--filename", hint="leave out what has no limit"
            )


def _named(path: Path) -> list[Mapping[str, Any]]:
    found = list(_documents(path))
    for number, document in enumerate(found, 1):
        metadata = document.get("metadata")
        if not isinstance(metadata, dict) or "name" not in metadata or "kind" not in document:
            raise Invalid(f"{_place(path, number)} names no kind and name", path="--filename")
    return found


def _current(client: Client, resource: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = resource["metadata"]
    where = f"/v1/resources/{_segment(resource['kind'])}/{_segment(metadata['name'])}"
    found: Mapping[str, Any] = client.get(where, project=metadata["project"])
    return found


def _lines(resource: Mapping[str, Any]) -> list[str]:
    """A resource as lines to compare: without what every change changes."""
    hidden = {"resourceVersion", "generation", "uid", "creationTimestamp"}
    metadata = {name: value for name, value in resource["metadata"].items() if name not in hidden}
    shown = {"metadata": metadata, "spec": resource["spec"]}
    return msgspec.yaml.encode(shown).decode().splitlines()


def _row(resource: Mapping[str, Any]) -> dict[str, object]:
    metadata = resource["metadata"]
    return {
        "name": metadata["name"],
        "project": metadata["project"],
        "generation": metadata["generation"],
        "created": metadata["creationTimestamp"],
        "phase": "Deleting" if metadata.get("deletionTimestamp") else resource["status"].get("phase", ""),
    }


def _subject(resource: Mapping[str, Any]) -> str:
    return f"{resource['kind'].lower()}/{resource['metadata']['name']}"


def _segment(text: object) -> str:
    return quote(str(text), safe="")
