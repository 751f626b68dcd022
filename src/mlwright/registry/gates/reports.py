"""How a version stands before its gates, for other programs: JUnit XML, SARIF 2.1.0, Markdown."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

from mlwright.registry.gates.spec import Check, GateVerdict, Standing
from mlwright.registry.plain import plain
from mlwright.security.scanning.sarif import SCHEMA

#: What no XML may hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SIGNS = {GateVerdict.PASS: "✅", GateVerdict.FAIL: "❌", GateVerdict.INCONCLUSIVE: "❔"}
_MOST_OUTPUT = 10_000


def junit(version: str, standings: Sequence[Standing]) -> str:
    """A test suite for each policy and a test case for each gate.

    A gate that failed is a failure, one that could not be decided an error, and one without an answer is skipped.
    """
    root = ET.Element("testsuites", {"name": f"gates of {_text(version)}", **_counts(standings)})
    for policy, gates in groupby(standings, key=lambda each: each.policy):
        listed = list(gates)
        suite = ET.SubElement(root, "testsuite", {"name": _text(policy), **_counts(listed)})
        for gate in listed:
            _case(suite, f"{version}.{policy}", gate)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, group: str, gate: Standing) -> None:
    seconds = f"{_seconds(gate):.3f}"
    case = ET.SubElement(suite, "testcase", classname=_text(group), name=_text(gate.gate), time=seconds)
    if not gate.is_open:
        found = ET.SubElement(case, _outcome(gate), message=_text(gate.decision.reason))
        found.text = _text("\n".join(_line(check) for check in gate.decision.checks))
    if gate.decision.output:
        ET.SubElement(case, "system-out").text = _text(gate.decision.output[-_MOST_OUTPUT:])


def _outcome(gate: Standing) -> str:
    if gate.state != "done":
        return "skipped"
    return "failure" if gate.decision.verdict is GateVerdict.FAIL else "error"


def _counts(standings: Sequence[Standing]) -> dict[str, str]:
    outcomes = [_outcome(each) for each in standings if not each.is_open]
    plurals = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counted = {plural: str(outcomes.count(outcome)) for plural, outcome in plurals.items()}
    return {"tests": str(len(standings)), **counted, "time": f"{sum(map(_seconds, standings)):.3f}"}


def _seconds(gate: Standing) -> float:
    if gate.started_ms is None or gate.ended_ms is None:
        return 0.0
    return (gate.ended_ms - gate.started_ms) / 1_000


def sarif(version: str, standings: Sequence[Standing], release: str) -> dict[str, Any]:
    """A run with a rule for each gate and a result for each check that does not pass."""
    rules = [
        {"id": f"{each.policy}/{each.gate}", "shortDescription": {"text": f"gate of the kind {each.kind}"}}
        for each in standings
    ]
    results = [
        {
            "ruleId": f"{each.policy}/{each.gate}",
            "ruleIndex": place,
            "level": "error" if each.decision.verdict is GateVerdict.FAIL else "warning",
            "message": {"text": text},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": version, "kind": "module"}]}],
        }
        for place, each in enumerate(standings)
        if not each.is_open
        for text in _complaints(each)
    ]
    driver = {"name": "mlwright gate", "version": release, "informationUri": "https://mlwright.dev/", "rules": rules}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _complaints(gate: Standing) -> Iterable[str]:
    found = [_line(check) for check in gate.decision.checks if check.verdict is not GateVerdict.PASS]
    return found or [gate.decision.reason]


def markdown(version: str, standings: Sequence[Standing]) -> str:
    """A table of the gates, and below it each check of those that are not passed."""
    lines = [f"### Gates of {plain(version)}", "", "| gate | verdict | reason |", "|---|---|---|"]
    lines += [
        f"| {plain(f'{each.policy}/{each.gate}')} | {_verdict(each)} | {plain(each.decision.reason)} |"
        for each in standings
    ]
    for each in standings:
        checks = [check for check in each.decision.checks if check.verdict is not GateVerdict.PASS]
        if checks and not each.is_open:
            lines += ["", f"**{plain(f'{each.policy}/{each.gate}')}**", ""]
            lines += [f"- {_SIGNS[check.verdict]} {plain(_line(check))}" for check in checks]
    return "\n".join(lines) + "\n"


def _verdict(gate: Standing) -> str:
    if gate.state != "done":
        return f"⏳ {gate.state}"
    return f"{_SIGNS[gate.decision.verdict]} {gate.decision.verdict.value}"


def _line(check: Check) -> str:
    return f"{check.name}: {check.found}, required: {check.required}"


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
