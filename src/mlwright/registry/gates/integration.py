"""The gate `integration`: started in a clean environment, does the version answer over HTTP as it should?"""

from collections.abc import Sequence

from mlwright.kernel.errors import NotFound
from mlwright.registry.gates import examples, hosting
from mlwright.registry.gates.examples import Golden
from mlwright.registry.gates.hosting import Host
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Integration, Tolerance

_ANSWERED = "the input example is answered with predictions"


def decide(room: Room, asked: Integration) -> Decision:
    """Start the model and send it its input example and the golden rows."""
    golden: Sequence[Golden] = ()
    if asked.golden:
        golden = examples.golden(room.fetch(room.version, asked.golden, room.folder / "golden.json"))

    def questions(host: Host) -> list[Check]:
        return [
            *_example(host, needed=not golden),
            *(_golden(host, *each, asked.tolerance) for each in enumerate(golden)),
        ]

    return hosting.decide(room, asked.hosting, questions)


def _example(host: Host, *, needed: bool) -> list[Check]:
    """Golden rows may take the place of an example."""
    try:
        request = examples.example(host.model)
    except NotFound as error:
        return [Check("input example", GateVerdict.FAIL, _ANSWERED, error.message)] if needed else []
    reply = host.ask(request)
    if reply.predictions is None:
        return [Check("input example", GateVerdict.FAIL, _ANSWERED, reply.explain())]
    count = examples.rows(request)
    return [Check("input example", GateVerdict.PASS, _ANSWERED, f"{count} rows" if count else "answered")]


def _golden(host: Host, place: int, golden: Golden, tolerance: Tolerance) -> Check:
    name = f"golden rows [{place}]"
    required = f"the expected predictions, within {tolerance.absolute:g} + {tolerance.relative:g} × expected"
    reply = host.ask(golden.request)
    if reply.predictions is None:
        return Check(name, GateVerdict.FAIL, required, reply.explain())
    wrong = examples.differences(golden.predictions, reply.predictions, tolerance)
    if wrong:
        return Check(name, GateVerdict.FAIL, required, "; ".join(wrong))
    return Check(name, GateVerdict.PASS, required, f"{examples.rows(golden.request)} rows as expected")
