"""All routes of tracking's pages."""

from pathlib import Path

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route
from mlwright.tracking.ui.compare import ComparePages
from mlwright.tracking.ui.experiments import ExperimentPages
from mlwright.tracking.ui.files import FilePages
from mlwright.tracking.ui.ports import Registered
from mlwright.tracking.ui.run import RunPages
from mlwright.tracking.ui.runs import RunsPages
from mlwright.tracking.ui.series import SeriesRoutes
from mlwright.web.files import Files
from mlwright.web.pages import Pages

#: Where the templates called "tracking/…" lie.
TEMPLATES = Path(__file__).parent / "templates"


def routes(database: Database, pages: Pages, files: Files, registered: Registered) -> list[Route]:
    """Every page and what the pages' scripts ask for."""
    groups = (
        ExperimentPages(database, pages),
        RunsPages(database, pages),
        RunPages(database, pages, registered),
        FilePages(database, pages, files),
        ComparePages(database, pages, files),
        SeriesRoutes(database),
    )
    return [route for group in groups for route in group.routes()]
