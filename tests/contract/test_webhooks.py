"""From events to deliveries on both databases: everything once, in order, and by one server at a time."""

import random
from typing import Any

import msgspec
import pytest

from mlwright.kernel import store
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Conflict, Denied, Invalid, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.registry.service import aliases, models
from mlwright.registry.webhooks import outbox, overview, service
from mlwright.registry.webhooks.delivery import Retries, outcome
from mlwright.registry.webhooks.outbox import Outcome, Work
from mlwright.registry.webhooks.sending import Reply
from mlwright.registry.webhooks.spec import (
    EVENTS,
    Delivery,
    DeliveryState,
    NewWebhook,
    ToldDelivery,
    Webhook,
    WebhookChange,
    WebhookStatus,
)
from tests.contract.conftest import PROJECT
from tests.contract.registry import Registry

LEASE_MS = 45_000
DONE = Outcome(DeliveryState.DELIVERED, 200)
URL = "https://hooks.example.org/secret-path"


class Hooks(Registry):
    """A registry with webhooks; `take` is what a server does when something has happened."""

    def webhook(self, name: str = "ci", *events: str, **named: Any) -> Webhook:
        chosen = [EVENTS[each] for each in events or EVENTS]
        project = named.pop("project", "")
        found: Webhook = self(service.create, NewWebhook(name, URL, chosen, **named), "sealed", project)
        return found

    def take(self, token: str = "here", most: int = 10) -> list[Work]:
        while True:
            taken = self.database.write_now(lambda tx: outbox.take(tx, token, most, LEASE_MS))
            if taken.works or not taken.more:
                return taken.works

    def finish(self, work: Work, found: Outcome = DONE) -> bool:
        return self.database.write_now(lambda tx: outbox.finish(tx, work, found))

    def drain(self) -> list[tuple[str, str]]:
        """Tell everything that is due. Returns names of webhooks and events in their order."""
        told = []
        while works := self.take():
            for work in works:
                told.append((work.webhook.name, work.event))
                assert self.finish(work)
        return told

    def deliveries(self, webhook: Webhook) -> list[Delivery]:
        found: list[Delivery] = self(service.deliveries, webhook.webhook_id)
        return found


@pytest.fixture
def hooks(database: Database) -> Hooks:
    return Hooks(database)


def clock(hooks: Hooks) -> ManualClock:
    assert isinstance(hooks.database.clock, ManualClock)
    return hooks.database.clock


def test_what_is_told_to_whom(hooks: Hooks) -> None:
    hooks.database.write_now(
        lambda tx: store.apply(tx, LOCAL, PROJECT, Manifest(API_VERSION, "Project", Metadata("vision"), {}))
    )
    hooks.model("before")
    hooks.webhook("all")
    hooks.webhook("few", "model_version_alias.created")
    hooks.webhook("off", status=WebhookStatus.DISABLED)
    hooks.webhook("elsewhere", project="vision")
    hooks.model()
    hooks.register(hooks.logged())
    hooks(models.set_tag, "m", "k", "v")
    hooks(aliases.move, "m", "champion", 1)
    hooks(aliases.remove, "m", "champion")
    told = hooks.drain()
    assert [event for name, event in told if name == "all"] == [
        "registered_model.created",
        "model_version.created",
        "model_version_alias.created",
        "model_version_alias.deleted",
    ]
    assert [event for name, event in told if name == "few"] == ["model_version_alias.created"]
    assert len(told) == 5
    assert hooks.drain() == []


def test_deliveries_of_a_webhook_keep_their_order_and_those_of_others_do_not_wait(hooks: Hooks) -> None:
    hooks.webhook("slow")
    hooks.webhook("quick", "registered_model.created")
    hooks.model("a")
    hooks.model("b")
    slow, quick = hooks.take()
    assert hooks.take() == []
    hooks.finish(quick)
    hooks.finish(slow, Outcome(DeliveryState.WAITING, 503, "busy", 2_000))
    (quick,) = hooks.take()
    assert (quick.webhook.name, b'"b"' in quick.body) == ("quick", True)
    clock(hooks).advance(2_000)
    (again,) = hooks.take()
    assert (again.delivery_id, again.attempts, b'"a"' in again.body) == (slow.delivery_id, 1, True)
    hooks.finish(again, Outcome(DeliveryState.FAILED, 410, "gone"))
    (later,) = hooks.take()
    assert (later.webhook.name, b'"b"' in later.body) == ("slow", True)


