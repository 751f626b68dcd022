"""Runs the gates that wait, one after the other, in a thread of its own. What it was doing when killed runs again."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import mlwright
from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.compute import service as compute
from mlwright.compute.spec import Limits
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, MlwrightError, NotFound
from mlwright.registry.gates.scanned import scanned
from mlwright.registry.gates.spec import (
    Check,
    Command,
    Decision,
    GateVerdict,
    Security,
    Validation,
    conclude,
    undecided,
)
from mlwright.registry.service import gates as service
from mlwright.registry.service import pinning
from mlwright.registry.service.gates import Work
from mlwright.registry.spec import ModelVersion

if TYPE_CHECKING:
    from mlwright.registry.gates.evaluation import Evaluation

_SOURCE = Path(mlwright.__file__).parent.parent
_log = logging.getLogger(__name__)

#: Without a notice it looks again after so long: another server may have left something behind.
_LOOK_AGAIN_S = 5.0
_RENEW_S = service.LEASE_MS / 3_000
#: What a gate's program may see of our environment.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR")


class Files(Protocol):
    """Puts a file's bytes somewhere; blocks."""

    def copy(self, file: ArtifactFile, target: Path) -> None: ...


class GateRunner:
    """Args:
    database: where what is to run stands.
    files: the bytes of versions.
    """

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlwright-gates", daemon=True)

    def start(self) -> None:
        """From now on, run what waits."""
        self._thread.start()

    def close(self) -> None:
        """End what runs, which will run again, and wait for it."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                busy = self.run_one()
            except MlwrightError as error:  # the database is away for a while
                _log.warning("gates: %s", error.message)
                busy = False
            if not busy:
                asyncio.run(self._database.changes.wait(service.TOPIC, _LOOK_AGAIN_S))

    def run_one(self) -> bool:
        """Run the next gate. Returns False when none waits."""
        token = os.urandom(16).hex()
        work = self._database.write_now(lambda tx: service.claim(tx, token))
        if work is None:
            return False
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(work, token, ended), daemon=True)
        renewing.start()
        try:
            decision = self._decide(work)
        finally:
            ended.set()
            renewing.join()
        if not self._stopped.is_set():
            self._database.write_now(lambda tx: service.finish(tx, work, token, decision))
        return True

    def _renew(self, work: Work, token: str, ended: threading.Event) -> None:
        while not ended.wait(_RENEW_S):
            with contextlib.suppress(MlwrightError):
                self._database.write_now(lambda tx: service.renew(tx, work.result.id, token))

    def _decide(self, work: Work) -> Decision:
        """Whatever goes wrong here, the gate is not passed by it."""
        folder = Path(tempfile.mkdtemp(prefix="mlwright-gate-"))
        try:
            return self._answer(work, folder)
        except MlwrightError as error:
            return Decision(
                GateVerdict.INCONCLUSIVE, error.message, [undecided(work.gate.kind, "an answer", error.message)]
            )
        except Exception:  # the boundary of a gate: its own defect must neither pass it nor stop the others
            _log.exception("the gate %s/%s failed", work.policy.name, work.gate.name)
            return Decision(GateVerdict.INCONCLUSIVE, "an internal error occurred; it has been logged", [])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _answer(self, work: Work, folder: Path) -> Decision:
        if work.gate.validation is not None:
            return self._validate(work, work.gate.validation, folder)
        if work.gate.security is not None:
            return self._scan(work, work.gate.security, folder)
        if work.gate.command is not None:
            return self._command(work, work.gate.command, folder)
        raise Invalid(f"gates of the kind {work.gate.kind} do not run")

    def _validate(self, work: Work, asked: Validation, folder: Path) -> Decision:
        from mlwright.registry.gates import validation  # brings NumPy, which the start of a server need not wait for

        candidate = self._evaluation(work.version, asked, folder / "candidate")
        baselines: dict[str, Evaluation | None] = {}
        for alias in {each.alias for each in asked.no_worse_than}:
            other = self._database.read_now(partial(service.beside, version=work.version, alias=alias))
            baselines[alias] = self._evaluation(other, asked, folder / f"@{alias}") if other else None
        return validation.validate(asked, candidate, baselines, seed=int(work.gate.question[:8], 16))

    def _evaluation(self, version: ModelVersion, asked: Validation, target: Path) -> "Evaluation":
        from mlwright.registry.gates.evaluation import read

        stored = self._pinned(version).get(asked.evaluation)
        if stored is None:
            raise NotFound(f"version {version.version} has no file {asked.evaluation!r}: log it with the model")
        self._copy(stored, target)
        return read(target, asked.columns, asked.positive)

    def _scan(self, work: Work, asked: Security, folder: Path) -> Decision:
        """In a process of its own: what it looks at was made to mislead it, and to use up its memory."""
        self._unpack(work.version, folder / "model")
        command = [sys.executable, "-m", "mlwright", "scan", "model", "-o", "json"]
        environment = {**self._environment(work), "PYTHONPATH": str(_SOURCE)}  # the scanner of this very release
        outcome = compute.run(command, folder, environment, Limits(asked.seconds), self._stopped)
        return scanned(outcome, Limits(asked.seconds))

    def _command(self, work: Work, asked: Command, folder: Path) -> Decision:
        self._unpack(work.version, folder / "model")
        limits = Limits(asked.seconds, asked.memory_mib << 20, asked.processes)
        outcome = compute.run(asked.command, folder, self._environment(work), limits, self._stopped)
        required = f"{' '.join(asked.command)[:200]} ends with exit status 0"
        verdict = GateVerdict.PASS if outcome.succeeded else GateVerdict.FAIL
        found = f"it took {outcome.seconds:.3g} s" if outcome.succeeded else outcome.explain(limits)
        decision = conclude([Check("command", verdict, required, found)])
        return Decision(decision.verdict, decision.reason, decision.checks, outcome.output)

    def _environment(self, work: Work) -> Mapping[str, str]:
        ours = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        version = work.version
        return {
            **ours,
            "MLWRIGHT_MODEL": version.name,
            "MLWRIGHT_VERSION": str(version.version),
            "MLWRIGHT_DIGEST": version.digest or "",
        }

    def _unpack(self, version: ModelVersion, folder: Path) -> None:
        for path, stored in self._pinned(version).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._copy(stored, target)

    def _pinned(self, version: ModelVersion) -> dict[str, str]:
        """The files of a version: where in the model, and where among the artifacts."""
        if version.digest is None:
            raise Invalid(f"the files of version {version.version} are not kept here, so that nobody can look at them")
        root = pinning.root(version.storage)
        found = self._database.read_now(lambda tx: artifacts.inside(tx, root))
        return {each.path.removeprefix(f"{root}/"): each.path for each in found}

    def _copy(self, stored: str, target: Path) -> None:
        self._files.copy(self._database.read_now(lambda tx: artifacts.get(tx, service.SYSTEM, stored)), target)
