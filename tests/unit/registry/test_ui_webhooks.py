"""The page of webhooks: who is told of what, how that goes, and who may see where they lead."""

import html
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.registry.webhooks import outbox, service
from mlwright.registry.webhooks.outbox import Outcome
from mlwright.registry.webhooks.spec import EVENTS, DeliveryState, NewWebhook, WebhookChange, WebhookStatus
from mlwright.security import projects
from tests.unit.registry.ui_world import RegistryWorld, counting, person, within
from tests.unit.tracking.ui_world import HOSTILE

BOSS, VIEWER = person("boss", Role.ADMIN), person("vic")
STRANGER = person("sam", Role.ADMIN, ["other"])
URL = "https://hooks.example.org/T0KEN"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RegistryWorld]:
    world = RegistryWorld(tmp_path)
    yield world
    world.close()


def webhook(world: RegistryWorld, name: str, caller: Caller = LOCAL, **named: object) -> str:
    new = NewWebhook(name, URL, [EVENTS["registered_model.created"]], **named)  # type: ignore[arg-type]
    return world.write(lambda tx: service.create(tx, caller, new, "SEALED")).webhook_id


def tell(world: RegistryWorld, *outcomes: Outcome) -> None:
    """What becomes of the next attempts."""
    for outcome in outcomes:
        (work,) = world.write(lambda tx: outbox.take(tx, "token", 1, 1_000)).works
        world.write(partial(outbox.finish, work=work, outcome=outcome))


def test_how_telling_goes(world: RegistryWorld) -> None:
    webhook(world, "ci", description=HOSTILE)
    for name in ("a", "b", "c", "d"):
        world.model(name)
    tell(
        world,
        Outcome(DeliveryState.DELIVERED, 204),
        Outcome(DeliveryState.FAILED, None, "it is gone"),
        Outcome(DeliveryState.WAITING, 503, "answered 503", 60_000),
    )
    (row,) = world.get("/webhooks?format=json").json()["rows"]
    assert (row["last"]["state"], row["last"]["response_status"], row["last"]["problem"]) == (
        "failed",
        None,
        "it is gone",
    )
    assert (row["waiting"], row["given_up"], row["trying"]["attempts"]) == (2, 1, 1)
    assert row["trying"]["next_ms"] > row["trying"]["created_ms"]
    page = world.get("/webhooks")
    for part in (
        "registered_model.created",
        "it is gone",
        "HTTP 503",
        "failed 1 time",
        "2 deliveries",
        URL,
    ):
        assert part in page.text, part
    assert "1 delivery was given up" in page.text
    assert "<script>alert" not in page.text
    assert "SEALED" not in page.text + str(row)
    assert "失敗 1 次" in world.get("/webhooks?lang=zh-TW").text
    assert 'href="/webhooks"' in world.get("/models").text


def test_what_waits_untried_and_a_webhook_that_is_told_nothing(world: RegistryWorld) -> None:
    number = webhook(world, "ci")
    world.model("a")
    world.write(outbox.advance)
    (row,) = world.get("/webhooks?format=json").json()["rows"]
    assert (row["waiting"], row["trying"], row["last"]) == (1, None, None)
    off = WebhookChange(status=WebhookStatus.DISABLED)
    world.write(lambda tx: service.change(tx, LOCAL, number, off, None))
    page = world.get("/webhooks").text
    assert "disabled" in page
    assert "1 delivery" in page


def test_urls_and_problems_are_for_administrators(world: RegistryWorld) -> None:
    webhook(world, "ci")
    world.model("a")
    tell(world, Outcome(DeliveryState.FAILED, None, "hooks.example.org does not answer"))
    for path in ("/webhooks", "/webhooks?format=json", "/webhooks?project=default"):
        assert URL in world.get(path, BOSS).text
        seen = world.get(path, VIEWER).text
        assert "ci" in seen
        assert "hooks.example.org" not in seen
        assert "registered_model.created" in seen
    assert "Where they lead is for administrators" in world.get("/webhooks", VIEWER).text


def test_every_project_is_for_its_own_people(world: RegistryWorld) -> None:
    world.write(lambda tx: projects.create(tx, LOCAL, world.platform.project, "other", ""))
    webhook(world, "ours")
    webhook(world, "theirs", within("other"))
    names = [row["name"] for row in world.get("/webhooks?format=json").json()["rows"]]
    assert names == ["theirs", "ours"]
    both = Caller("ada", roles={"default": Role.VIEWER, "other": Role.ADMIN})
    rows = world.get("/webhooks?format=json", both).json()["rows"]
    assert [(row["name"], row["url"]) for row in rows] == [("theirs", URL), ("ours", None)]
    assert [row["name"] for row in world.get("/webhooks?format=json", STRANGER).json()["rows"]] == ["theirs"]
    assert [row["name"] for row in world.get("/webhooks?format=json&project=default").json()["rows"]] == ["ours"]
    for project in ("default", "nowhere"):
        assert world.get(f"/webhooks?project={project}", STRANGER).status_code == 404
    assert world.get("/webhooks?project=nowhere").status_code == 404
    assert world.get("/webhooks?before=x").status_code == 400


def test_pages_and_no_statement_per_webhook(world: RegistryWorld) -> None:
    counted = []
    for have, want in ((0, 1), (1, 60)):
        for number in range(have, want):
            webhook(world, f"w{number}")
        world.get("/webhooks")
        with counting() as statements:
            first = world.get("/webhooks").text
        counted.append(len(statements))
    assert counted[0] == counted[1]
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    second = world.get(html.unescape(older[1])).text
    assert re.findall(r"<bdi>w(\d+)</bdi>", first + second) == [str(number) for number in reversed(range(60))]
    assert 'rel="next"' not in second


def test_nothing_to_show(world: RegistryWorld) -> None:
    assert "mlwright webhooks create" in world.get("/webhooks").text
    assert "mlwright webhooks create" not in world.get("/webhooks", VIEWER).text
