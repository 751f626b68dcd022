"""Answers in MLflow's JSON: field names and presence as its protobuf messages print them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlwright.kernel.protojson import number
from mlwright.tracking.spec import (
    Dataset,
    DatasetInput,
    Experiment,
    LoggedModel,
    Metric,
    Param,
    Run,
    RunInfo,
    Tag,
)


class WireMetric(msgspec.Struct, gc=False):
    key: str
    value: float | str
    timestamp: int
    step: int
    dataset_name: str | UnsetType = UNSET
    dataset_digest: str | UnsetType = UNSET
    model_id: str | UnsetType = UNSET
    run_id: str | UnsetType = UNSET


class WireRunInfo(msgspec.Struct, gc=False):
    run_uuid: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | UnsetType
    artifact_uri: str
    lifecycle_stage: str
    run_id: str


class WireRunData(msgspec.Struct, omit_defaults=True):
    metrics: list[WireMetric] = []
    params: list[Param] = []
    tags: list[Tag] = []


class WireInputs(msgspec.Struct, omit_defaults=True):
    dataset_inputs: list[Any] = []
    model_inputs: list[Any] = []


class WireOutputs(msgspec.Struct, omit_defaults=True):
    model_outputs: list[Any] = []


class WireRun(msgspec.Struct):
    info: WireRunInfo
    data: WireRunData
    inputs: WireInputs
    outputs: WireOutputs | UnsetType = UNSET


class WireExperiment(msgspec.Struct):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: Sequence[Tag] | UnsetType = UNSET
    workspace: str = "default"


def metric(each: Metric) -> WireMetric:
    return WireMetric(
        each.key,
        number(each.value),
        each.timestamp,
        each.step,
        each.dataset_name or UNSET,
        each.dataset_digest or UNSET,
        each.model_id or UNSET,
        each.run_id or UNSET,
    )


def run_info(info: RunInfo) -> WireRunInfo:
    return WireRunInfo(
        info.run_id,
        str(info.experiment_id),
        info.name,
        info.user_id,
        info.status.name,
        info.start_ms,
        UNSET if info.end_ms is None else info.end_ms,
        info.artifact_uri,
        "active" if info.active else "deleted",
        info.run_id,
    )


def run(each: Run, *, outputs: bool = True) -> WireRun:
    """A run; the answer to its creation has no outputs."""
    return WireRun(
        run_info(each.info),
        WireRunData([metric(point) for point in each.metrics], each.params, each.tags),
        WireInputs(
            [dataset_input(entry) for entry in each.dataset_inputs],
            [{"model_id": model_id} for model_id in each.model_inputs],
        ),
        WireOutputs([{"model_id": out.model_id, "step": out.step} for out in each.model_outputs]) if outputs else UNSET,
    )


def dataset(each: Dataset) -> dict[str, str]:
    found = {"name": each.name, "digest": each.digest, "source_type": each.source_type, "source": each.source}
    if each.schema is not None:
        found["schema"] = each.schema
    if each.profile is not None:
        found["profile"] = each.profile
    return found


def dataset_input(each: DatasetInput) -> dict[str, object]:
    found: dict[str, object] = {"tags": each.tags} if each.tags else {}
    return {**found, "dataset": dataset(each.dataset)}


def experiment(each: Experiment) -> WireExperiment:
    return WireExperiment(
        str(each.experiment_id),
        each.name,
        each.artifact_location,
        "active" if each.active else "deleted",
        each.updated_ms,
        each.created_ms,
        each.tags or UNSET,
        each.project,
    )


def logged_model(each: LoggedModel) -> dict[str, object]:
    info: dict[str, object] = {
        "model_id": each.model_id,
        "experiment_id": str(each.experiment_id),
        "name": each.name,
        "creation_timestamp_ms": each.created_ms,
        "last_updated_timestamp_ms": each.updated_ms,
        "artifact_uri": each.artifact_uri,
        "status": f"LOGGED_MODEL_{'UPLOAD_FAILED' if each.status.name == 'FAILED' else each.status.name}",
        "model_type": each.model_type or "",
        "source_run_id": each.source_run_id or "",
    }
    if each.status_message:
        info["status_message"] = each.status_message
    if each.tags:
        info["tags"] = each.tags
    data: dict[str, object] = {}
    if each.params:
        data["params"] = each.params
    if each.metrics:
        data["metrics"] = [metric(point) for point in each.metrics]
    return {"model": {"info": info, "data": data}}
