"""Wrong passwords have limits, and the limits lock out nobody who knows the right one."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlencode

import pytest

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.errors import TooManyAttempts, Unauthenticated, Unavailable
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.kernel.transaction import Tx
from mlwright.security import attempts as limits
from mlwright.security import secrets, service
from mlwright.security.attempts import PER_ACCOUNT, PER_ADDRESS, PER_PAIR, Attempts
from mlwright.security.authentication import Authentication
from mlwright.security.passwords import MOST_WAITING, PasswordChecks
from mlwright.security.secrets import hash_password
from mlwright.security.spec import PrincipalKind
from tests.unit.asgi import Answer, call

PASSWORD = "correct horse battery"
HOME, EVIL = "198.51.100.7", "203.0.113.66"


class Monotonic:
    """A clock in seconds that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_COST", 16)
    monkeypatch.setattr(secrets, "UNKNOWN_PASSWORD", secrets.UNKNOWN_PASSWORD.replace(f"${2**14}$", "$16$"))


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def attempts(monotonic: Monotonic) -> Attempts:
    return Attempts(monotonic)


def fail(attempts: Attempts, times: int, account: str = "ada", client: str = EVIL) -> int:
    """Try so often; returns how many tries were taken."""
    for number in range(times):
        try:
            attempts.begin(account, client)
        except TooManyAttempts:
            return number
    return times


# --- counting -----------------------------------------------------------------------------------------------------


def test_an_address_has_some_tries_at_an_account_and_later_more(attempts: Attempts, monotonic: Monotonic) -> None:
    assert fail(attempts, 50) == PER_PAIR.tries
    with pytest.raises(TooManyAttempts) as caught:
        attempts.begin("ada", EVIL)
    assert (caught.value.retry_after_s, caught.value.status, caught.value.code) == (30, 429, "too_many_attempts")
    assert "30 s" in caught.value.message
    monotonic.now += 29.5
    with pytest.raises(TooManyAttempts) as caught:
        attempts.begin("ada", EVIL)
    assert caught.value.retry_after_s == 1
    monotonic.now += 0.5
    assert fail(attempts, 2) == 1
    monotonic.now += 10 * PER_PAIR.every_s
    assert fail(attempts, 50) == PER_PAIR.tries


def test_others_are_not_meant(attempts: Attempts) -> None:
    fail(attempts, 50)
    assert fail(attempts, 1, client=HOME) == 1
    assert fail(attempts, 1, account="bob") == 1


def test_an_address_has_more_tries_over_all_accounts(attempts: Attempts, monotonic: Monotonic) -> None:
    assert sum(fail(attempts, 1, account=f"user{number}") for number in range(200)) == PER_ADDRESS.tries
    assert fail(attempts, 1, account="user0", client=HOME) == 1
    monotonic.now += PER_ADDRESS.every_s
    assert sum(fail(attempts, 1, account=f"later{number}") for number in range(200)) == 1


def test_many_addresses_have_one_try_each_at_an_account_under_attack(attempts: Attempts, monotonic: Monotonic) -> None:
    taken = sum(fail(attempts, 10, client=f"203.0.113.{number}") for number in range(20))
    assert PER_ACCOUNT.tries <= taken < PER_ACCOUNT.tries + 20
    assert fail(attempts, 5, client="203.0.113.250") == 1
    assert fail(attempts, 1, client=HOME) == 1, "the owner, at the first try"
    attempts.succeeded("ada", HOME)
    assert fail(attempts, 1, client=HOME) == 1
    monotonic.now += PER_ACCOUNT.every_s * 200
    assert fail(attempts, 5, client="203.0.113.250") == 5


def test_success_and_tries_not_made_do_not_count(attempts: Attempts) -> None:
    for _ in range(300):
        attempts.begin("ada", HOME)
        attempts.succeeded("ada", HOME)
    for _ in range(300):
        attempts.begin("bob", HOME)
        attempts.not_tried("bob", HOME)
    assert fail(attempts, 50, client=HOME) == PER_PAIR.tries


