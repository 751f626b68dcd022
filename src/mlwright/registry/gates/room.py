"""Where a gate decides: the version in question, a folder of its own, and what it may read and run."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mlwright.compute import service as compute
from mlwright.compute.spec import Limits, Outcome
from mlwright.kernel.errors import NotFound
from mlwright.registry.gates.spec import Gate
from mlwright.registry.spec import ModelVersion


class Versions(Protocol):
    """Reads versions and their files; blocks."""

    def files(self, version: ModelVersion) -> Sequence[str]:
        """Paths of the pinned files. Raises Invalid when it is not pinned, Untrusted when it must not be loaded."""

    def copy(self, version: ModelVersion, path: str, target: Path) -> None:
        """Put one of the files into the file `target`. Raises Untrusted when its bytes are not those registered."""

    def beside(self, version: ModelVersion, alias: str) -> ModelVersion | None:
        """The version of the same model that has the alias now."""


class Room:
    """What a gate may use.

    Args:
        version: that is to be decided on.
        gate: what is asked.
        folder: empty, and gone afterwards.
        environment: all variables that programs of the gate get.
        cancelled: when set, the answer is not wanted any more.
        versions: reads files.
        advisories: the copy of an OSV database; None when there is none.
        now_ms: the time.
    """

    def __init__(
        self,
        version: ModelVersion,
        gate: Gate,
        folder: Path,
        environment: Mapping[str, str],
        cancelled: threading.Event,
        versions: Versions,
        *,
        advisories: Path | None = None,
        now_ms: int = 0,
    ) -> None:
        self.version = version
        self.gate = gate
        self.folder = folder
        self.environment = environment
        self.cancelled = cancelled
        self.advisories = advisories
        self.now_ms = now_ms
        self._versions = versions

    @property
    def seed(self) -> int:
        """The same for the same question, for what is drawn at random."""
        return int(self.gate.question[:8], 16)

    def beside(self, alias: str) -> ModelVersion | None:
        """The version of the same model that has the alias now."""
        return self._versions.beside(self.version, alias)

    def fetch(self, version: ModelVersion, path: str, target: Path) -> Path:
        """Put one file of a version into the file `target`. Raises NotFound."""
        if path not in self._versions.files(version):
            raise NotFound(f"version {version.version} has no file {path!r}: log it with the model")
        self._versions.copy(version, path, target)
        return target

    def unpack(self) -> Path:
        """Put all files of the version into the folder `model`, once."""
        model = self.folder / "model"
        if not model.exists():
            for path in self._versions.files(self.version):
                target = model / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._versions.copy(self.version, path, target)
        return model

    def run(self, command: Sequence[str], limits: Limits, environment: Mapping[str, str] | None = None) -> Outcome:
        """Run a program to its end in the folder.

        Args:
            environment: further variables.
        """
        variables = {**self.environment, **(environment or {})}
        return compute.run(command, self.folder, variables, limits, self.cancelled)
