"""The gate `python`: a function of the user's says whether the version is good enough."""

import hashlib
from pathlib import Path

import msgspec

from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.errors import NoEnvironment
from mlwright.registry.gates import function_host, hosting
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Python, conclude, undecided

_MAX_ANSWER = 1 << 20


class _Said(msgspec.Struct):
    """What the function said."""

    verdict: GateVerdict | None
    reason: str
    checks: list[Check]


def decide(room: Room, asked: Python) -> Decision:
    """Call the function in the model's environment, once the model is known to be safe."""
    module = asked.function.partition(":")[0]
    path = asked.file or f"{module.replace('.', '/')}.py"
    (room.folder / "function").mkdir()
    file = room.fetch(room.version, path, room.folder / "function" / f"{module.rpartition('.')[2]}.py")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if asked.sha256 not in {"", digest}:
        found = Check("function", GateVerdict.FAIL, f"{path} has the SHA-256 {asked.sha256}", f"it has {digest}")
        return conclude([found])
    refused = hosting.unsafe(room, asked.hosting)
    if refused is not None:
        return refused
    limits = Limits(asked.hosting.build_seconds, asked.hosting.memory_mib << 20)
    try:
        with room.environment_of_model(limits, builds=asked.hosting.source_distributions) as environment:
            suitable = hosting.suitable(environment, asked.hosting)
            if suitable.verdict is not GateVerdict.PASS:
                return conclude([suitable])
            return _called(room, asked, environment, file, suitable)
    except NoEnvironment as error:
        return conclude([undecided("environment", "it can be built", f"{error.message} {error.hint}".strip())])


def _called(room: Room, asked: Python, environment: Environment, file: Path, suitable: Check) -> Decision:
    request, answer = room.folder / "function.json", room.folder / "answer.json"
    request.write_bytes(
        msgspec.json.encode(
            {"file": str(file), "function": asked.function, "answer": str(answer), "facts": _facts(room)}
        )
    )
    command = [str(environment.interpreter), "-I", str(Path(function_host.__file__)), str(request)]
    limits = hosting.limits(asked.hosting)
    outcome = room.run(command, limits)
    required = f"{asked.function} says yes"
    if not outcome.succeeded:
        failed = Check("function", GateVerdict.FAIL, required, hosting.explain(outcome, limits))
        return Decision(GateVerdict.FAIL, f"function: {failed.found}", [suitable, failed], outcome.output)
    try:
        with answer.open("rb") as opened:
            said = msgspec.json.decode(opened.read(_MAX_ANSWER), type=_Said)
    except (OSError, msgspec.DecodeError) as error:
        checks = [suitable, undecided("function", required, f"its answer cannot be read: {error}")]
    else:
        checks = [suitable, *_checks(said, required), *said.checks]
    decision = conclude(checks)
    return Decision(decision.verdict, decision.reason, decision.checks, outcome.output)


def _checks(said: _Said, required: str) -> list[Check]:
    """The verdict, where the function gave one; without verdict and checks it has said nothing."""
    if said.verdict is not None:
        return [Check("function", said.verdict, required, said.reason or said.verdict.value)]
    return [] if said.checks else [undecided("function", required, "it returned no checks")]


def _facts(room: Room) -> dict[str, object]:
    """What the function is given."""
    version = room.version
    return {
        "model": str(room.unpack()),
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "run_id": version.run_id,
        "tags": version.tags,
        **msgspec.to_builtins(version.facts),
    }
