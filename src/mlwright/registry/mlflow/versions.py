"""MLflow routes under model-versions/."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.database import Database
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Role
from mlwright.kernel.protojson import answer, both, decode, required
from mlwright.kernel.transaction import Tx
from mlwright.registry import search, validation
from mlwright.registry.mlflow import wire
from mlwright.registry.mlflow.models import check_most
from mlwright.registry.mlflow.ports import Files
from mlwright.registry.service import gated, loading, registration, rows
from mlwright.registry.service import versions as service
from mlwright.registry.spec import ModelVersion, NewVersion
from mlwright.tracking.spec import Page, Tag


class Create(msgspec.Struct):
    name: str | None = None
    source: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    run_link: str = ""
    description: str = ""
    tags: list[Tag] = []


class One(msgspec.Struct):
    name: str | None = None
    version: str | None = None


class Update(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    description: str | None = None


class Transition(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    stage: str | None = None
    archive_existing_versions: bool = False


class SetTag(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    key: str | None = None
    value: str = ""


class Search(msgspec.Struct):
    filter: str = ""
    max_results: int = 200_000
    order_by: list[str] = []
    page_token: str = ""


class VersionRoutes:
    """Handlers of model-versions/*.

    Args:
        database: where versions are kept.
        files: the bytes of their files.
    """

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files

    def routes(self) -> list[Route]:
        return [
            *both("POST", "model-versions/create", self.create),
            *both("GET", "model-versions/get", self.get),
            *both("PATCH", "model-versions/update", self.update),
            *both("DELETE", "model-versions/delete", self.delete),
            *both("GET", "model-versions/search", self.search),
            *both("GET", "model-versions/get-download-uri", self.download_uri),
            *both("POST", "model-versions/transition-stage", self.transition),
            *both("POST", "model-versions/set-tag", self.set_tag),
            *both("DELETE", "model-versions/delete-tag", self.delete_tag),
            Route("GET", "/model-versions/get-artifact", self.get_file),
            Route("GET", "/ajax-api/2.0/mlflow/model-versions/get-artifact", self.get_file),
        ]

    async def create(self, request: Request) -> Response:
        message, caller = await decode(request, Create), caller_of(request)
        new = NewVersion(
            required("name", message.name),
            required("source", message.source),
            message.run_id,
            message.model_id,
            message.run_link,
            message.description,
            {tag.key: tag.value for tag in message.tags},
        )
        return _version(await registration.register(self._database, self._files, caller, new))

    async def get(self, request: Request) -> Response:
        (name, number), caller = await self._one(request), caller_of(request)
        return _version(await self._database.read(lambda tx: service.get(tx, caller, name, number), brief=True))

    async def update(self, request: Request) -> Response:
        message, caller = await decode(request, Update), caller_of(request)
        name, number = _named(message.name, message.version)
        return _version(
            await self._database.write(lambda tx: service.describe(tx, caller, name, number, message.description))
        )

    async def delete(self, request: Request) -> Response:
        (name, number), caller = await self._one(request), caller_of(request)
        await self._database.write(lambda tx: service.delete_version(tx, caller, name, number))
        return answer()

    async def search(self, request: Request) -> Response:
        message, caller = await decode(request, Search), caller_of(request)
        check_most(message.max_results, search.MAX_VERSIONS)

        def work(tx: Tx) -> Page[ModelVersion]:
            caller.require(caller.project, Role.VIEWER)
            page = search.search_versions(
                tx, [caller.project], message.filter, message.order_by, message.max_results, message.page_token
            )
            return Page(rows.versions(tx, page.rows), page.next_page_token)

        page = await self._database.read(work)
        found: dict[str, object] = {}
        if page.items:
            found["model_versions"] = [wire.version(each) for each in page.items]
        if page.next_token:
            found["next_page_token"] = page.next_token
        return answer(found)

    async def download_uri(self, request: Request) -> Response:
        message, caller = await decode(request, One), caller_of(request)
        name, number = message.name or "", validation.parse_version(message.version or "")
        found = await self._database.read(lambda tx: service.get(tx, caller, name, number), brief=True)
        await loading.require(self._database, self._files, caller, found)
        return answer({"artifact_uri": found.storage})

    async def transition(self, request: Request) -> Response:
        message, caller = await decode(request, Transition), caller_of(request)
        name, text = required("name", message.name), required("version", message.version)
        stage, archive = validation.parse_stage(required("stage", message.stage)), message.archive_existing_versions
        number = validation.parse_version(text)
        return _version(
            await gated.attempt(
                self._database,
                caller,
                lambda tx: service.transition(tx, caller, name, number, stage, archive=archive),
            )
        )

    async def set_tag(self, request: Request) -> Response:
        message, caller = await decode(request, SetTag), caller_of(request)
        (name, number), key = _named(message.name, message.version), required("key", message.key)
        await self._database.write(lambda tx: service.set_tag(tx, caller, name, number, key, message.value), brief=True)
        return answer()

    async def delete_tag(self, request: Request) -> Response:
        message, caller = await decode(request, SetTag), caller_of(request)
        (name, number), key = _named(message.name, message.version), required("key", message.key)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, name, number, key), brief=True)
        return answer()

    async def get_file(self, request: Request) -> Response:
        query, caller = request.query_params, caller_of(request)
        name, path = query.get("name", ""), query.get("path", "")
        number = validation.parse_version(query.get("version", ""))

        def work(tx: Tx) -> ArtifactFile:
            storage = service.get(tx, caller, name, number).storage
            return artifacts.get(tx, caller, artifacts.resolve(storage, path))

        return await self._files.send(await self._database.read(work, brief=True))

    async def _one(self, request: Request) -> tuple[str, int]:
        message = await decode(request, One)
        return _named(message.name, message.version)


def _named(name: str | None, version: str | None) -> tuple[str, int]:
    found, text = required("name", name), required("version", version)
    return found, validation.parse_version(text)


def _version(found: ModelVersion) -> Response:
    return answer({"model_version": wire.version(found)})
