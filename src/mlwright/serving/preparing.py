"""Makes a version ready to be served: its files, verified, and its environment. Blocks; nothing is loaded here."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mlwright.artifacts.spec import ArtifactFile
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.blobs import PREFIX
from mlwright.kernel.errors import NoEnvironment
from mlwright.registry.service.loading import VersionLoader, how_to_load
from mlwright.registry.spec import ModelVersion
from mlwright.serving.host.state import Revision

_BUILD = Limits(seconds=1_800.0, memory_bytes=8 << 30)
_EXAMPLES = ("serving_input_example.json", "input_example.json")


class Environments(Protocol):
    """What models need to run."""

    def ready(self, model: Path, limits: Limits) -> AbstractContextManager[Environment]:
        """The environment for the model in a folder, kept for the length of the block. Raises NoEnvironment."""
        ...


class Preparer:
    """Args:
    loader: gives the files of versions that may be trusted.
    environments: builds what they need.
    folder: where files lie while they are served, by digest; nobody else uses it.
    """

    def __init__(self, loader: VersionLoader, environments: Environments, folder: Path) -> None:
        self._loader = loader
        self._environments = environments
        self._folder = folder
        self._held: dict[str, contextlib.ExitStack] = {}
        self._holding = threading.Lock()

    def prepare(self, version: ModelVersion, number: int) -> Revision:
        """What a host needs to serve a version as a revision.

        Raises Untrusted for other bytes than were registered, or a version that has to be signed and is not,
        NoEnvironment, NotFound, Invalid, Unavailable.
        """
        folder = self._files(version)
        environment = self._environment(folder)
        how = how_to_load(folder, environment.packages)
        example = next((str(folder / name) for name in _EXAMPLES if (folder / name).is_file()), "")
        return Revision(
            number,
            version.name,
            version.version,
            str(folder),
            str(environment.interpreter),
            how.loader,
            how.options,
            how.generic,
            version.facts.signature or {},
            example,
            version.digest or "",
        )

    def hold(self, revision: Revision) -> None:
        """Keep the environment of a revision that was prepared before from being collected. Raises as `prepare`."""
        self._environment(Path(revision.folder))

    def keep_only(self, revisions: list[Revision]) -> None:
        """Let go of what no revision needs: files are removed, and environments may be."""
        folders = {Path(each.folder).name for each in revisions}
        pythons = {each.python for each in revisions}
        with self._holding:
            for python in self._held.keys() - pythons:
                self._held.pop(python).close()
        if self._folder.is_dir():
            for each in self._folder.iterdir():
                if each.name not in folders:
                    shutil.rmtree(each, ignore_errors=True)

    def close(self) -> None:
        """Let go of everything."""
        with self._holding:
            for each in self._held.values():
                each.close()
            self._held.clear()

    def _files(self, version: ModelVersion) -> Path:
        """The folder with the version's files, byte for byte as they were registered."""
        target = self._folder / (version.digest or "").removeprefix(PREFIX)
        if target.is_dir() and _unchanged(target, self._loader.files(version)):
            return target
        shutil.rmtree(target, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".", ignore_cleanup_errors=True) as name:
            whole = Path(name, "model")
            whole.mkdir()
            self._loader.unpack(version, whole)
            with contextlib.suppress(FileExistsError):
                whole.rename(target)
        return target

    def _environment(self, folder: Path) -> Environment:
        """The environment for the files in a folder, kept until `keep_only` lets go of it."""
        with contextlib.ExitStack() as needs:
            environment = needs.enter_context(self._environments.ready(folder, _BUILD))
            if environment.unavailable:
                raise NoEnvironment(f"only conda has {', '.join(environment.unavailable)[:300]}")
            with self._holding:
                if str(environment.interpreter) not in self._held:
                    self._held[str(environment.interpreter)] = needs.pop_all()
            return environment


def _unchanged(folder: Path, files: list[ArtifactFile]) -> bool:
    """Whether the folder holds these files and no other."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    if found != {file.path for file in files}:
        return False
    return all(_digest(folder / file.path) == file.digest for file in files)


def _digest(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        return PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
