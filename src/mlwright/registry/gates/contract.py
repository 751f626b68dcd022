"""The gate `contract`: does the version do what it promises, and still take what the one in place takes?"""

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.registry.gates import examples, hosting, schemas
from mlwright.registry.gates.hosting import Host
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Contract, Decision, GateVerdict, conclude, preceded, undecided

_AS_SIGNED = "the output for the input example is as the signature says"


def decide(room: Room, asked: Contract) -> Decision:
    """Compare the signatures, then have the model answer its own input example."""
    compatible = _compatible(room, asked.compatible_with) if asked.compatible_with else []
    if not schemas.parts(room.version.facts.signature, "outputs"):
        missing = Check("signature", GateVerdict.FAIL, _AS_SIGNED, "the version has no signature with outputs")
        return conclude([*compatible, missing])
    found = hosting.decide(room, asked.hosting, lambda host: [_as_signed(room, host)])
    return preceded(compatible, found)


def _as_signed(room: Room, host: Host) -> Check:
    try:
        request = examples.example(host.model)
    except (Invalid, NotFound) as error:
        return Check("input example", GateVerdict.FAIL, _AS_SIGNED, error.message)
    reply = host.ask(request)
    if reply.status != 200:
        return Check("input example", GateVerdict.FAIL, _AS_SIGNED, reply.explain())
    if reply.predictions is None:
        return Check("input example", GateVerdict.FAIL, _AS_SIGNED, f"there are no predictions in {reply.text[:200]}")
    outputs = schemas.parts(room.version.facts.signature, "outputs")
    wrong = schemas.problems(outputs, reply.predictions, examples.rows(request))
    if wrong:
        return Check("input example", GateVerdict.FAIL, _AS_SIGNED, "; ".join(wrong))
    return Check("input example", GateVerdict.PASS, _AS_SIGNED, f"{len(outputs)} outputs of the promised types")


def _compatible(room: Room, alias: str) -> list[Check]:
    name, required = (
        f"compatible with @{alias}",
        f"who can call @{alias} can call this version, and read what it answers",
    )
    other = room.beside(alias)
    if other is None:
        return [Check(name, GateVerdict.PASS, required, f"no version is @{alias} yet")]
    before, after = other.facts.signature, room.version.facts.signature
    if before is None or after is None:
        which = "it" if after is None else f"version {other.version}, which is @{alias},"
        return [undecided(name, required, f"{which} has no signature")]
    broken = schemas.breaks(before, after)
    verdict = GateVerdict.FAIL if broken else GateVerdict.PASS
    return [Check(name, verdict, required, "; ".join(broken) or f"version {other.version} has the same contract")]
