"""All that is known about a version, read once: what differences and model cards are made of."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.errors import Denied, NotFound
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.spec import Standing
from mlwright.registry.service import gates, models, pinning, trust, versions
from mlwright.registry.signatures.spec import VersionSignature
from mlwright.registry.spec import ModelVersion, RegisteredModel
from mlwright.tracking.service import experiments, runs
from mlwright.tracking.service import models as logged_models
from mlwright.tracking.spec import Experiment, LoggedModel, Metric, Param, Run

T = TypeVar("T")


class Known(NamedTuple):
    """What is known about a version; None where something is not there, or not for the caller to see.

    Attributes:
        files: with paths relative to the version's folder, in their order; small ones of interest bring their content.
        run, experiment, logged: what made it.
    """

    model: RegisteredModel
    version: ModelVersion
    files: list[ArtifactFile] | None
    run: Run | None
    experiment: Experiment | None
    logged: LoggedModel | None
    standings: list[Standing]
    signatures: list[VersionSignature]

    @property
    def metrics(self) -> list[Metric] | None:
        """Those of the logged model, else those of the run."""
        logged = self.logged.metrics if self.logged else []
        return logged or (self.run.metrics if self.run else None) or None

    @property
    def parameters(self) -> list[Param] | None:
        """Those of the logged model, else those of the run."""
        logged = self.logged.params if self.logged else []
        return logged or (self.run.params if self.run else None) or None


#: Files that are compared by what is in them.
REQUIREMENTS = "requirements.txt"


def known(tx: Tx, caller: Caller, name: str, version: int, project: str = "") -> Known:
    """Read what is known. Raises NotFound when there is no such version."""
    found = versions.get(tx, caller, name, version, project)
    run_id, model_id = found.run_id, found.model_id
    run = _visible(lambda: runs.get(tx, caller, run_id)) if run_id else None
    experiment = _visible(lambda: experiments.get(tx, caller, run.info.experiment_id)) if run else None
    logged = _visible(lambda: logged_models.get(tx, caller, model_id, deleted=True)) if model_id else None
    return Known(
        models.get(tx, caller, name, project),
        found,
        _files(tx, caller, found),
        run,
        experiment,
        logged,
        gates.standings(tx, found),
        trust.signatures(tx, found),
    )


def _files(tx: Tx, caller: Caller, version: ModelVersion) -> list[ArtifactFile] | None:
    if version.digest is None:
        return None
    root = pinning.root(version.storage)
    found = [pinning.relative(file, root) for file in artifacts.inside(tx, root)]
    return sorted((_with_content(tx, caller, root, file) for file in found), key=lambda file: file.path)


def _with_content(tx: Tx, caller: Caller, root: str, file: ArtifactFile) -> ArtifactFile:
    if file.path != REQUIREMENTS:
        return file
    return pinning.relative(artifacts.get(tx, caller, f"{root}/{file.path}"), root)


def _visible(read: Callable[[], T]) -> T | None:
    """What is there and may be seen."""
    try:
        return read()
    except (NotFound, Denied):
        return None
