"""Puts the parts together: database, blobs, services, faces."""

import random
from pathlib import Path

from starlette.types import ASGIApp

import mlwright.artifacts.tables
import mlwright.registry.gates.tables
import mlwright.registry.signatures.tables
import mlwright.registry.tables
import mlwright.registry.webhooks.tables
import mlwright.security.tables
import mlwright.serving.tables
import mlwright.tracking.tables  # noqa: F401 - they register their tables
from mlwright import __version__
from mlwright.app import migrations, mlflow_ui
from mlwright.app.events_api import EventsApi
from mlwright.app.files import ArtifactFiles, VersionFiles
from mlwright.app.gc import GarbageCollector
from mlwright.app.lineage_api import LineageApi
from mlwright.app.owners import AllOwners
from mlwright.app.registered import RegisteredVersions
from mlwright.app.resources_api import ResourcesApi
from mlwright.app.settings import Settings
from mlwright.app.webhook_settings import from_environment, key_from_environment
from mlwright.artifacts.api import ArtifactsApi
from mlwright.artifacts.mlflow import ArtifactRoutes
from mlwright.compute.environments import Environments
from mlwright.kernel import openapi, schema
from mlwright.kernel.blobs import Blobs, open_blobs
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine, open_engine
from mlwright.kernel.http import Face, Router, problem
from mlwright.kernel.identity import Caller
from mlwright.kernel.lineage import Lineage
from mlwright.kernel.protojson import show_error
from mlwright.kernel.resources import Kinds
from mlwright.kernel.transaction import Tx
from mlwright.registry.api.described import DescribedApi
from mlwright.registry.api.gates import GatesApi
from mlwright.registry.api.importing import ImportRegistryApi
from mlwright.registry.api.materials import MaterialsApi
from mlwright.registry.api.models import ModelsApi
from mlwright.registry.api.signatures import SignaturesApi
from mlwright.registry.api.webhooks import WebhooksApi
from mlwright.registry.gate_runner import GateRunner
from mlwright.registry.mlflow import face as registry_face
from mlwright.registry.service import approvals, gates, models, trust
from mlwright.registry.service import graph as registry_graph
from mlwright.registry.service.loading import VersionLoader
from mlwright.registry.ui import face as registry_pages
from mlwright.registry.webhooks import service as webhooks
from mlwright.registry.webhooks.delivery import WebhookRunner
from mlwright.registry.webhooks.sending import Sender
from mlwright.registry.webhooks.verbs import Webhooks
from mlwright.reproduction.api import ReproductionsApi
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security import ui as security_pages
from mlwright.security.api import SecurityApi
from mlwright.security.authentication import Authentication
from mlwright.security.passwords import PasswordChecks
from mlwright.security.sealing import Sealer
from mlwright.serving.api.endpoints import EndpointsApi, ServingPlace
from mlwright.serving.controller import ServingController
from mlwright.serving.host_process import HostProcess
from mlwright.serving.predictions import PredictionLog
from mlwright.serving.preparing import Preparer
from mlwright.serving.service import endpoints
from mlwright.serving.service import graph as serving_graph
from mlwright.serving.service.desired import Place
from mlwright.serving.ui import pages as serving_pages
from mlwright.serving.ui.pages import EndpointPages
from mlwright.tracking.api import face as tracking_api
from mlwright.tracking.mlflow import face as mlflow_face
from mlwright.tracking.mlflow.graphql import Graphql
from mlwright.tracking.service import experiments
from mlwright.tracking.service import graph as tracking_graph
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
        self.lineage = Lineage(
            [*tracking_graph.KINDS, *registry_graph.KINDS, *serving_graph.KINDS],
            [*tracking_graph.HOPS, *registry_graph.HOPS, *serving_graph.HOPS],
        )
        self.kinds = Kinds([self.project, gates.KIND, trust.KIND, endpoints.KIND])
        self.database.write_now(self._create_defaults)
        self.blobs: Blobs = open_blobs(settings.artifacts_url)
        self.environments = Environments(settings.data.absolute() / "environments")
        rooms, files = settings.data.absolute() / "gates", VersionFiles(self.blobs)
        self.gates = GateRunner(self.database, files, self.environments, rooms, advisories=settings.advisories)
        sender, sealer = Sender(from_environment()), Sealer(key_from_environment(), self._key_path())
        self._webhooks = Webhooks(self.database, sender, sealer)
        self.webhooks = WebhookRunner(self.database, sender, sealer, random.SystemRandom())
        self._host = self._serving_host()
        self._predictions = PredictionLog(settings.data.absolute() / "serving" / "predictions")
        self.serving = self._serving()

    def router(self) -> ASGIApp:
        """The ASGI application with all faces; who reads with a browser gets errors as pages."""
        owners = AllOwners()
        artifacts = ArtifactRoutes(self.database, self.blobs, owners).routes()
        registry = registry_face.routes(self.database, VersionFiles(self.blobs), self._webhooks)
        rest = [*artifacts, *registry, *mlflow_face.routes(self.database)]
        mlflow = Face([*Graphql(rest).routes(), *rest], show_error)
        operations = [
            *SecurityApi(self.database, self.project).operations(),
            *ResourcesApi(self.database, self.kinds).operations(),
            *EventsApi(self.database).operations(),
            *LineageApi(self.database, self.lineage).operations(),
            *tracking_api.operations(self.database),
            *ModelsApi(self.database).operations(),
            *DescribedApi(self.database).operations(),
            *ImportRegistryApi(self.database, VersionFiles(self.blobs)).operations(),
            *ReproductionsApi(self.database).operations(),
            *GatesApi(self.database).operations(),
            *MaterialsApi(self.database, VersionFiles(self.blobs)).operations(),
            *SignaturesApi(self.database, VersionFiles(self.blobs)).operations(),
            *WebhooksApi(self.database, self._webhooks).operations(),
            *EndpointsApi(self.database, self._serving_place, self._predictions).operations(),
            *GarbageCollector(self.database, self.blobs, self.environments).operations(),
            *ArtifactsApi(self.database, self.blobs, owners).operations(),
        ]
        assets = Assets()
        folders = {
            "tracking": tracking_pages.TEMPLATES,
            "registry": registry_pages.TEMPLATES,
            "security": security_pages.TEMPLATES,
            "serving": serving_pages.TEMPLATES,
        }
        pages = Pages(folders, assets, self._waiting)
        files = ArtifactFiles(self.blobs, owners)
        tracking_ui = tracking_pages.routes(self.database, pages, files, RegisteredVersions())
        registry_ui = registry_pages.routes(self.database, pages, files, VersionFiles(self.blobs), self.lineage)
        login = security_pages.SecurityPages(self.database, pages, self._passwords).routes()
        serving_ui = EndpointPages(
            self.database, pages, lambda: self._serving_place().url, self._host.ask, self._predictions
        ).routes()
        ui = Face([*assets.routes(), *login, *tracking_ui, *registry_ui, *serving_ui], problem)
        foreign = [mlflow_ui.face(self.settings.mlflow_ui)] if self.settings.mlflow_ui else []
        faces = [mlflow, openapi.face(operations, __version__), ui, *foreign]
        return ErrorPages(Router(faces, Face([], problem)), pages)

    def authentication(self, local_secret: str) -> Authentication:
        """Finds out who is calling; `local_secret` stands for the owner of the data directory."""
        return Authentication(self.database, local_secret, passwords=self._passwords)

    def has_admin(self) -> bool:
        """Whether anyone could log in and administer this platform."""
        return self.database.read_now(security.any_admin)

    async def _waiting(self, caller: Caller) -> int:
        """How many versions wait for the caller's approval."""
        return await self.database.read(lambda tx: approvals.count(tx, caller))

    def close(self) -> None:
        self.serving.close()
        self.gates.close()
        self.webhooks.close()
        self.database.close()

    def _serving_host(self) -> HostProcess:
        settings = self.settings
        folder, log = settings.data.absolute() / "serving", settings.data.absolute() / "logs" / "serving.log"
        port = settings.serving_port or min(settings.port + 1, 65_535)
        return HostProcess(folder, log, settings.host, port, settings.serving_grpc_port)

    def _serving(self) -> ServingController:
        loader = VersionLoader(self.database, VersionFiles(self.blobs))
        preparer = Preparer(loader, self.environments, self.settings.data.absolute() / "serving" / "models")
        place = Place(self.settings.loopback, self.settings.serving_memory_mib)
        return ServingController(self.database, preparer, self._host, place)

    def _serving_place(self) -> ServingPlace:
        settings = self.settings
        grpc = settings.url_of(settings.serving_grpc_port).rpartition("/")[2] if settings.serving_grpc_port else ""
        return ServingPlace(settings.url_of(self._host.port), self._host.is_running, grpc)

    def _key_path(self) -> Path | None:
        """Where the key for secrets lies; nowhere when other servers are to read them too."""
        return None if self.settings.shared else self.settings.data / "secrets.key"

    def _create_defaults(self, tx: Tx) -> None:
        projects.create_default(tx, self.project)
        experiments.create_default(tx)


def _held_by(tx: Tx, project: str) -> str:
    """What a project still holds, in words."""
    return " and ".join(
        filter(None, (experiments.held_by(tx, project), models.held_by(tx, project), webhooks.held_by(tx, project)))
    )


def prepare(engine: Engine) -> None:
    """Create or upgrade the tables of `engine`."""
    schema.prepare(engine, migrations.NEWEST, migrations.KNOWN, migrations.upgrade)
