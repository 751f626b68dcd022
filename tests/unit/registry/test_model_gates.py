"""Gates that run the model: real programs in a real environment, and models that do their worst."""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.compute import service as compute
from mlwright.compute.environments import Environments
from mlwright.kernel.errors import GateClosed, NoEnvironment, Unavailable
from mlwright.registry.gates import function_host, hosting
from mlwright.registry.gates.hosting import Host
from mlwright.registry.gates.spec import Decision, GateVerdict
from mlwright.registry.service import gates
from tests.contract.test_gates import InDatabase
from tests.unit.registry.model_world import EXAMPLE, INPUTS, PREDICTIONS, ModelGates, check, description, model

PASS, FAIL, OPEN = GateVerdict.PASS, GateVerdict.FAIL, GateVerdict.INCONCLUSIVE
CONTRACT: dict[str, Any] = {"name": "contract", "contract": {}}
INTEGRATION: dict[str, Any] = {"name": "integration", "integration": {}}
OWN: dict[str, Any] = {"name": "own", "python": {"function": "checks:yes"}}
LOAD: dict[str, Any] = {"rate": 100, "seconds": 0.2, "warmupSeconds": 0}


def only(found: list[Decision]) -> Decision:
    (decision,) = found
    return decision


# --- contract -----------------------------------------------------------------------------------------------------


def test_a_version_that_keeps_its_promise(models: ModelGates) -> None:
    decision = only(models.decided(CONTRACT))
    assert decision.verdict is PASS
    assert [each.name for each in decision.checks] == ["environment", "start", "input example"]


@pytest.mark.parametrize(
    ("files", "does", "found"),
    [
        ({"MLmodel": description(outputs=[{"type": "string"}])}, {}, "0.5.* is a number, not string"),
        ({}, {"always": [1.0]}, "1 predictions for 2 rows"),
        ({}, {"always": {"x": 1}}, "an object instead of columns"),
        ({}, {"predict": "raise"}, "HTTP 400: ValueError: no such weights"),
        ({"serving_input_example.json": b""}, {}, "no input example"),
        ({"serving_input_example.json": b"[1"}, {}, "no JSON"),
        ({"MLmodel": description(outputs=[])}, {}, "no signature with outputs"),
        ({"MLmodel": description(inputs=[*INPUTS, {"type": "double", "name": "c"}])}, {}, "missing inputs"),
    ],
)
def test_a_version_that_does_not(models: ModelGates, files: dict[str, bytes], does: dict[str, Any], found: str) -> None:
    decision = only(models.decided(CONTRACT, files=files, **does))
    assert decision.verdict is FAIL
    with pytest.raises(AssertionError, match=found):
        raise AssertionError(decision.reason)


def test_whoever_can_call_the_champion_can_call_the_next(models: ModelGates) -> None:
    models.policy({"name": "contract", "contract": {"compatibleWith": "champion"}})
    first = models.model_version()
    models.run_all()
    models.champion(first)
    changed = [{**INPUTS[0], "type": "string"}, {"type": "double", "name": "c", "required": True}]
    other = models.model_version({"MLmodel": description(changed)})
    same = models.model_version(weights=[1.0, 0.5])
    models.run_all()
    decision = models.standings(other)[0].decision
    found = check(decision, "compatible with @champion").found
    for broken in ("column 'c' was added", "column 'b' was removed", "'a' was double and is string"):
        assert broken in found
    assert decision.verdict is FAIL
    with pytest.raises(GateClosed, match="was added"):
        models.champion(other)
    models.champion(same)
    assert models.standings(first)[0].state == "missing"  # it was not compared with who is there now


# --- integration --------------------------------------------------------------------------------------------------


def golden(*predictions: object) -> bytes:
    return json.dumps([{**EXAMPLE, "predictions": each} for each in predictions]).encode()


