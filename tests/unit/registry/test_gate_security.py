"""The gate `security` as a whole: each question on its own, and what cannot be found out never passes."""

import json
import os
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlwright.compute.spec import Environment, Limits, Outcome
from mlwright.kernel.errors import NoEnvironment, Unavailable, Unsupported
from mlwright.registry.gates import reports, security
from mlwright.registry.gates.room import House, Kept, Room
from mlwright.registry.gates.spec import Decision, Gate, GateVerdict, Security, Standing
from mlwright.registry.spec import Facts, ModelVersion, Stage
from mlwright.security.supply import advisories, licences, locks, sbom
from tests.unit.security.test_supply import advisory, database, events

NOW_MS = int(datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp() * 1000)
#: Made up here, so that no scanner finds it in the repository.
TOKEN = "glpat-" + "k7Qz0LmX4vR9tY2bW8cN"
SAFE = {"model.pkl": pickle.dumps([1.0]), "requirements.txt": b"pillow==9.5.0\nnumpy==2.1.0\n"}
VERSION = ModelVersion(
    1, "flights", "default", 3, "", "", None, None, None, None, "ann", Stage.NONE, f"sha256:{'ab' * 32}", 1, 1, Facts(),
    NOW_MS, NOW_MS,
)  # fmt: skip
RANGES = events(("introduced", "0"), ("fixed", "10"))
BAD = advisory("GHSA-1", aliases=["CVE-1"], database_specific={"severity": "HIGH"}, ranges=RANGES)
OTHER = advisory("GHSA-2", "other")


class InMemory:
    """The files of one version."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def files(self, version: ModelVersion) -> list[str]:
        return list(self._files)

    def copy(self, version: ModelVersion, path: str, target: Path) -> None:
        target.write_bytes(self._files[path])

    def copy_of_run(self, version: ModelVersion, path: str, target: Path) -> bool:
        return False

    def beside(self, version: ModelVersion, alias: str) -> ModelVersion | None:
        return None


class Built:
    """An environment as it would be built: numpy was asked for, and attrs came with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def ready(self, model: Path, limits: Limits, **_: Any) -> Iterator[Environment]:
        if not self._folder.exists():
            raise NoEnvironment("uv cannot reach the index")
        yield Environment(str(self._folder), "3.11.9", "3.11", ["numpy==2.1.0", "attrs==25.1.0"], ["libgomp"])


_scans: dict[tuple[Any, ...], Outcome] = {}


class OnceRoom(Room):
    """Scans the same files once: most tests ask other questions."""

    def run(self, command: Sequence[str], limits: Limits, variables: Mapping[str, str] | None = None) -> Outcome:
        files = sorted((path.name, path.read_bytes()) for path in (self.folder / "model").iterdir())
        asked = (tuple(command), repr(files))
        if asked not in _scans:
            _scans[asked] = super().run(command, limits, variables)
        return _scans[asked]


def decide(folder: Path, files: dict[str, bytes], advisories: Path | None = None, **asked: Any) -> Decision:
    gate = msgspec.convert({"name": "scan", "security": asked}, Gate)
    assert isinstance(gate.security, Security)
    place = folder / f"gate-{len(list(folder.iterdir()))}"
    place.mkdir()
    house = House(threading.Event(), InMemory(files), Built(folder / "environment"), set(), Kept(), advisories)
    room = OnceRoom(VERSION, gate, place, {"PATH": os.environ["PATH"]}, house, NOW_MS)
    return security.decide(room, gate.security)


def found(decision: Decision, name: str) -> list[GateVerdict]:
    return [check.verdict for check in decision.checks if check.name == name]


PASS, FAIL, UNDECIDED = GateVerdict.PASS, GateVerdict.FAIL, GateVerdict.INCONCLUSIVE


def test_without_further_questions_only_code_counts(tmp_path: Path) -> None:
    decision = decide(tmp_path, {**SAFE, "settings.json": json.dumps({"t": TOKEN}).encode()})
    assert (decision.verdict, len(decision.checks), decision.documents, decision.until_ms) == (PASS, 3, {}, None)