def test_what_a_server_that_died_had_taken_is_told_by_another_one(hooks: Hooks) -> None:
    hooks.webhook()
    hooks.model()
    (lost,) = hooks.take("died")
    assert hooks.take("other") == []
    clock(hooks).advance(LEASE_MS)
    (found,) = hooks.take("other")
    assert found.delivery_id == lost.delivery_id
    assert not hooks.finish(lost, Outcome(DeliveryState.FAILED, None, "late"))
    assert hooks.finish(found)
    assert hooks.take("died") == []


def test_who_stops_lets_go(hooks: Hooks) -> None:
    hooks.webhook()
    hooks.model()
    assert hooks.take("stopping")
    hooks.database.write_now(lambda tx: outbox.release(tx, "another"))
    assert not hooks.take()
    hooks.database.write_now(lambda tx: outbox.release(tx, "stopping"))
    (work,) = hooks.take("alone")
    hooks.database.write_now(outbox.release_all)
    assert hooks.take()
    assert not hooks.finish(work)


def test_a_clock_that_was_moved_back_holds_nothing_up(hooks: Hooks) -> None:
    clock(hooks).advance(10**9)
    hooks.webhook()
    hooks.model()
    assert hooks.take("died")
    clock(hooks).advance(-(10**9))
    assert hooks.take()


def test_a_long_log_is_read_in_parts(hooks: Hooks) -> None:
    hooks.webhook("ci", "registered_model.created")
    hooks.database.write_now(lambda tx: [models.create(tx, LOCAL, f"m{number}") for number in range(600)])
    first = hooks.database.write_now(lambda tx: outbox.take(tx, "t", 10, LEASE_MS))
    assert first.more
    hooks.finish(first.works[0])
    assert len(hooks.drain()) == 599


def test_agenda(hooks: Hooks) -> None:
    def agenda() -> outbox.Agenda:
        return hooks.database.read_now(outbox.agenda)

    hooks.model("a")
    assert agenda() == (False, None)
    hooks.webhook()
    hooks.take()  # the webhook's own event is nothing for it, and need not be looked at again
    assert agenda() == (False, None)
    hooks.model()
    assert agenda() == (True, None)
    (work,) = hooks.take()
    now = clock(hooks).now_ms()
    assert agenda() == (False, now + LEASE_MS)
    hooks.finish(work, Outcome(DeliveryState.WAITING, None, "no answer", 500))
    assert agenda().due_ms == now + 500


def test_those_that_failed_lately_leave_room_for_others(hooks: Hooks) -> None:
    hooks.webhook("one")
    hooks.webhook("two")
    hooks.webhook("well")
    hooks.model("a")
    works = hooks.take()
    failed = {work.webhook.row for work in works if work.webhook.name != "well"}
    for work in works:
        hooks.finish(work, Outcome(DeliveryState.WAITING, None, "no answer", 0))

    def take(most: int) -> list[str]:
        doubted = outbox.Doubted(failed, most)
        assert hooks.database.read_now(lambda tx: outbox.agenda(tx, doubted)).due_ms is not None
        found = hooks.database.write_now(lambda tx: outbox.take(tx, "t", 10, LEASE_MS, doubted)).works
        for work in found:
            hooks.finish(work, Outcome(DeliveryState.WAITING, None, "no answer", 0))
        return sorted(work.webhook.name for work in found)

    assert take(-1) == take(0) == ["well"]
    assert take(1) in (["one", "well"], ["two", "well"])
    assert take(2) == ["one", "two", "well"]
    hooks.database.write_now(lambda tx: outbox.take(tx, "t", 10, LEASE_MS, outbox.Doubted(failed, 0)))
    now = clock(hooks).now_ms()
    left_out = hooks.database.read_now(lambda tx: outbox.agenda(tx, outbox.Doubted(failed, 0)))
    assert left_out.due_ms == now + LEASE_MS  # there is nothing to do before: no busy waiting


def test_a_disabled_webhook_misses_what_happens_and_keeps_what_waits(hooks: Hooks) -> None:
    webhook = hooks.webhook()
    hooks.model("waits")
    hooks.database.write_now(outbox.advance)
    hooks(service.change, webhook.webhook_id, WebhookChange(status=WebhookStatus.DISABLED), None)
    hooks.model("missed")
    assert hooks.take() == []
    hooks(service.change, webhook.webhook_id, WebhookChange(status=WebhookStatus.ACTIVE), None)
    hooks.model("told")
    assert len(hooks.drain()) == 2
    assert [each.state for each in hooks.deliveries(webhook)] == [DeliveryState.DELIVERED] * 2


