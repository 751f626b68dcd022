"""Keys, rates and deadlines of callers; ids and traces of requests."""

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlwright.kernel.errors import Denied, Invalid, Unauthenticated
from mlwright.serving.host.admission import Bucket, Door, TooOften, timeout_s
from mlwright.serving.host.traces import Naming, continued, made_ms

SPAN = "00000000000000aa"


def random(count: int) -> str:
    return "0" * (count * 2 - 2) + "aa"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


# --- keys and rates -----------------------------------------------------------------------------------------------


def test_who_may_ask() -> None:
    door = Door({"ann": digest("one"), "bob": digest("two")})
    assert door.caller({b"authorization": b"Bearer one"}) == "ann"
    assert door.caller({b"x-api-key": b"two"}) == "bob"
    with pytest.raises(Denied):
        door.caller({b"authorization": b"Bearer " + digest("one").encode()})
    with pytest.raises(Unauthenticated):
        door.caller({})
    door.change({"bob": digest("two")})
    with pytest.raises(Denied):
        door.caller({b"x-api-key": b"one"})
    assert Door({}).caller({}) == ""


def test_nobody_may_ask() -> None:
    door = Door({"": ""})
    for headers in ({}, {b"x-api-key": b""}, {b"authorization": b"Bearer "}, {b"x-api-key": b"a"}):
        with pytest.raises((Denied, Unauthenticated)):
            door.caller(headers)


def test_each_key_has_a_rate_of_its_own() -> None:
    door = Door({"ann": digest("one"), "bob": digest("two")})
    for _ in range(3):
        door.count("ann", 3.0, 10.0)
    with pytest.raises(TooOften) as refused:
        door.count("ann", 3.0, 10.0)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    door.count("bob", 3.0, 10.0)
    door.count("ann", 3.0, 10.4)


def test_a_slow_rate_says_how_long_to_wait() -> None:
    door = Door({})
    door.count("", 0.1, 0.0)
    with pytest.raises(TooOften) as refused:
        door.count("", 0.1, 0.0)
    assert refused.value.retry_after_s == 10
    with pytest.raises(TooOften) as refused:
        door.count("", 5e-324, 0.0)
    assert refused.value.retry_after_s == 86_400


steps = st.lists(st.floats(0, 5), min_size=1, max_size=60)


@given(st.floats(0.05, 200), steps)
def test_no_window_lets_more_through_than_its_rate_and_one_burst(rate: float, waits: list[float]) -> None:
    now = 0.0
    taken: list[float] = []
    bucket = Bucket(rate, now)
    for wait in waits:
        now += wait
        taken += [now for _ in range(5) if not bucket.take(rate, now)]
    for place, began in enumerate(taken):
        for number, ended in enumerate(taken[place:], start=1):
            assert number <= max(rate, 1.0) + rate * (ended - began) + 1e-6


@given(st.floats(0.05, 200), steps)
def test_who_waits_as_long_as_told_is_let_in(rate: float, waits: list[float]) -> None:
    now = 0.0
    bucket = Bucket(rate, now)
    for wait in waits:
        now += wait
        told = bucket.take(rate, now)
        if told:
            now += told + 1e-9 * max(now, 1.0)
            assert bucket.take(rate, now) == 0.0


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_deadlines() -> None:
    assert timeout_s({}, 30_000) == (30.0, False)
    assert timeout_s({b"x-request-timeout-ms": b"250"}, 30_000) == (0.25, True)
    assert timeout_s({b"x-request-timeout-ms": b"60000"}, 30_000) == (30.0, False)


@given(st.binary(max_size=12))
@example(b"0")
@example(b"-1")
@example("\u0663".encode())
def test_a_deadline_is_a_number_or_refused(given_: bytes) -> None:
    headers = {b"x-request-timeout-ms": given_}
    if re.fullmatch(rb"[0-9]{1,9}", given_) and int(given_):
        assert 0 < timeout_s(headers, 30_000)[0] <= 30
    else:
        with pytest.raises(Invalid):
            timeout_s(headers, 30_000)


# --- traces -------------------------------------------------------------------------------------------------------

digits = st.sampled_from("0123456789abcdef")
traceparents = st.builds(
    lambda *parts: "-".join(parts),
    st.text(digits, min_size=2, max_size=2), st.text(digits, min_size=32, max_size=32),
    st.text(digits, min_size=16, max_size=16), st.text(digits, min_size=2, max_size=2),
)  # fmt: skip


@given(traceparents)
@example("ff-" + "1" * 32 + "-" + "1" * 16 + "-01")
@example("00-" + "0" * 32 + "-" + "1" * 16 + "-01")
@example("00-" + "1" * 32 + "-" + "0" * 16 + "-01")
def test_a_trace_goes_on(text: str) -> None:
    version, trace, parent, flags = text.split("-")
    found = continued(text.encode(), random)
    if version == "ff" or not int(trace, 16) or not int(parent, 16):
        assert found is None
        return
    assert found is not None
    assert found.header == f"00-{trace}-{SPAN}-{int(flags, 16) & 1:02x}".encode()
    assert found.parent.decode() == parent


@given(traceparents, st.integers(0, 60), st.binary(min_size=1, max_size=2))
def test_what_is_no_traceparent_is_ignored(text: str, place: int, noise: bytes) -> None:
    """Anything between, or instead of, its characters makes it another thing; only later versions may say more."""
    given_ = text.encode()
    broken = given_[:place] + noise + given_[place:]
    if not (place >= len(given_) and noise.startswith(b"-") and not text.startswith("00")):
        assert continued(broken, random) is None
    assert continued(given_[:-1], random) is None
    if re.search(r"[a-f]", text):
        assert continued(text.upper().encode(), random) is None


def test_later_versions_may_say_more() -> None:
    known = "1" * 32 + "-" + "2" * 16 + "-01"
    assert continued(f"01-{known}-more".encode(), random) is not None
    assert continued(f"00-{known}-more".encode(), random) is None
    assert continued(f"01-{known}more".encode(), random) is None


def test_ids() -> None:
    naming = Naming(lambda: 1_700_000_000_000, random)
    found = naming.ids({b"x-request-id": b"mine"})
    assert (found.request, found.trace) == (b"mine", None)
    assert made_ms(found.prediction.decode()) == 1_700_000_000_000
    other = naming.ids({b"x-request-id": b"two\xff words"})
    assert other.request == other.prediction != found.prediction
    assert naming.ids({b"x-request-id": b"a" * 129}).request != b"a" * 129
    assert naming.ids({b"x-request-id": b"a\n"}).request != b"a\n"
    assert made_ms("no-id") is None
    assert len({naming.ids({}).prediction for _ in range(100)}) == 100
