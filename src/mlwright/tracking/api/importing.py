"""Moving in: batches of experiments, runs, histories and logged models made elsewhere, under /v1/import.

Bodies may be MessagePack (content-type application/msgpack), which carries the bytes of histories as they are.
"""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.openapi import Operation
from mlwright.tracking.ports import MovedExperiment, MovedModel, MovedRun
from mlwright.tracking.service import bulk, bulk_models
from mlwright.tracking.service.bulk import ImportedExperiment, ImportedRun, RunState
from mlwright.tracking.service.bulk_models import ImportedModel, ModelState

_TAG = "import"


class ImportExperiment(msgspec.Struct, forbid_unknown_fields=True):
    """`dry_run` only says what would change, here and below."""

    experiment: MovedExperiment
    project: str = ""
    prefix: str = ""
    dry_run: bool = False


class ImportRuns(msgspec.Struct, forbid_unknown_fields=True):
    """`source` is noted in the events, here and below."""

    experiment_id: int
    runs: list[MovedRun]
    source: str = ""
    dry_run: bool = False


class History(msgspec.Struct, forbid_unknown_fields=True):
    """Points of one metric of a run: packed records of step (int64), time (int64, ms) and value (float64)."""

    run_id: str
    key: str
    data: bytes


class ImportSeries(msgspec.Struct, forbid_unknown_fields=True):
    series: list[History]
    dry_run: bool = False


class Added(msgspec.Struct, frozen=True):
    """How many points of each history were new."""

    points: list[int]


class ImportModels(msgspec.Struct, forbid_unknown_fields=True):
    experiment_id: int
    models: list[MovedModel]
    source: str = ""
    dry_run: bool = False


Ids = Annotated[list[str], msgspec.Meta(max_length=1_000)]


class Which(msgspec.Struct, forbid_unknown_fields=True):
    run_ids: Ids = []
    model_ids: Ids = []


class States(msgspec.Struct, frozen=True):
    """What is stored of the runs and models that are here."""

    runs: list[RunState]
    models: list[ModelState]


class ImportApi:
    """Handlers; each is one request and one unit of work, and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "POST", "/v1/import/experiments", self.experiment, "Move in an experiment.", _TAG, ImportExperiment,
                ImportedExperiment,
            ),
            Operation("POST", "/v1/import/runs", self.runs, "Move in runs.", _TAG, ImportRuns, list[ImportedRun]),
            Operation(
                "POST", "/v1/import/series", self.series, "Move in metric histories.", _TAG, ImportSeries, Added
            ),
            Operation(
                "POST", "/v1/import/models", self.models, "Move in logged models.", _TAG, ImportModels,
                list[ImportedModel],
            ),
            Operation(
                "POST", "/v1/import/states", self.states, "Counts and digests of runs and logged models.", _TAG, Which,
                States,
            ),
        ]  # fmt: skip

    async def experiment(self, request: Request) -> Response:
        body, caller = await read_json(request, ImportExperiment), caller_of(request)
        return json_response(
            await self._database.write(
                lambda tx: bulk.import_experiment(
                    tx, caller, body.project, body.experiment, body.prefix, dry=body.dry_run
                )
            )
        )

    async def runs(self, request: Request) -> Response:
        body, caller = await read_json(request, ImportRuns), caller_of(request)
        return json_response(
            await self._database.write(
                lambda tx: bulk.import_runs(
                    tx, caller, body.experiment_id, body.runs, source=body.source, dry=body.dry_run
                )
            )
        )

    async def series(self, request: Request) -> Response:
        body, caller = await read_json(request, ImportSeries), caller_of(request)
        found = [(each.run_id, each.key, each.data) for each in body.series]
        return json_response(
            Added(await self._database.write(lambda tx: bulk.import_series(tx, caller, found, dry=body.dry_run)))
        )

    async def models(self, request: Request) -> Response:
        body, caller = await read_json(request, ImportModels), caller_of(request)
        return json_response(
            await self._database.write(
                lambda tx: bulk_models.import_models(
                    tx, caller, body.experiment_id, body.models, source=body.source, dry=body.dry_run
                )
            )
        )

    async def states(self, request: Request) -> Response:
        body, caller = await read_json(request, Which), caller_of(request)
        return json_response(
            await self._database.read(
                lambda tx: States(bulk.states(tx, caller, body.run_ids), bulk_models.states(tx, caller, body.model_ids))
            )
        )