def test_golden_rows_of_the_version_and_of_its_run(models: ModelGates) -> None:
    asked = {"name": "integration", "integration": {"golden": "golden.json", "tolerance": {"absolute": 0.01}}}
    models.policy(asked)
    near = [PREDICTIONS[0] + 0.005, PREDICTIONS[1]]
    inside = models.model_version({"golden.json": golden(PREDICTIONS, near)})
    folder = models.logged(model())
    models.write(f"{folder.rpartition('/')[0]}/golden.json", golden([0.5, 0.9]))
    beside = models.register(folder)
    models.run_all()
    assert models.verdicts(inside) == [PASS]
    decision = models.standings(beside)[0].decision
    assert decision.verdict is FAIL
    assert check(decision, "golden rows [0]").found == "[1] is 0.25 instead of 0.9"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has a file 'golden.json'"),
        (b"[]", "empty"),
        (b'{"dataframe_split": {}}', "predictions that are expected"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_golden_rows_that_cannot_be_read_decide_nothing(models: ModelGates, content: bytes, reason: str) -> None:
    asked = {"name": "integration", "integration": {"golden": "golden.json"}}
    decision = only(models.decided(asked, files={"golden.json": content}))
    assert decision.verdict is OPEN
    assert reason in decision.reason


# --- performance --------------------------------------------------------------------------------------------------


def test_what_is_measured_under_load(models: ModelGates) -> None:
    generous = {"maxP50Ms": 5_000, "minRps": 1, "maxMemoryMib": 1_000, "maxColdStartSeconds": 100}
    decision = only(models.decided({"name": "load", "performance": {**LOAD, **generous}}))
    assert decision.verdict is PASS, decision
    assert check(decision, "errors").found == "0 of 20"
    assert check(decision, "p50 latency in ms").measured is not None


def test_each_bound_that_is_broken_is_told(models: ModelGates) -> None:
    bounds = {"maxP50Ms": 1, "minRps": 1e6, "maxMemoryMib": 1, "maxColdStartSeconds": 0.001, "maxP99Ms": 5_000}
    decision = only(models.decided({"name": "load", "performance": {**LOAD, **bounds}}, seconds=0.05))
    assert decision.verdict is FAIL
    failed = {each.name for each in decision.checks if each.verdict is FAIL}
    assert failed == {"p50 latency in ms", "good answers", "peak memory", "cold start"}
    assert "20 requests are too few to say: 368" in check(decision, "p99 latency in ms").found


def test_answers_that_are_none_are_errors(models: ModelGates) -> None:
    hurried = {**LOAD, "timeoutSeconds": 1.0}
    decision = only(models.decided({"name": "load", "performance": {**hurried, "maxP50Ms": 500}}, predict="raise"))
    assert "HTTP 400" in decision.reason
    slow = only(models.decided({"name": "load", "performance": {**hurried, "timeoutSeconds": 0.2}}, seconds=0.3))
    assert slow.verdict is not PASS


# --- python -------------------------------------------------------------------------------------------------------

FUNCTION = b"""
import json, lightgbm, os
def check(facts):
    model = lightgbm.Booster(model_file=os.path.join(facts["model"], "model.lgb"))
    yes = model.predict([[0.5, 0.0]]) == [0.5] and facts["name"] == "m" and os.environ["MLWRIGHT_VERSION"]
    return [{"name": "half", "verdict": bool(yes), "required": "0.5", "found": "0.5"}]
def yes(facts): return True
def empty(facts): return []
def unknown(facts): return "passed"
def asserts(facts): assert facts is None, "there are facts"
def raises(facts): return 1 / 0
def exits(facts): raise SystemExit(0)
def killed(facts): os._exit(137)
def hangs(facts):
    while True: pass
def fills(facts):
    for number in range(1 << 20):
        with open(str(number), "wb") as file: file.write(bytes(1 << 20))
"""


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("check", PASS, "all 2 checks passed"),
        ("yes", PASS, "all 2 checks passed"),
        ("empty", OPEN, "no checks"),
        ("unknown", OPEN, "its answer cannot be read"),
        ("asserts", FAIL, "there are facts"),
        ("raises", OPEN, "ZeroDivisionError"),
        ("exits", OPEN, "its answer cannot be read"),
        ("killed", FAIL, "exit status 137"),
        ("hangs", FAIL, "longer than 2 s"),
        ("fills", FAIL, "more than 32 MiB into its folder"),
        ("missing", OPEN, "AttributeError"),
    ],
)
def test_a_function_says_it(models: ModelGates, name: str, verdict: GateVerdict, reason: str) -> None:
    asked = {"name": "own", "python": {"function": f"checks:{name}", "hosting": {"seconds": 2, "diskMib": 32}}}
    decision = only(models.decided(asked, files={"checks.py": FUNCTION}))
    assert (decision.verdict, reason in decision.reason) == (verdict, True), decision


SAID = {"name": "x", "verdict": "fail", "required": "", "found": ""}


