"""The verbs of identity: principals, tokens, roles, and finding out who is calling."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from mlwright.kernel import store
from mlwright.kernel.errors import AlreadyExists, Conflict, Invalid, NotFound, Unauthenticated
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.security import secrets, spec
from mlwright.security.secrets import PasswordHash
from mlwright.security.spec import Binding, NewToken, Principal, PrincipalKind, Token
from mlwright.security.tables import principals, role_bindings, tokens

#: Description of the tokens behind browser sessions.
SESSION = "browser session"
#: Actors that are nobody's account.
_RESERVED = {"local", "anonymous", "system"}

_principal = Query(select(*principals.c).where(principals.c.name == bindparam("name")))
_principals = Query(select(*principals.c).order_by(principals.c.name))
_insert_principal = Query(insert(principals).values({column.name: bindparam(column.name) for column in principals.c}))
_update_principal = Query(
    update(principals)
    .where(principals.c.name == bindparam("name_"))
    .values(password=bindparam("new_password"), admin=bindparam("new_admin"), active=bindparam("new_active"))
)
_other_admins = Query(
    select(principals.c.name).where(
        principals.c.admin == 1, principals.c.active == 1, principals.c.name != bindparam("name")
    )
)
_token = Query(select(*tokens.c).where(tokens.c.id == bindparam("id")))
_tokens_of = Query(select(*tokens.c).where(tokens.c.principal == bindparam("principal")).order_by(tokens.c.created_ms))
_insert_token = Query(insert(tokens).values({column.name: bindparam(column.name) for column in tokens.c}))
_delete_token = Query(delete(tokens).where(tokens.c.id == bindparam("id_")))
_delete_old_sessions = Query(
    delete(tokens).where(
        tokens.c.principal == bindparam("principal_"),
        tokens.c.description == SESSION,
        tokens.c.expires_ms <= bindparam("now_ms"),
    )
)
_delete_sessions = Query(
    delete(tokens).where(tokens.c.principal == bindparam("principal_"), tokens.c.description == SESSION)
)
_bindings_of = Query(
    select(role_bindings.c.project, role_bindings.c.role).where(role_bindings.c.principal == bindparam("principal"))
)
_bindings_in = Query(
    select(role_bindings.c.project, role_bindings.c.principal, role_bindings.c.role)
    .where(role_bindings.c.project == bindparam("project"))
    .order_by(role_bindings.c.principal)
)
_bind = Query(
    upsert(role_bindings)
    .values({column.name: bindparam(column.name) for column in role_bindings.c})
    .on_conflict_do_update(index_elements=["project", "principal"], set_={"role": upsert(role_bindings).excluded.role})
)
_unbind_all = Query(delete(role_bindings).where(role_bindings.c.project == bindparam("project_")))
_unbind = Query(
    delete(role_bindings).where(
        role_bindings.c.project == bindparam("project_"), role_bindings.c.principal == bindparam("principal_")
    )
)


# --- principals ---------------------------------------------------------------------------------------------------


def create_principal(
    tx: Tx,
    caller: Caller,
    name: str,
    kind: PrincipalKind,
    password: PasswordHash | None = None,
    *,
    admin: bool = False,
) -> Principal:
    """Create a user, service account or agent; only users have passwords. For administrators of the server."""
    caller.require_server_admin()
    spec.check_principal_name(name)
    if password is not None:
        _require_user(kind)
    if tx.one(_principal, {"name": name}) is not None or name.lower() in _RESERVED:
        raise AlreadyExists(f"There is a principal {name!r} already", path="name")
    row = {
        "name": name,
        "kind": kind.value,
        "password": password.text if password else None,
        "admin": int(admin),
        "active": 1,
        "created_ms": tx.now_ms(),
    }
    tx.run(_insert_principal, row)
    _emit(tx, caller, "", "principal.created", f"principal/{name}", {"kind": kind.value, "admin": admin})
    return get_principal(tx, name)


def get_principal(tx: Tx, name: str) -> Principal:
    """Raises NotFound."""
    return _as_principal(_row(tx, name))


def list_principals(tx: Tx, caller: Caller) -> list[Principal]:
    """All principals, by name. For administrators of the server."""
    caller.require_server_admin()
    return [_as_principal(row) for row in tx.all(_principals)]


def change_principal(
    tx: Tx,
    caller: Caller,
    name: str,
    *,
    password: PasswordHash | None = None,
    admin: bool | None = None,
    active: bool | None = None,
) -> Principal:
    """Change what is given. Everyone may change their own password; the rest is for administrators of the server.

    Another password ends the browser sessions that the old one began.
    """
    if caller.name != name or admin is not None or active is not None:
        caller.require_server_admin()
    row = _row(tx, name)
    before = _as_principal(row)
    if password is not None:
        _require_user(before.kind)
    stays_admin = (before.admin if admin is None else admin) and (before.active if active is None else active)
    if before.admin and before.active and not stays_admin and not tx.all(_other_admins, {"name": name}):
        raise Conflict(f"{name!r} is the last administrator", hint="make another one first")
    values = {
        "name_": name,
        "new_password": row[2] if password is None else password.text,
        "new_admin": int(before.admin if admin is None else admin),
        "new_active": int(before.active if active is None else active),
    }
    tx.run(_update_principal, values)
    if password is not None:
        tx.run(_delete_sessions, {"principal_": name})
    after = get_principal(tx, name)
    data = {"before": _changing(before), "after": _changing(after), "password_changed": password is not None}
    _emit(tx, caller, "", "principal.changed", f"principal/{name}", data)
    return after


def _require_user(kind: PrincipalKind) -> None:
    if kind is not PrincipalKind.USER:
        raise Invalid(f"A {kind.value} has tokens, not a password", path="password")


def _changing(principal: Principal) -> dict[str, object]:
    return {"admin": principal.admin, "active": principal.active}


def _row(tx: Tx, name: str) -> tuple[Any, ...]:
    row = tx.one(_principal, {"name": name})
    if row is None:
        raise NotFound(f"There is no principal {name!r}", path="name")
    return row


def _as_principal(row: Sequence[Any]) -> Principal:
    name, kind, _, admin, active, created_ms = row
    return Principal(name, PrincipalKind(kind), bool(admin), bool(active), created_ms)


# --- tokens -------------------------------------------------------------------------------------------------------


def create_token(tx: Tx, caller: Caller, principal: str, description: str, lifetime_ms: int | None) -> NewToken:
    """A new token for oneself, or for anyone as administrator of the server."""
    if principal != caller.name:
        caller.require_server_admin()
    _row(tx, principal)
    if lifetime_ms is not None and not 0 < lifetime_ms <= spec.MAX_LIFETIME_MS:
        raise Invalid("A token's lifetime must be positive, and at most 100 years", path="lifetime_ms")
    if len(description) > spec.MAX_DESCRIPTION_LENGTH:
        limit = spec.MAX_DESCRIPTION_LENGTH
        raise Invalid(f"A token's description has at most {limit} characters", path="description")
    public, secret = secrets.new_token()
    now = tx.now_ms()
    row = {
        "id": public,
        "principal": principal,
        "digest": secrets.token_digest(secret),
        "description": description,
        "created_ms": now,
        "expires_ms": None if lifetime_ms is None else now + lifetime_ms,
    }
    tx.run(_insert_token, row)
    data = {"principal": principal, "description": description, "expires_ms": row["expires_ms"]}
    _emit(tx, caller, "", "token.created", f"token/{public}", data)
    return NewToken(public, secret)


def begin_session(tx: Tx, caller: Caller, lifetime_ms: int) -> NewToken:
    """A new token behind a browser session of the caller's; those of its sessions that have ended go away."""
    tx.run(_delete_old_sessions, {"principal_": caller.name, "now_ms": tx.now_ms()})
    return create_token(tx, caller, caller.name, SESSION, lifetime_ms)