def test_a_deleted_webhook_is_told_nothing_more(hooks: Hooks) -> None:
    webhook = hooks.webhook()
    hooks.model()
    (work,) = hooks.take()
    hooks(service.remove, webhook.webhook_id)
    assert not hooks.finish(work)
    assert hooks.take() == []
    with pytest.raises(NotFound):
        hooks.deliveries(webhook)


def test_failures_are_on_the_record_and_can_be_told_again(hooks: Hooks) -> None:
    webhook = hooks.webhook()
    hooks.model()
    hooks.finish(hooks.take()[0], Outcome(DeliveryState.FAILED, 404, "answered 404" + "x" * 1_000))
    (found,) = hooks.deliveries(webhook)
    assert (found.state, found.attempts, found.response_status) == (DeliveryState.FAILED, 1, 404)
    assert found.problem is not None
    assert len(found.problem) == 500
    assert hooks.log()[-1][0] == "registry.webhook.failed"
    shown: ToldDelivery = hooks(service.told, webhook.webhook_id, found.id)
    assert (shown.delivery, shown.message["entity"]) == (found, "registered_model")
    again: Delivery = hooks(service.again, webhook.webhook_id, found.id)
    assert (again.state, again.next_ms) == (DeliveryState.WAITING, clock(hooks).now_ms())
    with pytest.raises(Conflict):
        hooks(service.again, webhook.webhook_id, found.id)
    assert hooks.drain() == [("ci", "registered_model.created")]
    with pytest.raises(NotFound):
        hooks(service.again, webhook.webhook_id, "another")


