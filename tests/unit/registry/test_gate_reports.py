"""Reports of gates: other programs read them, whatever a model or its program wrote."""

import json
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from mlwright.registry.gates import reports
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Standing

_VERDICTS = st.sampled_from(list(GateVerdict))
_CHECKS = st.builds(Check, st.text(max_size=30), _VERDICTS, st.text(max_size=30), st.text(max_size=30))
_DECISIONS = st.builds(Decision, _VERDICTS, st.text(max_size=30), st.lists(_CHECKS, max_size=3), st.text(max_size=30))
_STATES = st.sampled_from(["missing", "waiting", "running", "done"])
_STANDINGS = st.lists(
    st.builds(Standing, st.text(max_size=9), st.text(max_size=9), st.just("command"), _STATES, _DECISIONS), max_size=4
)


def standing(verdict: GateVerdict, reason: str = "because", state: str = "done", output: str = "") -> Standing:
    check = Check("roc_auc", verdict, "≥ 0.7", "0.65 (0.6 to 0.69)")
    return Standing(
        "production", verdict.value, "validation", state, Decision(verdict, reason, [check], output), 0, 1500
    )


ALL = [*map(standing, GateVerdict), standing(GateVerdict.INCONCLUSIVE, state="waiting")]


def test_junit_tells_failures_errors_and_what_was_skipped() -> None:
    suite = ET.fromstring(reports.junit("flights/3", ALL))[0]
    assert suite.attrib == {
        "name": "production", "tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "6.000"
    }  # fmt: skip
    assert [[each.tag for each in case] for case in suite] == [[], ["failure"], ["error"], ["skipped"]]
    failure = suite[1][0]
    assert failure.get("message") == "because"
    assert failure.text == "roc_auc: 0.65 (0.6 to 0.69), required: ≥ 0.7"


def test_sarif_has_a_result_for_each_check_that_does_not_pass() -> None:
    run = reports.sarif("flights/3", ALL, "1.0")["runs"][0]
    assert [each["level"] for each in run["results"]] == ["error", "warning", "warning"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]][run["results"][0]["ruleIndex"]] == "production/fail"


def test_markdown_is_a_table_that_nothing_breaks() -> None:
    text = reports.markdown("flights/3", [standing(GateVerdict.FAIL, "a | b\n<script>")])
    assert "| production/fail | ❌ fail | a \\| b \\<script\\> |" in text.splitlines()
    assert "- ❌ roc\\_auc: 0.65 (0.6 to 0.69), required: ≥ 0.7" in text.splitlines()


@given(_STANDINGS)
def test_any_text_can_be_read_again(standings: list[Standing]) -> None:
    root = ET.fromstring(reports.junit("m/1", standings))
    assert len(root.findall(".//testcase")) == len(standings)
    passed = sum(each.is_open for each in standings)
    counted = sum(int(root.attrib[name]) for name in ("failures", "errors", "skipped"))
    assert counted == len(standings) - passed
    results = reports.sarif("m/1", standings, "1")["runs"][0]["results"]
    assert len({each["ruleIndex"] for each in results}) == len(standings) - passed
    json.dumps(results)
    rows = [line for line in reports.markdown("m/1", standings).splitlines() if line.startswith("| ")]
    assert len(rows) == len(standings) + 1
