"""The words of identity. Times are Unix milliseconds."""

import re
from enum import Enum
from typing import Annotated, Literal

import msgspec

from mlwright.kernel.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}\Z")
MIN_PASSWORD_LENGTH = 12
MAX_PASSWORD_LENGTH = 1_000
MAX_DESCRIPTION_LENGTH = 500
MAX_LIFETIME_MS = 100 * 366 * 86_400_000
ROLES = ("viewer", "editor", "admin")


class PrincipalKind(Enum):
    """Who a principal is: a person, a program, or an LLM agent."""

    USER = "user"
    SERVICE = "service"
    AGENT = "agent"


class Principal(msgspec.Struct, frozen=True):
    """Someone or something that can act. `admin` means: administrator of the whole server."""

    name: str
    kind: PrincipalKind
    admin: bool
    active: bool
    created_ms: int


class Token(msgspec.Struct, frozen=True):
    """An access token without its secret."""

    id: str
    principal: str
    description: str
    created_ms: int
    expires_ms: int | None


class NewToken(msgspec.Struct, frozen=True):
    """A token just made: the only time its secret is shown."""

    id: str
    secret: str


class ProjectSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant: the unit of access, quota and budget."""

    description: Annotated[str, msgspec.Meta(description="What the project is for.", max_length=1_000)] = ""
    signatures: Annotated[
        Literal["optional", "required"],
        msgspec.Meta(description="Whether only signed versions of its models are loaded, or unsigned ones too."),
    ] = "optional"


class Project(msgspec.Struct, frozen=True):
    """A project in short, as lists show it."""

    name: str
    description: str
    created_ms: int


class Binding(msgspec.Struct, frozen=True):
    """A role that a principal holds in a project."""

    project: str
    principal: str
    role: str


def check_principal_name(name: str) -> None:
    if not _NAME.match(name):
        raise Invalid(
            f"{name!r} cannot be the name of a principal",
            path="name",
            hint="use up to 100 letters, digits and . _ @ -, beginning with a letter or digit",
        )


def check_password(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH:
        raise Invalid(f"A password needs at least {MIN_PASSWORD_LENGTH} characters", path="password")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise Invalid(f"A password has at most {MAX_PASSWORD_LENGTH} characters", path="password")