def test_secrets(tmp_path: Path) -> None:
    files = {**SAFE, "settings.json": json.dumps({"t": TOKEN}).encode()}
    decision = decide(tmp_path, files, secrets={})
    assert (decision.verdict, found(decision, "model/settings.json")) == (FAIL, [PASS, FAIL])
    assert "a GitLab token lies in it" in decision.reason
    assert TOKEN not in msgspec.json.encode(decision).decode()
    ignored = {"rule": "secret-token", "path": "*.json", "reason": "it was ended", "until": "2026-11-27"}
    decision = decide(tmp_path, files, secrets={"ignore": [ignored]})
    assert decision.verdict is PASS
    assert decision.until_ms == int(datetime(2026, 11, 28, tzinfo=UTC).timestamp() * 1000)
    for changes in ({"until": "2026-11-26"}, {"path": "other/*"}, {"rule": "secret-password"}):
        assert decide(tmp_path, files, secrets={"ignore": [{**ignored, **changes}]}).verdict is FAIL
    unsafe = {**files, "evil.pkl": b"cos\nsystem\n(S'x'\ntR."}
    assert decide(tmp_path, unsafe, secrets={"ignore": [ignored]}).verdict is FAIL


def test_vulnerable_distributions(tmp_path: Path) -> None:
    osv = database(tmp_path / "osv", BAD, OTHER)
    decision = decide(tmp_path, SAFE, osv, vulnerabilities={})
    assert (decision.verdict, found(decision, "pillow 9.5.0")) == (FAIL, [FAIL])
    assert "GHSA-1 CVE-1 (high): bad (fixed in 10)" in decision.reason
    assert decide(tmp_path, SAFE, osv, vulnerabilities={"severity": "critical"}).verdict is PASS
    ignored = {"id": "cve-1", "reason": "images are never read"}
    assert decide(tmp_path, SAFE, osv, vulnerabilities={"ignore": [ignored]}).verdict is PASS
    expired = decide(tmp_path, SAFE, osv, vulnerabilities={"ignore": [{**ignored, "until": "2026-11-01"}]})
    assert (expired.verdict, "ignored until 2026-11-01 only" in expired.reason) == (FAIL, True)
    fixed = {**SAFE, "requirements.txt": b"pillow==10.0\n"}
    assert decide(tmp_path, fixed, osv, vulnerabilities={}).verdict is PASS


def test_what_cannot_be_found_out_does_not_pass(tmp_path: Path) -> None:
    osv = database(tmp_path / "osv", OTHER)
    for files, place, asked, why in [
        (SAFE, None, {}, "has no database of advisories"),
        (SAFE, tmp_path / "none.zip", {}, "there is no database"),
        (SAFE, database(tmp_path / "empty"), {}, "there are none in it"),
        (SAFE, osv, {"maxAgeDays": 30}, "its newest is of 2026-10-01"),
        ({"model.pkl": SAFE["model.pkl"]}, osv, {}, "no file of the version says it"),
        ({**SAFE, "requirements.txt": b"pillow>=9\n"}, osv, {}, "'pillow>=9' is not pinned"),
        ({**SAFE, "uv.lock": b"[["}, osv, {}, "uv.lock cannot be read"),
    ]:
        decision = decide(tmp_path, files, place, vulnerabilities=asked)
        assert (decision.verdict, why in decision.reason) == (UNDECIDED, True), decision.reason
    (osv / "broken.json").write_text("{")
    assert "1 cannot be read: broken.json" in decide(tmp_path, SAFE, osv, vulnerabilities={}).reason
    (osv / "broken.json").unlink()
    fresh = decide(tmp_path, SAFE, osv, vulnerabilities={"maxAgeDays": 60})
    assert (fresh.verdict, fresh.until_ms) == (PASS, int(datetime(2026, 11, 30, tzinfo=UTC).timestamp() * 1000))
    unpinned = {**SAFE, "requirements.txt": b"pillow>=9\n"}
    known = {"id": "pillow", "reason": "pinned by the image"}
    assert decide(tmp_path, unpinned, osv, vulnerabilities={"ignore": [known]}).verdict is PASS


def test_licences(tmp_path: Path) -> None:
    said = json.dumps({"pillow": "MIT-CMU", "numpy": "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1"})
    files = {**SAFE, "licences.json": said.encode()}
    allow = ["MIT-CMU", "BSD-3-Clause"]
    assert decide(tmp_path, files, licences={"allow": [*allow, "GPL-3.0-or-later"]}).verdict is PASS
    decision = decide(tmp_path, files, licences={"allow": allow})
    assert (decision.verdict, found(decision, "numpy 2.1.0"), found(decision, "pillow 9.5.0")) == (FAIL, [FAIL], [PASS])
    ignored = [{"id": "numpy", "reason": "only its compiler's library is under the GPL"}]
    assert decide(tmp_path, files, licences={"allow": allow, "ignore": ignored}).verdict is PASS
    unknown = decide(tmp_path, SAFE, licences={"allow": allow})
    assert (unknown.verdict, "its licence is not known" in unknown.reason) == (UNDECIDED, True)


