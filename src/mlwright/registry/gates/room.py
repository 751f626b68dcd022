"""Where a gate decides: the version in question, a folder of its own, and what it may read and run."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from mlwright.compute import service as compute
from mlwright.compute.spec import Environment, Limits, Outcome
from mlwright.kernel.errors import NotFound
from mlwright.registry.gates.spec import Gate
from mlwright.registry.spec import ModelVersion


class Versions(Protocol):
    """Reads versions and their files; blocks."""

    def files(self, version: ModelVersion) -> Sequence[str]:
        """Paths of the pinned files. Raises Invalid when it is not pinned, Untrusted when it must not be loaded."""

    def copy(self, version: ModelVersion, path: str, target: Path) -> None:
        """Put one of the files into the file `target`. Raises Untrusted when its bytes are not those registered."""

    def copy_of_run(self, version: ModelVersion, path: str, target: Path) -> bool:
        """The same with a file of the version's run. Returns False when there is none."""

    def beside(self, version: ModelVersion, alias: str) -> ModelVersion | None:
        """The version of the same model that has the alias now."""


class Environments(Protocol):
    """Builds what models need to run; blocks."""

    def ready(
        self, model: Path, limits: Limits, *, builds: bool = False, cancelled: compute.Flag | None = None
    ) -> AbstractContextManager[Environment]:
        """The environment for the model in a folder, kept for the length of the block.

        Raises NotFound when the model does not say what it needs, Invalid when it says it in a way that is refused,
        NoEnvironment when it cannot be had.
        """


class Closing(Protocol):
    """Something that must be ended."""

    def close(self) -> None: ...


class Kept:
    """One thing that a gate leaves running for the next one of the same version."""

    def __init__(self) -> None:
        self._version = 0
        self._key: object = None
        self._thing: Closing | None = None

    def keep(self, version: int, key: object, thing: Closing) -> None:
        """Leave it to who asks for the same."""
        self.close()
        self._version, self._key, self._thing = version, key, thing

    def take(self, version: int, key: object) -> Closing | None:
        """What was kept for this, and is the caller's now; whatever else was kept ends."""
        if (self._version, self._key) != (version, key):
            self.close()
        found, self._thing = self._thing, None
        return found

    def only(self, version: int) -> None:
        """End what is kept for other versions."""
        if self._version != version:
            self.close()

    def close(self) -> None:
        """End what is kept."""
        found, self._thing = self._thing, None
        if found is not None:
            found.close()


class House(NamedTuple):
    """What all gates of a server share.

    Attributes:
        cancelled: when set, answers are not wanted any more.
        versions: reads files.
        environments: builds what models need to run.
        safe: digests of versions in which this very release has found nothing unsafe.
        kept: what a gate left running for the next one.
        advisories: the copy of an OSV database; None when there is none.
    """

    cancelled: threading.Event
    versions: Versions
    environments: Environments
    safe: set[str]
    kept: Kept
    advisories: Path | None = None


class Room:
    """What a gate may use.

    Args:
        version: that is to be decided on.
        gate: what is asked.
        folder: empty, and gone afterwards.
        variables: the environment of the gate's programs.
        house: what it shares with the others.
        now_ms: the time.
    """

    def __init__(
        self,
        version: ModelVersion,
        gate: Gate,
        folder: Path,
        variables: Mapping[str, str],
        house: House,
        now_ms: int = 0,
    ) -> None:
        self.version = version
        self.gate = gate
        self.folder = folder
        self.variables = variables
        self.cancelled = house.cancelled
        self.advisories = house.advisories
        self.safe = house.safe
        self.kept = house.kept
        self.now_ms = now_ms
        self._versions = house.versions
        self._environments = house.environments

    @property
    def today(self) -> date:
        """In UTC."""
        return datetime.fromtimestamp(self.now_ms / 1000, UTC).date()

    @property
    def seed(self) -> int:
        """The same for the same question, for what is drawn at random."""
        return int(self.gate.question[:8], 16)

    def beside(self, alias: str) -> ModelVersion | None:
        """The version of the same model that has the alias now."""
        return self._versions.beside(self.version, alias)

    def fetch(self, version: ModelVersion, path: str, target: Path) -> Path:
        """Put one file of a version, or else of its run, into the file `target`. Raises NotFound."""
        if path in self._versions.files(version):
            self._versions.copy(version, path, target)
        elif not self._versions.copy_of_run(version, path, target):
            raise NotFound(f"neither version {version.version} nor its run has a file {path!r}")
        return target

    def check_trust(self) -> None:
        """Raises Invalid when the version is not pinned, and Untrusted when it must not be loaded."""
        self._versions.files(self.version)

    def unpack(self) -> Path:
        """Put all files of the version into the folder `model`, once."""
        model = self.folder / "model"
        if not model.exists():
            for path in self._versions.files(self.version):
                target = model / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._versions.copy(self.version, path, target)
        return model

    def environment_of_model(self, limits: Limits, *, builds: bool) -> AbstractContextManager[Environment]:
        """What the version needs to run, kept for the length of the block. Raises as `Environments.ready`."""
        return self._environments.ready(self.unpack(), limits, builds=builds, cancelled=self.cancelled)

    def start(self, command: Sequence[str], folder: Path, limits: Limits) -> compute.Program:
        """A program to be run beside the gate, in some folder; a context manager."""
        return compute.Program(command, folder, {**self.variables, "TMPDIR": str(folder)}, limits, self.cancelled)

    def run(self, command: Sequence[str], limits: Limits, variables: Mapping[str, str] | None = None) -> Outcome:
        """Run a program to its end in the folder.

        Args:
            variables: further ones of its environment.
        """
        all_variables = {**self.variables, "TMPDIR": str(self.folder), **(variables or {})}
        return compute.run(command, self.folder, all_variables, limits, self.cancelled)