def list_tokens(tx: Tx, caller: Caller, principal: str) -> list[Token]:
    """The tokens of oneself, or of anyone as administrator of the server."""
    if principal != caller.name:
        caller.require_server_admin()
    return [_as_token(row) for row in tx.all(_tokens_of, {"principal": principal})]


def revoke_token(tx: Tx, caller: Caller, token_id: str) -> None:
    """End a token of one's own, or any as administrator of the server. Raises NotFound."""
    row = tx.one(_token, {"id": token_id})
    if row is None or (row[1] != caller.name and caller.everywhere < Role.ADMIN):
        raise NotFound(f"There is no token {token_id!r}", path="id")
    tx.run(_delete_token, {"id_": token_id})
    _emit(tx, caller, "", "token.revoked", f"token/{token_id}", {"principal": row[1]})


def end_session(tx: Tx, secret: str) -> None:
    """End the token behind a browser session; does nothing when it is gone, or the secret is not its own."""
    row = tx.one(_token, {"id": secrets.token_id(secret)})
    if row is None or row[2] != secrets.token_digest(secret):
        return
    tx.run(_delete_token, {"id_": row[0]})
    tx.emit(Draft(row[1], "", "security.token.revoked", f"token/{row[0]}", {"principal": row[1]}))


def _as_token(row: Sequence[Any]) -> Token:
    public, principal, _, description, created_ms, expires_ms = row
    return Token(public, principal, description, created_ms, expires_ms)


