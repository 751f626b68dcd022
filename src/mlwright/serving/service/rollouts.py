"""Rollouts: how a revision that is ready gets the traffic, look by look, and how it loses it again."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, func, insert, select, update

from mlwright.kernel.errors import Conflict, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import holds
from mlwright.serving import verdicts
from mlwright.serving.service import endpoints, rewards, rows
from mlwright.serving.service.endpoints import SYSTEM, TOPIC, subject
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import RevisionState, Rollout, RolloutRecord, RolloutState, Strategy, Traffic
from mlwright.serving.tables import endpoint_revisions, rollout_looks, rollouts
from mlwright.serving.tables import endpoints as endpoints_table
from mlwright.serving.verdicts import Judgement, Look, RolloutVerdict, State

#: A bandit moves the traffic by no less.
_LEAST_MOVE = 0.01

_revisions, _rollouts, _looks = endpoint_revisions.c, rollouts.c, rollout_looks.c
_ready = Query(
    update(endpoint_revisions)
    .where(_revisions.id == bindparam("revision_"), _revisions.state == RevisionState.PREPARING.value)
    .values(state=RevisionState.READY.value, ready_ms=bindparam("now"))
)
_failed = Query(
    update(endpoint_revisions)
    .where(_revisions.id == bindparam("revision_"), _revisions.state == RevisionState.PREPARING.value)
    .values(state=RevisionState.FAILED.value, reason=bindparam("text"))
)
_not_wanted = Query(
    update(endpoint_revisions)
    .where(_revisions.endpoint == bindparam("endpoint_"), _revisions.state == RevisionState.PREPARING.value)
    .values(state=RevisionState.FAILED.value, reason=bindparam("text"))
)
_rows_of = Query(
    select(_revisions.version_row).where(
        _revisions.endpoint == bindparam("endpoint"), among(_revisions.number, "numbers")
    )
)
_serve = Query(
    update(endpoints_table)
    .where(endpoints_table.c.id == bindparam("endpoint_"))
    .values(stable=bindparam("new_stable"), candidate=bindparam("new_candidate"), share=bindparam("new_share"))
)
_attempts = Query(
    select(func.count()).where(_rollouts.endpoint == bindparam("endpoint"), _rollouts.number == bindparam("number"))
)
_begin = Query(
    insert(rollouts).values({column.name: bindparam(column.name) for column in _rollouts if column.name != "id"})
)
_evidence = Query(select(_rollouts.evidence).where(_rollouts.id == bindparam("rollout")))
_look = Query(
    insert(rollout_looks).values(
        rollout=bindparam("rollout"),
        number=bindparam("number"),
        look=bindparam("look"),
        judgement=bindparam("judgement"),
    )
)
_saw = Query(
    update(rollouts)
    .where(_rollouts.id == bindparam("rollout_"))
    .values(
        evidence=bindparam("text"), looks=bindparam("count"), step=bindparam("place"), inconclusive=bindparam("held")
    )
)
_move = Query(update(rollouts).where(_rollouts.id == bindparam("rollout_")).values(state=bindparam("word")))
_end = Query(
    update(rollouts)
    .where(_rollouts.id == bindparam("rollout_"))
    .values(state=bindparam("word"), reason=bindparam("text"), ended_ms=bindparam("now"))
)
_all_looks = Query(
    select(_looks.look, _looks.judgement).where(_looks.rollout == bindparam("rollout")).order_by(_looks.number)
)
_state = msgspec.json.Decoder(State)
_look_of = msgspec.json.Decoder(Look)
_judgement_of = msgspec.json.Decoder(Judgement)


# --- a revision is ready, or is not -------------------------------------------------------------------------------


def ready(tx: Tx, endpoint: int, number: int, plan: Rollout) -> None:
    """A revision can be served: its rollout begins, or it serves at once where nothing did before."""
    serving, revision = rows.by_row(tx, endpoint), rows.revision(tx, endpoint, number)
    if serving is None or revision is None or not tx.run(_ready, {"revision_": revision.row, "now": tx.now_ms()}):
        return
    _emit(tx, SYSTEM.name, serving, "revision.ready", {"revision": number})
    if serving.traffic.stable == 0:
        _serve_now(tx, serving, Traffic(number, 0, 0.0))
    elif number == serving.last_revision:
        begin(tx, serving, number, plan)


def failed(tx: Tx, endpoint: int, number: int, reason: str) -> None:
    """A revision cannot be served."""
    serving, revision = rows.by_row(tx, endpoint), rows.revision(tx, endpoint, number)
    if serving is not None and revision is not None and tx.run(_failed, {"revision_": revision.row, "text": reason}):
        _emit(tx, SYSTEM.name, serving, "revision.failed", {"revision": number, "reason": reason})


# --- a rollout begins ---------------------------------------------------------------------------------------------


def begin(tx: Tx, serving: Serving, number: int, plan: Rollout) -> RolloutRecord:
    """Give a revision that is ready its first share. A rollout that goes on is over with that."""
    revision = rows.revision(tx, serving.row, number)
    assert revision is not None
    running = rows.current_rollout(tx, serving.row)
    if running is not None:
        _ended(tx, SYSTEM.name, serving, running, RolloutState.SUPERSEDED, f"revision {number} came after it")
    count = tx.one(_attempts, {"endpoint": serving.row, "number": number})
    now = tx.now_ms()
    values = {
        "endpoint": serving.row,
        "number": number,
        "attempt": (count[0] if count else 0) + 1,
        "stable": serving.traffic.stable,
        "plan": _text(plan),
        "state": RolloutState.RUNNING.value,
        "reason": "",
        "evidence": _text(verdicts.begin(now)),
        "looks": 0,
        "step": 0,
        "inconclusive": 0,
        "author": revision.author,
        "began_ms": now,
        "ended_ms": 0,
    }
    tx.run(_begin, values)
    _serve_now(tx, serving, Traffic(serving.traffic.stable, number, share(plan, 0)))
    data = {"revision": number, "stable": serving.traffic.stable, "strategy": plan.strategy.value}
    _emit(tx, SYSTEM.name, serving, "rollout.began", data)
    found = rows.current_rollout(tx, serving.row)
    assert found is not None
    return found


def share(plan: Rollout, step: int) -> float:
    """Of the traffic for the candidate, from 0 to 1: an A/B test has one step, others of their kind none."""
    match plan.strategy:
        case Strategy.CANARY:
            return plan.steps[step] / 100
        case Strategy.AB | Strategy.BANDIT:
            return plan.steps[-1] / 100 if plan.steps else 0.5
        case _:
            return 0.0


# --- looks --------------------------------------------------------------------------------------------------------


def looked(tx: Tx, serving: Serving, rollout: RolloutRecord, look: Look) -> Judgement:
    """Fold one look into the evidence, and do what it amounts to.

    Args:
        rollout: as it is now; it goes on.
    """
    row = tx.one(_evidence, {"rollout": rollout.row})
    assert row is not None
    plan, count = rollout.plan, rollout.looks + 1
    state = verdicts.seen(plan, _state.decode(row[0]), look)
    judgement = verdicts.judge(plan, state, look.at_ms)
    tx.run(_look, {"rollout": rollout.row, "number": count, "look": _text(look), "judgement": _text(judgement)})
    paused = rollout.state is RolloutState.PAUSED
    if judgement.verdict is RolloutVerdict.ADVANCE and not paused:
        state = verdicts.advanced(state, look.at_ms)
    held = judgement.verdict is RolloutVerdict.INCONCLUSIVE
    tx.run(
        _saw,
        {"rollout_": rollout.row, "text": _text(state), "count": count, "place": state.step, "held": int(held)},
    )
    _act(tx, serving, rollout, judgement, state, paused=paused)
    return judgement


def _act(tx: Tx, serving: Serving, rollout: RolloutRecord, judgement: Judgement, state: State, *, paused: bool) -> None:
    """What is paused is still rolled back when it is bad; it only gets no more than it has."""
    numbers: dict[str, Any] = {"e_against": judgement.worse, "e_for": judgement.kept}
    match judgement.verdict:
        case RolloutVerdict.ROLLBACK:
            _back(tx, SYSTEM.name, serving, rollout, judgement.reason, numbers)
        case RolloutVerdict.PROMOTE if not paused:
            _promoted(tx, SYSTEM.name, serving, rollout, judgement.reason, numbers)
        case RolloutVerdict.ADVANCE if not paused:
            given = share(rollout.plan, state.step)
            _serve_now(tx, serving, Traffic(serving.traffic.stable, rollout.number, given))
            data = {"revision": rollout.number, "step": state.step, "share": given, **numbers}
            _emit(tx, SYSTEM.name, serving, "rollout.advanced", data)
        case RolloutVerdict.INCONCLUSIVE if not rollout.inconclusive:
            data = {"revision": rollout.number, "missing": verdicts.missing(rollout.plan, state), **numbers}
            _emit(tx, SYSTEM.name, serving, "rollout.inconclusive", data)
        case _:
            pass


def looks(tx: Tx, rollout: RolloutRecord) -> list[tuple[Look, Judgement]]:
    """All looks of a rollout in their order, and what each amounted to. Raises Conflict where they were broken."""
    found = tx.all(_all_looks, {"rollout": rollout.row})
    try:
        return [(_look_of.decode(look), _judgement_of.decode(judgement)) for look, judgement in found]
    except msgspec.DecodeError as error:
        raise Conflict(
            f"the stored numbers of the rollout of revision {rollout.number} were changed: {error}", path="looks"
        ) from error


def evidence(tx: Tx, rollout: RolloutRecord) -> State:
    """The evidence so far."""
    row = tx.one(_evidence, {"rollout": rollout.row})
    assert row is not None
    return _state.decode(row[0])


def divide(tx: Tx, serving: Serving, rollout: RolloutRecord) -> None:
    """Divide the traffic of a bandit by what the answers were worth; a hundredth more or less changes nothing."""
    given = rewards.share(*(rewards.of(tx, serving.row, number) for number in (rollout.number, rollout.stable)))
    if serving.traffic.candidate == rollout.number and abs(given - serving.traffic.share) >= _LEAST_MOVE:
        _serve_now(tx, serving, Traffic(serving.traffic.stable, rollout.number, round(given, 2)))


def loaded(tx: Tx, serving: Serving, rollout: RolloutRecord) -> None:
    """Blue-green: the candidate has been loaded and has answered its example, and takes over, unless it is paused."""
    if rollout.state is not RolloutState.RUNNING:
        return
    _promoted(tx, SYSTEM.name, serving, rollout, "it was loaded and answered its example", {})


def not_loaded(tx: Tx, serving: Serving, rollout: RolloutRecord, reason: str) -> None:
    """The candidate cannot be loaded: no request has gone to it."""
    _back(tx, SYSTEM.name, serving, rollout, f"it cannot be loaded: {reason}", {})


# --- what people ask for ------------------------------------------------------------------------------------------


def steer(tx: Tx, caller: Caller, name: str, action: str, reason: str = "", project: str = "") -> RolloutRecord:
    """Do with the rollout that goes on what somebody asks for by a word. Raises Invalid for another one."""
    match action:
        case "pause":
            return pause(tx, caller, name, project)
        case "resume":
            return resume(tx, caller, name, project)
        case "promote":
            return promote(tx, caller, name, reason, project)
        case "abort":
            return abort(tx, caller, name, reason, project)
        case _:
            raise Invalid(f"{action[:40]!r} is none of pause, resume, promote and abort", path="action")


def pause(tx: Tx, caller: Caller, name: str, project: str = "") -> RolloutRecord:
    """Keep the share as it is. What is bad is rolled back nevertheless."""
    serving, rollout = _going_on(tx, caller, name, project)
    if rollout.state is RolloutState.RUNNING:
        tx.run(_move, {"rollout_": rollout.row, "word": RolloutState.PAUSED.value})
        _emit(tx, caller.name, serving, "rollout.paused", {"revision": rollout.number})
    return _again(tx, serving)


def resume(tx: Tx, caller: Caller, name: str, project: str = "") -> RolloutRecord:
    """Go on by evidence."""
    serving, rollout = _going_on(tx, caller, name, project)
    if rollout.state is RolloutState.PAUSED:
        tx.run(_move, {"rollout_": rollout.row, "word": RolloutState.RUNNING.value})
        _emit(tx, caller.name, serving, "rollout.resumed", {"revision": rollout.number})
    return _again(tx, serving)


def promote(tx: Tx, caller: Caller, name: str, reason: str, project: str = "") -> RolloutRecord:
    """Let the candidate take over without further evidence, which is on the record."""
    serving, rollout = _going_on(tx, caller, name, project)
    _promoted(tx, caller.name, serving, rollout, reason or f"{caller.name} decided it", {"decided": True})
    return rows.rollout_list(tx, serving.row)[0]


def abort(tx: Tx, caller: Caller, name: str, reason: str, project: str = "") -> RolloutRecord:
    """All traffic goes to the version that served before."""
    serving, rollout = _going_on(tx, caller, name, project)
    _serve_now(tx, serving, Traffic(serving.traffic.stable, 0, 0.0))
    _ended(tx, caller.name, serving, rollout, RolloutState.ABORTED, reason or f"{caller.name} decided it")
    return rows.rollout_list(tx, serving.row)[0]


def give_up(tx: Tx, author: str, serving: Serving) -> None:
    """What serves is asked for: nothing is to take its place any more."""
    reason = "the version that serves is asked for"
    tx.run(_not_wanted, {"endpoint_": serving.row, "text": reason})
    running = rows.current_rollout(tx, serving.row)
    if running is not None:
        _serve_now(tx, serving, Traffic(serving.traffic.stable, 0, 0.0))
        _ended(tx, author, serving, running, RolloutState.SUPERSEDED, reason)


def rollback(tx: Tx, caller: Caller, name: str, number: int | None = None, project: str = "") -> Traffic:
    """Serve an earlier revision again: files and environment are there, nothing is built.

    Args:
        number: of the revision; the one that served before this one when not given.

    Raises NotFound when there is none, Conflict when it serves already.
    """
    _, serving = endpoints.find(tx, caller, name, Role.EDITOR, project)
    running = rows.current_rollout(tx, serving.row)
    if running is not None and number is None:
        abort(tx, caller, name, "", project)
        return Traffic(serving.traffic.stable, 0, 0.0)
    target = number if number is not None else _before(tx, serving)
    revision = rows.revision(tx, serving.row, target)
    if revision is None or revision.state is not RevisionState.READY:
        raise NotFound(f"the endpoint {name!r} has no revision {target} that was served", path="revision")
    if target == serving.traffic.stable and running is None:
        raise Conflict(f"revision {target} serves already", path="revision")
    if running is not None:
        _ended(tx, caller.name, serving, running, RolloutState.ABORTED, f"rolled back to revision {target}")
    found = Traffic(target, 0, 0.0)
    _serve_now(tx, serving, found)
    data = {"before": {"revision": serving.traffic.stable}, "after": {"revision": target}}
    _emit(tx, caller.name, serving, "rolled_back", data)
    return found


def _before(tx: Tx, serving: Serving) -> int:
    """The revision that served before the one that does."""
    promoted = (each for each in rows.rollout_list(tx, serving.row) if each.state is RolloutState.PROMOTED)
    for each in promoted:
        if each.number == serving.traffic.stable:
            return each.stable
    raise NotFound(f"no revision served before revision {serving.traffic.stable}", path="revision")


def _going_on(tx: Tx, caller: Caller, name: str, project: str) -> tuple[Serving, RolloutRecord]:
    _, serving = endpoints.find(tx, caller, name, Role.EDITOR, project)
    rollout = rows.current_rollout(tx, serving.row)
    if rollout is None:
        raise Conflict(f"no rollout of {name!r} goes on", path="name", hint="mlwright deploy begins one")
    return serving, rollout


def _again(tx: Tx, serving: Serving) -> RolloutRecord:
    found = rows.current_rollout(tx, serving.row)
    assert found is not None
    return found


# --- how it ends --------------------------------------------------------------------------------------------------


def _promoted(
    tx: Tx, author: str, serving: Serving, rollout: RolloutRecord, reason: str, numbers: dict[str, Any]
) -> None:
    _serve_now(tx, serving, Traffic(rollout.number, 0, 0.0))
    _end_row(tx, rollout, RolloutState.PROMOTED, reason)
    data = {"revision": rollout.number, "before": rollout.stable, "reason": reason, **numbers}
    _emit(tx, author, serving, "rollout.promoted", data)


def _back(tx: Tx, author: str, serving: Serving, rollout: RolloutRecord, reason: str, numbers: dict[str, Any]) -> None:
    _serve_now(tx, serving, Traffic(serving.traffic.stable, 0, 0.0))
    _end_row(tx, rollout, RolloutState.ROLLED_BACK, reason)
    data = {"revision": rollout.number, "stable": serving.traffic.stable, "reason": reason, **numbers}
    _emit(tx, author, serving, "rollout.rolled_back", data)


def _ended(tx: Tx, author: str, serving: Serving, rollout: RolloutRecord, state: RolloutState, reason: str) -> None:
    _end_row(tx, rollout, state, reason)
    data = {"revision": rollout.number, "reason": reason, "how": state.value}
    _emit(tx, author, serving, "rollout.ended", data)


def _end_row(tx: Tx, rollout: RolloutRecord, state: RolloutState, reason: str) -> None:
    tx.run(_end, {"rollout_": rollout.row, "word": state.value, "text": reason, "now": tx.now_ms()})


def _serve_now(tx: Tx, serving: Serving, traffic: Traffic) -> None:
    values = {"new_stable": traffic.stable, "new_candidate": traffic.candidate, "new_share": traffic.share}
    tx.run(_serve, {"endpoint_": serving.row, **values})
    numbers = _text([traffic.stable, traffic.candidate])
    versions = tx.all(_rows_of, {"endpoint": serving.row, "numbers": numbers})
    holds.hold(tx, subject(serving), (row[0] for row in versions))
    data = {"before": msgspec.to_builtins(serving.traffic), "after": msgspec.to_builtins(traffic)}
    _emit(tx, SYSTEM.name, serving, "traffic.changed", data)


def _emit(tx: Tx, author: str, serving: Serving, what: str, data: dict[str, Any]) -> None:
    tx.topics.add(TOPIC)
    tx.emit(Draft(author, serving.project, f"serving.{what}", subject(serving), data))


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
