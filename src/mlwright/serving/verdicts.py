"""What a rollout's looks say: a pure function of the plan and of what was counted, so that it can be replayed.

`seen` folds one look into the evidence; `judge` says what it amounts to. The numbers of every look are stored by
whoever calls, and lead to the same verdicts whenever they are folded again.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from mlwright.serving import evidence
from mlwright.serving.evidence import Counts, Evidence
from mlwright.serving.spec import Rollout, Strategy

_ENOUGH_NUMBERS = 100
_FAILS = "it fails more often than the version that serves"
_SLOWER = "it is slower than the version that serves"
_DIFFERS = "it answers differently than the version that serves"
#: Of the evidence against a candidate: errors are worth more than delay.
_WEIGHTS = {_SLOWER: 0.2}


class RolloutVerdict(StrEnum):
    """What to do. `hold`: the evidence is not enough yet. `advance`: to the next step."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    INCONCLUSIVE = "inconclusive"


class Arm(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one version did in one look.

    Attributes:
        requests, errors: answered, and those among them that failed by its fault.
        slow: slower than the bound of the look, which was fixed before it.
        trailing_errors: failed ones at the end, with no good one after them.
        wrong_outputs: answers that are not as the signature says.
        numbers, nans: in its answers.
        deaths: of its process.
        rows, disagreements: compared with the other arm's answers to the same rows.
    """

    requests: int = 0
    errors: int = 0
    slow: int = 0
    trailing_errors: int = 0
    wrong_outputs: int = 0
    numbers: int = 0
    nans: int = 0
    deaths: int = 0
    rows: int = 0
    disagreements: int = 0


class Look(msgspec.Struct, frozen=True, omit_defaults=True):
    """What both versions did since the look before.

    Attributes:
        at_ms: when it ended, Unix time.
        step: the place in the plan's steps.
        tripped: why the host gives the candidate no more requests; empty when it does.
    """

    at_ms: int
    step: int
    candidate: Arm
    stable: Arm
    tripped: str = ""


class State(msgspec.Struct, frozen=True):
    """Evidence so far.

    Attributes:
        errors, latency: that the candidate is worse than the stable version, since the beginning. differing: that a
        shadow disagrees more often than it may. objective: that the candidate keeps the objective, since its step
        began; that a shadow agrees, since the beginning. step_ms: when the step began. broken: a guard that was hit, in
        words.
    """

    errors: Evidence
    latency: Evidence
    differing: Evidence
    objective: Evidence
    step: int
    began_ms: int
    step_ms: int
    requests: int = 0
    broken: str = ""
    error_run: int = 0


class Judgement(msgspec.Struct, frozen=True):
    """A verdict and its numbers.

    Attributes:
        reason: one sentence.
        worse, kept: e-values against the candidate, and for it.
        worse_at, kept_at: from where on they decide.
    """

    verdict: RolloutVerdict
    reason: str
    worse: float
    worse_at: float
    kept: float
    kept_at: float


def begin(now_ms: int) -> State:
    """No evidence yet."""
    nothing = evidence.nothing_higher()
    return State(nothing, nothing, evidence.nothing_above(), evidence.nothing_below(), 0, now_ms, now_ms)


def advanced(state: State, now_ms: int) -> State:
    """The next step has begun; what speaks for the candidate is asked anew there, what speaks against it stays."""
    return msgspec.structs.replace(state, step=state.step + 1, step_ms=now_ms, objective=evidence.nothing_below())


def seen(plan: Rollout, state: State, look: Look) -> State:
    """The evidence after one more look. Looks of another step than the one in progress say nothing for the step."""
    candidate, stable = look.candidate, look.stable
    error_run = state.error_run + candidate.errors if candidate.trailing_errors == candidate.requests else 0
    run = max(candidate.trailing_errors, error_run)
    asked = Counts(candidate.requests, candidate.errors)
    shadow = plan.strategy is Strategy.SHADOW
    differing, objective = state.differing, state.objective
    if shadow:
        compared, most = Counts(candidate.rows, candidate.disagreements), plan.shadow.disagreement
        differing = evidence.above(differing, compared, most)
        objective = evidence.below(objective, compared, most)
    elif look.step == state.step:
        objective = evidence.below(objective, asked, plan.objective.error_rate)
    return msgspec.structs.replace(
        state,
        errors=evidence.higher(state.errors, asked, Counts(stable.requests, stable.errors)),
        latency=evidence.higher(
            state.latency, Counts(candidate.requests, candidate.slow), Counts(stable.requests, stable.slow)
        ),
        differing=differing,
        objective=objective,
        requests=state.requests + candidate.requests,
        broken=state.broken or look.tripped or _broken(plan, candidate, run),
        error_run=run if candidate.requests else state.error_run,
    )


def _broken(plan: Rollout, arm: Arm, run: int) -> str:
    guards = plan.guards
    if guards.process_deaths and arm.deaths >= guards.process_deaths:
        return f"its process ended {arm.deaths} times"
    if guards.consecutive_errors and run >= guards.consecutive_errors:
        return f"{run} requests failed one after the other"
    if guards.wrong_outputs and arm.wrong_outputs >= guards.wrong_outputs:
        return f"{arm.wrong_outputs} answers were not as its signature says"
    if guards.nan_share and arm.numbers >= _ENOUGH_NUMBERS and arm.nans / arm.numbers > guards.nan_share:
        return f"{arm.nans} of {arm.numbers} numbers in its answers were NaN"
    return ""


def judge(plan: Rollout, state: State, now_ms: int) -> Judgement:
    """What the evidence amounts to."""
    against = {_FAILS: state.errors.e, _SLOWER: state.latency.e}
    if plan.strategy is Strategy.SHADOW:
        against[_DIFFERS] = state.differing.e
    worse, worse_at = evidence.mean([(_WEIGHTS.get(name, 1.0), e) for name, e in against.items()]), 1 / plan.alpha
    kept, kept_at = state.objective.e, 1 / plan.promotion_alpha

    def judged(verdict: RolloutVerdict, reason: str) -> Judgement:
        return Judgement(verdict, reason, worse, worse_at, kept, kept_at)

    if state.broken:
        return judged(RolloutVerdict.ROLLBACK, state.broken)
    if worse >= worse_at:
        return judged(RolloutVerdict.ROLLBACK, max(against, key=lambda each: against[each]))
    if plan.strategy in {Strategy.AB, Strategy.BANDIT}:
        return judged(RolloutVerdict.HOLD, "somebody has to decide")
    if kept >= kept_at:
        last = plan.strategy is not Strategy.CANARY or state.step + 1 >= len(plan.steps)
        reason = "it keeps the objective" if plan.strategy is not Strategy.SHADOW else "it answers as the other does"
        return judged(RolloutVerdict.PROMOTE if last else RolloutVerdict.ADVANCE, reason)
    if now_ms - state.began_ms >= plan.patience_seconds * 1_000:
        if plan.on_inconclusive == "rollback":
            return judged(RolloutVerdict.ROLLBACK, "there was no evidence for it in time")
        return judged(RolloutVerdict.INCONCLUSIVE, "there was no evidence for it in time")
    return judged(RolloutVerdict.HOLD, "the evidence is not enough yet")


def missing(plan: Rollout, state: State) -> str:
    """What would bring a verdict for the candidate, in words."""
    if plan.strategy in {Strategy.AB, Strategy.BANDIT}:
        return "a decision: promote or abort"
    shadow = plan.strategy is Strategy.SHADOW
    limit = plan.shadow.disagreement if shadow else plan.objective.error_rate
    needed = evidence.clean_requests_needed(state.objective, limit, 1 / plan.promotion_alpha)
    return f"about {needed} more {'rows that agree' if shadow else 'good answers in this step'}"


def replay(plan: Rollout, began_ms: int, looks: Iterable[Look]) -> list[Judgement]:
    """The verdict after each look, from the beginning."""
    state, found = begin(began_ms), []
    for look in looks:
        state = seen(plan, state, look)
        found.append(judge(plan, state, look.at_ms))
        if found[-1].verdict is RolloutVerdict.ADVANCE:
            state = advanced(state, look.at_ms)
    return found
