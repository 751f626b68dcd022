"""All routes of MLflow's tracking protocol."""

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route
from mlwright.tracking.mlflow import server
from mlwright.tracking.mlflow.experiments import ExperimentRoutes
from mlwright.tracking.mlflow.metrics import MetricRoutes
from mlwright.tracking.mlflow.models import ModelRoutes
from mlwright.tracking.mlflow.runs import RunRoutes


def routes(database: Database) -> list[Route]:
    """Routes in order of precedence; the last ones answer for what is not offered."""
    groups = (ExperimentRoutes(database), RunRoutes(database), MetricRoutes(database), ModelRoutes(database))
    return [route for group in groups for route in group.routes()] + server.routes()
