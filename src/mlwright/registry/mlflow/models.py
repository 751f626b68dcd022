"""MLflow routes under registered-models/."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Role
from mlwright.kernel.protojson import HINT, answer, both, decode, required
from mlwright.kernel.transaction import Tx
from mlwright.registry import search, validation
from mlwright.registry.mlflow import wire
from mlwright.registry.service import aliases, gated, renaming, rows
from mlwright.registry.service import models as service
from mlwright.registry.spec import ModelVersion, RegisteredModel
from mlwright.tracking.spec import Page, Tag


class Create(msgspec.Struct):
    name: str | None = None
    tags: list[Tag] = []
    description: str = ""


class ByName(msgspec.Struct):
    name: str | None = None


class Update(msgspec.Struct):
    name: str | None = None
    description: str = ""


class Rename(msgspec.Struct):
    name: str | None = None
    new_name: str | None = None


class SetTag(msgspec.Struct):
    name: str | None = None
    key: str | None = None
    value: str = ""


class Latest(msgspec.Struct):
    name: str | None = None
    stages: list[str] = []


class SetAlias(msgspec.Struct):
    name: str | None = None
    alias: str | None = None
    version: str | None = None


class Search(msgspec.Struct):
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


def check_most(max_results: int, most: int) -> None:
    """Raises Invalid with the text of MLflow's handlers for more results than they give."""
    if max_results > most:
        start = f"Invalid value \"{max_results}\" for parameter 'max_results' supplied: "
        raise Invalid(f"{start} Hint: Value was of type 'str'.{HINT}", path="max_results")


class ModelRoutes:
    """Handlers of registered-models/*; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        return [
            *both("POST", "registered-models/create", self.create),
            *both("GET", "registered-models/get", self.get),
            *both("PATCH", "registered-models/update", self.update),
            *both("POST", "registered-models/rename", self.rename),
            *both("DELETE", "registered-models/delete", self.delete),
            *both("GET", "registered-models/search", self.search),
            *both("POST", "registered-models/get-latest-versions", self.latest),
            *both("GET", "registered-models/get-latest-versions", self.latest),
            *both("POST", "registered-models/set-tag", self.set_tag),
            *both("DELETE", "registered-models/delete-tag", self.delete_tag),
            *both("POST", "registered-models/alias", self.set_alias),
            *both("DELETE", "registered-models/alias", self.delete_alias),
            *both("GET", "registered-models/alias", self.get_alias),
        ]

    async def create(self, request: Request) -> Response:
        message, caller = await decode(request, Create), caller_of(request)
        name, tags = required("name", message.name), {tag.key: tag.value for tag in message.tags}
        model = await self._database.write(
            lambda tx: service.create(tx, caller, name, message.description, tags), brief=True
        )
        return _model(model)

    async def get(self, request: Request) -> Response:
        name, caller = await self._name(request), caller_of(request)
        return _model(await self._database.read(lambda tx: service.get(tx, caller, name)))

    async def update(self, request: Request) -> Response:
        message, caller = await decode(request, Update), caller_of(request)
        name = required("name", message.name)
        return _model(await self._database.write(lambda tx: service.describe(tx, caller, name, message.description)))

    async def rename(self, request: Request) -> Response:
        message, caller = await decode(request, Rename), caller_of(request)
        name, new = required("name", message.name), required("new_name", message.new_name)
        return _model(await self._database.write(lambda tx: renaming.rename(tx, caller, name, new)))

    async def delete(self, request: Request) -> Response:
        name, caller = await self._name(request), caller_of(request)
        await self._database.write(lambda tx: service.delete_model(tx, caller, name))
        return answer()

    async def search(self, request: Request) -> Response:
        message, caller = await decode(request, Search), caller_of(request)
        check_most(message.max_results, search.MAX_MODELS)

        def work(tx: Tx) -> Page[RegisteredModel]:
            caller.require(caller.project, Role.VIEWER)
            page = search.search_models(
                tx, [caller.project], message.filter, message.order_by, message.max_results, message.page_token
            )
            return Page(rows.models(tx, page.rows), page.next_page_token)

        page = await self._database.read(work)
        found: dict[str, object] = {}
        if page.items:
            found["registered_models"] = [wire.model(each) for each in page.items]
        if page.next_token:
            found["next_page_token"] = page.next_token
        return answer(found)

    async def latest(self, request: Request) -> Response:
        message, caller = await decode(request, Latest), caller_of(request)
        name = required("name", message.name)

        def work(tx: Tx) -> list[ModelVersion]:
            service.get(tx, caller, name)
            return service.latest(tx, caller, name, [validation.parse_stage(each) for each in message.stages])

        found = await self._database.read(work)
        return answer({"model_versions": [wire.version(each) for each in found]} if found else None)

    async def set_tag(self, request: Request) -> Response:
        message, caller = await decode(request, SetTag), caller_of(request)
        name, key = required("name", message.name), required("key", message.key)
        await self._database.write(lambda tx: service.set_tag(tx, caller, name, key, message.value), brief=True)
        return answer()

    async def delete_tag(self, request: Request) -> Response:
        message, caller = await decode(request, SetTag), caller_of(request)
        name, key = required("name", message.name), required("key", message.key)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, name, key), brief=True)
        return answer()

    async def set_alias(self, request: Request) -> Response:
        message, caller = await decode(request, SetAlias), caller_of(request)
        name, alias = required("name", message.name), required("alias", message.alias)
        text = required("version", message.version)
        validation.check_model_name(name)
        validation.check_new_alias(alias)
        number = validation.parse_version(text)
        await gated.attempt(
            self._database, caller, lambda tx: aliases.move(tx, caller, name, alias, number), brief=True
        )
        return answer()

    async def delete_alias(self, request: Request) -> Response:
        message, caller = await decode(request, SetAlias), caller_of(request)
        name, alias = required("name", message.name), required("alias", message.alias)
        await self._database.write(lambda tx: aliases.remove(tx, caller, name, alias), brief=True)
        return answer()

    async def get_alias(self, request: Request) -> Response:
        message, caller = await decode(request, SetAlias), caller_of(request)
        name, alias = required("name", message.name), required("alias", message.alias)
        try:
            found = await self._database.read(
                lambda tx: aliases.lookup(tx, caller, name, alias), brief=alias.lower() != aliases.LATEST
            )
        except NotFound as error:
            if error.path == "alias":  # MLflow calls it a wrong parameter
                raise Invalid(error.message, path="alias") from error
            raise
        return answer({"model_version": wire.version(found)})

    async def _name(self, request: Request) -> str:
        return required("name", (await decode(request, ByName)).name)


def _model(model: RegisteredModel) -> Response:
    return answer({"registered_model": wire.model(model)})
