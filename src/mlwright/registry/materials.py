"""The bill of materials of a version, made from its files when somebody asks."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mlwright import __version__
from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.blobs import PREFIX
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Unsupported
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.supply_spec import COMPANION
from mlwright.registry.service import pinning, trust, versions
from mlwright.registry.spec import ModelVersion

#: Files that say what a model needs, and those that they may include.
_NAMES = {"conda.yaml", "python_env.yaml", "uv.lock", "pylock.toml", COMPANION}
_INCLUDED = (".txt", ".in")
_MAX_FILES = 100


class Files(Protocol):
    """The bytes of versions; blocks."""

    def copy(self, file: ArtifactFile, target: Path) -> None:
        """Put a file's bytes somewhere."""
        ...


def bill(database: Database, files: Files, caller: Caller, name: str, number: int, project: str = "") -> str:
    """The bill of materials of a version, as CycloneDX 1.6 in JSON; blocks.

    Raises NotFound, Invalid for a version that is not pinned or says in no readable way what it needs, and Unsupported
    without the extra `sbom`.
    """
    try:
        from mlwright.security.supply import licences, locks, sbom  # extras
    except ModuleNotFoundError as error:
        raise Unsupported(f"{error.name} is not installed", hint="pip install 'mlwright[sbom]'") from error

    def read(tx: Tx) -> tuple[ModelVersion, list[ArtifactFile], list[ArtifactFile]]:
        version = versions.find(tx, caller, name, number, Role.VIEWER, project)[1]
        found = trust.files(tx, version)
        root = pinning.root(version.storage)
        wanted = [each for each in found if _is_wanted(each, locks.MAX_BYTES)][:_MAX_FILES]
        stored = [artifacts.get(tx, trust.SYSTEM, f"{root}/{each.path}") for each in wanted]
        return version, found, [pinning.relative(each, root) for each in stored]

    version, found, wanted = database.read_now(read)
    with tempfile.TemporaryDirectory(prefix="mlwright-sbom-") as folder:
        for each in wanted:
            target = Path(folder, each.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            files.copy(each, target)
        needs = locks.needs(Path(folder))
        known = licences.known(needs.pinned, Path(folder), COMPANION)
    made = datetime.fromtimestamp(version.created_ms / 1000, UTC)
    digests = {each.path: each.digest.removeprefix(PREFIX) for each in found}
    digest = (version.digest or "").removeprefix(PREFIX)
    return sbom.bill(sbom.Model(version.name, str(number), digest, digests, made), needs, known, __version__)


def _is_wanted(file: ArtifactFile, most: int) -> bool:
    return file.size <= most and (file.path in _NAMES or file.path.endswith(_INCLUDED))
