"""The gate `security`: what `mlwright scan` said of a version's files."""

import sys
from pathlib import Path

import msgspec

import mlwright
from mlwright.compute.spec import Ending, Limits, Outcome
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Security, conclude, undecided

_SOURCE = Path(mlwright.__file__).parent.parent
_REQUIRED = "no file may run code when the model is loaded"
#: Exit statuses of `mlwright scan`.
_CLEAN, _UNSAFE = 0, 1


class _Reason(msgspec.Struct):
    rule: str
    message: str
    member: str = ""
    target: str = ""
    opcodes: str = ""


class _File(msgspec.Struct):
    path: str
    verdict: str
    findings: list[_Reason] = []


class _Report(msgspec.Struct):
    files: list[_File]


def decide(room: Room, asked: Security) -> Decision:
    """Only a version in which nothing could run code when it is loaded passes."""
    return scan(room, asked.seconds)


def scan(room: Room, seconds: float) -> Decision:
    """What `mlwright scan` says of the version's files.

    In a process of its own: what it looks at was made to mislead it, and to use up its memory.
    """
    room.unpack()
    command = [sys.executable, "-m", "mlwright", "scan", "model", "-o", "json"]
    limits = Limits(seconds)
    # The scanner of this very release.
    return scanned(room.run(command, limits, {"PYTHONPATH": str(_SOURCE)}), limits)


def scanned(outcome: Outcome, limits: Limits) -> Decision:
    """The answer of the gate. Only a scan that ended well and says so itself is passed."""
    if outcome.ending is not Ending.EXITED or outcome.status not in {_CLEAN, _UNSAFE}:
        return _undecided(f"the scan gave no answer: {outcome.explain(limits)}", outcome)
    try:
        files = msgspec.json.decode(outcome.output, type=_Report).files
    except msgspec.DecodeError as error:
        if outcome.status == _UNSAFE:
            return Decision(
                GateVerdict.FAIL, "there are unsafe files; the list is too long to read", [], outcome.output
            )
        return _undecided(f"the scan's report cannot be read: {error}", outcome)
    checks = [_check(file) for file in files]
    if outcome.status == _UNSAFE and all(check.verdict is GateVerdict.PASS for check in checks):
        return _undecided("the scan's report contradicts its exit status", outcome)
    return conclude(checks)


def _check(file: _File) -> Check:
    verdict = {"safe": GateVerdict.PASS, "unsafe": GateVerdict.FAIL}.get(file.verdict, GateVerdict.INCONCLUSIVE)
    found = "; ".join(_in_words(each) for each in file.findings[:5]) or file.verdict
    return Check(file.path, verdict, _REQUIRED, found)


def _in_words(reason: _Reason) -> str:
    where = f" in {reason.member}" if reason.member else ""
    path = f" ({reason.opcodes})" if reason.opcodes else ""
    return f"{reason.message}{where}{path}"


def _undecided(found: str, outcome: Outcome) -> Decision:
    return Decision(GateVerdict.INCONCLUSIVE, found, [undecided("scan", _REQUIRED, found)], outcome.output[-10_000:])
