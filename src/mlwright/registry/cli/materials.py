"""`mlwright models sbom`."""

import click

from mlwright.kernel.cli import show, with_client
from mlwright.kernel.client import Client
from mlwright.registry.cli import naming


@click.command("sbom")
@click.argument("version", metavar="MODEL/3")
@click.option("--project", default="", help="Where the model is; your own project when not given.")
@with_client
def sbom(client: Client, version: str, project: str) -> None:
    """Print the bill of materials of a version: its files and the distributions it needs, as CycloneDX 1.6 in JSON."""
    found = naming.find_version(client, version, project)
    path = f"{naming.model_path(found['name'])}/versions/{found['version']}/sbom"
    show(client.get(path, project=found["project"]), "json")
