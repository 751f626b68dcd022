"""What answers of the API look like: plain names and values, without internal numbers."""

import math
from typing import Literal

import msgspec
from starlette.requests import Request

from mlwright.kernel.errors import Invalid
from mlwright.kernel.openapi import Parameter
from mlwright.tracking.spec import DatasetInput, LoggedModel, ModelOutput, Run, RunStatus, ViewType

#: NaN has no number in JSON.
Number = float | Literal["NaN"]
MAX_LIMIT = 1_000

VIEW = Parameter("view", {"type": "string", "enum": ["active", "deleted", "all"]}, "Which to list; active ones.")
FILTER = Parameter("filter", {"type": "string"}, "Search in MLflow's language, such as: metrics.auc > 0.7.")
ORDER = Parameter(
    "order_by", {"type": "array", "items": {"type": "string"}}, "Such as: metrics.auc DESC. May be repeated."
)
LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "At most so many.")
PAGE = Parameter("page_token", {"type": "string"}, "From the page before.")


class LatestMetric(msgspec.Struct, frozen=True):
    """The latest value of a metric."""

    value: Number
    step: int
    timestamp_ms: int


class RunView(msgspec.Struct, frozen=True):
    """A run with the latest state of all it logged. `status` is a name such as FINISHED; times are Unix ms."""

    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: str
    start_ms: int
    end_ms: int | None
    active: bool
    artifact_uri: str
    metrics: dict[str, LatestMetric]
    params: dict[str, str]
    tags: dict[str, str]
    inputs: list[DatasetInput]
    model_inputs: list[str]
    model_outputs: list[ModelOutput]


class RunPage(msgspec.Struct, frozen=True):
    """Runs; `next_token` leads to the next page and is empty on the last."""

    items: list[RunView]
    next_token: str = ""


class ModelMetric(msgspec.Struct, frozen=True):
    """A point of a logged model's metric, and what it was measured on and by which run."""

    key: str
    value: Number
    step: int
    timestamp_ms: int
    run_id: str
    dataset_name: str
    dataset_digest: str


class ModelView(msgspec.Struct, frozen=True):
    """A logged model."""

    model_id: str
    experiment_id: int
    name: str
    status: str
    status_message: str
    model_type: str
    source_run_id: str
    created_ms: int
    updated_ms: int
    active: bool
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[ModelMetric]


class ModelPage(msgspec.Struct, frozen=True):
    """Logged models; `next_token` leads to the next page and is empty on the last."""

    items: list[ModelView]
    next_token: str = ""


class Value(msgspec.Struct, forbid_unknown_fields=True):
    """The value of a tag."""

    value: str


def number(value: float) -> Number:
    return "NaN" if math.isnan(value) else value


def run_view(run: Run) -> RunView:
    info = run.info
    return RunView(
        info.run_id,
        info.experiment_id,
        info.name,
        info.user_id,
        info.status.name,
        info.start_ms,
        info.end_ms,
        info.active,
        info.artifact_uri,
        {each.key: LatestMetric(number(each.value), each.step, each.timestamp) for each in run.metrics},
        {each.key: each.value for each in run.params},
        {each.key: each.value for each in run.tags},
        run.dataset_inputs,
        run.model_inputs,
        run.model_outputs,
    )


def model_view(model: LoggedModel) -> ModelView:
    return ModelView(
        model.model_id,
        model.experiment_id,
        model.name,
        model.status.name,
        model.status_message or "",
        model.model_type or "",
        model.source_run_id or "",
        model.created_ms,
        model.updated_ms,
        model.active,
        model.artifact_uri,
        {each.key: each.value for each in model.params},
        {each.key: each.value for each in model.tags},
        [
            ModelMetric(
                each.key,
                number(each.value),
                each.step,
                each.timestamp,
                each.run_id,
                each.dataset_name,
                each.dataset_digest,
            )
            for each in model.metrics
        ],
    )


def view_of(request: Request) -> ViewType:
    """The query parameter `view`. Raises Invalid."""
    return parse_view(request.query_params.get("view", "active"))


def parse_view(text: str) -> ViewType:
    names = {"active": ViewType.ACTIVE_ONLY, "deleted": ViewType.DELETED_ONLY, "all": ViewType.ALL}
    if text not in names:
        raise Invalid(f"view must be active, deleted or all, not {text!r}", path="view")
    return names[text]


def parse_status(text: str) -> RunStatus:
    """A run status by name. Raises Invalid."""
    try:
        return RunStatus[text]
    except KeyError:
        names = ", ".join(RunStatus.__members__)
        raise Invalid(f"{text!r} is not a status of a run", path="status", hint=f"use one of {names}") from None
