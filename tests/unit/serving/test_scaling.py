"""How many processes a version gets: laws of the policy, and what it does with typical loads."""

from hypothesis import given
from hypothesis import strategies as st

from mlwright.serving.host.scaling import STEADY_S, Load, needed, plan
from mlwright.serving.spec import Scaling

NOW_S = 1_000.0
amounts = st.floats(0, 10_000, allow_nan=False)
scalings = st.builds(
    lambda low, more, concurrency: Scaling(low, max(low + more, 1), concurrency, 300.0),
    st.integers(0, 5), st.integers(0, 10), st.integers(1, 64),
)  # fmt: skip
histories = st.lists(st.builds(Load, st.floats(NOW_S - 2 * STEADY_S, NOW_S), amounts), max_size=40)


@given(scalings, histories, amounts)
def test_never_outside_what_was_asked_for(scaling: Scaling, loads: list[Load], idle_s: float) -> None:
    found = plan(scaling, loads, now_s=NOW_S, idle_s=idle_s)
    assert scaling.min <= found <= scaling.max
    assert (found == 0) == (scaling.min == 0 and idle_s >= scaling.idle_seconds)


@given(scalings, histories, amounts)
def test_up_at_once(scaling: Scaling, loads: list[Load], under_way: float) -> None:
    found = plan(scaling, [*loads, Load(NOW_S, under_way)], now_s=NOW_S, idle_s=0)
    assert found >= min(needed(under_way, scaling.concurrency), scaling.max)


@given(scalings, histories, st.floats(0.1, STEADY_S))
def test_down_only_after_a_quiet_time(scaling: Scaling, loads: list[Load], later_s: float) -> None:
    """Without a new load, fewer processes are wanted only once the load that needed them is old."""
    before = plan(scaling, loads, now_s=NOW_S, idle_s=0)
    after = plan(scaling, loads, now_s=NOW_S + later_s, idle_s=0)
    recent = [load for load in loads if load.at_s > NOW_S + later_s - STEADY_S]
    assert after <= before
    if any(needed(load.under_way, scaling.concurrency) >= before for load in recent):
        assert after == before


@given(scalings, histories, st.integers(0, 39), amounts)
def test_more_load_never_means_fewer(scaling: Scaling, loads: list[Load], place: int, more: float) -> None:
    heavier = [load._replace(under_way=load.under_way + more * (at == place)) for at, load in enumerate(loads)]
    assert plan(scaling, heavier, now_s=NOW_S, idle_s=0) >= plan(scaling, loads, now_s=NOW_S, idle_s=0)


@given(scalings, st.lists(amounts, min_size=2, max_size=30), st.floats(1, 20))
def test_a_load_that_swings_changes_nothing(scaling: Scaling, cycle: list[float], period_s: float) -> None:
    """Whatever repeats itself within the quiet time keeps the processes of its height."""
    loads: list[Load] = []
    found = set()
    for tick in range(200):
        now_s = NOW_S + tick * period_s / len(cycle)
        loads.append(Load(now_s, cycle[tick % len(cycle)]))
        if tick >= len(cycle):
            found.add(plan(scaling, loads, now_s=now_s, idle_s=0))
    assert len(found) == 1


def test_typical_loads() -> None:
    scaling = Scaling(1, 4, 32)
    assert plan(scaling, [], now_s=0, idle_s=0) == 1
    assert plan(scaling, [Load(0, 32)], now_s=0, idle_s=0) == 1  # as many as it is meant for
    assert plan(scaling, [Load(0, 34)], now_s=0, idle_s=0) == 1  # about as many
    assert plan(scaling, [Load(0, 40)], now_s=0, idle_s=0) == 2
    assert plan(scaling, [Load(0, 1_000)], now_s=0, idle_s=0) == 4
    assert plan(scaling, [Load(0, 1_000), Load(59, 0)], now_s=59, idle_s=59) == 4
    assert plan(scaling, [Load(0, 1_000), Load(60, 0)], now_s=60, idle_s=60) == 1
