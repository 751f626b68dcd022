"""Runs the gates that wait, one after the other, in a thread of its own. What it was doing when killed runs again."""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Protocol

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile, root_path
from mlwright.kernel.database import Database
from mlwright.kernel.errors import MlwrightError, NotFound
from mlwright.kernel.presence import Presence
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.deciders import decide
from mlwright.registry.gates.room import Environments, House, Kept, Room
from mlwright.registry.gates.spec import Decision, GateVerdict, undecided
from mlwright.registry.service import evidence, trust
from mlwright.registry.service import gates as service
from mlwright.registry.service.gates import Work
from mlwright.registry.service.loading import Files, VersionLoader
from mlwright.registry.spec import ModelVersion
from mlwright.tracking.service import lineage

_log = logging.getLogger(__name__)

#: Without a notice it looks again after so long: another server may have left something behind.
_LOOK_AGAIN_S = 3.0
_RENEW_S = service.LEASE_MS / 3_000
#: What a gate's program may see of our environment.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR")


class RunnerFiles(Files, evidence.Store, Protocol):
    """The bytes of versions, and room for evidence; blocks."""


class GateRunner:
    """Args:
    database: where what is to run stands.
    files: the bytes of versions.
    environments: what models need to run.
    folder: where gates put what they work on; nobody else uses it.
    advisories: a copy of an OSV database, for the gate `security`.
    """

    def __init__(
        self,
        database: Database,
        files: RunnerFiles,
        environments: Environments,
        folder: Path,
        *,
        advisories: Path | None = None,
    ) -> None:
        self._database = database
        self._files = files
        self._folder = folder
        self._stopped = threading.Event()
        self._heard = threading.Event()
        self._presence = Presence(database.engine)
        self._house = House(self._stopped, _Versions(database, files), environments, set(), Kept(), advisories)
        self._thread = threading.Thread(target=self._run, name="mlwright-gates", daemon=True)

    def start(self) -> None:
        """From now on, run what waits. What a killed server was working on is removed.

        Where there can be no other server, nothing waits for the lease of one that died; elsewhere until it is known to
        be gone.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._database.engine.embedded:
            self._database.write_now(service.abandon)
        self._thread.start()

    def close(self) -> None:
        """End what runs, which will run again, and wait for it."""
        self._stopped.set()
        self._heard.set()
        if self._thread.is_alive():
            self._thread.join()
        self._house.kept.close()

    def _run(self) -> None:
        with self._database.changes.listening(service.TOPIC, self._heard.set):
            while True:
                self._heard.clear()
                if self._stopped.is_set():
                    return
                if not self._tried():
                    self._heard.wait(_LOOK_AGAIN_S)

    def _tried(self) -> bool:
        """Whether a gate was run, and there may be another."""
        try:
            self._take_over()
            return self.run_one()
        except MlwrightError as error:  # the database is away for a while
            _log.warning("gates: %s", error.message)
        except Exception:  # the boundary of the thread: one defect must not end all gates
            _log.exception("gates: what is next could not be run")
        return False

    def _take_over(self) -> None:
        """Have run again what other servers were running that are gone."""
        tokens = set() if self._database.engine.embedded else self._database.read_now(service.running)
        gone = self._presence.gone({_server(token) for token in tokens})
        if gone:
            left = {token for token in tokens if _server(token) in gone}
            self._database.write_now(lambda tx: service.abandon_of(tx, left))

    def run_one(self) -> bool:
        """Run the next gate. Returns False when none waits."""
        token = f"{self._database.engine.server}-{os.urandom(12).hex()}"
        work = self._database.write_now(lambda tx: service.claim(tx, token))
        if work is None:
            self._house.kept.close()
            return False
        self._house.kept.only(work.version.row)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(work, token, ended), daemon=True)
        renewing.start()
        try:
            decision, stored = self._with_evidence(work, self._decide(work))
        finally:
            ended.set()
            renewing.join()
        if not self._stopped.is_set():
            self._database.write_now(lambda tx: service.finish(tx, work, token, decision, stored))
        return True

    def _renew(self, work: Work, token: str, ended: threading.Event) -> None:
        while not ended.wait(_RENEW_S):
            with contextlib.suppress(MlwrightError):
                self._database.write_now(lambda tx: service.renew(tx, work.result.id, token))

    def _with_evidence(self, work: Work, decision: Decision) -> tuple[Decision, dict[str, evidence.Stored]]:
        """The answer and what it rests on, which is stored by now. Without evidence no gate is passed."""
        try:
            return decision, evidence.store(self._files, service.report(work, decision))
        except MlwrightError as error:
            reason = f"its evidence could not be kept: {error.message}"
            return Decision(GateVerdict.INCONCLUSIVE, reason, [undecided(work.gate.kind, "evidence", reason)]), {}

    def _decide(self, work: Work) -> Decision:
        """Whatever goes wrong here, the gate is not passed by it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
                return decide(self._room(work, Path(folder)))
        except MlwrightError as error:
            return Decision(
                GateVerdict.INCONCLUSIVE, error.message, [undecided(work.gate.kind, "an answer", error.message)]
            )
        except Exception:  # the boundary of a gate: its own defect must neither pass it nor stop the others
            _log.exception("the gate %s/%s failed", work.policy.name, work.gate.name)
            return Decision(GateVerdict.INCONCLUSIVE, "an internal error occurred; it has been logged", [])

    def _room(self, work: Work, folder: Path) -> Room:
        now_ms = self._database.clock.now_ms()
        return Room(work.version, work.gate, folder, _variables(work.version), self._house, now_ms)


def _server(token: str) -> str:
    """The server that made a token."""
    return token.partition("-")[0]


class _Versions:
    """What gates may read.

    Args:
        database: where versions stand.
        files: their bytes.
    """

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files
        # Gates find out whether a version may be used: policies that ask for signatures do not keep them from it.
        self._loader = VersionLoader(database, files, trust.require)

    def files(self, version: ModelVersion) -> list[str]:
        return [file.path for file in self._loader.files(version)]

    def copy(self, version: ModelVersion, path: str, target: Path) -> None:
        self._loader.copy(version, path, target)

    def copy_of_run(self, version: ModelVersion, path: str, target: Path) -> bool:
        run_id = version.run_id
        file = None if run_id is None else self._database.read_now(lambda tx: _of_run(tx, run_id, path))
        if file is not None:
            self._files.copy(file, target)
        return file is not None

    def beside(self, version: ModelVersion, alias: str) -> ModelVersion | None:
        return self._database.read_now(partial(service.beside, version=version, alias=alias))


def _of_run(tx: Tx, run_id: str, path: str) -> ArtifactFile | None:
    uri = lineage.of_run(tx, service.SYSTEM, run_id).artifact_uri
    if root_path(uri) is None:
        return None
    with contextlib.suppress(NotFound):
        return artifacts.get(tx, service.SYSTEM, artifacts.resolve(uri, path))
    return None


def _variables(version: ModelVersion) -> dict[str, str]:
    """The environment of a gate's programs."""
    ours = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **ours,
        "DO_NOT_TRACK": "1",  # what a gate runs tells nobody
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLWRIGHT_MODEL": version.name,
        "MLWRIGHT_VERSION": str(version.version),
        "MLWRIGHT_DIGEST": version.digest or "",
    }