# --- roles --------------------------------------------------------------------------------------------------------


def grant(tx: Tx, caller: Caller, project: str, principal: str, role: str) -> Binding:
    """Give a principal a role in a project, instead of the one it held. For admins of the project."""
    caller.require(project, Role.ADMIN)
    store.require_project(tx, project)
    _row(tx, principal)
    if role not in spec.ROLES:
        raise Invalid(f"{role!r} is not a role", path="role", hint=f"use one of {', '.join(spec.ROLES)}")
    before = dict(tx.all(_bindings_of, {"principal": principal})).get(project)
    values = {"project": project, "principal": principal, "role": role, "created_ms": tx.now_ms()}
    tx.run(_bind, values)
    data = {"before": {"role": before}, "after": {"role": role}}
    _emit(tx, caller, project, "role.granted", f"principal/{principal}", data)
    return Binding(project, principal, role)


def requires_signatures(tx: Tx, project: str) -> bool:
    """Whether only signed versions of the project's models may be loaded."""
    spec = store.project_spec(tx, project) or {}
    return spec.get("signatures") == "required"


def revoke(tx: Tx, caller: Caller, project: str, principal: str) -> None:
    """Take a principal's role in a project away. For admins of the project. Raises NotFound."""
    caller.require(project, Role.ADMIN)
    if not tx.run(_unbind, {"project_": project, "principal_": principal}):
        raise NotFound(f"{principal!r} holds no role in project {project!r}", path="principal")
    _emit(tx, caller, project, "role.revoked", f"principal/{principal}", {})


def forget_project(tx: Tx, project: str) -> None:
    """Take away every role in a project that is going."""
    tx.run(_unbind_all, {"project_": project})


def list_bindings(tx: Tx, caller: Caller, project: str) -> list[Binding]:
    """Who may do what in a project. For its admins."""
    caller.require(project, Role.ADMIN)
    return [Binding(*row) for row in tx.all(_bindings_in, {"project": project})]


# --- who is calling -----------------------------------------------------------------------------------------------


def caller_by_token(tx: Tx, secret: str) -> Caller:
    """The caller that a token stands for. Raises Unauthenticated when it is wrong, expired or revoked."""
    row = tx.one(_token, {"id": secrets.token_id(secret)})
    if row is None or row[2] != secrets.token_digest(secret):
        raise Unauthenticated("The token is not valid", hint="make a new one with: mlwright tokens create")
    if row[5] is not None and row[5] <= tx.now_ms():
        raise Unauthenticated("The token has expired", hint="make a new one with: mlwright tokens create")
    return caller_by_name(tx, row[1])


def caller_by_password(tx: Tx, name: str, password: str) -> Caller:
    """The caller that a name and password stand for. Raises Unauthenticated, with one text for all reasons."""
    row = tx.one(_principal, {"name": name})
    stored = row[2] if row is not None and row[2] else secrets.UNKNOWN_PASSWORD
    if not secrets.password_matches(password, stored):
        raise Unauthenticated("The name or the password is wrong")
    return caller_by_name(tx, name)


def caller_by_name(tx: Tx, name: str) -> Caller:
    """The principal with its roles. Raises Unauthenticated when it is disabled or gone."""
    row = tx.one(_principal, {"name": name})
    if row is None or not row[4]:
        raise Unauthenticated(f"The account {name!r} is disabled")
    roles = {project: Role.parse(role) for project, role in tx.all(_bindings_of, {"principal": name})}
    return Caller(name, Role.ADMIN if row[3] else Role.NONE, roles)


def standing_now(tx: Tx, name: str) -> Caller:
    """Somebody who is not calling, with the roles of now: none when the account is disabled or gone."""
    if name == LOCAL.name:
        return LOCAL
    try:
        return caller_by_name(tx, name)
    except Unauthenticated:
        return Caller(name)


def stored_password(tx: Tx, name: str) -> str:
    """The hash of a principal's password, to see whether it has changed; empty when there is none."""
    row = tx.one(_principal, {"name": name})
    return row[2] or "" if row is not None else ""


def any_admin(tx: Tx) -> bool:
    """Whether anyone could administer a server with authentication."""
    return bool(tx.all(_other_admins, {"name": ""}))


def _emit(tx: Tx, caller: Caller, project: str, what: str, subject: str, data: dict[str, object]) -> None:
    tx.emit(Draft(caller.name, project, f"security.{what}", subject, data))
