"""All operations of tracking's own API."""

from mlwright.kernel.database import Database
from mlwright.kernel.openapi import Operation
from mlwright.tracking.api.experiments import ExperimentsApi
from mlwright.tracking.api.exporting import ExportApi
from mlwright.tracking.api.importing import ImportApi
from mlwright.tracking.api.logged_models import LoggedModelsApi
from mlwright.tracking.api.runs import RunsApi


def operations(database: Database) -> list[Operation]:
    """Operations of experiments, runs, logged models, export and import."""
    groups = (
        ExperimentsApi(database),
        RunsApi(database),
        LoggedModelsApi(database),
        ExportApi(database),
        ImportApi(database),
    )
    return [operation for group in groups for operation in group.operations()]
