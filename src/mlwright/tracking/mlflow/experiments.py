"""MLflow routes under experiments/."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import Route, caller_of, is_number
from mlwright.kernel.identity import Role
from mlwright.kernel.protojson import answer, both, decode, required
from mlwright.kernel.transaction import Tx
from mlwright.tracking.mlflow import wire
from mlwright.tracking.search import experiments as search
from mlwright.tracking.service import experiments as service
from mlwright.tracking.service import inputs
from mlwright.tracking.spec import Experiment, Page, Tag, ViewType
from mlwright.tracking.validation import parse_experiment_id

_MAX_DATASET_EXPERIMENTS = 20


class Create(msgspec.Struct):
    name: str | None = None
    artifact_location: str = ""
    tags: list[Tag] = []


class ById(msgspec.Struct):
    experiment_id: str | None = None


class ByName(msgspec.Struct):
    experiment_name: str | None = None


class Update(msgspec.Struct):
    experiment_id: str | None = None
    new_name: str | None = None


class SetTag(msgspec.Struct):
    experiment_id: str | None = None
    key: str | None = None
    value: str = ""


class Search(msgspec.Struct):
    view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    filter: str = ""
    order_by: list[str] = []
    page_token: str = ""


class SearchDatasets(msgspec.Struct):
    experiment_ids: list[str] = []


def view_type(value: str | int) -> ViewType:
    """A view type by name or number; what is unknown means active only, as in MLflow."""
    if isinstance(value, int) or is_number(value):
        number = int(value)
        return ViewType(number) if number in {1, 2, 3} else ViewType.ACTIVE_ONLY
    return ViewType.__members__.get(value, ViewType.ACTIVE_ONLY)


class ExperimentRoutes:
    """Handlers of experiments/*; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        return [
            *both("POST", "experiments/create", self.create),
            *both("GET", "experiments/get", self.get),
            *both("GET", "experiments/get-by-name", self.get_by_name),
            *both("POST", "experiments/delete", self.delete),
            *both("POST", "experiments/restore", self.restore),
            *both("POST", "experiments/update", self.update),
            *both("POST", "experiments/set-experiment-tag", self.set_tag),
            *both("POST", "experiments/delete-experiment-tag", self.delete_tag),
            *both("POST", "experiments/search", self.search),
            *both("GET", "experiments/search", self.search),
            *both("POST", "experiments/search-datasets", self.search_datasets),
        ]

    async def create(self, request: Request) -> Response:
        message = await decode(request, Create)
        name, caller = required("name", message.name), caller_of(request)
        number = await self._database.write(
            lambda tx: service.create(tx, caller, name, message.artifact_location, message.tags)
        )
        return answer({"experiment_id": str(number)})

    async def get(self, request: Request) -> Response:
        number, caller = await self._experiment_id(request), caller_of(request)
        found = await self._database.read(lambda tx: service.get(tx, caller, number), brief=True)
        return answer({"experiment": wire.experiment(found)})

    async def get_by_name(self, request: Request) -> Response:
        name = required("experiment_name", (await decode(request, ByName)).experiment_name)
        caller = caller_of(request)
        found = await self._database.read(lambda tx: service.get_by_name(tx, caller, name), brief=True)
        if found is None:
            raise NotFound(f"Could not find experiment with name '{name}'", path="experiment_name")
        return answer({"experiment": wire.experiment(found)})

    async def delete(self, request: Request) -> Response:
        number, caller = await self._experiment_id(request), caller_of(request)
        await self._database.write(lambda tx: service.delete_experiment(tx, caller, number))
        return answer()

    async def restore(self, request: Request) -> Response:
        number, caller = await self._experiment_id(request), caller_of(request)
        await self._database.write(lambda tx: service.restore(tx, caller, number))
        return answer()

    async def update(self, request: Request) -> Response:
        message = await decode(request, Update)
        number = parse_experiment_id(required("experiment_id", message.experiment_id))
        name, caller = message.new_name, caller_of(request)
        if name:
            await self._database.write(lambda tx: service.rename(tx, caller, number, name))
        return answer()

    async def set_tag(self, request: Request) -> Response:
        message = await decode(request, SetTag)
        number = parse_experiment_id(required("experiment_id", message.experiment_id))
        tag, caller = Tag(required("key", message.key), message.value), caller_of(request)
        await self._database.write(lambda tx: service.set_tag(tx, caller, number, tag))
        return answer()

    async def delete_tag(self, request: Request) -> Response:
        message = await decode(request, SetTag)
        number = parse_experiment_id(required("experiment_id", message.experiment_id))
        key, caller = required("key", message.key), caller_of(request)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, number, key))
        return answer()

    async def search(self, request: Request) -> Response:
        message, caller = await decode(request, Search), caller_of(request)

        def work(tx: Tx) -> Page[Experiment]:
            caller.require(caller.project, Role.VIEWER)
            rows = search.search_experiments(
                tx,
                [caller.project],
                message.filter,
                view_type(message.view_type),
                message.order_by,
                message.max_results,
                message.page_token,
            )
            return Page(service.load(tx, rows.rows), rows.next_page_token)

        page = await self._database.read(work)
        found: dict[str, object] = {"experiments": [wire.experiment(each) for each in page.items]}
        if page.next_token:
            found["next_page_token"] = page.next_token
        return answer({name: value for name, value in found.items() if value})

    async def search_datasets(self, request: Request) -> Response:
        texts = (await decode(request, SearchDatasets)).experiment_ids
        if not texts:
            raise Invalid("SearchDatasets request must specify at least one experiment_id.", path="experiment_ids")
        if len(texts) > _MAX_DATASET_EXPERIMENTS:
            raise Invalid(
                f"SearchDatasets request cannot specify more than {_MAX_DATASET_EXPERIMENTS} experiment_ids. Received"
                f" {len(texts)} experiment_ids.",
                path="experiment_ids",
            )
        numbers, caller = [parse_experiment_id(text) for text in texts], caller_of(request)
        found = await self._database.read(lambda tx: inputs.summaries(tx, caller, numbers))
        summaries = [
            {
                "experiment_id": str(each.experiment_id),
                "name": each.name,
                "digest": each.digest,
                **({"context": each.context} if each.context is not None else {}),
            }
            for each in found
        ]
        return answer({"dataset_summaries": summaries} if summaries else None)

    async def _experiment_id(self, request: Request) -> int:
        return parse_experiment_id(required("experiment_id", (await decode(request, ById)).experiment_id))
