"""Logged models over REST."""

from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, integer, json_response, read_json
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.tracking import search
from mlwright.tracking.api.views import FILTER, LIMIT, PAGE, ModelPage, ModelView, Value, model_view
from mlwright.tracking.service import experiments
from mlwright.tracking.service import models as service
from mlwright.tracking.spec import Tag
from mlwright.tracking.validation import parse_experiment_id

_TAG = "logged models"
_MAX_LIMIT = 100
_EXPERIMENT = Parameter(
    "experiment", {"type": "array", "items": {"type": "string"}}, "Id of an experiment. May be repeated."
)


class LoggedModelsApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        one = "/v1/logged-models/{model_id}"
        listing = (_EXPERIMENT, FILTER, LIMIT, PAGE)
        return [
            Operation("GET", "/v1/logged-models", self.list, "Search logged models.", _TAG, None, ModelPage, listing),
            Operation("GET", one, self.get, "One logged model, deleted or not.", _TAG, None, ModelView),
            Operation("DELETE", one, self.delete, "Delete a logged model.", _TAG, status=204),
            Operation("PUT", f"{one}/tags/{{key:path}}", self.set_tag, "Set a tag.", _TAG, Value, status=204),
            Operation("DELETE", f"{one}/tags/{{key:path}}", self.delete_tag, "Remove a tag.", _TAG, status=204),
        ]

    async def list(self, request: Request) -> Response:
        query, caller = request.query_params, caller_of(request)
        numbers = [parse_experiment_id(text) for text in query.getlist("experiment")]
        limit = integer(request, "limit", 50, 1, _MAX_LIMIT)

        def work(tx: Tx) -> ModelPage:
            readable = experiments.readable(tx, caller, numbers)
            page = search.search_logged_models(
                tx, readable, query.get("filter", ""), max_results=limit, page_token=query.get("page_token", "")
            )
            return ModelPage([model_view(each) for each in service.load(tx, page.rows)], page.next_page_token)

        return json_response(await self._database.read(work))

    async def get(self, request: Request) -> Response:
        model_id, caller = request.path_params["model_id"], caller_of(request)
        return json_response(
            await self._database.read(lambda tx: model_view(service.get(tx, caller, model_id, deleted=True)))
        )

    async def delete(self, request: Request) -> Response:
        model_id, caller = request.path_params["model_id"], caller_of(request)
        await self._database.write(lambda tx: service.delete_model(tx, caller, model_id))
        return Response(status_code=204)

    async def set_tag(self, request: Request) -> Response:
        body, model_id, caller = await read_json(request, Value), request.path_params["model_id"], caller_of(request)
        tag = Tag(request.path_params["key"], body.value)
        await self._database.write(lambda tx: service.set_tags(tx, caller, model_id, [tag]))
        return Response(status_code=204)

    async def delete_tag(self, request: Request) -> Response:
        model_id, key, caller = request.path_params["model_id"], request.path_params["key"], caller_of(request)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, model_id, key))
        return Response(status_code=204)
