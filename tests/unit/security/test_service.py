"""The verbs of identity, and finding out who is calling."""

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from mlwright.app.wiring import prepare
from mlwright.kernel import events
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.engine import open_engine
from mlwright.kernel.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    Invalid,
    MlwrightError,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.security import projects, secrets, service
from mlwright.security.authentication import REMEMBER_S, SECURE_COOKIE, SESSION_COOKIE, Authentication
from mlwright.security.passwords import MOST_WAITING, NewPasswords
from mlwright.security.secrets import hash_password
from mlwright.security.spec import NewToken, PrincipalKind

PASSWORD = "correct horse battery"
PROJECT = projects.kind()
UNPATCHED_COST = secrets._COST


class Security:
    """Every verb in a transaction of its own, as one caller."""

    def __init__(self, database: Database, caller: Caller = LOCAL) -> None:
        self.database, self.caller = database, caller

    def __call__(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self.database.write_now(lambda tx: verb(tx, self.caller, *arguments, **named))

    def find(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        return self.database.read_now(lambda tx: verb(tx, *arguments))

    def as_(self, name: str) -> "Security":
        return Security(self.database, self.find(service.caller_by_name, name))

    def subjects(self) -> list[tuple[str, str]]:
        found = self.database.read_now(lambda tx: events.read(tx, 1, 1_000))
        return [(each.type, each.subject) for each in found]


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are slow to hash on purpose; here only that they are hashed matters."""
    monkeypatch.setattr(secrets, "_COST", 16)
    monkeypatch.setattr(secrets, "UNKNOWN_PASSWORD", secrets.UNKNOWN_PASSWORD.replace(f"${2**14}$", "$16$"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    prepare(engine)
    database = Database(engine, ManualClock())
    database.write_now(lambda tx: projects.create_default(tx, PROJECT))
    yield database
    database.close()


@pytest.fixture
def security(database: Database) -> Security:
    security = Security(database)
    security(service.create_principal, "root", PrincipalKind.USER, hash_password(PASSWORD), admin=True)
    security(service.create_principal, "ada", PrincipalKind.USER, hash_password(PASSWORD))
    security(service.create_principal, "robot", PrincipalKind.SERVICE)
    return security


# --- principals --------------------------------------------------------------------------------------------------


def test_principals_are_listed_by_name(security: Security) -> None:
    found = security(service.list_principals)
    assert [(each.name, each.kind.value, each.admin, each.active) for each in found] == [
        ("ada", "user", False, True), ("robot", "service", False, True), ("root", "user", True, True)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a" * 101, "a/b", "a\n", "ä", "a:b"])
def test_names_of_principals_are_simple(security: Security, name: str) -> None:
    with pytest.raises(Invalid):
        security(service.create_principal, name, PrincipalKind.USER)


@pytest.mark.parametrize("name", ["ada", "local", "anonymous"])
def test_some_names_are_taken(security: Security, name: str) -> None:
    with pytest.raises(AlreadyExists):
        security(service.create_principal, name, PrincipalKind.USER)


def test_passwords_are_long_and_for_people(security: Security) -> None:
    passwords = NewPasswords()
    for text, complaint in (("short", "at least 12"), ("", "at least 12"), ("x" * 1_001, "at most 1000")):
        with pytest.raises(Invalid, match=complaint):
            asyncio.run(passwords.hash(text))
    with pytest.raises(Invalid, match="not a password"):
        security(service.create_principal, "x", PrincipalKind.SERVICE, hash_password(PASSWORD))
    with pytest.raises(Invalid, match="not a password"):
        security(service.change_principal, "robot", password=hash_password(PASSWORD))


def test_the_last_administrator_stays(security: Security) -> None:
    for change in ({"admin": False}, {"active": False}, {"admin": False, "active": True}):
        with pytest.raises(Conflict, match="last administrator"):
            security(service.change_principal, "root", **change)
    security(service.change_principal, "ada", admin=True)
    security(service.change_principal, "root", active=False)
    with pytest.raises(Conflict):
        security(service.change_principal, "ada", admin=False)
    assert security.find(service.any_admin)


def test_a_password_can_be_changed_by_its_owner(security: Security) -> None:
    security.as_("ada")(service.change_principal, "ada", password=hash_password("another password"))
    assert security.find(service.caller_by_password, "ada", "another password").name == "ada"
    with pytest.raises(Unauthenticated):
        security.find(service.caller_by_password, "ada", PASSWORD)


def test_secrets_are_neither_stored_nor_told(security: Security, tmp_path: Path) -> None:
    token: NewToken = security(service.create_token, "ada", "x", None)
    security(service.change_principal, "ada", password=hash_password("another password"))
    log = security.database.read_now(lambda tx: events.read(tx, 0, 100))
    text = msgspec.json.encode(log).decode()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (PASSWORD, "another password", token.secret, token.secret.split("_", 2)[2]):
        assert secret not in text
        assert secret.encode() not in stored


def test_changes_are_events(security: Security) -> None:
    start = len(security.subjects())
    security(service.change_principal, "ada", admin=True)
    token = security(service.create_token, "ada", "x", None)
    security(service.revoke_token, token.id)
    security(service.grant, "default", "ada", "editor")
    security(service.revoke, "default", "ada")
    assert security.subjects()[start:] == [
        ("security.principal.changed", "principal/ada"), ("security.token.created", f"token/{token.id}"),
        ("security.token.revoked", f"token/{token.id}"), ("security.role.granted", "principal/ada"),
        ("security.role.revoked", "principal/ada"),
    ]  # fmt: skip


# --- roles -------------------------------------------------------------------------------------------------------


def test_a_role_is_replaced_and_taken(security: Security) -> None:
    for role in ("viewer", "admin", "editor"):
        security(service.grant, "default", "ada", role)
        assert security.find(service.caller_by_name, "ada").roles == {"default": Role.parse(role)}
    security(service.revoke, "default", "ada")
    assert security.find(service.caller_by_name, "ada").roles == {}
    with pytest.raises(NotFound):
        security(service.revoke, "default", "ada")


@pytest.mark.parametrize(
    ("project", "principal", "role", "error"),
    [
        ("none", "ada", "editor", NotFound),
        ("default", "none", "editor", NotFound),
        ("default", "ada", "owner", Invalid),
    ],
)
def test_roles_are_for_what_exists(
    security: Security, project: str, principal: str, role: str, error: type[MlwrightError]
) -> None:
    with pytest.raises(error):
        security(service.grant, project, principal, role)


def test_roles_include_the_ones_below_and_stay_in_their_project() -> None:
    caller = Caller("x", roles={"a": Role.EDITOR})
    assert [caller.may("a", role) for role in Role] == [True, True, True, False]
    assert [caller.may("b", role) for role in Role] == [True, False, False, False]
    with pytest.raises(Denied, match="needs the role admin in project 'a' and holds editor") as caught:
        caller.require("a", Role.ADMIN)
    assert "mlwright roles grant x admin --project a" in caught.value.hint
    everywhere = Caller("x", everywhere=Role.EDITOR, roles={"a": Role.ADMIN, "b": Role.VIEWER})
    assert (everywhere.role_in("a"), everywhere.role_in("b")) == (Role.ADMIN, Role.EDITOR)


ADMIN_OF_ALL: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (service.create_principal, ("new", PrincipalKind.USER), {}),
    (service.list_principals, (), {}),
    (service.change_principal, ("root",), {"password": hash_password("a long password")}),
    (service.change_principal, ("ada",), {"admin": True}),
    (service.change_principal, ("ada",), {"active": True}),
    (service.create_token, ("root", "", None), {}),
    (service.list_tokens, ("root",), {}),
    (projects.create, (PROJECT, "new"), {}),
]


@pytest.mark.parametrize(("verb", "arguments", "named"), ADMIN_OF_ALL)
def test_only_administrators_of_the_server_may(
    security: Security, verb: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    security(service.grant, "default", "ada", "admin")
    with pytest.raises(Denied, match="not an administrator"):
        security.as_("ada")(verb, *arguments, **named)


def test_admins_of_a_project_manage_its_roles(security: Security) -> None:
    security(projects.create, PROJECT, "vision")
    for role, allowed in (("viewer", False), ("editor", False), ("admin", True)):
        security(service.grant, "vision", "ada", role)
        mine = security.as_("ada")
        calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
            (service.grant, ("vision", "robot", "viewer")), (service.list_bindings, ("vision",)),
            (service.revoke, ("vision", "robot")),
        ]  # fmt: skip
        for verb, arguments in calls:
            if allowed:
                mine(verb, *arguments)
            else:
                with pytest.raises(Denied):
                    mine(verb, *arguments)
            with pytest.raises(Denied):
                mine(verb, "default", *arguments[1:])
    assert [each.name for each in security.as_("ada")(projects.list_all, PROJECT)] == ["vision"]


# --- tokens ------------------------------------------------------------------------------------------------------


def test_a_token_stands_for_its_principal_until_it_ends(security: Security) -> None:
    clock = security.database.clock
    assert isinstance(clock, ManualClock)
    token: NewToken = security(service.create_token, "robot", "nightly", 1_000)
    assert security.find(service.caller_by_token, token.secret).name == "robot"
    clock.advance(999)
    assert security.find(service.caller_by_token, token.secret).name == "robot"
    clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        security.find(service.caller_by_token, token.secret)


def test_a_revoked_token_is_worth_nothing(security: Security) -> None:
    token: NewToken = security(service.create_token, "robot", "", None)
    other: NewToken = security(service.create_token, "robot", "", None)
    security(service.revoke_token, token.id)
    with pytest.raises(Unauthenticated, match="not valid"):
        security.find(service.caller_by_token, token.secret)
    assert security.find(service.caller_by_token, other.secret).name == "robot"


@pytest.mark.parametrize(
    "change",
    [lambda s: s[:-1], lambda s: s + "x", lambda s: s[4:], lambda s: "", lambda s: "mlw__", lambda s: s.upper()],
)
def test_a_token_must_match_exactly(security: Security, change: Callable[[str], str]) -> None:
    token: NewToken = security(service.create_token, "robot", "", None)
    with pytest.raises(Unauthenticated):
        security.find(service.caller_by_token, change(token.secret))


def test_tokens_belong_to_their_principal(security: Security) -> None:
    mine = security.as_("ada")
    token: NewToken = mine(service.create_token, "ada", "laptop", None)
    foreign: NewToken = security(service.create_token, "robot", "", None)
    assert [each.id for each in mine(service.list_tokens, "ada")] == [token.id]
    for token_id in (foreign.id, "none"):
        with pytest.raises(NotFound):
            mine(service.revoke_token, token_id)
    mine(service.revoke_token, token.id)
    assert mine(service.list_tokens, "ada") == []
    with pytest.raises(Invalid, match="positive"):
        mine(service.create_token, "ada", "", 0)


def test_a_session_is_ended_only_with_its_secret(security: Security) -> None:
    token: NewToken = security(service.create_token, "ada", "browser session", None)
    guessed = f"mlw_{token.id}_guess"
    security.database.write_now(lambda tx: service.end_session(tx, guessed))
    assert security.find(service.caller_by_token, token.secret).name == "ada"
    security.database.write_now(lambda tx: service.end_session(tx, token.secret))
    with pytest.raises(Unauthenticated):
        security.find(service.caller_by_token, token.secret)
    security.database.write_now(lambda tx: service.end_session(tx, token.secret))


# --- passwords ---------------------------------------------------------------------------------------------------


def test_wrong_names_and_passwords_look_alike(security: Security) -> None:
    security(service.change_principal, "ada", active=True)
    found = set()
    for name, password in (
        ("ada", "wrong password"),
        ("nobody", PASSWORD),
        ("robot", ""),
        ("robot", PASSWORD),
        ("", ""),
    ):
        with pytest.raises(Unauthenticated) as caught:
            security.find(service.caller_by_password, name, password)
        found.add(caught.value.message)
    assert found == {"The name or the password is wrong"}


def test_a_disabled_principal_stays_out(security: Security) -> None:
    token: NewToken = security(service.create_token, "ada", "", None)
    security(service.change_principal, "ada", active=False)
    with pytest.raises(Unauthenticated, match="disabled"):
        security.find(service.caller_by_password, "ada", PASSWORD)
    with pytest.raises(Unauthenticated, match="disabled"):
        security.find(service.caller_by_token, token.secret)
    security(service.change_principal, "ada", active=True)
    assert security.find(service.caller_by_token, token.secret).name == "ada"


def test_guessing_a_password_is_slow() -> None:
    stored = secrets.UNKNOWN_PASSWORD.split("$")
    assert stored[0] == "scrypt"
    assert UNPATCHED_COST >= 2**14


def test_equal_passwords_have_different_hashes() -> None:
    one, two = hash_password("x").text, hash_password("x").text
    assert one != two
    assert secrets.password_matches("x", one)
    assert not secrets.password_matches("y", one)
    assert not secrets.password_matches("", secrets.UNKNOWN_PASSWORD)


# --- requests ----------------------------------------------------------------------------------------------------


class Monotonic:
    """A clock in seconds that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def authentication(security: Security, monotonic: Monotonic) -> Authentication:
    return Authentication(security.database, "local secret", monotonic)


def who(authentication: Authentication, **headers: str) -> Caller:
    encoded = {name.encode(): value.encode() for name, value in headers.items()}
    return asyncio.run(authentication(encoded))


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def test_callers_are_known_by_token_password_or_session(security: Security, authentication: Authentication) -> None:
    security(service.grant, "default", "ada", "editor")
    token: NewToken = security(service.create_token, "ada", "", None)
    ada = Caller("ada", Role.NONE, {"default": Role.EDITOR})
    for headers in (
        {"authorization": f"Bearer {token.secret}"},
        {"authorization": f"bearer   {token.secret}"},
        {"authorization": basic("ada", PASSWORD)},
        {"authorization": basic("anything", token.secret)},
        {"cookie": f"a=b; {SESSION_COOKIE}={token.secret}"},
        {"cookie": f'a={{"json": [1, "x"]}}; b; =c; ü="d;{SESSION_COOKIE}={token.secret};{SESSION_COOKIE}=later'},
        {"cookie": f"{SESSION_COOKIE}=nonsense; {SECURE_COOKIE}={token.secret}"},
        {"authorization": basic("ada", PASSWORD), "cookie": f"{SESSION_COOKIE}=nonsense"},
    ):
        assert who(authentication, **headers) == ada
    assert who(authentication, authorization="Bearer local secret") == LOCAL
    assert who(authentication, authorization=basic("root", PASSWORD)) == Caller("root", Role.ADMIN, {})


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer x"},
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"}, {"authorization": "Basic /////w=="}, {"authorization": "Digest x"},
        {"authorization": basic("ada", "wrong password")}, {"authorization": basic("local", "local secret")},
        {"cookie": "x"}, {"cookie": f"{SESSION_COOKIE}="}, {"cookie": f"{SESSION_COOKIE}=x"}, {"cookie": "[]()=;;"},
        {"cookie": f'{SESSION_COOKIE}="\\303"'},
    ],
)  # fmt: skip
def test_anyone_else_is_not_known(authentication: Authentication, headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        who(authentication, **headers)


def test_a_colon_may_be_in_a_password_and_any_letter(security: Security, authentication: Authentication) -> None:
    security(service.change_principal, "ada", password=hash_password("a:b:c:日本 and more"))
    assert who(authentication, authorization=basic("ada", "a:b:c:日本 and more")).name == "ada"


def test_a_credential_is_remembered_for_seconds_only(
    security: Security, authentication: Authentication, monotonic: Monotonic
) -> None:
    token: NewToken = security(service.create_token, "ada", "", None)
    header = f"Bearer {token.secret}"
    who(authentication, authorization=header)
    security(service.revoke_token, token.id)
    monotonic.now += REMEMBER_S - 0.1
    assert who(authentication, authorization=header).name == "ada"
    monotonic.now += 0.2
    with pytest.raises(Unauthenticated):
        who(authentication, authorization=header)


def test_over_tls_only_the_cookie_made_for_it_counts(security: Security, authentication: Authentication) -> None:
    token: NewToken = security(service.create_token, "ada", "", None)

    def ask(cookie: str) -> Caller:
        return asyncio.run(authentication({b"cookie": cookie.encode()}, secure=True))

    assert ask(f"{SESSION_COOKIE}=x; {SECURE_COOKIE}={token.secret}").name == "ada"
    with pytest.raises(Unauthenticated):
        ask(f"{SESSION_COOKIE}={token.secret}")


def test_refusals_are_not_remembered(security: Security, authentication: Authentication) -> None:
    wanted = basic("ada", "a new password")
    with pytest.raises(Unauthenticated):
        who(authentication, authorization=wanted)
    security(service.change_principal, "ada", password=hash_password("a new password"))
    assert who(authentication, authorization=wanted).name == "ada"


def test_guesses_wait_for_each_other_and_for_nobody_else(security: Security, authentication: Authentication) -> None:
    token: NewToken = security(service.create_token, "ada", "", None)
    begin, asked = threading.Event(), []

    def slow(tx: Any, name: str, password: str) -> Caller:
        asked.append(password)
        begin.wait(10)
        raise Unauthenticated("The name or the password is wrong")

    async def ask(header: str) -> Caller:
        return await authentication({b"authorization": header.encode()})

    async def story() -> list[Any]:
        guesses = [asyncio.create_task(ask(basic(f"ada{n}", "a guess"))) for n in range(MOST_WAITING + 5)]
        await asyncio.sleep(0)
        assert (await asyncio.wait_for(ask(f"Bearer {token.secret}"), 10)).name == "ada"
        assert (await asyncio.wait_for(ask(basic("ada", token.secret)), 10)).name == "ada"
        assert len(asked) <= 1
        begin.set()
        return await asyncio.gather(*guesses, return_exceptions=True)

    with patch.object(service, "caller_by_password", slow):
        ends = asyncio.run(story())
    assert [type(each) for each in ends] == [Unauthenticated] * MOST_WAITING + [Unavailable] * 5


def test_another_password_ends_browser_sessions_and_keeps_tokens(security: Security) -> None:
    session: NewToken = security(service.create_token, "ada", service.SESSION, 1_000)
    token: NewToken = security(service.create_token, "ada", "laptop", 1_000)
    security(service.change_principal, "ada", active=True)
    assert security.find(service.caller_by_token, session.secret).name == "ada"
    security.as_("ada")(service.change_principal, "ada", password=hash_password("a new password"))
    with pytest.raises(Unauthenticated):
        security.find(service.caller_by_token, session.secret)
    assert security.find(service.caller_by_token, token.secret).name == "ada"


def test_sessions_that_have_ended_go_away_with_the_next(security: Security) -> None:
    clock = security.database.clock
    assert isinstance(clock, ManualClock)
    mine = security.as_("ada")
    kept: NewToken = mine(service.create_token, "ada", "laptop", 1_000)
    security.as_("root")(service.begin_session, 1_000)
    for _ in range(3):
        mine(service.begin_session, 1_000)
    clock.advance(500)
    later: NewToken = mine(service.begin_session, 1_000)
    clock.advance(500)
    last: NewToken = mine(service.begin_session, 1_000)
    assert [each.id for each in mine(service.list_tokens, "ada")] == [kept.id, later.id, last.id]
    assert len(security(service.list_tokens, "root")) == 1


@pytest.mark.parametrize("name", ["local", "anonymous", "system", "System"])
def test_nobody_is_called_like_an_actor_of_the_server(security: Security, name: str) -> None:
    with pytest.raises(AlreadyExists):
        security(service.create_principal, name, PrincipalKind.USER, hash_password(PASSWORD))


@pytest.mark.parametrize(("description", "lifetime"), [("x" * 501, None), ("", 2**62), ("", 2**80), ("", 0)])
def test_tokens_have_limits(security: Security, description: str, lifetime: int | None) -> None:
    with pytest.raises(Invalid):
        security(service.create_token, "ada", description, lifetime)
