"""`mlwright models`."""

from typing import Any
from urllib.parse import quote

import click
import msgspec

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid
from mlwright.registry.cli import materials, signing
from mlwright.registry.cli.naming import find_version, model_path, path_of

_COLUMNS = ["name", "project", "last_version", "aliases", "updated_ms"]
_VERSION_COLUMNS = ["version", "stage", "author", "created_ms", "files", "size", "digest"]
_DIFFERENCE_COLUMNS = ["aspect", "name", "kind", "left", "right"]
_project = click.option("--project", default="", help="Where the model is; your own project when not given.")
_limit = click.option("--limit", default=1_000, show_default=True, type=click.IntRange(1), help="At most so many.")


@click.group()
def models() -> None:
    """Registered models. A version is written MODEL/3, or MODEL@champion by its alias."""


@models.command("list")
@click.option("--filter", "query", default="", help="Such as: name LIKE 'flight%'.")
@click.option("--project", default="", help="Only in this project.")
@_limit
@with_client
@output_option
def list_models(client: Client, query: str, project: str, limit: int, output: str) -> None:
    """List registered models by name."""
    found = client.pages("/v1/models", limit, filter=query or None, project=project or None)
    show(found, output, _COLUMNS)


@models.command("show")
@click.argument("model")
@_project
@with_client
@output_option
def show_model(client: Client, model: str, project: str, output: str) -> None:
    """Show MODEL, or with MODEL/3 and MODEL@champion a version and what is known about it."""
    show(client.get(path_of(model), project=project or None), output)


@models.command("versions")
@click.argument("model")
@_project
@_limit
@with_client
@output_option
def list_versions(client: Client, model: str, project: str, limit: int, output: str) -> None:
    """List the versions of MODEL, newest first."""
    found = client.pages(f"{model_path(model)}/versions", limit, project=project or None)
    show(found, output, _VERSION_COLUMNS)


@models.command("alias")
@click.argument("model")
@click.argument("alias")
@click.argument("version", type=int, required=False)
@click.option("--expected", type=int, help="Move it only if it leads to this version now; 0: only if it is new.")
@click.option("--remove", is_flag=True, help="Remove the alias.")
@click.option("--override", default="", metavar="REASON", help="Move it though a gate is closed; for administrators.")
@_project
@with_client
@output_option
def alias(
    client: Client,
    model: str,
    alias: str,
    version: int | None,
    expected: int | None,
    remove: bool,
    override: str,
    project: str,
    output: str,
) -> None:
    """Let ALIAS of MODEL lead to VERSION, or show where it leads."""
    path, where = (
        f"{model_path(model)}/aliases/{quote(alias, safe='')}",
        f"?project={quote(project)}" if project else "",
    )
    if remove:
        client.delete(f"{path}{where}")
        click.echo(f"alias {alias} of {model} removed", err=True)
    elif version is None:
        show(client.get(path, project=project or None), output)
    else:
        body = {"version": version, "override": override} | ({} if expected is None else {"expected": expected or None})
        show(client.put(f"{path}{where}", body), output)


@models.command("diff")
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@_project
@click.option("--to-project", default="", help="Where the model of B is; that of A when not given.")
@with_client
@output_option
def diff(client: Client, left: str, right: str, project: str, to_project: str, output: str) -> None:
    """Show how version B differs from A: metrics, parameters, signature, data, code, environment, files.

    A and B are written MODEL/3 or MODEL@champion, of the same model or of different ones.
    """
    name, version = _named(client, left, project)
    to_name, to_version = _named(client, right, to_project or project)
    path = f"{model_path(name)}/versions/{version}/difference"
    wanted = {"to_model": to_name, "to_version": to_version, "to_project": to_project or None}
    found = client.get(path, project=project or None, **wanted)
    if output in {"json", "yaml"}:
        show(found, output)
        return
    show([row for each in found["aspects"] for row in _aspect_rows(each)], output, _DIFFERENCE_COLUMNS)
    if output == "table":
        said = {True: "the same", False: "not the same", None: "not all kept here, so that they cannot be compared"}
        click.echo(f"\ntheir files are {said[found['identical']]}", err=True)


@models.command("card")
@click.argument("version", metavar="VERSION")
@_project
@click.option(
    "--output",
    "-o",
    type=click.Choice(["markdown", "json", "yaml"]),
    default="markdown",
    show_default=True,
    help="Format.",
)
@with_client
def card(client: Client, version: str, project: str, output: str) -> None:
    """Print the model card of VERSION, written MODEL/3 or MODEL@champion: what is known, and what is not."""
    name, number = _named(client, version, project)
    found = client.get(f"{model_path(name)}/versions/{number}/card", project=project or None)
    if output != "markdown":
        show(found, output)
        return
    from mlwright.registry import markdown  # of no use to the other formats
    from mlwright.registry.described import Card

    click.echo(markdown.card(msgspec.convert(found, Card)), nl=False)


@models.command("delete")
@click.argument("model")
@_project
@with_client
def delete(client: Client, model: str, project: str) -> None:
    """Delete the version MODEL/3 or, as MODEL, everything of that name. Nothing brings it back."""
    if "@" in model:
        raise Invalid(f"{model!r} is an alias", path="MODEL", hint="name the version, such as MODEL/3")
    client.delete(f"{path_of(model)}?project={quote(project)}" if project else path_of(model))
    click.echo(f"{model} deleted", err=True)


def _named(client: Client, text: str, project: str) -> tuple[str, int]:
    """The model and number of MODEL/3 or MODEL@champion. Raises Invalid and NotFound."""
    found = find_version(client, text, project)
    return found["name"], found["version"]


def _aspect_rows(aspect: dict[str, Any]) -> list[dict[str, Any]]:
    """What a table shows of an aspect; one line also where nothing differs, or nothing is known."""
    named = {"aspect": aspect["name"]}
    if aspect["unknown"]:
        sides = {side: "unknown" if side in aspect["unknown"] else "known" for side in ("left", "right")}
        return [{**named, "name": "", "kind": "unknown", **sides}]
    changes = [{**named, **change} for change in aspect["changes"]]
    same = [{**named, "name": "", "kind": f"{aspect['equal']} the same", "left": "", "right": ""}]
    return changes + (same if aspect["equal"] or not changes else [])


for _command in (signing.sign, signing.verify, signing.download, materials.sbom):
    models.add_command(_command)
