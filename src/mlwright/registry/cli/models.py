"""`mlwright models`."""

from urllib.parse import quote

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid
from mlwright.registry.cli import materials, signing
from mlwright.registry.cli.naming import model_path, path_of

_COLUMNS = ["name", "project", "last_version", "aliases", "updated_ms"]
_VERSION_COLUMNS = ["version", "stage", "author", "created_ms", "files", "size", "digest"]
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


for _command in (signing.sign, signing.verify, signing.download, materials.sbom):
    models.add_command(_command)
