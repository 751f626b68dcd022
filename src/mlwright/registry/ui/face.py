"""All routes of the registry's pages."""

from pathlib import Path

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route
from mlwright.kernel.lineage import Lineage
from mlwright.registry import materials
from mlwright.registry.ui.described_pages import DescribedPages
from mlwright.registry.ui.gate_pages import GatePages
from mlwright.registry.ui.lineage_pages import LineagePages
from mlwright.registry.ui.listing import ModelListPages
from mlwright.registry.ui.materials_pages import MaterialsPages
from mlwright.registry.ui.model_pages import ModelPages
from mlwright.registry.ui.version_pages import VersionPages
from mlwright.registry.ui.webhook_pages import WebhookPages
from mlwright.web.files import Files
from mlwright.web.pages import Pages

#: Where the templates called "registry/…" lie.
TEMPLATES = Path(__file__).parent / "templates"


def routes(database: Database, pages: Pages, files: Files, contents: materials.Files, lineage: Lineage) -> list[Route]:
    """Every page and what the pages' scripts ask for.

    Args:
        database: where models are kept.
        pages: renders.
        files: artifacts as pages show them.
        contents: the files of versions.
        lineage: what came from what.
    """
    groups = (
        ModelListPages(database, pages),
        VersionPages(database, pages, files),
        DescribedPages(database, pages),
        ModelPages(database, pages),
        GatePages(database, pages),
        WebhookPages(database, pages),
        MaterialsPages(database, pages, contents),
        LineagePages(database, pages, lineage),
    )
    return [route for group in groups for route in group.routes()]
