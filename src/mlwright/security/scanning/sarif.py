"""A report in SARIF 2.1.0, which code scanning of many hosts reads."""

from __future__ import annotations

from urllib.parse import quote

from mlwright.security.scanning.rules import RULES
from mlwright.security.scanning.spec import FileReport, Finding, Report, Rule, Severity, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning"}
#: What GitHub sorts by: 9.0 and above are critical, 7.0 and above high, 4.0 and above medium.
_SCORES = {Severity.CRITICAL: "9.5", Severity.HIGH: "7.5", Severity.MEDIUM: "5.0"}


def sarif(report: Report, version: str) -> dict[str, object]:
    """The report as a SARIF log with one run by mlwright of that version."""
    rules = list(RULES.values())
    places = {rule.id: place for place, rule in enumerate(rules)}
    driver = {
        "name": "mlwright scan",
        "version": version,
        "informationUri": "https://mlwright.dev/",
        "rules": [_rule(rule) for rule in rules],
    }
    failed = [each for each in report.files if each.verdict is Verdict.UNREADABLE]
    invocation: dict[str, object] = {"executionSuccessful": not failed}
    if failed:
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": f"{each.path}: {each.findings[0].message}"}} for each in failed
        ]
    results = [
        _result(each, found, places[found.rule])
        for each in report.files
        if each.verdict is Verdict.UNSAFE
        for found in each.findings
    ]
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.hint},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": ["security"], "security-severity": _SCORES[rule.severity]},
    }


def _result(report: FileReport, found: Finding, place: int) -> dict[str, object]:
    location: dict[str, object] = {"physicalLocation": _physical(report, found)}
    if found.member or found.target:
        location["logicalLocations"] = [
            {
                "name": found.target or found.member,
                "fullyQualifiedName": "!".join(filter(None, (found.member, found.target))),
            }
        ]
    details = " ".join(filter(None, (f"[{found.member}]" if found.member else "", found.message + ".", found.opcodes)))
    return {
        "ruleId": found.rule,
        "ruleIndex": place,
        "level": _LEVELS[found.severity],
        "message": {"text": details},
        "locations": [location],
        "partialFingerprints": {"mlwright/v1": f"{report.path}|{found.member}|{found.rule}|{found.target}"},
    }


def _physical(report: FileReport, found: Finding) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": {"uri": quote(report.path)}}
    if found.offset >= 0 and not found.member:
        place["region"] = {"byteOffset": found.offset}
    return place
