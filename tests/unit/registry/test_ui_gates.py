"""The pages of gates: evidence, people, refusals, history, and what waits."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Standing
from mlwright.registry.service import aliases, gates
from mlwright.registry.ui.standing import Summary, summary, word
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security.spec import PrincipalKind
from tests.unit.registry.ui_world import ADA, FAILS, LEAD, PASSES, RegistryWorld, person
from tests.unit.tracking.ui_world import HOSTILE

TREE = "/projects/default/models/tree"
FIRST = f"{TREE}/versions/1"
BOSS = person("boss", Role.ADMIN)
BOB = person("bob")
STRANGER = person("sam", Role.ADMIN, ["other"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RegistryWorld]:
    world = RegistryWorld(tmp_path)
    world.model("tree")
    yield world
    world.close()


def states(page: str) -> list[str]:
    """How the gates stand on a version's page, in their order."""
    return re.findall(r'class="card gate is-(\w+)"', page)


def forms(page: str) -> set[str]:
    return set(re.findall(r'<button name="word" value="(\w+)"', page))


# --- one version ---------------------------------------------------------------------------------------------------


def test_evidence_of_every_gate(world: RegistryWorld) -> None:
    world.policy(FAILS, PASSES | {"name": "later"}, LEAD)
    world.register()
    assert states(world.get(f"{FIRST}/gates").text) == ["waiting", "waiting", "people"]
    world.run_gates()
    page = world.get(f"{FIRST}/gates").text
    assert states(page) == ["failed", "inconclusive", "people"]
    assert "exit status 3" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "before it was not passed" in html.unescape(page)
    assert '<span class="muted">0/3</span>' in world.get(TREE).text
    assert "No gate is about this version" not in page


def test_gates_run_again(world: RegistryWorld) -> None:
    world.policy(PASSES)
    world.register()
    world.run_gates()
    assert world.post(f"{FIRST}/gates", {"policy": "production", "again": "0"}).status_code == 303
    assert states(world.get(f"{FIRST}/gates").text) == ["passed"]
    assert world.post(f"{FIRST}/gates", {"policy": "production", "again": "1"}, BOB).status_code == 403
    answer = world.post(f"{FIRST}/gates", {"policy": "production", "again": "1"})
    assert answer.headers["location"] == f"{FIRST}/gates"
    assert states(world.get(f"{FIRST}/gates").text) == ["waiting"]
    assert world.post(f"{FIRST}/gates", {"policy": "none"}).status_code == 404
    assert "Run all again" not in world.get(f"{FIRST}/gates", BOB).text


@pytest.mark.parametrize(
    ("form", "begins"), [("junit", "<?xml"), ("sarif", '{\n  "$schema"'), ("markdown", "### Gates of tree/1")]
)
def test_reports_for_other_programs(world: RegistryWorld, form: str, begins: str) -> None:
    world.policy(PASSES)
    world.register()
    answer = world.get(f"{FIRST}/report?as={form}")
    assert answer.text.startswith(begins)
    assert answer.headers["content-disposition"].startswith('attachment; filename="gates-1.')
    assert world.get(f"{FIRST}/report?as=pdf").status_code == 400
    assert world.get(f"{FIRST}/report?as={form}", STRANGER).status_code == 404


def test_only_who_may_say_something_gets_a_form(world: RegistryWorld) -> None:
    world.policy(LEAD)
    world.register(caller=BOSS)
    page = f"{FIRST}/gates"
    assert forms(world.get(page, BOB).text) == set()
    assert forms(world.get(page, BOSS).text) == {"reject"}, "who registered a version does not approve it"
    assert forms(world.get(page).text) == {"approve", "reject"}


def test_people_and_their_words(world: RegistryWorld) -> None:
    world.policy({"name": "lead", "approval": {"approvers": ["bob", "cyd"], "count": 2}})
    world.register()
    said = {"policy": "production", "gate": "lead", "word": "approve", "comment": HOSTILE}
    assert world.post(f"{FIRST}/word", said, BOB).headers["location"] == f"{FIRST}/gates"
    page = world.get(f"{FIRST}/gates").text
    assert "1 of 2 approvals" in page
    assert "<script>alert" not in page
    assert world.post(f"{FIRST}/word", {**said, "word": "maybe"}, BOB).status_code == 400
    assert world.post(f"{FIRST}/word", said, LOCAL).status_code == 403
    assert world.post(f"{FIRST}/word", {**said, "gate": "none"}, BOB).status_code == 404
    world.post(f"{FIRST}/word", {**said, "word": "reject", "comment": "changed my mind"}, BOB)
    page = world.get(f"{FIRST}/gates").text
    assert states(page) == ["failed"]
    assert page.count("counts no more") == 1
    assert page.index("changed my mind") < page.index("counts no more")


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_closed_gate_refuses_with_the_reason(world: RegistryWorld) -> None:
    world.policy(FAILS)
    world.register()
    world.run_gates()
    move = {"alias": "champion", "version": "1", "expected": "0"}
    refused = world.post(f"{TREE}/aliases", move, ADA)
    assert refused.status_code == 409
    assert "@champion may not lead to version 1" in refused.text
    assert "production/smoke" in refused.text
    assert "exit status 3" in refused.text
    assert 'name="override"' not in refused.text, "she is no administrator"
    assert world.post(f"{TREE}/aliases", {**move, "override": "please"}, ADA).status_code == 403
    assert "@champion" not in world.get(TREE).text
    refused = world.post(f"{TREE}/aliases", move)
    assert 'name="override"' in refused.text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', refused.text))
    assert fields["expected"] == "0", "who overrides what they saw must not override what came since"
    assert world.post(f"{TREE}/aliases", {**fields, "override": "  "}).status_code == 409
    assert world.post(f"{TREE}/aliases", {**fields, "override": "outage"}).status_code == 303
    assert "@champion" in world.get(TREE).text
    assert "outage" in world.get(f"{FIRST}/history").text


