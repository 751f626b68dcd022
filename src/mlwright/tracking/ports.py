"""What is moved in from another tracking server, and the port that a source of it implements."""

from collections.abc import Collection, Iterator
from typing import Protocol

import msgspec

from mlwright.tracking.spec import DatasetInput, Metric, ModelOutput, ModelStatus, Param, RunStatus, Tag


class MovedExperiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An experiment elsewhere. `source_id` is its id there; times are Unix milliseconds, 0 when unknown."""

    source_id: str
    name: str
    active: bool = True
    created_ms: int = 0
    updated_ms: int = 0
    tags: list[Tag] = []


class MovedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run elsewhere, without its metric histories and files.

    Attributes:
        artifact_uri: where its files lie elsewhere; they are copied unless they are to stay there.
    """

    run_id: str
    name: str = ""
    user_id: str = ""
    status: RunStatus = RunStatus.FINISHED
    start_ms: int = 0
    end_ms: int | None = None
    active: bool = True
    artifact_uri: str = ""
    params: list[Param] = []
    tags: list[Tag] = []
    inputs: list[DatasetInput] = []
    model_inputs: list[str] = []
    model_outputs: list[ModelOutput] = []


class MovedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A logged model elsewhere, without its files."""

    model_id: str
    name: str
    created_ms: int = 0
    updated_ms: int = 0
    status: ModelStatus = ModelStatus.READY
    status_message: str = ""
    model_type: str = ""
    source_run_id: str = ""
    active: bool = True
    artifact_uri: str = ""
    params: list[Param] = []
    tags: list[Tag] = []
    metrics: list[Metric] = []


class MovedFile(msgspec.Struct, frozen=True):
    """A file among the artifacts of a run or model: its path below them, and its size in bytes if known."""

    path: str
    size: int | None = None


class Source(Protocol):
    """Tracking data elsewhere, for reading. Raises NotFound, Invalid, Unavailable, with hints.

    Every list comes in the same order each time it is read.
    """

    def experiments(self) -> list[MovedExperiment]:
        """All experiments, deleted ones included."""
        ...

    def runs(self, experiment: MovedExperiment, only: Collection[str] | None = None) -> Iterator[MovedRun]:
        """The runs of an experiment, deleted ones included; with `only`, those of these ids."""
        ...

    def histories(self, experiment: MovedExperiment, run: MovedRun) -> Iterator[tuple[str, bytes]]:
        """Each metric of a run once: its key and all its points as packed records (see points.py), in any order."""
        ...

    def models(self, experiment: MovedExperiment) -> Iterator[MovedModel]:
        """The logged models of an experiment."""
        ...

    def files(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> Iterator[MovedFile]:
        """All files of a run or model."""
        ...

    def read(self, experiment: MovedExperiment, owner: MovedRun | MovedModel, file: MovedFile) -> Iterator[bytes]:
        """The bytes of a file, in pieces."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
