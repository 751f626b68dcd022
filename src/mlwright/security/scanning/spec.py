"""What a scan says: findings, one report for each file, one report for all."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What a gate does with a file: only `SAFE` may be loaded."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNREADABLE = "unreadable"


class Severity(StrEnum):
    """How bad a finding is: runs code, may run code or hides something, breaks a rule of the format."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"


class Rule(msgspec.Struct, frozen=True):
    """One reason to refuse a file. `id` is stable: policies and SARIF viewers refer to it."""

    id: str
    severity: Severity
    summary: str
    hint: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a file is refused.

    Attributes:
        rule: id of the rule, one of `RULES`.
        message: what was found, in one sentence.
        hint: what to do about it.
        member: path inside containers, each level after a "!"; empty in the file itself.
        offset: bytes from the start of the member (unpacked) to the opcode or record; -1 when there is none.
        opcodes: the path of pickle opcodes that lead there, such as "STACK_GLOBAL@21 > REDUCE@45".
        target: the offending global as "module.name", or what stands for it in another format.
    """

    rule: str
    severity: Severity
    message: str
    hint: str = ""
    member: str = ""
    offset: int = -1
    opcodes: str = ""
    target: str = ""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one file.

    Attributes:
        path: as it was found; bytes that are no UTF-8 are written as "\\xNN".
        size: bytes on the disk's account (a sparse file counts in full); -1 when it could not be asked.
        kind: what its content is, such as "pickle" or "zip"; never what its name says.
        verdict: whether it may be loaded.
        findings: why not; empty for a safe file.
        members: how many parts inside it were looked at.
        unread: bytes that were passed over because no loader takes them for code, such as the numbers of an array.
    """

    path: str
    size: int
    kind: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    members: int = 0
    unread: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer of one scan."""

    verdict: Verdict
    files: tuple[FileReport, ...]


def judged(files: tuple[FileReport, ...]) -> Report:
    """All reports as one: unsafe if any file is, else unreadable if any is."""
    verdicts = {each.verdict for each in files}
    worst = next((each for each in (Verdict.UNSAFE, Verdict.UNREADABLE) if each in verdicts), Verdict.SAFE)
    return Report(verdict=worst, files=files)
