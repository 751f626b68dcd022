"""What `mlwright scan` says of a version's files: code that would run, and secrets."""

import fnmatch
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import msgspec

import mlwright
from mlwright.compute.spec import Ending, Limits, Outcome
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, conclude, undecided
from mlwright.registry.gates.supply_spec import IgnoredSecret

_SOURCE = Path(mlwright.__file__).parent.parent
_REQUIRED = "no file may run code when the model is loaded"
_NO_SECRETS = "no secrets in the files"
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


def scan(room: Room, seconds: float, ignored: Sequence[IgnoredSecret] | None = None) -> Decision:
    """Only a version in which nothing could run code when it is loaded passes, and in which there are no secrets.

    In a process of its own: what it looks at was made to mislead it, and to use up its memory. What passes needs no
    other scan before another gate loads it.

    Args:
        ignored: secrets that do not matter; None when secrets are not asked for.
    """
    room.unpack()
    command = [sys.executable, "-m", "mlwright", "scan", "model", "-o", "json"]
    if ignored is not None:
        command.append("--secrets")
    limits = Limits(seconds)
    # The scanner of this very release.
    found = scanned(room.run(command, limits, {"PYTHONPATH": str(_SOURCE)}), limits, ignored, room.today)
    if found.verdict is GateVerdict.PASS and room.version.digest is not None:
        room.safe.add(room.version.digest)
    return found


def scanned(outcome: Outcome, limits: Limits, ignored: Sequence[IgnoredSecret] | None, today: date) -> Decision:
    """The answer to a scan. Only one that ended well and says so itself is passed."""
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
    if outcome.status == _UNSAFE and not any(file.findings for file in files):
        return _undecided("the scan's report contradicts its exit status", outcome)
    return conclude([check for file in files for check in _checks(file, ignored, today)])


def _checks(file: _File, ignored: Sequence[IgnoredSecret] | None, today: date) -> Iterator[Check]:
    secrets = [each for each in file.findings if each.rule.startswith("secret-")]
    others = [each for each in file.findings if each not in secrets]
    verdict = {"safe": GateVerdict.PASS, "unsafe": GateVerdict.FAIL}.get(file.verdict, GateVerdict.INCONCLUSIVE)
    if verdict is GateVerdict.FAIL and secrets and not others:
        verdict = GateVerdict.PASS
    found = "; ".join(_in_words(each) for each in others[:5]) or ("safe" if secrets else file.verdict)
    yield Check(file.path, verdict, _REQUIRED, found)
    for each in secrets:
        yield _secret(file.path, each, ignored or (), today)


def _secret(path: str, found: _Reason, ignored: Sequence[IgnoredSecret], today: date) -> Check:
    name = path.partition("/")[2]
    for each in ignored:
        if each.rule == found.rule and fnmatch.fnmatchcase(name, each.path):
            if each.until is None or today <= each.until:
                return Check(path, GateVerdict.PASS, _NO_SECRETS, f"{_in_words(found)}; ignored: {each.reason}")
            text = f"{_in_words(found)}; it was ignored until {each.until}"
            return Check(path, GateVerdict.FAIL, _NO_SECRETS, text)
    return Check(path, GateVerdict.FAIL, _NO_SECRETS, _in_words(found))


def _in_words(reason: _Reason) -> str:
    where = f" in {reason.member}" if reason.member else ""
    path = f" ({reason.opcodes})" if reason.opcodes else ""
    return f"{reason.message}{where}{path}"


def _undecided(found: str, outcome: Outcome) -> Decision:
    return Decision(GateVerdict.INCONCLUSIVE, found, [undecided("scan", _REQUIRED, found)], outcome.output[-10_000:])