def test_what_is_really_installed_counts(tmp_path: Path) -> None:
    osv = database(tmp_path / "osv", advisory("GHSA-3", "attrs", ranges=events(("introduced", "0"))), OTHER)
    asked: dict[str, Any] = {
        "environment": True,
        "vulnerabilities": {"ignore": [{"id": "GHSA-3", "reason": "not reached"}]},
    }
    decision = decide(tmp_path, SAFE, osv, **asked)
    assert (decision.verdict, decision.reason[:44]) == (UNDECIDED, "distributions: uv cannot reach the index, re")
    info = tmp_path / "environment/lib/python3.11/site-packages/attrs-25.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: attrs\nVersion: 25.1.0\nLicense-Expression: MIT\n")
    decision = decide(tmp_path, SAFE, osv, **asked, licences={"allow": ["MIT"]}, sbom=True)
    assert found(decision, "attrs 25.1.0") == [PASS, PASS]  # an advisory that is ignored, and a licence
    assert found(decision, "libgomp") == [UNDECIDED, UNDECIDED]
    assert found(decision, "numpy 2.1.0") == [UNDECIDED]
    assert "pkg:pypi/attrs@25.1.0" in decision.documents["sbom.cdx.json"]
    assert "pillow" not in decision.documents["sbom.cdx.json"]


def test_a_bill_is_kept_as_evidence(tmp_path: Path) -> None:
    decision = decide(tmp_path, SAFE, sbom=True)
    assert decision.verdict is PASS
    bill = json.loads(decision.documents["sbom.cdx.json"])
    assert {each["name"] for each in bill["components"]} == {"pillow", "numpy"}
    assert bill["metadata"]["component"]["version"] == "3"
    assert {each["name"] for each in bill["metadata"]["component"]["components"]} == set(SAFE)


def test_reports_carry_the_findings(tmp_path: Path) -> None:
    osv = database(tmp_path / "osv", BAD)
    decision = decide(tmp_path, SAFE, osv, vulnerabilities={}, licences={"allow": ["MIT"]})
    standing = Standing("production", "scan", "security", "done", decision, 1, 2)
    log = reports.sarif("flights/3", [standing], "0.1.0")
    texts = [each["message"]["text"] for each in log["runs"][0]["results"]]
    assert any("GHSA-1" in text for text in texts)
    assert any("its licence is not known" in text for text in texts)


def test_without_the_extra_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlwright.security.supply", None)
    with pytest.raises(Unsupported, match="sbom"):
        decide(tmp_path, SAFE, sbom=True)


@pytest.mark.parametrize(
    "asked",
    [
        {"vulnerabilities": {"ignore": [{"id": "CVE-1"}]}},
        {"vulnerabilities": {"ignore": [{"id": "CVE-1", "reason": ""}]}},
        {"vulnerabilities": {"severity": "moderate"}},
        {"secrets": {"ignore": [{"rule": "pickle-global", "reason": "x"}]}},
        {"licences": {"allow": []}},
        {"licenses": {}},
    ],
)
def test_policies_that_make_no_sense(asked: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "scan", "security": asked}, Gate)


@pytest.mark.parametrize("error", [Unavailable("away"), OSError("disk"), ValueError("defect"), KeyError("defect")])
@pytest.mark.parametrize("step", [(locks, "needs"), (advisories, "search"), (licences, "known"), (sbom, "bill")])
def test_no_error_passes_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], error: Exception
) -> None:
    """What is raised here makes the gate inconclusive where it is run; what is answered must not be a pass."""

    def fail(*_: object, **__: object) -> None:
        raise error

    osv = database(tmp_path / "osv", OTHER)
    said = json.dumps({"pillow": "MIT", "numpy": "MIT"}).encode()
    asked: dict[str, Any] = {"vulnerabilities": {}, "licences": {"allow": ["MIT"]}, "sbom": True}
    assert decide(tmp_path, {**SAFE, "licences.json": said}, osv, **asked).verdict is PASS
    monkeypatch.setattr(*step, fail)
    try:
        verdict = decide(tmp_path, {**SAFE, "licences.json": said}, osv, **asked).verdict
    except type(error):
        return
    assert verdict is UNDECIDED
