"""Makes a version ready to be served: its files, verified, and its environment. Blocks; nothing is loaded here."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mlwright.artifacts.spec import ArtifactFile
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.blobs import PREFIX
from mlwright.kernel.errors import NoEnvironment
from mlwright.registry.service.loading import VersionLoader
from mlwright.registry.spec import ModelVersion
from mlwright.serving.compiling import needs_to_compile, needs_to_serve
from mlwright.serving.host.state import Revision
from mlwright.serving.images import graphs
from mlwright.serving.running import Running, needs, running

_BUILD = Limits(seconds=1_800.0, memory_bytes=8 << 30)
#: Files with the rows that a version was evaluated on, whatever they are written in.
_EVALUATION = "evaluation"
_GRAPHS = "graphs"


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

    def prepare(self, version: ModelVersion, number: int, *, onnx: bool = False) -> Revision:
        """What a host needs to serve a version as a revision.

        Args:
            onnx: as a graph that is proved to answer the same.

        Raises Untrusted for other bytes than were registered, or a version that has to be signed and is not,
        NoEnvironment, NotFound, Invalid (also for a graph that answers something else), Unavailable.
        """
        folder = self._files(version)
        how = running(folder)
        served, how, environment = self._as_graph(version, folder, how) if onnx else self._as_is(folder, how)
        return Revision(
            number,
            version.name,
            version.version,
            str(served),
            str(environment.interpreter),
            how.loader,
            how.options,
            how.generic,
            how.signature,
            str(folder / how.example) if how.example else "",
            version.digest or "",
        )

    def _as_is(self, folder: Path, how: Running) -> tuple[Path, Running, Environment]:
        with tempfile.TemporaryDirectory(prefix="mlwright-needs-") as name:
            return folder, how, self._environment(needs(folder, how, Path(name)))

    def _as_graph(self, version: ModelVersion, folder: Path, how: Running) -> tuple[Path, Running, Environment]:
        rows = sorted(path for path in folder.iterdir() if path.stem == _EVALUATION)
        place = graphs.place_of(self._folder / _GRAPHS, version.digest or "", rows)
        graph = graphs.kept(place, folder, how)
        if graph is None:
            with tempfile.TemporaryDirectory(prefix="mlwright-needs-") as name:
                asked = needs_to_compile(folder, how, Path(name))
                with self._environments.ready(asked, _BUILD) as compiler:
                    graph = graphs.compiled(place, folder, how, compiler, rows)
        with tempfile.TemporaryDirectory(prefix="mlwright-needs-") as name:
            python = ".".join(map(str, sys.version_info[:2]))
            return graph.folder, graph.how, self._environment(needs_to_serve(graph.proof, how, python, Path(name)))

    def keep_only(self, revisions: list[Revision]) -> None:
        """Let go of what no revision needs: files are removed, and environments may be."""
        folders = {Path(each.folder).name for each in revisions} | {_GRAPHS}
        folders |= {each.digest.removeprefix(PREFIX) for each in revisions}
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
