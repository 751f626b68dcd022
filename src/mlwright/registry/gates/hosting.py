"""Runs a version's model for a gate: scanned first, then in its own environment, asked over HTTP.

What is asked for is narrow on purpose, `Host.ask`: a serving host may take the place of `model_host.py`.
"""

import contextlib
import http.client
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlwright.compute.service import Program
from mlwright.compute.spec import Ending, Environment, Limits, Outcome
from mlwright.kernel.errors import NoEnvironment, Unavailable
from mlwright.registry.gates import model_host, scanned
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Hosting, conclude, undecided

_HOST = Path(model_host.__file__)
_LOOK_S = 0.01
_MAX_ANSWER = 64 << 20
_READY = "ready.json"
#: Flavors that the host can load without MLflow.
_NATIVE = ("sklearn", "skops", "xgboost", "lightgbm", "onnx")
_JSON = {"Content-Type": "application/json"}
_STARTS = "the model is loaded in an environment of its own, and answers"


class Reply(NamedTuple):
    """What the model answered: `document` is its JSON, or None where that cannot be read."""

    status: int
    document: Any
    text: str

    @property
    def predictions(self) -> Any:
        """What a good answer holds; None when it is not a good one."""
        good = self.status == 200 and isinstance(self.document, dict)
        return self.document.get("predictions") if good else None

    def explain(self) -> str:
        """What it says, in short."""
        said = self.document.get("message") if isinstance(self.document, dict) else None
        return f"HTTP {self.status}: {str(said or self.text)[:300]}"


class Host(NamedTuple):
    """A model that answers.

    Attributes:
        port: on loopback.
        cold_start_s: from the start of its process until it answered.
        environment: what it runs in.
        model: the folder with the model's files.
    """

    port: int
    cold_start_s: float
    environment: Environment
    model: Path

    def ask(self, request: object, timeout_s: float = 60.0) -> Reply:
        """Send a request of MLflow's scoring protocol. Raises Unavailable when no answer comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("POST", "/invocations", json.dumps(request).encode(), _JSON)
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the model gave no answer: {type(error).__name__} {error}") from error
        finally:
            connection.close()
        if len(body) > _MAX_ANSWER:
            raise Unavailable(f"the model's answer is larger than {_MAX_ANSWER >> 20} MiB")
        text = body.decode(errors="replace")
        try:
            return Reply(response.status, json.loads(text), text)
        except (ValueError, RecursionError):
            return Reply(response.status, None, text)


class Running:
    """A model's process and what it needs, until it is closed.

    Args:
        needs: the environment and the folder of its files, which end with it.
    """

    def __init__(self, host: Host, program: Program, needs: contextlib.ExitStack, checks: list[Check]) -> None:
        self.host = host
        self.program = program
        self.checks = checks
        self._needs = needs

    def leave(self) -> "Running":
        """The same, to be closed by a later gate, which says that it has not started it."""
        *before, start = self.checks
        found = f"after {self.host.cold_start_s:.3g} s, for an earlier gate"
        return Running(
            self.host, self.program, self._needs.pop_all(), [*before, msgspec.structs.replace(start, found=found)]
        )

    def close(self) -> None:
        """End it."""
        self._needs.close()


Questions = Callable[[Host], list[Check]]
Measure = Callable[[Outcome], list[Check]]


def decide(room: Room, asked: Hosting, questions: Questions, measure: Measure | None = None) -> Decision:
    """Start the model, ask it, and conclude.

    Where nothing is measured, the process that an earlier gate of the version has started may answer, as it is. Only to
    pass, though: before anything else is concluded, a new process is asked the same.

    Args:
        questions: asked while it runs.
        measure: asked about its process after it has ended.
    """
    refused = unsafe(room, asked)
    if refused is not None:
        return refused
    room.check_trust()
    kept = room.kept.take(room.version.row, asked)
    if isinstance(kept, Running) and measure is None:
        decision = _asked(room, asked, kept, questions, None)
        if decision.verdict is GateVerdict.PASS:
            return decision
    elif kept is not None:
        kept.close()
    try:
        started = _started(room, asked)
    except NoEnvironment as error:
        hint = f" ({error.hint})" if error.hint else ""
        return conclude([undecided("environment", "it can be built", f"{error.message}{hint}")])
    return started if isinstance(started, Decision) else _asked(room, asked, started, questions, measure)


def unsafe(room: Room, asked: Hosting) -> Decision | None:
    """Why the model is not loaded; None when nothing speaks against it."""
    if room.version.digest in room.safe:
        return None
    found = scanned.scan(room, asked.seconds)
    if found.verdict is not GateVerdict.PASS:
        return Decision(found.verdict, f"the model is not loaded: {found.reason}", found.checks, found.output)
    return None


def suitable(environment: Environment, asked: Hosting) -> Check:
    """Whether the environment is what the model asks for."""
    required = "the environment is as the model asks for"
    found = f"Python {environment.python}, {len(environment.packages)} packages"
    if environment.unavailable:
        return undecided("environment", required, f"only conda has {', '.join(environment.unavailable)[:300]}")
    if not environment.is_as_asked and not asked.any_python:
        found = f"the model asks for Python {environment.asked}, and there is {environment.python}"
        return undecided("environment", required, f"{found}: install it (uv python install), or allow anyPython")
    note = f", asked for was {environment.asked}" if environment.asked not in {"", environment.python} else ""
    return Check("environment", GateVerdict.PASS, required, found + note)


def limits(asked: Hosting) -> Limits:
    """Of the model's processes."""
    return Limits(asked.seconds, asked.memory_mib << 20, asked.processes, disk_bytes=asked.disk_mib << 20)


