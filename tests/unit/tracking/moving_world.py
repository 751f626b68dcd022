"""A platform in a folder, a client of it, and a source in memory: for tests of moving in and of commands."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlwright.app.local import LocalTransport
from mlwright.app.settings import Settings
from mlwright.kernel.client import Answer
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.tracking import points as packed
from mlwright.tracking.importer.counts import Counts
from mlwright.tracking.points import Point
from mlwright.tracking.ports import MovedExperiment, MovedFile, MovedModel, MovedRun
from mlwright.tracking.spec import Metric, Param, Tag

RUN_IDS = [f"{number:032x}" for number in range(1, 6)]
MODEL_ID = "m-" + "a" * 32


class Killed(Exception):
    """The process would have ended here."""


class FailingTransport(LocalTransport):
    """A platform that is gone after so many requests."""

    def __init__(self, data: Path, requests: int = 10**9) -> None:
        super().__init__(Settings(data=data))
        self.requests = requests
        self.sent: list[str] = []

    def send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        self.requests -= 1
        if self.requests < 0:
            raise Killed
        self.sent.append(path)
        return super().send(method, path, body, headers)


class MemorySource:
    """Two experiments, five runs with histories and files, and a logged model; changed by changing its fields."""

    def __init__(self) -> None:
        self.listed = [
            MovedExperiment("0", "Default", created_ms=50),
            MovedExperiment("4", "digits", created_ms=100, updated_ms=100, tags=[Tag("team", "red")]),
        ]
        self.held: dict[str, list[MovedRun]] = {
            "0": [MovedRun(RUN_IDS[0], "first")],
            "4": [
                MovedRun(run_id, f"run {index}", params=[Param("p", str(index))], active=index != 2)
                for index, run_id in enumerate(RUN_IDS[1:])
            ],
        }
        self.points = {run_id: [Point(step, 1_000 + step, step / 7) for step in range(300)] for run_id in RUN_IDS}
        self.content: dict[str, dict[str, bytes]] = {
            RUN_IDS[0]: {"a/b.txt": b"hello", "empty": b""},
            RUN_IDS[1]: {"plot 1+1.bin": bytes(3_000_000)},
            MODEL_ID: {"MLmodel": b"flavors: {}"},
        }
        point = Metric("f1", 0.5, 3, 0, MODEL_ID, run_id=RUN_IDS[1])
        self.model = MovedModel(MODEL_ID, "tree", 10, 20, source_run_id=RUN_IDS[1], metrics=[point])
        self.registered: list[MovedRegisteredModel] = []
        self.numbered: list[MovedVersion] = []
        self.closed = False

    def experiments(self) -> list[MovedExperiment]:
        return self.listed

    def runs(self, experiment: MovedExperiment, only: Collection[str] | None = None) -> Iterator[MovedRun]:
        return (run for run in self.held[experiment.source_id] if only is None or run.run_id in only)

    def histories(self, experiment: MovedExperiment, run: MovedRun) -> Iterator[tuple[str, bytes]]:
        yield "loss", packed.pack(self.points[run.run_id])

    def models(self, experiment: MovedExperiment) -> Iterator[MovedModel]:
        return iter([self.model] if experiment.source_id == "4" else [])

    def files(self, experiment: MovedExperiment, owner: MovedRun | MovedModel) -> Iterator[MovedFile]:
        found = self.content.get(owner.run_id if isinstance(owner, MovedRun) else owner.model_id, {})
        return (MovedFile(path, len(content)) for path, content in sorted(found.items()))

    def read(self, experiment: MovedExperiment, owner: MovedRun | MovedModel, file: MovedFile) -> Iterator[bytes]:
        content = self.content[owner.run_id if isinstance(owner, MovedRun) else owner.model_id][file.path]
        return (content[start : start + 1_000_000] for start in range(0, len(content), 1_000_000))

    def registered_models(self) -> list[MovedRegisteredModel]:
        return self.registered

    def versions(self, model: MovedRegisteredModel) -> list[MovedVersion]:
        return self.numbered

    def close(self) -> None:
        self.closed = True


class Silent:
    """Progress that nobody watches."""

    def experiment(self, name: str, number: int, total: int) -> None: ...
    def counted(self, source: Counts) -> None: ...
