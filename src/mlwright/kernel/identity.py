"""Who is calling, and what they may do. Deny by default; the services ask, never the faces."""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from mlwright.kernel.errors import Denied

DEFAULT_PROJECT = "default"


class Role(IntEnum):
    """What a principal may do in a project; each role includes the ones below it."""

    NONE = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3

    @classmethod
    def parse(cls, name: str) -> "Role":
        """The role called `name` (viewer, editor, admin). Raises KeyError for any other."""
        return {"viewer": cls.VIEWER, "editor": cls.EDITOR, "admin": cls.ADMIN}[name]


class Caller(msgspec.Struct, frozen=True):
    """The principal behind a request and its rights.

    Attributes:
        name: unique name of the user, service account or agent.
        everywhere: the role held in every project (ADMIN here is the server's administrator).
        roles: further roles by project name.
        project: the project meant when a request names none.
    """

    name: str
    everywhere: Role = Role.NONE
    roles: Mapping[str, Role] = msgspec.field(default_factory=dict)
    project: str = DEFAULT_PROJECT

    def role_in(self, project: str) -> Role:
        return max(self.everywhere, self.roles.get(project, Role.NONE))

    def may(self, project: str, role: Role) -> bool:
        return self.role_in(project) >= role

    def require(self, project: str, role: Role) -> None:
        """Raise Denied unless the caller holds at least `role` in `project`."""
        if self.may(project, role):
            return
        raise Denied(
            f"{self.name!r} needs the role {role.name.lower()} in project {project!r} "
            f"and holds {self.role_in(project).name.lower()}",
            hint=f"ask an admin for: mlwright roles grant {self.name} {role.name.lower()} --project {project}",
        )

    def require_server_admin(self) -> None:
        """Raise Denied unless the caller administers the whole server."""
        if self.everywhere < Role.ADMIN:
            raise Denied(f"{self.name!r} is not an administrator of this server")


#: The person at the machine: used when bound to loopback without authentication, and by the CLI on a data directory.
LOCAL = Caller("local", everywhere=Role.ADMIN)
