"""Puts the parts together: database, blobs, services, faces."""

from starlette.types import ASGIApp

import mlwright.artifacts.tables
import mlwright.registry.gates.tables
import mlwright.registry.tables
import mlwright.security.tables
import mlwright.tracking.tables  # noqa: F401 - the four register their tables
from mlwright import __version__
from mlwright.app import migrations, mlflow_ui
from mlwright.app.events_api import EventsApi
from mlwright.app.files import ArtifactFiles, VersionFiles
from mlwright.app.gc import GarbageCollector
from mlwright.app.owners import AllOwners
from mlwright.app.resources_api import ResourcesApi
from mlwright.app.settings import Settings
from mlwright.artifacts.api import ArtifactsApi
from mlwright.artifacts.mlflow import ArtifactRoutes
from mlwright.compute.environments import Environments
from mlwright.kernel import openapi, schema
from mlwright.kernel.blobs import Blobs, open_blobs
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine, open_engine
from mlwright.kernel.http import Face, Router, problem
from mlwright.kernel.protojson import show_error
from mlwright.kernel.resources import Kinds
from mlwright.kernel.transaction import Tx
from mlwright.registry.api.gates import GatesApi
from mlwright.registry.api.models import ModelsApi
from mlwright.registry.gate_runner import GateRunner
from mlwright.registry.mlflow import face as registry_face
from mlwright.registry.service import gates, models
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security import ui as security_pages
from mlwright.security.api import SecurityApi
from mlwright.security.authentication import Authentication
from mlwright.security.passwords import PasswordChecks
from mlwright.tracking.api import face as tracking_api
from mlwright.tracking.mlflow import face as mlflow_face
from mlwright.tracking.mlflow.graphql import Graphql
from mlwright.tracking.service import experiments
from mlwright.tracking.ui import face as tracking_pages
from mlwright.web.assets import Assets
from mlwright.web.errors import ErrorPages
from mlwright.web.pages import Pages


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
        self._passwords = PasswordChecks(self.database)
        self.project = projects.kind(_held_by)
        self.kinds = Kinds([self.project, gates.KIND])
        self.database.write_now(self._create_defaults)
        self.blobs: Blobs = open_blobs(settings.artifacts_url)
        self.environments = Environments(settings.data.absolute() / "environments")
        rooms = settings.data.absolute() / "gates"
        self.gates = GateRunner(self.database, VersionFiles(self.blobs), self.environments, rooms)

    def router(self) -> ASGIApp:
        """The ASGI application with all faces; who reads with a browser gets errors as pages."""
        owners = AllOwners()
        artifacts = ArtifactRoutes(self.database, self.blobs, owners).routes()
        registry = registry_face.routes(self.database, VersionFiles(self.blobs))
        rest = [*artifacts, *registry, *mlflow_face.routes(self.database)]
        mlflow = Face([*Graphql(rest).routes(), *rest], show_error)
        operations = [
            *SecurityApi(self.database, self.project).operations(),
            *ResourcesApi(self.database, self.kinds).operations(),
            *EventsApi(self.database).operations(),
            *tracking_api.operations(self.database),
            *ModelsApi(self.database).operations(),
            *GatesApi(self.database).operations(),
            *GarbageCollector(self.database, self.blobs, self.environments).operations(),
            *ArtifactsApi(self.database, self.blobs, owners).operations(),
        ]
        assets = Assets()
        pages = Pages({"tracking": tracking_pages.TEMPLATES, "security": security_pages.TEMPLATES}, assets)
        tracking_ui = tracking_pages.routes(self.database, pages, ArtifactFiles(self.blobs, owners))
        login = security_pages.SecurityPages(self.database, pages, self._passwords).routes()
        ui = Face([*assets.routes(), *login, *tracking_ui], problem)
        foreign = [mlflow_ui.face(self.settings.mlflow_ui)] if self.settings.mlflow_ui else []
        faces = [mlflow, openapi.face(operations, __version__), ui, *foreign]
        return ErrorPages(Router(faces, Face([], problem)), pages)

    def authentication(self, local_secret: str) -> Authentication:
        """Finds out who is calling; `local_secret` stands for the owner of the data directory."""
        return Authentication(self.database, local_secret, passwords=self._passwords)

    def has_admin(self) -> bool:
        """Whether anyone could log in and administer this platform."""
        return self.database.read_now(security.any_admin)

    def close(self) -> None:
        self.gates.close()
        self.database.close()

    def _create_defaults(self, tx: Tx) -> None:
        projects.create_default(tx, self.project)
        experiments.create_default(tx)


def _held_by(tx: Tx, project: str) -> str:
    """What a project still holds, in words."""
    return " and ".join(filter(None, (experiments.held_by(tx, project), models.held_by(tx, project))))


def prepare(engine: Engine) -> None:
    """Create or upgrade the tables of `engine`."""
    schema.prepare(engine, migrations.NEWEST, migrations.KNOWN, migrations.upgrade)