@pytest.mark.parametrize(
    ("found", "verdict", "checks"),
    [
        (True, "pass", []),
        (False, "fail", []),
        (None, "inconclusive", []),
        ("fail", "fail", []),
        ({"verdict": True, "checks": [{"name": "x", "verdict": False}]}, "pass", [SAID]),
        ([{"name": "x", "verdict": "fail", "more": 1}], None, [SAID]),
        ({}, None, []),
    ],
)
def test_what_a_function_may_return(found: object, verdict: str | None, checks: list[object]) -> None:
    said = function_host.answered(found)
    assert (said["verdict"], said["checks"]) == (verdict, checks)


@pytest.mark.parametrize("found", [5, 1.0, object(), [5], [{"name": "x"}]])
def test_what_it_may_not(found: object) -> None:
    with pytest.raises((TypeError, KeyError)):
        function_host.answered(found)


def test_a_function_that_was_changed_is_not_asked(models: ModelGates) -> None:
    asked: dict[str, Any] = {
        "function": "checks:yes",
        "file": "own/checks.py",
        "sha256": hashlib.sha256(FUNCTION).hexdigest(),
    }
    assert only(models.decided({"name": "own", "python": asked}, files={"own/checks.py": FUNCTION})).verdict is PASS
    changed = only(models.decided({"name": "own", "python": asked}, files={"own/checks.py": FUNCTION + b"\n"}))
    assert changed.verdict is FAIL
    assert asked["sha256"] in changed.reason


# --- robustness ---------------------------------------------------------------------------------------------------


def evaluated(weights: Sequence[float], rows: int = 400) -> dict[str, bytes]:
    """An evaluation with the model's inputs in it: whether a row is late depends on column a alone."""
    random = np.random.default_rng(1)
    a, b = random.uniform(0, 1, rows), random.uniform(0, 1, rows)
    late = random.uniform(0, 1, rows) < a
    score = np.clip(weights[0] * a + weights[1] * b, 0, 1)
    lines = [f"{x},{y},{int(z)},{int(s > 0.5)},{s}" for x, y, z, s in zip(a, b, late, score, strict=True)]
    return {"evaluation.csv": "\n".join(["a,b,label,prediction,score", *lines]).encode()}


ROBUST = {"metric": "roc_auc", "missing": 0.2, "permuted": 0.2, "columns": ["b"]}


def robust(**asked: Any) -> dict[str, Any]:
    columns = {"score": "score"}
    return {"name": "quality", "validation": {"columns": columns, "robustness": [{**ROBUST, **asked}]}}


ROBUST_ANYWAY = robust(missing=1.0, permuted=1.0)


def test_a_column_that_decides_nothing_may_fail(models: ModelGates) -> None:
    decision = only(models.decided(robust(), files=evaluated([1.0, 0.01]), weights=[1.0, 0.01]))
    assert decision.verdict is PASS, decision
    assert {"roc_auc with b missing", "roc_auc with b permuted"} < {each.name for each in decision.checks}
    assert check(decision, "the evaluation is of this model").found == "0 of 400 rows differ"


def test_a_column_that_decides_all_may_not(models: ModelGates) -> None:
    decision = only(models.decided(robust(columns=["a"]), files=evaluated([1.0, 0.01]), weights=[1.0, 0.01]))
    assert decision.verdict is FAIL
    assert {check(decision, f"roc_auc with a {way}").verdict for way in ("missing", "permuted")} == {FAIL}


def test_a_model_that_refuses_rows_is_not_robust(models: ModelGates) -> None:
    decision = only(models.decided(robust(), files=evaluated([1.0, 0.0]), strict=True))
    assert check(decision, "roc_auc with b missing").verdict is FAIL
    assert "a value is missing" in check(decision, "roc_auc with b missing").found
    assert check(decision, "roc_auc with b permuted").verdict is PASS


def test_an_evaluation_of_another_model_is_noticed(models: ModelGates) -> None:
    decision = only(models.decided(robust(), files=evaluated([0.9, 0.0])))
    assert decision.verdict is FAIL
    assert "rows differ" in decision.reason


