"""Commands of identity: users, tokens, projects, roles."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import AlreadyExists, Invalid, NotFound
from mlwright.security.spec import check_principal_name

_DATABASE = "mlwright.database"
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _name_database(context: click.Context, parameter: click.Parameter, value: str) -> None:
    context.meta[_DATABASE] = value


#: For commands that one needs before a first server can run.
database_option: Callable[[Any], Any] = click.option(
    "--database",
    default="",
    expose_value=False,
    callback=_name_database,
    help="Work on the database at this URL, without a server.",
)


def named_database() -> str:
    """The URL given with --database to the command that runs; empty when there is none."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(_DATABASE, "")) if context is not None else ""


@click.group()
def users() -> None:
    """People, service accounts and agents."""


_password = click.option(
    "--password", envvar="MLWRIGHT_PASSWORD", help="Asked for if not given [env: MLWRIGHT_PASSWORD]."
)
_password_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


def _given_password(password: str | None, from_stdin: bool) -> str | None:
    """The password of the options; None when it is to be asked for. Raises Invalid for two."""
    if not from_stdin:
        return password
    if password is not None:
        raise Invalid(
            "the password is given twice",
            path="--password-stdin",
            hint="leave out --password-stdin, or --password and MLWRIGHT_PASSWORD",
        )
    return sys.stdin.readline().rstrip("\r\n")


def _ask_password() -> str:
    """The password, typed twice. Raises Invalid where nobody can type."""
    if not _has_terminal():
        raise Invalid(
            "a password is needed, and there is no terminal to ask for it",
            path="--password",
            hint="set MLWRIGHT_PASSWORD, or pipe it in with --password-stdin",
        )
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text


def _is_known(client: Client, name: str) -> bool:
    return any(each["name"] == name for each in client.get("/v1/principals"))


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return sys.stdin.isatty()
    return True


@contextmanager
def _known_principal(where: str) -> Iterator[None]:
    """Say for an unknown name where it was given, and how to find those that are known. Raises NotFound."""
    try:
        yield
    except NotFound as error:
        if "principal" not in error.message:
            raise
        raise NotFound(error.message, path=where, hint="see: mlwright users list") from error


@users.command("list")
@with_client
@output_option
def list_users(client: Client, output: str) -> None:
    """List all principals."""
    show(client.get("/v1/principals"), output, ["name", "kind", "admin", "active"])


@users.command("create")
@click.argument("name")
@click.option("--kind", type=click.Choice(["user", "service", "agent"]), default="user", show_default=True)
@click.option("--admin", is_flag=True, help="Make it an administrator of the whole server.")
@_password
@_password_stdin
@database_option
@with_client
@output_option
def create_user(
    client: Client, name: str, kind: str, admin: bool, password: str | None, password_stdin: bool, output: str
) -> None:
    """Create a principal. Users get a password, services and agents get tokens."""
    check_principal_name(name)
    password = _given_password(password, password_stdin)
    if password is None and kind == "user":
        if _is_known(client, name):
            raise AlreadyExists(f"there is a principal {name!r} already", path="NAME", hint="see: mlwright users list")
        password = _ask_password()
    body = {"name": name, "kind": kind, "admin": admin, "password": password or ""}
    show(client.post("/v1/principals", body), output)


@users.command("password")
@click.argument("name")
@_password
@_password_stdin
@with_client
def password(client: Client, name: str, password: str | None, password_stdin: bool) -> None:
    """Set a user's password."""
    check_principal_name(name)
    given = _given_password(password, password_stdin)
    with _known_principal("NAME"):
        if given is None:
            if not _is_known(client, name):
                raise NotFound(f"There is no principal {name!r}")
            given = _ask_password()
        client.patch(f"/v1/principals/{name}", {"password": given})
    click.echo(f"password of {name} changed")


@users.command("disable")
@click.argument("name")
@with_client
def disable(client: Client, name: str) -> None:
    """Keep a principal out, without forgetting it."""
    with _known_principal("NAME"):
        client.patch(f"/v1/principals/{name}", {"active": False})
    click.echo(f"{name} disabled")


@users.command("enable")
@click.argument("name")
@with_client
def enable(client: Client, name: str) -> None:
    """Let a disabled principal in again."""
    with _known_principal("NAME"):
        client.patch(f"/v1/principals/{name}", {"active": True})
    click.echo(f"{name} enabled")


@click.group()
def tokens() -> None:
    """Access tokens, for MLFLOW_TRACKING_TOKEN and scripts."""


@tokens.command("list")
@click.option("--user", help="Whose tokens; your own when not given.")
@with_client
@output_option
def list_tokens(client: Client, user: str | None, output: str) -> None:
    """List tokens. Their secrets cannot be shown again."""
    columns = ["id", "principal", "description", "created_ms", "expires_ms"]
    show(client.get("/v1/tokens", principal=user), output, columns)


@tokens.command("create")
@click.option("--user", default="", help="For whom; yourself when not given.")
@click.option("--description", default="", help="What it is for.")
@click.option("--expires", default="", help="Lifetime such as 12h or 90d; for ever when not given.")
@database_option
@with_client
@output_option
def create_token(client: Client, user: str, description: str, expires: str, output: str) -> None:
    """Create a token and print its secret, this once."""
    body: dict[str, Any] = {"principal": user, "description": description, "lifetime_ms": _lifetime_ms(expires)}
    with _known_principal("--user"):
        show(client.post("/v1/tokens", body), output)


@tokens.command("revoke")
@click.argument("token_id")
@with_client
def revoke_token(client: Client, token_id: str) -> None:
    """End a token."""
    client.delete(f"/v1/tokens/{token_id}")
    click.echo(f"token {token_id} revoked")


def _lifetime_ms(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise Invalid(f"{text!r} is not a lifetime", path="--expires", hint="use for example 30m, 12h or 90d")
    return int(match[1]) * _UNITS_MS[match[2]]


@click.group()
def projects() -> None:
    """Projects: the unit of access."""


@projects.command("list")
@with_client
@output_option
def list_projects(client: Client, output: str) -> None:
    """List the projects you may see."""
    show(client.get("/v1/projects"), output, ["name", "description"])


@projects.command("create")
@click.argument("name")
@click.option("--description", default="")
@with_client
@output_option
def create_project(client: Client, name: str, description: str, output: str) -> None:
    """Create a project."""
    show(client.post("/v1/projects", {"name": name, "description": description}), output)


@click.group()
def roles() -> None:
    """Who may do what in a project: viewer, editor, admin."""


@roles.command("list")
@click.option("--project", default="default", show_default=True)
@with_client
@output_option
def list_roles(client: Client, project: str, output: str) -> None:
    """List the roles in a project."""
    show(client.get(f"/v1/projects/{project}/roles"), output, ["principal", "role"])


@roles.command("grant")
@click.argument("principal")
@click.argument("role", type=click.Choice(["viewer", "editor", "admin"]))
@click.option("--project", default="default", show_default=True)
@with_client
def grant(client: Client, principal: str, role: str, project: str) -> None:
    """Give a principal a role in a project."""
    with _known_principal("PRINCIPAL"):
        client.post(f"/v1/projects/{project}/roles", {"principal": principal, "role": role})
    click.echo(f"{principal} is {role} in {project}")


@roles.command("revoke")
@click.argument("principal")
@click.option("--project", default="default", show_default=True)
@with_client
def revoke(client: Client, principal: str, project: str) -> None:
    """Take a principal's role in a project away."""
    client.delete(f"/v1/projects/{project}/roles/{principal}")
    click.echo(f"{principal} has no role in {project} any more")
