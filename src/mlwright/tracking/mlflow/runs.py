"""MLflow routes under runs/: creating, changing, logging, searching."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, is_number
from mlwright.kernel.protojson import answer, both, decode, missing_value, required
from mlwright.kernel.transaction import Tx
from mlwright.tracking.mlflow import wire
from mlwright.tracking.mlflow.experiments import view_type
from mlwright.tracking.search import runs as search
from mlwright.tracking.service import experiments, inputs
from mlwright.tracking.service import runs as service
from mlwright.tracking.spec import (
    Dataset,
    DatasetInput,
    Metric,
    ModelOutput,
    Page,
    Param,
    Run,
    RunStatus,
    Tag,
)
from mlwright.tracking.validation import parse_experiment_id

_MAX_SEARCH_RESULTS = 50_000
#: So many metrics, parameters and tags are written in well under a millisecond.
_BRIEF_ITEMS = 20


class Create(msgspec.Struct):
    experiment_id: str = ""
    user_id: str = ""
    start_time: int = 0
    run_name: str = ""
    tags: list[Tag] = []


class ById(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""

    @property
    def id(self) -> str:
        return required("run_id", self.run_id or self.run_uuid)


class Update(ById):
    status: str | int | None = None
    end_time: int | None = None
    run_name: str = ""


class LogMetric(ById):
    key: str | None = None
    value: float | None = None
    timestamp: int | None = None
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogParam(ById):
    key: str | None = None
    value: str = ""


class BatchMetric(msgspec.Struct, gc=False):
    key: str = ""
    value: float | None = None
    timestamp: int | None = None
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class Pair(msgspec.Struct, gc=False):
    key: str = ""
    value: str = ""


class LogBatch(ById):
    metrics: list[BatchMetric] = []
    params: list[Pair] = []
    tags: list[Pair] = []


class WireDataset(msgspec.Struct, frozen=True):
    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class WireDatasetInput(msgspec.Struct):
    dataset: WireDataset = WireDataset()
    tags: list[Pair] = []


class WireModel(msgspec.Struct):
    model_id: str = ""
    step: int = 0


class LogInputs(ById):
    datasets: list[WireDatasetInput] = []
    models: list[WireModel] = []


class LogOutputs(ById):
    models: list[WireModel] = []


class Search(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class RunRoutes:
    """Handlers of runs/*; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        return [
            *both("POST", "runs/create", self.create),
            *both("GET", "runs/get", self.get),
            *both("POST", "runs/update", self.update),
            *both("POST", "runs/delete", self.delete),
            *both("POST", "runs/restore", self.restore),
            *both("POST", "runs/search", self.search),
            *both("POST", "runs/log-metric", self.log_metric),
            *both("POST", "runs/log-parameter", self.log_param),
            *both("POST", "runs/set-tag", self.set_tag),
            *both("POST", "runs/delete-tag", self.delete_tag),
            *both("POST", "runs/log-batch", self.log_batch),
            *both("POST", "runs/log-inputs", self.log_inputs),
            *both("POST", "runs/outputs", self.log_outputs),
            *both("POST", "runs/log-model", self.log_model),
        ]

    async def create(self, request: Request) -> Response:
        message, caller = await decode(request, Create), caller_of(request)
        number = parse_experiment_id(message.experiment_id or str(experiments.DEFAULT_EXPERIMENT))
        run = await self._database.write(
            lambda tx: service.create(
                tx, caller, number, message.user_id, message.start_time, message.run_name, message.tags
            ),
            brief=len(message.tags) <= _BRIEF_ITEMS,
        )
        return answer({"run": wire.run(run, outputs=False)})

    async def get(self, request: Request) -> Response:
        run_id, caller = (await decode(request, ById)).id, caller_of(request)
        run = await self._database.read(lambda tx: service.get(tx, caller, run_id))
        return answer({"run": wire.run(run)})

    async def update(self, request: Request) -> Response:
        message, caller = await decode(request, Update), caller_of(request)
        run_id, status = message.id, _status(message.status)
        info = await self._database.write(
            lambda tx: service.update_info(tx, caller, run_id, status, message.end_time, message.run_name),
            brief=True,
        )
        return answer({"run_info": wire.run_info(info)})

    async def delete(self, request: Request) -> Response:
        run_id, caller = (await decode(request, ById)).id, caller_of(request)
        await self._database.write(lambda tx: service.delete_run(tx, caller, run_id))
        return answer()

    async def restore(self, request: Request) -> Response:
        run_id, caller = (await decode(request, ById)).id, caller_of(request)
        await self._database.write(lambda tx: service.restore(tx, caller, run_id))
        return answer()

    async def log_metric(self, request: Request) -> Response:
        message, caller = await decode(request, LogMetric), caller_of(request)
        run_id = message.id
        metric = Metric(
            required("key", message.key),
            required("value", message.value),
            required("timestamp", message.timestamp),
            message.step,
            message.model_id,
            message.dataset_name,
            message.dataset_digest,
        )
        await self._database.write(lambda tx: service.log_metric(tx, caller, run_id, metric), brief=True)
        return answer()

    async def log_param(self, request: Request) -> Response:
        message, caller = await decode(request, LogParam), caller_of(request)
        run_id, param = message.id, Param(required("key", message.key), message.value)
        await self._database.write(lambda tx: service.log_param(tx, caller, run_id, param), brief=True)
        return answer()

    async def set_tag(self, request: Request) -> Response:
        message, caller = await decode(request, LogParam), caller_of(request)
        run_id, tag = message.id, Tag(required("key", message.key), message.value)
        await self._database.write(lambda tx: service.set_tags(tx, caller, run_id, [tag]), brief=True)
        return answer()

    async def delete_tag(self, request: Request) -> Response:
        message, caller = await decode(request, LogParam), caller_of(request)
        run_id, key = message.id, required("key", message.key)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, run_id, key), brief=True)
        return answer()

    async def log_batch(self, request: Request) -> Response:
        message, caller = await decode(request, LogBatch), caller_of(request)
        run_id = message.id
        metrics = [_metric(each, index) for index, each in enumerate(message.metrics)]
        params = [Param(_key(each, "params", index), each.value) for index, each in enumerate(message.params)]
        tags = [Tag(_key(each, "tags", index), each.value) for index, each in enumerate(message.tags)]
        brief = len(metrics) + len(params) + len(tags) <= _BRIEF_ITEMS
        await self._database.write(lambda tx: service.log_batch(tx, caller, run_id, metrics, params, tags), brief=brief)
        return answer()

    async def log_inputs(self, request: Request) -> Response:
        message, caller = await decode(request, LogInputs), caller_of(request)
        run_id = message.id
        datasets = [_dataset_input(each) for each in message.datasets]
        model_ids = [each.model_id for each in message.models]
        await self._database.write(lambda tx: inputs.log_inputs(tx, caller, run_id, datasets, model_ids))
        return answer()

    async def log_outputs(self, request: Request) -> Response:
        message, caller = await decode(request, LogOutputs), caller_of(request)
        run_id = message.id
        models = [ModelOutput(each.model_id, each.step) for each in message.models]
        await self._database.write(lambda tx: inputs.log_outputs(tx, caller, run_id, models))
        return answer()

    async def log_model(self, request: Request) -> Response:
        message, caller = await decode(request, LogModel), caller_of(request)
        run_id, text = message.id, required("model_json", message.model_json)
        await self._database.write(lambda tx: service.record_model(tx, caller, run_id, text))
        return answer()

    async def search(self, request: Request) -> Response:
        message, caller = await decode(request, Search), caller_of(request)
        if message.max_results > _MAX_SEARCH_RESULTS:
            raise Invalid(
                f"Invalid value {message.max_results} for parameter 'max_results' supplied:  Hint: Value was of type"
                " 'int'. See the API docs for more information about request parameters.",
                path="max_results",
            )
        numbers = [parse_experiment_id(text) for text in message.experiment_ids]

        def work(tx: Tx) -> Page[Run]:
            page = search.search_runs(
                tx,
                experiments.readable(tx, caller, numbers),
                message.filter,
                view_type(message.run_view_type),
                message.order_by,
                message.max_results,
                message.page_token,
            )
            infos = [service.info_from_row(row) for row in page.rows]
            return Page(service.load(tx, infos), page.next_page_token)

        page = await self._database.read(work)
        found: dict[str, Any] = {"runs": [wire.run(each) for each in page.items]} if page.items else {}
        if page.next_token:
            found["next_page_token"] = page.next_token
        return answer(found)


class LogModel(ById):
    model_json: str | None = None


def _status(value: str | int | None) -> RunStatus | None:
    """A status by name or number; what is unknown changes nothing, as in MLflow."""
    if value is None:
        return None
    if isinstance(value, int) or is_number(value):
        number = int(value)
        return RunStatus(number) if number in set(RunStatus) else None
    return RunStatus.__members__.get(value)


def _metric(each: BatchMetric, index: int) -> Metric:
    if not each.key:
        raise missing_value(f"metrics[{index}].key")
    if each.value is None:
        raise missing_value(f"metrics[{index}].value")
    if each.timestamp is None:
        raise missing_value(f"metrics[{index}].timestamp")
    return Metric(
        each.key, each.value, each.timestamp, each.step, each.model_id, each.dataset_name, each.dataset_digest
    )


def _key(each: Pair, where: str, index: int) -> str:
    if not each.key:
        raise missing_value(f"{where}[{index}].key")
    return each.key


def _dataset_input(each: WireDatasetInput) -> DatasetInput:
    content = each.dataset
    dataset = Dataset(
        content.name, content.digest, content.source_type, content.source, content.schema, content.profile
    )
    return DatasetInput(dataset, [Tag(tag.key, tag.value) for tag in each.tags])
