"""All routes of MLflow's registry protocol."""

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route
from mlwright.registry.mlflow.models import ModelRoutes
from mlwright.registry.mlflow.ports import Files
from mlwright.registry.mlflow.versions import VersionRoutes


def routes(database: Database, files: Files) -> list[Route]:
    """Routes of registered models and their versions."""
    return [*ModelRoutes(database).routes(), *VersionRoutes(database, files).routes()]