def test_only_the_newest_that_have_ended_are_kept(hooks: Hooks) -> None:
    webhook = hooks.webhook("ci", "registered_model.created")
    count = outbox.KEPT + 20
    hooks.database.write_now(lambda tx: [models.create(tx, LOCAL, f"m{number}") for number in range(count)])

    def tell(tx: Any) -> None:
        for _ in range(20):
            for work in outbox.take(tx, "t", 1, LEASE_MS).works:
                outbox.finish(tx, work, DONE)

    for _ in range(count // 20):
        hooks.database.write_now(tell)
    found: list[Delivery] = hooks(service.deliveries, webhook.webhook_id, 1_000)
    assert len(found) == outbox.KEPT
    assert found[0].seq - found[-1].seq == outbox.KEPT - 1


def test_webhooks_are_the_administrators_affair(hooks: Hooks) -> None:
    webhook = hooks.webhook()
    verbs: list[tuple[Any, ...]] = [
        (service.get,),
        (service.deliveries,),
        (service.remove,),
        (service.change, WebhookChange(name="x"), None),
        (service.again, "0"),
    ]
    for role, error in ((Role.NONE, NotFound), (Role.VIEWER, Denied), (Role.EDITOR, Denied)):
        other = Hooks(hooks.database, Caller("other", roles={"default": role}))
        for verb, *arguments in verbs:
            with pytest.raises(error):
                other(verb, webhook.webhook_id, *arguments)
        for verb, *arguments in ((service.listed,), (service.create, NewWebhook("a", URL, []), None)):
            with pytest.raises((Denied, Invalid)):
                other(verb, *arguments)
    assert hooks(service.get, webhook.webhook_id) == webhook


def test_events_tell_neither_secrets_nor_paths(hooks: Hooks) -> None:
    webhook = hooks.webhook(secret="s3cret")
    hooks(service.change, webhook.webhook_id, WebhookChange(secret="another", url=f"{URL}/2"), "sealed-2")
    hooks(service.remove, webhook.webhook_id)
    told = [(kind, data) for kind, subject, data in hooks.log() if subject == f"webhook/{webhook.webhook_id}"]
    assert [kind.rpartition(".")[2] for kind, _ in told] == ["created", "changed", "deleted"]
    for word in ("s3cret", "another", "sealed", "secret-path"):
        assert word not in str(told)
    assert told[1][1]["new_secret"]


@pytest.mark.parametrize("prompt", [False, True])
def test_tags_of_models_and_prompts(hooks: Hooks, prompt: bool) -> None:
    hooks(models.create, "p", "", {"mlflow.prompt.is_prompt": str(prompt)})
    hooks.webhook()
    hooks(models.set_tag, "p", "k", "v")
    hooks(models.delete_tag, "p", "k")
    assert [event for _, event in hooks.drain()] == (["prompt_tag.set", "prompt_tag.deleted"] if prompt else [])


def test_what_answers_mean() -> None:
    retries = Retries(2, random.Random(1))
    assert outcome(Reply(204, "", None), 1, retries).state is DeliveryState.DELIVERED
    for status in (301, 400, 404, 410, 418):
        assert outcome(Reply(status, "no", None), 1, retries).state is DeliveryState.FAILED
    for status in (429, 500, 503, 599):
        states = [outcome(Reply(status, "", None), attempts, retries).state for attempts in (1, 2, 3)]
        assert states == [DeliveryState.WAITING, DeliveryState.WAITING, DeliveryState.FAILED]
    assert outcome(Reply(429, "", 120.0), 1, retries).pause_ms == 120_000
    for attempts in range(1, 30):
        whole_ms = min(2 ** (attempts - 1), 60) * 1_000
        assert 0.5 * whole_ms <= retries.pause_ms(attempts) <= 1.5 * whole_ms
    assert "x" * 300 not in (outcome(Reply(500, "x" * 300, None), 1, retries).problem or "")


def test_servers_on_one_database_share_the_work(hooks: Hooks) -> None:
    """Whoever claims what, everything is told once, and in the order of its webhook."""
    for name in "abc":
        hooks.webhook(name, "registered_model.created")
    hooks.database.write_now(lambda tx: [models.create(tx, LOCAL, f"m{number:02}") for number in range(40)])
    chance, told, under_way = random.Random(7), [], []
    while True:
        under_way += hooks.take(chance.choice(["one", "two"]), chance.randint(1, 2))
        if not under_way:
            break
        work = under_way.pop(chance.randrange(len(under_way)))
        told.append((work.webhook.name, msgspec.json.decode(work.body)["data"]["name"]))
        assert hooks.finish(work)
    for name in "abc":
        assert [each for webhook, each in told if webhook == name] == [f"m{number:02}" for number in range(40)]


def test_a_project_with_webhooks_is_not_deleted(hooks: Hooks) -> None:
    assert hooks.database.read_now(lambda tx: service.held_by(tx, "default")) == ""
    hooks.webhook()
    assert hooks.database.read_now(lambda tx: service.held_by(tx, "default")) == "1 webhook"


def test_one_delivery_after_the_other(hooks: Hooks) -> None:
    def go_on(work: Work, found: Outcome = DONE) -> Work | None:
        return hooks.database.write_now(lambda tx: outbox.go_on(tx, work, found, LEASE_MS))

    webhook = hooks.webhook()
    for name in "abcd":
        hooks.model(name)
    (first,) = hooks.take()
    second = go_on(first)
    assert second is not None
    assert (b'"b"' in second.body, hooks.take("other")) == (True, [])
    assert go_on(second, Outcome(DeliveryState.WAITING, 503, "busy", 1_000)) is None
    clock(hooks).advance(1_000)
    (again,) = hooks.take()
    hooks(service.change, webhook.webhook_id, WebhookChange(status=WebhookStatus.DISABLED), None)
    assert go_on(again) is None
    hooks(service.change, webhook.webhook_id, WebhookChange(status=WebhookStatus.ACTIVE), None)
    (third,) = hooks.take()
    assert go_on(third, Outcome(DeliveryState.FAILED, 410, "gone")) is None  # others have their turn
    (last,) = hooks.take()
    assert last is not None
    assert b'"d"' in last.body
    assert go_on(last) is None
    assert go_on(last) is None


def test_at_a_glance(hooks: Hooks) -> None:
    hooks.webhook("quiet")
    hooks.webhook("loud", "registered_model.created")
    for name in ("a", "b"):
        hooks(models.create, name)
    for work in hooks.take():
        hooks.finish(work, DONE if work.webhook.name == "quiet" else Outcome(DeliveryState.WAITING, 503, "busy", 1_000))
    loud, quiet = hooks.database.read_now(lambda tx: overview.page(tx, LOCAL, [LOCAL.project], 1 << 62, 9))
    assert (loud.name, loud.last, loud.waiting, loud.given_up) == ("loud", None, 2, 0)
    assert loud.trying is not None
    assert (loud.trying.attempts, loud.trying.problem) == (1, "busy")
    assert quiet.last is not None
    assert (quiet.last.state, quiet.last.response_status, quiet.trying) == (DeliveryState.DELIVERED, 200, None)
    assert quiet.waiting == 1
    assert hooks.database.read_now(lambda tx: overview.projects(tx, LOCAL)) == [LOCAL.project]