def test_success_at_an_own_account_buys_no_tries_at_others(attempts: Attempts) -> None:
    taken = 0
    for number in range(200):
        attempts.begin("mallory", EVIL) if taken < PER_ADDRESS.tries - 1 else None
        attempts.succeeded("mallory", EVIL) if taken < PER_ADDRESS.tries - 1 else None
        taken += fail(attempts, 1, account=f"user{number}")
    assert taken == PER_ADDRESS.tries


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", "198.51.100.7", True),
        ("198.51.100.7", "198.51.100.8", False),
        ("", "", True),
        ("nonsense", "nonsense", True),
        ("::1", "::2", True),
    ],
)
def test_networks_of_one_customer_are_one_address(attempts: Attempts, one: str, other: str, same: bool) -> None:
    fail(attempts, 50, client=one)
    assert fail(attempts, 1, client=other) == (0 if same else 1)


def test_memory_has_a_limit(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_REMEMBERED", 100)
    for number in range(1_000):
        fail(attempts, 1, account=f"user{number}" * 1_000, client=f"10.0.{number // 250}.{number % 250}")
    for spent in (attempts._pairs, attempts._addresses, attempts._accounts, attempts._guessing):
        assert len(spent._until_s) == 100
        assert {len(key) for key in spent._until_s} == {16}


def test_odd_names_are_counted_too(attempts: Attempts) -> None:
    assert fail(attempts, 50, account="\ud800\0 日本") == PER_PAIR.tries


# --- passwords ----------------------------------------------------------------------------------------------------


def people(tx: Tx) -> str:
    for name in ("ada", "bob"):
        service.create_principal(tx, LOCAL, name, PrincipalKind.USER, hash_password(PASSWORD), admin=name == "bob")
    return service.create_token(tx, LOCAL, "ada", "", None).secret


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(Settings(data=tmp_path, authentication=True))
    yield platform
    platform.close()


@pytest.fixture
def token(platform: Platform) -> str:
    return platform.database.write_now(people)


@pytest.fixture
def checks(platform: Platform, token: str, monotonic: Monotonic) -> PasswordChecks:
    return PasswordChecks(platform.database, monotonic)


def guess(checks: PasswordChecks, times: int, client: str = EVIL) -> None:
    for number in range(times):
        with pytest.raises((Unauthenticated, TooManyAttempts)):
            asyncio.run(checks.caller("ada", f"guess {number}", client))


def test_a_right_password_is_not_looked_at_after_too_many_wrong_ones(checks: PasswordChecks) -> None:
    guess(checks, PER_PAIR.tries)
    with pytest.raises(TooManyAttempts):
        asyncio.run(checks.caller("ada", PASSWORD, EVIL))
    assert asyncio.run(checks.caller("ada", PASSWORD, HOME)).name == "ada"


def test_who_was_right_before_is_let_in_from_anywhere_whatever_others_do(checks: PasswordChecks) -> None:
    asyncio.run(checks.caller("ada", PASSWORD, HOME))
    for client in (EVIL, HOME):
        guess(checks, 60, client)
        assert asyncio.run(checks.caller("ada", PASSWORD, client)).name == "ada"
    with pytest.raises(TooManyAttempts):
        asyncio.run(checks.caller("ada", "another guess", EVIL))


def test_an_old_password_is_worth_a_guess_only(checks: PasswordChecks, platform: Platform) -> None:
    asyncio.run(checks.caller("ada", PASSWORD, HOME))
    guess(checks, PER_PAIR.tries)
    new = hash_password("another password")
    platform.database.write_now(lambda tx: service.change_principal(tx, LOCAL, "ada", password=new))
    with pytest.raises(Unauthenticated):
        asyncio.run(checks.caller("ada", PASSWORD, EVIL))
    with pytest.raises(TooManyAttempts):
        asyncio.run(checks.caller("ada", PASSWORD, EVIL))


def test_wrong_passwords_are_in_the_log_without_the_password(
    checks: PasswordChecks, caplog: pytest.LogCaptureFixture
) -> None:
    guess(checks, 12)
    with pytest.raises(Unauthenticated):
        asyncio.run(checks.caller("x\n" * 200, "guess", ""))
    texts = [each.getMessage() for each in caplog.records]
    assert texts[:-1] == ["a wrong password for 'ada' from 203.0.113.66"] * PER_PAIR.tries
    assert texts[-1].endswith("from an unknown address")
    assert len(texts[-1]) < 300
    assert "\n" not in texts[-1]
    assert "guess" not in str(texts)


def test_names_that_do_not_exist_are_limited_alike(checks: PasswordChecks) -> None:
    for number in range(PER_PAIR.tries):
        with pytest.raises(Unauthenticated):
            asyncio.run(checks.caller("nobody", f"guess {number}", EVIL))
    with pytest.raises(TooManyAttempts):
        asyncio.run(checks.caller("nobody", "guess", EVIL))


def test_many_programs_of_one_user_may_begin_at_once(checks: PasswordChecks) -> None:
    async def story() -> list[Caller]:
        return list(await asyncio.gather(*(checks.caller("ada", PASSWORD, HOME) for _ in range(200))))

    assert {each.name for each in asyncio.run(story())} == {"ada"}


def test_a_flood_does_not_make_a_known_user_wait_outside(checks: PasswordChecks) -> None:
    asyncio.run(checks.caller("ada", PASSWORD, HOME))
    begin, right = threading.Event(), service.caller_by_password

    def slow(tx: Tx, name: str, password: str) -> Caller:
        begin.wait(10)
        return right(tx, name, password)

    async def story() -> list[object]:
        flood = [checks.caller(f"user{n}", "guess", f"10.0.0.{n}") for n in range(MOST_WAITING + 1)]
        tasks = [asyncio.create_task(each) for each in [*flood, checks.caller("ada", PASSWORD, HOME)]]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        begin.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    with patch.object(service, "caller_by_password", slow):
        ends = asyncio.run(story())
    assert [type(each) for each in ends] == [Unauthenticated] * MOST_WAITING + [Unavailable, Caller]


def test_right_passwords_are_remembered_within_limits(checks: PasswordChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlwright.security.passwords.MOST_REMEMBERED", 1)
    for name in ("ada", "bob", "ada"):
        asyncio.run(checks.caller(name, PASSWORD, HOME))
    assert len(checks._right) == 1
    assert all(PASSWORD.encode() not in each for each in checks._right)


# --- requests -----------------------------------------------------------------------------------------------------


def test_tokens_and_sessions_go_on_while_passwords_are_refused(
    platform: Platform, token: str, monotonic: Monotonic
) -> None:
    import base64

    authentication = Authentication(platform.database, "local", monotonic)

    def ask(header: bytes, value: str) -> Caller:
        return asyncio.run(authentication({header: value.encode()}, EVIL))

    def basic(password: str) -> str:
        return f"Basic {base64.b64encode(f'ada:{password}'.encode()).decode()}"

    for number in range(PER_PAIR.tries):
        with pytest.raises(Unauthenticated):
            ask(b"authorization", basic(f"guess {number}"))
    with pytest.raises(TooManyAttempts):
        ask(b"authorization", basic(PASSWORD))
    assert ask(b"authorization", f"Bearer {token}").name == "ada"
    assert ask(b"authorization", basic(token)).name == "ada"
    assert ask(b"cookie", f"mlwright_session={token}").name == "ada"


def log_in(platform: Platform, password: str, **headers: str) -> Answer:
    form = urlencode({"name": "ada", "password": password, "next": "/"}).encode()
    return call(platform.router(), "POST", "/login", form, headers=headers, caller=Caller("anonymous"))


def test_the_page_says_how_long_to_wait(platform: Platform, token: str) -> None:
    for number in range(PER_PAIR.tries):
        assert log_in(platform, f"guess {number}").status == 401
    answer = log_in(platform, PASSWORD)
    assert (answer.status, answer.headers["retry-after"]) == (429, "30")
    assert b"Try again in 30 s" in answer.body
    assert "請在 30 秒後再試" in log_in(platform, PASSWORD, **{"accept-language": "zh-TW"}).body.decode()
    assert log_in(platform, token).status == 303
