"""Which function decides a gate of which kind. They are imported when first used: some bring NumPy.

A kind is a struct in `spec.py` that is a field of `Gate`, a module with `decide(room, asked)`, and its line here.
"""

from importlib import import_module

from mlwright.kernel.errors import Invalid
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Decision

#: By kind, the module whose `decide(room, asked) -> Decision` answers. Approvals are counted, not run.
DECIDERS = {
    "validation": "mlwright.registry.gates.validation",
    "security": "mlwright.registry.gates.security",
    "contract": "mlwright.registry.gates.contract",
    "integration": "mlwright.registry.gates.integration",
    "performance": "mlwright.registry.gates.performance",
    "python": "mlwright.registry.gates.function",
    "command": "mlwright.registry.gates.command",
}


def decide(room: Room) -> Decision:
    """Answer the gate's question. Raises what keeps it from being answered; Invalid for a kind that does not run."""
    module = DECIDERS.get(room.gate.kind)
    if module is None:
        raise Invalid(f"gates of the kind {room.gate.kind} do not run")
    decision: Decision = import_module(module).decide(room, room.gate.asked)
    return decision
