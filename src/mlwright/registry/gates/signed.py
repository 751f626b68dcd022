"""The gate `signature`: who has signed the version."""

from collections.abc import Sequence

from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Signed
from mlwright.registry.signatures.spec import VersionSignature


def decide(asked: Signed, found: Sequence[VersionSignature]) -> Decision:
    """Enough signatures that count pass. It fails when there are some and none of them counts."""
    wanted = [each for each in found if not asked.keys or each.key in asked.keys]
    trusted = sorted({each.key for each in wanted if each.trusted})
    required = f"signed by {_by(asked)}"
    checks = [
        Check(each.key or each.fingerprint[:16], _verdict(each), required, each.reason or "signed") for each in wanted
    ]
    if len(trusted) >= asked.count:
        return Decision(GateVerdict.PASS, f"signed by {', '.join(trusted)}", checks)
    refused = next((each for each in wanted if not each.trusted), None)
    if refused is not None and not trusted:
        return Decision(GateVerdict.FAIL, refused.reason, checks)
    return Decision(GateVerdict.INCONCLUSIVE, f"{len(trusted)} of {asked.count} signatures by {_by(asked)}", checks)


def _by(asked: Signed) -> str:
    if not asked.keys:
        return f"{asked.count} of the project's keys" if asked.count > 1 else "a key of the project"
    return f"{asked.count} of {', '.join(asked.keys)}" if len(asked.keys) > 1 else asked.keys[0]


def _verdict(signature: VersionSignature) -> GateVerdict:
    return GateVerdict.PASS if signature.trusted else GateVerdict.FAIL
