"""Evidence that may be looked at at any time: how often it is wrong, and how soon it is right."""

import math
from collections import Counter
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.serving import evidence
from mlwright.serving.evidence import Counts, Evidence
from mlwright.serving.spec import Rollout
from mlwright.serving.verdicts import Arm, Look, RolloutVerdict, advanced, begin, judge, replay, seen

counts = st.integers(0, 2_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))).map(lambda two: Counts(*two))


def test_without_hits_nothing_speaks_against_anybody() -> None:
    found = evidence.higher(evidence.nothing_higher(), Counts(500, 0), Counts(9_500, 0))
    assert found == evidence.nothing_higher()
    assert found.e == 1


@given(st.lists(st.tuples(counts, counts), max_size=20))
def test_evidence_is_a_number_whatever_is_seen(looks: list[tuple[Counts, Counts]]) -> None:
    against, kept, above = evidence.nothing_higher(), evidence.nothing_below(), evidence.nothing_above()
    for candidate, baseline in looks:
        against = evidence.higher(against, candidate, baseline)
        kept = evidence.below(kept, candidate, 0.02)
        above = evidence.above(above, candidate, 0.02)
    for found in (against, kept, above):
        assert math.isfinite(found.e)
        assert found.e >= 0


@given(counts, counts)
def test_the_expected_factor_of_a_look_is_one_when_rates_are_equal(candidate: Counts, baseline: Counts) -> None:
    """The mean of the likelihood ratio over where the hits of a look may have fallen: what makes it a martingale."""
    hits = min(candidate.hits + baseline.hits, 12)
    if not (candidate.all and baseline.all):
        return
    share = candidate.all / (candidate.all + baseline.all)
    total = 0.0
    for own in range(hits + 1):
        chance = math.comb(hits, own) * share**own * (1 - share) ** (hits - own)
        look = Counts(candidate.all, own), Counts(baseline.all, hits - own)
        total += chance * evidence.higher(evidence.nothing_higher(), *look).e
    assert total == pytest.approx(1, rel=1e-9)


@given(st.integers(1, 60), st.sampled_from([0.005, 0.02, 0.2]))
def test_the_expected_factor_is_one_at_the_limit(requests: int, limit: float) -> None:
    for gather, nothing in (
        (evidence.below, evidence.nothing_below()),
        (evidence.above, evidence.nothing_above()),
    ):
        total = sum(
            math.comb(requests, hits)
            * limit**hits
            * (1 - limit) ** (requests - hits)
            * gather(nothing, Counts(requests, hits), limit).e
            for hits in range(requests + 1)
        )
        assert total == pytest.approx(1, rel=1e-6)


@given(st.sampled_from([0.005, 0.02, 0.1]), st.integers(0, 400), st.sampled_from([5.0, 20.0, 100.0]))
def test_what_is_missing_would_be_enough(limit: float, seen_before: int, wanted: float) -> None:
    so_far = evidence.below(evidence.nothing_below(), Counts(seen_before, 0), limit)
    needed = evidence.clean_requests_needed(so_far, limit, wanted)
    assert evidence.below(so_far, Counts(needed, 0), limit).e >= wanted
    if needed:
        assert evidence.below(so_far, Counts(needed - 1, 0), limit).e < wanted


def test_huge_evidence_stays_a_number() -> None:
    assert math.isfinite(Evidence((1e9, 0.0)).e)


# --- whole rollouts -----------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    verdict: RolloutVerdict
    minutes: float
    failed: int


def walk(random: np.random.Generator, plan: Rollout, per_minute: float, stable: float, candidate: float) -> Outcome:
    """One rollout as the controller does it, with the traffic and the error rates given."""
    state, failed, now_ms, due = begin(0), 0, 0, 0.0
    while True:
        now_ms += int(plan.look_seconds * 1_000)
        due += per_minute * plan.look_seconds / 60
        total, due = int(due), due - int(due)
        asked = int(random.binomial(total, plan.steps[state.step] / 100))
        errors, others = int(random.binomial(asked, candidate)), int(random.binomial(total - asked, stable))
        failed += errors
        look = Look(now_ms, state.step, Arm(requests=asked, errors=errors), Arm(requests=total - asked, errors=others))
        state = seen(plan, state, look)
        found = judge(plan, state, now_ms)
        if found.verdict is RolloutVerdict.ADVANCE:
            state = advanced(state, now_ms)
        elif found.verdict is not RolloutVerdict.HOLD:
            return Outcome(found.verdict, now_ms / 60_000, failed)


def walks(count: int, per_minute: float, stable: float, candidate: float, **plan: Any) -> list[Outcome]:
    random = np.random.default_rng(7)
    return [walk(random, Rollout(**plan), per_minute, stable, candidate) for _ in range(count)]


def test_2000_equal_versions_are_rolled_back_at_most_as_often_as_said() -> None:
    found = Counter(each.verdict for each in walks(2_000, 600, 0.005, 0.005, look_seconds=20))
    assert found[RolloutVerdict.ROLLBACK] <= 0.01 * 2_000
    assert found[RolloutVerdict.PROMOTE] >= 0.95 * 2_000


def test_ten_times_the_errors_are_found_within_three_minutes() -> None:
    found = walks(300, 600, 0.005, 0.05)
    assert {each.verdict for each in found} == {RolloutVerdict.ROLLBACK}
    assert median(each.minutes for each in found) <= 3


def test_a_dead_candidate_fails_few_requests() -> None:
    found = walks(200, 6_000, 0.005, 1.0)
    assert {each.verdict for each in found} == {RolloutVerdict.ROLLBACK}
    assert median(each.failed for each in found) <= 30


def test_close_to_the_objective_there_is_no_promotion_without_evidence() -> None:
    found = Counter(each.verdict for each in walks(60, 600, 0.02, 0.02, look_seconds=60))
    assert found[RolloutVerdict.PROMOTE] <= 6  # at most 5 % in the long run


# --- replay -------------------------------------------------------------------------------------------------------

arms = st.builds(
    lambda requests, errors, slow: Arm(requests=requests, errors=min(errors, requests), slow=min(slow, requests)),
    st.integers(0, 400), st.integers(0, 20), st.integers(0, 40),
)  # fmt: skip


@given(st.lists(st.tuples(arms, arms), max_size=15))
def test_the_same_looks_lead_to_the_same_verdicts(pairs: list[tuple[Arm, Arm]]) -> None:
    plan, state, told, looks = Rollout(), begin(0), [], []
    for number, (candidate, stable) in enumerate(pairs):
        look = Look(5_000 * (number + 1), state.step, candidate, stable)
        looks.append(look)
        state = seen(plan, state, look)
        told.append(judge(plan, state, look.at_ms))
        if told[-1].verdict is RolloutVerdict.ADVANCE:
            state = advanced(state, look.at_ms)
    assert replay(plan, 0, looks) == told
