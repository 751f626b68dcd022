"""All routes of MLflow's registry protocol."""

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route
from mlwright.registry.mlflow.models import ModelRoutes
from mlwright.registry.mlflow.ports import Files
from mlwright.registry.mlflow.versions import VersionRoutes
from mlwright.registry.mlflow.webhooks import WebhookRoutes
from mlwright.registry.webhooks.verbs import Webhooks


def routes(database: Database, files: Files, webhooks: Webhooks) -> list[Route]:
    """Routes of registered models, their versions, and webhooks."""
    models, versions = ModelRoutes(database), VersionRoutes(database, files)
    return [*models.routes(), *versions.routes(), *WebhookRoutes(database, webhooks).routes()]
