"""The words of experiment tracking. Times are Unix milliseconds."""

from enum import IntEnum
from typing import Generic, TypeVar

import msgspec

#: A run with this tag repeats the run with the id that is its value.
REPRODUCES_TAG = "mlwright.reproduces"


class ViewType(IntEnum):
    """Which rows a search sees."""

    ACTIVE_ONLY = 1
    DELETED_ONLY = 2
    ALL = 3

    @property
    def stages(self) -> tuple[int, ...]:
        """The values of the column `active` that are wanted."""
        return {ViewType.ACTIVE_ONLY: (1,), ViewType.DELETED_ONLY: (0,), ViewType.ALL: (1, 0)}[self]


class RunStatus(IntEnum):
    """State of a run, numbered as in MLflow."""

    RUNNING = 1
    SCHEDULED = 2
    FINISHED = 3
    FAILED = 4
    KILLED = 5


class ModelStatus(IntEnum):
    """State of a logged model, numbered as in MLflow."""

    PENDING = 1
    READY = 2
    FAILED = 3


class Tag(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: str


class Param(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: str


class Metric(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One point of a metric, with what it was measured on when that is known."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""


class Experiment(msgspec.Struct, frozen=True):
    experiment_id: int
    project: str
    name: str
    artifact_location: str
    active: bool
    created_ms: int
    updated_ms: int
    tags: list[Tag]


class RunInfo(msgspec.Struct, frozen=True):
    """What a run is, without what it logged. `row` is the internal number that other tables refer to."""

    row: int
    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: RunStatus
    start_ms: int
    end_ms: int | None
    active: bool
    artifact_uri: str


class Dataset(msgspec.Struct, frozen=True):
    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct, frozen=True):
    """A dataset that a run read, and how ("context" among the tags)."""

    dataset: Dataset
    tags: list[Tag]


class DatasetSummary(msgspec.Struct, frozen=True):
    experiment_id: int
    name: str
    digest: str
    context: str | None


class ModelOutput(msgspec.Struct, frozen=True):
    model_id: str
    step: int


class Run(msgspec.Struct, frozen=True):
    """A run and the latest state of all it logged."""

    info: RunInfo
    metrics: list[Metric]
    params: list[Param]
    tags: list[Tag]
    dataset_inputs: list[DatasetInput]
    model_inputs: list[str]
    model_outputs: list[ModelOutput]


class LoggedModel(msgspec.Struct, frozen=True):
    row: int
    model_id: str
    experiment_id: int
    name: str
    artifact_uri: str
    created_ms: int
    updated_ms: int
    status: ModelStatus
    status_message: str | None
    model_type: str | None
    source_run_id: str | None
    active: bool
    params: list[Param]
    tags: list[Tag]
    metrics: list[Metric]


class Comment(msgspec.Struct, frozen=True):
    """A note that someone left on a run; the body is Markdown."""

    id: int
    author: str
    created_ms: int
    body: str


class SavedView(msgspec.Struct, frozen=True):
    """A named query, order and choice of columns of an experiment's runs table."""

    name: str
    author: str
    query: dict[str, object]


T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a long list; `next_token` is empty on the last page."""

    items: list[T]
    next_token: str = ""