def test_a_closed_gate_refuses_a_stage(world: RegistryWorld) -> None:
    world.policy(FAILS)
    world.register()
    refused = world.post(f"{FIRST}/stage", {"stage": "Production"})
    assert refused.status_code == 409
    assert "Version 1 may not move to Production" in refused.text
    assert 'name="override"' not in refused.text, "stages have no override"
    assert world.post(f"{FIRST}/stage", {"stage": "Staging"}).status_code == 303


# --- over many versions --------------------------------------------------------------------------------------------


def outcomes(world: RegistryWorld, query: str = "", caller: Caller = LOCAL, base: str = "/gates") -> list[str]:
    rows = world.get(f"{base}?format=json&{query}", caller).json()["rows"]
    found = [row["answer"] for row in rows]
    return [f"{each['model']}/{each['version']} {each['policy']} {each['outcome']}" for each in found]


def test_what_was_answered_and_overridden(world: RegistryWorld) -> None:
    world.policy(FAILS, LEAD, models=["tree"])
    first = world.register()
    world.run_gates()
    world.say(first, BOSS, approves=True, comment="fine")
    world.alias("champion", 1, override="pilot")
    world.policy(PASSES, name="other", models=["oak"])
    world.model("oak")
    world.register("oak")
    assert outcomes(world) == [
        "oak/1 other waiting", "tree/1 production overridden", "tree/1 production approved", "tree/1 production fail",
    ]  # fmt: skip
    world.run_gates()
    assert outcomes(world, "outcome=pass") == ["oak/1 other pass"]
    assert outcomes(world, "outcome=overridden") == ["tree/1 production overridden"]
    assert outcomes(world, "outcome=approved") == ["tree/1 production approved"]
    assert outcomes(world, "outcome=rejected") == []
    assert outcomes(world, "policy=other") == ["oak/1 other pass"]
    assert outcomes(world, "policy=produc") == []
    assert outcomes(world, "model=tree&version=2") == []
    assert len(outcomes(world, base=f"{TREE}/gates")) == 3
    page = world.get("/gates").text
    assert "@champion: pilot" in page
    assert "fine" in page
    assert outcomes(world, caller=STRANGER) == []
    assert world.get("/gates?project=default", STRANGER).status_code == 403
    for query in ("outcome=x", "version=x", "token=1.2", "token=a.b.c"):
        assert world.get(f"/gates?{query}").status_code == 400, query
    assert "No answer matches" in world.get("/gates?outcome=rejected").text


def test_the_history_has_pages(world: RegistryWorld) -> None:
    world.policy(LEAD)
    version = world.register()
    for number in range(60):
        world.say(version, BOSS, approves=False, comment=f"no {number}")
    first = world.get("/gates").text
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    second = world.get(html.unescape(older[1])).text
    told = re.findall(r">no (\d+)<", first + second)
    assert told == [str(number) for number in reversed(range(60))]
    assert 'rel="next"' not in second


def test_what_did_not_pass_is_shown_first_and_not_everything(world: RegistryWorld) -> None:
    world.policy(PASSES)
    world.register()
    work = world.write(lambda tx: gates.claim(tx, "t"))
    assert work is not None
    checks = [Check(f"file {number}", GateVerdict.PASS, "safe", "safe") for number in range(500)]
    checks.append(Check("the one", GateVerdict.FAIL, "safe", "unsafe"))
    world.write(lambda tx: gates.finish(tx, work, "t", Decision(GateVerdict.FAIL, "unsafe", checks), {}))
    for path, shown in (("/gates", 20), (f"{FIRST}/gates", 300)):
        page = world.get(path).text
        assert "501 checks" in page
        assert f"Only the first {shown} are shown." in page
        assert page.index("the one") < page.index("file 0")
        assert f"file {shown - 2}<" in page
        assert f"file {shown - 1}<" not in page