def explain(outcome: Outcome, limits: Limits) -> str:
    """Why a process did not do what it should, with the last line that it printed."""
    lines = outcome.output.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{outcome.explain(limits)}: {last[:300]}" if last else outcome.explain(limits)


def _started(room: Room, asked: Hosting) -> Running | Decision:
    """The model, answering; or why it does not. Raises NoEnvironment."""
    with contextlib.ExitStack() as needs:
        name = tempfile.TemporaryDirectory(dir=room.folder.parent, ignore_cleanup_errors=True)
        folder = Path(needs.enter_context(name))
        build = Limits(asked.build_seconds, asked.memory_mib << 20)
        environment = needs.enter_context(room.environment_of_model(build, builds=asked.source_distributions))
        checks = [suitable(environment, asked)]
        if checks[0].verdict is not GateVerdict.PASS:
            return conclude(checks)
        model = room.unpack().rename(folder / "model")
        request = folder / "host.json"
        request.write_bytes(msgspec.json.encode(_request(room, environment, model, folder / _READY)))
        began = time.monotonic()
        command = [str(environment.interpreter), "-I", str(_HOST), str(request)]
        program = needs.enter_context(room.start(command, folder, limits(asked)))
        port = _port(folder / _READY, program)
        cold_start_s = time.monotonic() - began
        if port is None:
            outcome = program.stop()
            return _concluded([*checks, *_ended(room, asked, outcome)], outcome)
        checks.append(Check("start", GateVerdict.PASS, _STARTS, f"after {cold_start_s:.3g} s"))
        return Running(Host(port, cold_start_s, environment, model), program, needs.pop_all(), checks)


def _asked(room: Room, asked: Hosting, running: Running, questions: Questions, measure: Measure | None) -> Decision:
    """Ask the model, and keep it for the next gate if all is well and nothing is measured."""
    with contextlib.closing(running):
        checks = list(running.checks)
        try:
            checks += questions(running.host)
        except Unavailable as error:
            checks.append(undecided("answers", "every request is answered", error.message))
        decision = conclude(checks)
        well = decision.verdict is GateVerdict.PASS and running.program.is_running and not room.cancelled.is_set()
        if measure is None and well:
            room.kept.keep(room.version.row, asked, running.leave())
            return decision
        outcome = running.program.stop()
        checks += _ended(room, asked, outcome)
        if measure is not None and outcome.ending is Ending.CANCELLED:
            checks += measure(outcome)
        return _concluded(checks, outcome)


def _ended(room: Room, asked: Hosting, outcome: Outcome) -> list[Check]:
    """What the end of the model's process says: nothing, when it went on until it was told to end."""
    if room.cancelled.is_set():
        return [undecided("start", _STARTS, "the gate was cancelled")]
    if outcome.ending is Ending.CANCELLED:
        return []
    return [Check("process", GateVerdict.FAIL, _STARTS, explain(outcome, limits(asked)))]


def _concluded(checks: list[Check], outcome: Outcome) -> Decision:
    decision = conclude(checks)
    return Decision(decision.verdict, decision.reason, decision.checks, outcome.output)


def _port(ready: Path, program: Program) -> int | None:
    """Where the model answers; None when its process ended before it did."""
    while program.is_running:
        try:
            port: int = json.loads(ready.read_bytes())["port"]
            return port
        except FileNotFoundError:
            time.sleep(_LOOK_S)
    return None


def _request(room: Room, environment: Environment, model: Path, ready: Path) -> dict[str, object]:
    """What the host is told: MLflow loads the model where the environment has it, else the library of its flavor."""
    request = {"model": str(model), "ready": str(ready)}
    if any(package.startswith(("mlflow==", "mlflow_skinny==")) for package in environment.packages):
        return {**request, "loader": "mlflow"}
    flavors = _flavors(model)
    loader = next((name for name in _NATIVE if name in flavors), None)
    if loader is None:
        raise NoEnvironment("the model needs MLflow to be loaded, and does not name it among its packages")
    signature = room.version.facts.signature or {}
    inputs = signature.get("inputs")
    named = [each.get("name") for each in inputs if isinstance(each, dict)] if isinstance(inputs, list) else []
    options = {"generic": flavors.get("python_function", {}), "options": flavors[loader]}
    return {**request, **options, "loader": loader, "columns": [name for name in named if name]}


def _flavors(model: Path) -> dict[str, Any]:
    """The ways to load the model, each with its options, as its description has them."""
    try:
        document = msgspec.yaml.decode((model / "MLmodel").read_bytes())
    except (OSError, msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise NoEnvironment(f"the model's description (MLmodel) cannot be read: {str(error)[:200]}") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    named = flavors.items() if isinstance(flavors, dict) else ()
    return {str(name): options for name, options in named if isinstance(options, dict)}
