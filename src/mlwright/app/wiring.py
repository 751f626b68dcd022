"""Puts the parts together: database, blobs, services, faces."""

from collections.abc import Callable

import mlwright.artifacts.tables
import mlwright.security.tables
import mlwright.tracking.tables  # noqa: F401 - the three register their tables
from mlwright.app import migrations
from mlwright.app.settings import Settings
from mlwright.artifacts.mlflow import ArtifactRoutes
from mlwright.kernel import schema
from mlwright.kernel.blobs import Blobs, open_blobs
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine, open_engine
from mlwright.kernel.http import Face, Router, problem
from mlwright.kernel.protojson import show_error
from mlwright.tracking.mlflow import face as mlflow_face
from mlwright.tracking.service import experiments
from mlwright.tracking.service.owners import TrackingOwners

Close = Callable[[], None]


class Platform:
    """A running platform without its network side.

    Args:
        settings: how it runs.

    Raises Conflict when the database is from a newer release, Unavailable when it cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine = open_engine(settings.database_url)
        prepare(self.engine)
        self.database = Database(self.engine)
        self.database.write_now(experiments.create_default)
        self.blobs: Blobs = open_blobs(settings.artifacts or str(settings.data / "blobs"))

    def router(self) -> Router:
        """The ASGI application with all faces."""
        artifacts = ArtifactRoutes(self.database, self.blobs, TrackingOwners()).routes()
        mlflow = Face([*artifacts, *mlflow_face.routes(self.database)], show_error)
        return Router([mlflow], fallback=Face([], problem))

    def close(self) -> None:
        self.database.close()


def prepare(engine: Engine) -> None:
    """Create or upgrade the tables of `engine`."""
    schema.prepare(engine, migrations.NEWEST, migrations.KNOWN, migrations.upgrade)
