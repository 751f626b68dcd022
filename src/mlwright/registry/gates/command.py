"""The gate `command`: a program says whether the version is good enough."""

from mlwright.compute.spec import Limits
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Command, Decision, GateVerdict, conclude


def decide(room: Room, asked: Command) -> Decision:
    """Only a program that ends by itself with exit status 0 passes."""
    room.unpack()
    limits = Limits(asked.seconds, asked.memory_mib << 20, asked.processes, disk_bytes=asked.disk_mib << 20)
    outcome = room.run(asked.command, limits)
    required = f"{' '.join(asked.command)[:200]} ends with exit status 0"
    verdict = GateVerdict.PASS if outcome.succeeded else GateVerdict.FAIL
    found = f"it took {outcome.seconds:.3g} s" if outcome.succeeded else outcome.explain(limits)
    decision = conclude([Check("command", verdict, required, found)])
    return Decision(decision.verdict, decision.reason, decision.checks, outcome.output)
