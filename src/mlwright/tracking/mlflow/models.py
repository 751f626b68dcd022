"""MLflow routes under logged-models/ (MLflow 3)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, is_number
from mlwright.kernel.protojson import answer, both, decode, required
from mlwright.kernel.transaction import Tx
from mlwright.tracking.mlflow import wire
from mlwright.tracking.search import models as search
from mlwright.tracking.service import experiments
from mlwright.tracking.service import models as service
from mlwright.tracking.spec import LoggedModel, ModelStatus, Page, Param, Tag
from mlwright.tracking.validation import parse_experiment_id

_STATUS = {
    1: ModelStatus.PENDING,
    2: ModelStatus.READY,
    3: ModelStatus.FAILED,
    "LOGGED_MODEL_PENDING": ModelStatus.PENDING,
    "LOGGED_MODEL_READY": ModelStatus.READY,
    "LOGGED_MODEL_UPLOAD_FAILED": ModelStatus.FAILED,
}
_VERSIONS = ("2.0", "3.0")


class Create(msgspec.Struct):
    experiment_id: str | None = None
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[Param] = []
    tags: list[Tag] = []


class Finalize(msgspec.Struct):
    status: int | str | None = None


class SetTags(msgspec.Struct):
    tags: list[Tag] = []


class LogParams(msgspec.Struct):
    params: list[Param] = []


class WireDataset(msgspec.Struct):
    dataset_name: str = ""
    dataset_digest: str = ""


class Search(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    datasets: list[WireDataset] = []
    max_results: int = 0
    order_by: list[search.ModelOrder] = []
    page_token: str = ""


class ModelRoutes:
    """Handlers of logged-models/*; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        one = "logged-models/{model_id}"
        return [
            *both("POST", "logged-models", self.create, _VERSIONS),
            *both("POST", "logged-models/search", self.search, _VERSIONS),
            *both("GET", one, self.get, _VERSIONS),
            *both("PATCH", one, self.finalize, _VERSIONS),
            *both("DELETE", one, self.delete, _VERSIONS),
            *both("PATCH", f"{one}/tags", self.set_tags, _VERSIONS),
            *both("DELETE", f"{one}/tags/{{key:path}}", self.delete_tag, _VERSIONS),
            *both("POST", f"{one}/params", self.log_params, _VERSIONS),
        ]

    async def create(self, request: Request) -> Response:
        message, caller = await decode(request, Create), caller_of(request)
        number = parse_experiment_id(required("experiment_id", message.experiment_id))
        model = await self._database.write(
            lambda tx: service.create(
                tx,
                caller,
                number,
                message.name,
                message.model_type,
                message.source_run_id,
                message.params,
                message.tags,
            )
        )
        return answer(wire.logged_model(model))

    async def get(self, request: Request) -> Response:
        model_id, caller = request.path_params["model_id"], caller_of(request)
        deleted = request.query_params.get("allow_deleted", "").lower() == "true"
        model = await self._database.read(lambda tx: service.get(tx, caller, model_id, deleted=deleted))
        return answer(wire.logged_model(model))

    async def finalize(self, request: Request) -> Response:
        message, caller = await decode(request, Finalize), caller_of(request)
        model_id, wanted = request.path_params["model_id"], required("status", message.status)
        status = _STATUS.get(int(wanted) if isinstance(wanted, str) and is_number(wanted) else wanted)
        if status is None:
            raise Invalid(f"Unknown logged model status: {wanted}", path="status")
        model = await self._database.write(lambda tx: service.finalize(tx, caller, model_id, status))
        return answer(wire.logged_model(model))

    async def delete(self, request: Request) -> Response:
        model_id, caller = request.path_params["model_id"], caller_of(request)
        await self._database.write(lambda tx: service.delete_model(tx, caller, model_id))
        return answer()

    async def set_tags(self, request: Request) -> Response:
        message, caller = await decode(request, SetTags), caller_of(request)
        model_id = request.path_params["model_id"]
        await self._database.write(lambda tx: service.set_tags(tx, caller, model_id, message.tags))
        return answer()

    async def delete_tag(self, request: Request) -> Response:
        parameters, caller = request.path_params, caller_of(request)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, parameters["model_id"], parameters["key"]))
        return answer()

    async def log_params(self, request: Request) -> Response:
        message, caller = await decode(request, LogParams), caller_of(request)
        model_id = request.path_params["model_id"]
        await self._database.write(lambda tx: service.log_params(tx, caller, model_id, message.params))
        return answer()

    async def search(self, request: Request) -> Response:
        message, caller = await decode(request, Search), caller_of(request)
        if not message.experiment_ids:
            required("experiment_ids", "")
        numbers = [parse_experiment_id(text) for text in message.experiment_ids]

        def work(tx: Tx) -> Page[LoggedModel]:
            page = search.search_logged_models(
                tx,
                experiments.readable(tx, caller, numbers),
                message.filter,
                [search.DatasetFilter(each.dataset_name, each.dataset_digest) for each in message.datasets],
                message.order_by,
                message.max_results,
                message.page_token,
            )
            return Page(service.load(tx, page.rows), page.next_page_token)

        page = await self._database.read(work)
        found: dict[str, object] = {}
        if page.items:
            found["models"] = [wire.logged_model(each)["model"] for each in page.items]
        if page.next_token:
            found["next_page_token"] = page.next_token
        return answer(found)
