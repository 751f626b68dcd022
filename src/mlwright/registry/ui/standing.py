"""How a version stands before its gates, in one word."""

from collections.abc import Sequence

import msgspec

from mlwright.registry.gates.spec import GateVerdict, Standing

#: From what a reader must know first to what needs no attention.
_ORDER = ("failed", "running", "waiting", "inconclusive", "missing", "people", "passed")
_DONE = {GateVerdict.PASS: "passed", GateVerdict.FAIL: "failed", GateVerdict.INCONCLUSIVE: "inconclusive"}


class Summary(msgspec.Struct, frozen=True):
    """All gates of a version together.

    Attributes:
        state: the most important of the words of `_ORDER`; "none" when no gate is about the version.
        passed, total: how many gates.
        lines: each gate that has not been passed, as "policy/gate: state".
    """

    state: str
    passed: int = 0
    total: int = 0
    lines: list[str] = []


def word(standing: Standing) -> str:
    """How it stands before one gate; "people" where somebody has to say yes."""
    if standing.kind == "approval" and standing.state == "missing":
        return "people"
    return _DONE[standing.decision.verdict] if standing.state == "done" else standing.state


def summary(standings: Sequence[Standing]) -> Summary:
    words = [word(each) for each in standings]
    state = next((each for each in _ORDER if each in words), "none")
    pairs = zip(standings, words, strict=True)
    lines = [f"{each.policy}/{each.gate}: {found}" for each, found in pairs if found != "passed"]
    return Summary(state, words.count("passed"), len(words), lines)
