"""Experiments and their saved views over REST."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, integer, json_response, read_json
from mlwright.kernel.identity import Role
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.tracking import search
from mlwright.tracking.api.views import FILTER, LIMIT, MAX_LIMIT, ORDER, PAGE, VIEW, Value, view_of
from mlwright.tracking.service import experiments as service
from mlwright.tracking.service import inputs, notes, overview
from mlwright.tracking.spec import DatasetSummary, Experiment, SavedView, Tag
from mlwright.tracking.validation import parse_experiment_id

_TAG = "experiments"
_PROJECT = Parameter("project", {"type": "string"}, "Only of this project; all you may see when not given.")


class CreateExperiment(msgspec.Struct, forbid_unknown_fields=True):
    """`artifact_location` and `project` are chosen for you when empty."""

    name: str
    project: str = ""
    artifact_location: str = ""
    tags: dict[str, str] = {}


class RenameExperiment(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class ExperimentPage(msgspec.Struct, frozen=True):
    """Experiments; `next_token` leads to the next page and is empty on the last."""

    items: list[Experiment]
    next_token: str = ""


class ViewQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query parameters of the page that is saved."""

    query: dict[str, object]


class ExperimentsApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        one = "/v1/experiments/{experiment_id}"
        listing = (FILTER, ORDER, VIEW, _PROJECT, LIMIT, PAGE)
        return [
            Operation(
                "GET", "/v1/experiments", self.list, "Search experiments.", _TAG, None, ExperimentPage, listing
            ),
            Operation(
                "POST", "/v1/experiments", self.create, "Create an experiment.", _TAG, CreateExperiment, Experiment,
                (), 201,
            ),
            Operation("GET", one, self.get, "One experiment, deleted or not.", _TAG, None, Experiment),
            Operation("PATCH", one, self.rename, "Rename an experiment.", _TAG, RenameExperiment, Experiment),
            Operation("DELETE", one, self.delete, "Delete an experiment and its runs.", _TAG, status=204),
            Operation("POST", f"{one}/restore", self.restore, "Undo its deletion.", _TAG, None, Experiment),
            Operation("PUT", f"{one}/tags/{{key:path}}", self.set_tag, "Set a tag.", _TAG, Value, status=204),
            Operation("DELETE", f"{one}/tags/{{key:path}}", self.delete_tag, "Remove a tag.", _TAG, status=204),
            Operation("GET", f"{one}/datasets", self.datasets, "Data its runs read.", _TAG, None, list[DatasetSummary]),
            Operation("GET", f"{one}/views", self.list_views, "Saved views.", _TAG, None, list[SavedView]),
            Operation("PUT", f"{one}/views/{{name}}", self.save_view, "Save a view.", _TAG, ViewQuery, status=204),
            Operation("DELETE", f"{one}/views/{{name}}", self.delete_view, "Remove a view.", _TAG, status=204),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        caller, query, view = caller_of(request), request.query_params, view_of(request)
        limit = integer(request, "limit", 100, 1, MAX_LIMIT)
        project = query.get("project", "")
        if project:
            caller.require(project, Role.VIEWER)

        def work(tx: Tx) -> ExperimentPage:
            projects = [project] if project else overview.projects(tx, caller)
            page = search.search_experiments(
                tx,
                projects,
                query.get("filter", ""),
                view,
                query.getlist("order_by"),
                limit,
                query.get("page_token", ""),
            )
            return ExperimentPage(service.load(tx, page.rows), page.next_page_token)

        return json_response(await self._database.read(work))

    async def create(self, request: Request) -> Response:
        body, caller = await read_json(request, CreateExperiment), caller_of(request)
        tags = [Tag(key, value) for key, value in body.tags.items()]

        def work(tx: Tx) -> Experiment:
            number = service.create(tx, caller, body.name, body.artifact_location, tags, body.project)
            return service.get(tx, caller, number)

        return json_response(await self._database.write(work), 201)

    async def get(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)
        return json_response(await self._database.read(lambda tx: service.get(tx, caller, number)))

    async def rename(self, request: Request) -> Response:
        body, number, caller = await read_json(request, RenameExperiment), _number(request), caller_of(request)

        def work(tx: Tx) -> Experiment:
            service.rename(tx, caller, number, body.name)
            return service.get(tx, caller, number)

        return json_response(await self._database.write(work))

    async def delete(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)
        await self._database.write(lambda tx: service.delete_experiment(tx, caller, number))
        return Response(status_code=204)

    async def restore(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)

        def work(tx: Tx) -> Experiment:
            service.restore(tx, caller, number)
            return service.get(tx, caller, number)

        return json_response(await self._database.write(work))

    async def set_tag(self, request: Request) -> Response:
        body, number, caller = await read_json(request, Value), _number(request), caller_of(request)
        tag = Tag(request.path_params["key"], body.value)
        await self._database.write(lambda tx: service.set_tag(tx, caller, number, tag))
        return Response(status_code=204)

    async def delete_tag(self, request: Request) -> Response:
        number, key, caller = _number(request), request.path_params["key"], caller_of(request)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, number, key))
        return Response(status_code=204)

    async def datasets(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)

        def work(tx: Tx) -> object:
            service.get(tx, caller, number)
            return inputs.summaries(tx, caller, [number])

        return json_response(await self._database.read(work))

    async def list_views(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)
        return json_response(await self._database.read(lambda tx: notes.list_views(tx, caller, number)))

    async def save_view(self, request: Request) -> Response:
        body, number, caller = await read_json(request, ViewQuery), _number(request), caller_of(request)
        name = request.path_params["name"]
        await self._database.write(lambda tx: notes.save_view(tx, caller, number, name, body.query))
        return Response(status_code=204)

    async def delete_view(self, request: Request) -> Response:
        number, name, caller = _number(request), request.path_params["name"], caller_of(request)
        await self._database.write(lambda tx: notes.delete_view(tx, caller, number, name))
        return Response(status_code=204)


def _number(request: Request) -> int:
    return parse_experiment_id(request.path_params["experiment_id"])