@pytest.mark.parametrize(
    ("asked", "files", "reason"),
    [
        ({"columns": ["z"]}, {}, "no input 'z'"),
        ({}, {"evaluation.csv": b"a,label,prediction,score\n1,1,1,0.5\n"}, "no column 'b'"),
        ({}, {"evaluation.csv": b"a,b,label,prediction,score\nx,1,1,1,0.5\n"}, "'x' in the column 'a' is no double"),
        ({}, {"MLmodel": description(inputs=[{"type": "tensor"}])}, "does not name the model's inputs"),
    ],
)
def test_what_robustness_cannot_say(
    models: ModelGates, asked: dict[str, Any], files: dict[str, bytes], reason: str
) -> None:
    decision = only(models.decided(robust(**asked), files={**evaluated([1.0, 0.0], 10), **files}))
    assert (decision.verdict, reason in decision.reason) == (OPEN, True), decision


# --- one after the other ------------------------------------------------------------------------------------------


def starts(models: ModelGates, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each model that is started."""
    found: list[int] = []
    started = hosting._started

    def counted(*arguments: Any) -> Any:
        found.append(1)
        return started(*arguments)

    monkeypatch.setattr(hosting, "_started", counted)
    return found


def test_gates_of_a_version_ask_one_process(models: ModelGates, monkeypatch: pytest.MonkeyPatch) -> None:
    count = starts(models, monkeypatch)
    found = models.decided(CONTRACT, INTEGRATION, {"name": "load", "performance": LOAD}, files={"salt": b"one"})
    assert [each.verdict for each in found] == [PASS, PASS, PASS]
    assert len(count) == 2  # what is measured is measured on a process of its own
    earlier = ["for an earlier gate" in check(each, "start").found for each in found]
    assert earlier == [False, True, False]
    assert not list(models.rooms.iterdir())


def test_only_a_new_process_says_no(models: ModelGates, monkeypatch: pytest.MonkeyPatch) -> None:
    count = starts(models, monkeypatch)
    asked = {"name": "golden", "integration": {"golden": "golden.json"}}
    found = models.decided(CONTRACT, asked, files={"golden.json": golden([9.0, 9.0])})
    assert [each.verdict for each in found] == [PASS, FAIL]
    assert len(count) == 2


def test_a_kept_process_that_has_ended_is_no_reason(models: ModelGates, monkeypatch: pytest.MonkeyPatch) -> None:
    count = starts(models, monkeypatch)
    found = models.decided(CONTRACT, INTEGRATION, dies_after=1)
    assert [each.verdict for each in found] == [PASS, PASS]
    assert len(count) == 2


def test_each_version_has_a_process_of_its_own(models: ModelGates, monkeypatch: pytest.MonkeyPatch) -> None:
    count = starts(models, monkeypatch)
    models.policy(CONTRACT)
    versions = [models.model_version({"salt": str(place).encode()}) for place in range(2)]
    models.run_all()
    assert [models.verdicts(each) for each in versions] == [[PASS], [PASS]]
    assert len(count) == 2
    assert not list(models.rooms.iterdir())


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ({"load": "hang"}, "longer than 2 s"),
        ({"load": "exit"}, "exit status 137"),
        ({"load": "raise"}, "exit status 1: ValueError: no such weights"),
        ({"load": "flood"}, "printed more than"),
        ({"load": "fork"}, "processes"),
        ({"load": "grow"}, "memory"),
        ({"load": "fill"}, "more than 32 MiB into its folder"),
        ({"predict": "hang"}, "longer than 2 s"),
        ({"predict": "exit"}, "exit status 137"),
        ({"predict": "fork"}, "processes"),
        ({"predict": "fill"}, "more than 32 MiB into its folder"),
    ],
)
def test_a_model_that_misbehaves_fails(models: ModelGates, does: dict[str, Any], reason: str) -> None:
    hosting = {"seconds": 2, "memoryMib": 200, "processes": 9, "diskMib": 32}
    decision = only(models.decided({"name": "wild", "integration": {"hosting": hosting}}, **does))
    assert decision.verdict is FAIL
    assert reason in decision.reason


def test_an_unsafe_model_is_never_loaded(models: ModelGates) -> None:
    unsafe = {"model.pkl": b"cposix\nsystem\n(Vtrue\ntR.", "checks.py": FUNCTION}
    every = [CONTRACT, INTEGRATION, OWN, {"name": "load", "performance": LOAD}, robust()]
    for place, asked in enumerate(every):
        files = {**evaluated([1.0, 0.0], 10), **unsafe, "salt": str(place).encode()}
        decision = only(models.decided(asked, files=files, load="exit"))
        assert decision.verdict is FAIL
        assert "the model is not loaded" in decision.reason
        assert "posix.system" in decision.reason


def test_what_was_tampered_with_is_never_loaded(models: ModelGates, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = InDatabase.copy

    def tampered(self: InDatabase, file: ArtifactFile, target: Path) -> None:
        copy(self, file, target)
        if file.path.endswith("model.lgb"):
            target.write_bytes(target.read_bytes() + b" ")

    monkeypatch.setattr(InDatabase, "copy", tampered)
    count = starts(models, monkeypatch)
    every = [CONTRACT, INTEGRATION, OWN, {"name": "load", "performance": LOAD}, robust(), {"name": "s", "security": {}}]
    for place, asked in enumerate(every):
        files = {**evaluated([1.0, 0.0], 10), "checks.py": FUNCTION, "salt": f"tampered {place}".encode()}
        decision = only(models.decided(asked, files=files))
        assert decision.verdict is OPEN
        assert "model.lgb" in decision.reason
    assert not count


@pytest.mark.parametrize(
    ("asked", "files", "reason"),
    [
        (CONTRACT, {"requirements.txt": b"nowhere==3"}, "nowhere cannot be installed"),
        (OWN, {"requirements.txt": b"nowhere==3"}, "nowhere cannot be installed"),
        (INTEGRATION, {"requirements.txt": b"--index-url https://evil.invalid"}, "not the name of a package"),
        (OWN, {"requirements.txt": b""}, "does not say which packages"),
        (OWN, {"conda.yaml": b"dependencies: [cudatoolkit=11]"}, "only conda has cudatoolkit=11"),
    ],
)
def test_without_its_environment_nothing_is_passed(
    models: ModelGates, asked: dict[str, Any], files: dict[str, bytes], reason: str
) -> None:
    decision = only(models.decided(asked, files={"checks.py": FUNCTION, **files}))
    assert decision.verdict is OPEN
    assert reason in decision.reason


def test_another_python_will_do_only_when_allowed(models: ModelGates) -> None:
    old = {"python_env.yaml": b"python: 3.7.1"}
    models.environments._interpreters["3.7.1"] = sys.executable  # looking for one takes seconds, and has its own test
    decision = only(models.decided(CONTRACT, files=old))
    assert decision.verdict is OPEN
    assert "asks for Python 3.7.1" in decision.reason
    asked = {"name": "contract", "contract": {"hosting": {"anyPython": True}}}
    assert only(models.decided(asked, files=old)).verdict is PASS


def test_a_flavor_that_nobody_can_load(models: ModelGates) -> None:
    files = {"MLmodel": description().replace(b"lightgbm:", b"unheard_of:")}
    decision = only(models.decided(CONTRACT, files=files))
    assert decision.verdict is OPEN
    assert "needs MLflow" in decision.reason


def test_a_server_that_stops_gives_no_answer(models: ModelGates) -> None:
    models.policy(INTEGRATION)
    version = models.model_version(load="hang")
    models.runner._stopped.set()
    models.run_all()
    assert models.standings(version)[0].state == "running"  # it will be claimed again when the lease is over


@given(
    failing=st.sets(st.integers(0, 14), max_size=2),
    kind=st.sampled_from([OSError, ValueError, Unavailable, NoEnvironment]),
    asked=st.sampled_from([CONTRACT, INTEGRATION, OWN, {"name": "load", "performance": LOAD}, ROBUST_ANYWAY]),
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_gate_is_passed_by_an_error(
    models: ModelGates,
    monkeypatch: pytest.MonkeyPatch,
    failing: set[int],
    kind: Callable[[str], Exception],
    asked: dict[str, Any],
) -> None:
    steps, failed = itertools.count(), []

    def perhaps(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            if next(steps) in failing:
                failed.append(True)
                raise kind("random")
            return work(*arguments, **named)

        return step

    models.policy(asked)
    salt = repr((sorted(failing), kind, asked)).encode()
    files = {**evaluated([1.0, 0.0], 20), "checks.py": FUNCTION, "salt": salt}
    version = models.model_version(files)
    with monkeypatch.context() as patched:
        patched.setattr(InDatabase, "copy", perhaps(InDatabase.copy))
        patched.setattr(artifacts, "inside", perhaps(artifacts.inside))
        patched.setattr(compute, "run", perhaps(compute.run))
        patched.setattr(Environments, "ready", perhaps(Environments.ready))
        patched.setattr(Host, "ask", perhaps(Host.ask))
        models.run_all()
    assert models.verdicts(version) == [OPEN if failed else PASS]
    assert models.database.read_now(lambda tx: gates.standings(tx, version))[0].state == "done"
