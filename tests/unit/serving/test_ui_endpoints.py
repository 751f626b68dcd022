"""Pages of endpoints: who gets which share, how evidence grows, and who may do what about it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.kernel import store
from mlwright.kernel.errors import Conflict
from mlwright.kernel.identity import LOCAL, Role
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import versions
from mlwright.serving.host.counts import BOUNDS
from mlwright.serving.service import deploying, endpoints, minutes, rollouts, rows
from mlwright.serving.spec import Rollout
from mlwright.serving.verdicts import Arm, Look
from tests.unit.registry.ui_world import RegistryWorld, person
from tests.unit.tracking.ui_world import HOSTILE

PAGE = "/projects/default/endpoints/flights"
EDITOR, VIEWER, STRANGER = person("ed", Role.EDITOR), person("vic"), person("sam", Role.ADMIN, ["other"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RegistryWorld]:
    world = RegistryWorld(tmp_path)
    yield world
    world.close()


def serve(world: RegistryWorld, versions: int = 2) -> None:
    """An endpoint whose newest version is being rolled out."""
    world.model("tree")
    for number in range(1, versions + 1):
        world.register(description=HOSTILE)
        world.alias("champion", number)
        world.write(_deploy)


def _deploy(tx: Tx) -> None:
    manifest = Manifest(API_VERSION, "Endpoint", Metadata("flights"), {"model": "tree@champion"})
    store.apply(tx, LOCAL, endpoints.KIND, manifest)
    revision = deploying.deploy(tx, LOCAL, "flights")
    serving = rows.by_name(tx, "default", "flights")
    assert serving is not None
    rollouts.ready(tx, serving.row, revision.number, Rollout())


def look(world: RegistryWorld, good: int, bad: int = 0) -> None:
    def work(tx: Tx) -> None:
        serving = rows.by_name(tx, "default", "flights")
        assert serving is not None
        rollout = rows.current_rollout(tx, serving.row)
        assert rollout is not None
        candidate = Arm(good + bad, bad, trailing_errors=bad)
        rollouts.looked(tx, serving, rollout, Look(tx.now_ms(), rollout.step, candidate, Arm(1_000)))

    world.write(work)


def test_before_the_first_endpoint(world: RegistryWorld) -> None:
    page = world.get("/endpoints").text
    assert "mlwright deploy flights@champion --to flights" in page
    assert "還沒有端點" in world.get("/endpoints?lang=zh-TW").text
    assert world.get(PAGE).status_code == 404
    assert world.get("/endpoints/flights").status_code == 404


def test_a_rollout_and_its_evidence(world: RegistryWorld) -> None:
    serve(world)
    look(world, 20)
    assert 'href="/projects/default/endpoints/flights"' in world.get("/endpoints").text
    assert world.get("/endpoints/flights").headers["location"] == PAGE
    page = world.get(PAGE).text
    for part in ("tree/1", "tree/2", "95 %", "5 %", "Rollout of revision 2", "more good answers", "rollback"):
        assert part in page, part
    assert "<script>alert" not in page
    found = world.get(f"{PAGE}?format=json").json()
    assert found["endpoint"]["traffic"] == {"stable": 1, "candidate": 2, "share": 0.05}
    assert len(found["explained"]["looks"]) == 1
    for line in found["evidence"]["lines"]:
        assert line["points"].startswith("0.0,90.0 320.0,")
    look(world, 0, bad=10)
    page = world.get(PAGE).text
    assert "10 requests failed one after the other" in page
    assert "rolled back" in page
    assert "the verdicts are the same" in page
    assert "已退回" in world.get(f"{PAGE}?lang=zh-TW").text


def test_what_its_versions_did_in_the_last_hour(world: RegistryWorld) -> None:
    serve(world)
    latency = [0] * (len(BOUNDS) + 1)
    latency[30] = 60

    def work(tx: Tx) -> None:
        serving = rows.by_name(tx, "default", "flights")
        assert serving is not None
        counts = {"requests": 60, "errors": 6, "latency": latency}
        minutes.add(tx, tx.now_ms() - 60_000, [(serving.row, 1, counts), (serving.row, 2, counts)])

    world.write(work)
    charts = {each["title"]: each for each in world.get(f"{PAGE}?format=json").json()["charts"]}
    assert [line["name"] for line in charts["Requests"]["lines"]] == ["tree/1", "tree/2"]
    assert charts["Requests"]["lines"][0]["last"] == 1.0
    assert charts["Errors"]["top"] == 10.0
    assert 0.8 < charts["Latency, median"]["top"] < 0.9
    assert "Latency, 99th percentile" in world.get(PAGE).text


def test_who_may_steer(world: RegistryWorld) -> None:
    serve(world)
    assert "Promote" not in world.get(PAGE, VIEWER).text
    assert "Roll back to this" not in world.get(PAGE, VIEWER).text
    assert world.get(PAGE, STRANGER).status_code == 404
    for caller, status in ((VIEWER, 403), (STRANGER, 404), (EDITOR, 303)):
        assert world.post(f"{PAGE}/rollout", {"action": "promote", "reason": "sure"}, caller).status_code == status
    assert world.get(f"{PAGE}?format=json").json()["endpoint"]["traffic"]["stable"] == 2
    assert "sure" in world.get(PAGE).text
    assert world.post(f"{PAGE}/rollout", {"action": "pause"}, EDITOR).status_code == 409
    assert world.post(f"{PAGE}/rollout", {"action": "whatever"}, EDITOR).status_code == 400
    for odd in ("first", "-1", "9" * 5_000):
        assert world.post(f"{PAGE}/rollback", {"revision": odd}, EDITOR).status_code == 400
    assert world.post(f"{PAGE}/rollback", {"revision": "1"}, EDITOR).status_code == 303
    assert world.get(f"{PAGE}?format=json").json()["endpoint"]["traffic"]["stable"] == 1


def test_a_version_that_served_is_deleted(world: RegistryWorld) -> None:
    serve(world)
    with pytest.raises(Conflict, match="is needed by endpoint/flights"):
        world.write(lambda tx: versions.delete_version(tx, LOCAL, "tree", 1))
    world.write(lambda tx: rollouts.promote(tx, LOCAL, "flights", ""))
    world.write(lambda tx: versions.delete_version(tx, LOCAL, "tree", 1))
    page = world.get(PAGE)
    assert (page.status_code, "tree/1" in page.text) == (200, True)


def test_asking_while_nothing_answers(world: RegistryWorld) -> None:
    serve(world, versions=1)
    assert "&#34;x&#34;" in world.get(PAGE).text  # an example by the signature
    page = world.post(f"{PAGE}/try", {"body": HOSTILE}, EDITOR)
    assert page.status_code == 200
    assert "the serving host does not answer" in page.text
    assert "<script>alert" not in page.text
    assert world.post(f"{PAGE}/try", {"body": "{}"}, VIEWER).status_code == 403