def waiting(world: RegistryWorld, caller: Caller = LOCAL, query: str = "") -> list[str]:
    rows = world.get(f"/approvals?format=json&{query}", caller).json()["rows"]
    return [f"{row['waiting']['version']['name']}/{row['waiting']['version']['version']}" for row in rows]


def badge(world: RegistryWorld, caller: Caller) -> str:
    found = re.search(r'class="badge"[^>]*>(.*?)<', world.get("/models", caller).text)
    return found[1] if found else ""


def test_what_waits_for_whom(world: RegistryWorld) -> None:
    world.write(lambda tx: security.create_principal(tx, LOCAL, BOSS.name, PrincipalKind.USER))
    world.write(lambda tx: security.grant(tx, LOCAL, "default", BOSS.name, "admin"))
    world.policy(LEAD, models=["tree"])
    first = world.register()
    world.register(caller=BOSS)
    assert waiting(world) == ["tree/2", "tree/1"]
    assert waiting(world, BOSS) == ["tree/1"]
    assert waiting(world, BOSS, "of=all") == ["tree/2", "tree/1"]
    assert waiting(world, BOB) == []
    assert waiting(world, BOB, "of=all") == ["tree/2", "tree/1"]
    assert waiting(world, STRANGER, "of=all") == []
    assert (badge(world, BOSS), badge(world, BOB)) == ("1", "")
    page = world.get("/approvals", BOSS).text
    assert f'action="{FIRST}/word"' in page
    said = {"policy": "production", "gate": "lead", "word": "approve", "back": "/approvals"}
    assert world.post(f"{FIRST}/word", said, BOSS).headers["location"] == "/approvals"
    assert waiting(world, BOSS) == []
    assert "Nothing waits for you" in world.get("/approvals", BOSS).text
    world.say(first, BOSS, approves=False)
    assert waiting(world, query="of=all") == ["tree/2"], "a no is an answer"


def test_what_has_failed_or_been_overtaken_does_not_wait(world: RegistryWorld) -> None:
    world.policy(LEAD, FAILS)
    world.register()
    assert waiting(world) == ["tree/1"]
    world.run_gates()
    assert waiting(world) == []
    world.policy(LEAD)
    for _ in range(3):
        world.register()
    assert waiting(world) == ["tree/4", "tree/3", "tree/2", "tree/1"]
    world.alias("champion", 3, override="pilot")
    assert waiting(world) == ["tree/4", "tree/3", "tree/2", "tree/1"], "Production is guarded too"
    world.policy(LEAD, stages=[])
    assert waiting(world) == ["tree/4"]
    world.write(lambda tx: aliases.remove(tx, LOCAL, "tree", "champion"))
    assert len(waiting(world)) == 4


def test_one_of_two_has_approved(world: RegistryWorld) -> None:
    world.policy({"name": "lead", "approval": {"approvers": ["bob", "cyd"], "count": 2}})
    version = world.register()
    world.say(version, BOB, approves=True)
    assert waiting(world, BOB) == []
    assert waiting(world, person("cyd")) == ["tree/1"]
    assert "1 of 2 approvals" in world.get("/approvals?of=all").text


def test_policies_of_other_projects_do_not_count(world: RegistryWorld) -> None:
    world.write(lambda tx: projects.create(tx, LOCAL, world.platform.project, "other"))
    world.policy(LEAD, project="other")
    world.register()
    assert waiting(world, query="of=all") == []
    assert states(world.get(f"{FIRST}/gates").text) == []
    assert "No gate is about this version" in world.get(f"{FIRST}/gates").text


# --- in one word ---------------------------------------------------------------------------------------------------


def standing(state: str, verdict: GateVerdict, kind: str = "command") -> Standing:
    return Standing("p", "g", kind, state, Decision(verdict, "", []))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], "none"),
        ([standing("done", GateVerdict.PASS)], "passed"),
        ([standing("done", GateVerdict.PASS), standing("missing", GateVerdict.INCONCLUSIVE, "approval")], "people"),
        ([standing("done", GateVerdict.INCONCLUSIVE), standing("running", GateVerdict.INCONCLUSIVE)], "running"),
        ([standing("waiting", GateVerdict.INCONCLUSIVE), standing("done", GateVerdict.FAIL)], "failed"),
        ([standing("done", GateVerdict.FAIL, "approval")], "failed"),
        ([standing("missing", GateVerdict.INCONCLUSIVE)], "missing"),
    ],
)
def test_all_gates_in_one_word(found: list[Standing], expected: str) -> None:
    assert summary(found).state == expected


def test_a_summary_names_what_is_closed() -> None:
    found = [standing("done", GateVerdict.PASS), standing("done", GateVerdict.FAIL)]
    assert summary(found) == Summary("failed", 1, 2, ["p/g: failed"])
    assert word(found[0]) == "passed"
