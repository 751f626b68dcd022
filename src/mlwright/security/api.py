"""REST operations of identity, under /v1."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.resources import Kind
from mlwright.security import projects, service
from mlwright.security.passwords import NewPasswords
from mlwright.security.spec import Binding, NewToken, Principal, PrincipalKind, Project, Token

_TAG = "security"
_PRINCIPAL = Parameter("principal", {"type": "string"}, "Whose tokens; your own when not given.")


class CreatePrincipal(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    kind: PrincipalKind = PrincipalKind.USER
    password: str = ""
    admin: bool = False


class ChangePrincipal(msgspec.Struct, forbid_unknown_fields=True):
    password: str | None = None
    admin: bool | None = None
    active: bool | None = None


class CreateToken(msgspec.Struct, forbid_unknown_fields=True):
    principal: str = ""
    description: str = ""
    lifetime_ms: int | None = None


class CreateProject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str = ""


class GrantRole(msgspec.Struct, forbid_unknown_fields=True):
    principal: str
    role: str


class SecurityApi:
    """Handlers; each is one request and one unit of work.

    Args:
        database: where principals and projects are kept.
        project: the kind of projects.
    """

    def __init__(self, database: Database, project: Kind) -> None:
        self._database = database
        self._kind = project
        self._passwords = NewPasswords()

    def operations(self) -> list[Operation]:
        return [
            Operation("GET", "/v1/me", self.me, "Who you are.", _TAG, None, dict[str, object]),
            Operation("GET", "/v1/principals", self.list, "All principals.", _TAG, None, list[Principal]),
            Operation(
                "POST", "/v1/principals", self.create, "Create a principal.", _TAG, CreatePrincipal, Principal, (), 201
            ),
            Operation(
                "PATCH", "/v1/principals/{name}", self.change, "Change a principal.", _TAG, ChangePrincipal, Principal
            ),
            Operation("GET", "/v1/tokens", self.list_tokens, "List tokens.", _TAG, None, list[Token], (_PRINCIPAL,)),
            Operation("POST", "/v1/tokens", self.create_token, "Create a token.", _TAG, CreateToken, NewToken, (), 201),
            Operation("DELETE", "/v1/tokens/{id}", self.revoke_token, "Revoke a token.", _TAG, status=204),
            Operation("GET", "/v1/projects", self.list_projects, "Projects you may see.", _TAG, None, list[Project]),
            Operation(
                "POST", "/v1/projects", self.create_project, "Create a project.", _TAG, CreateProject, Project, (), 201
            ),
            Operation(
                "GET", "/v1/projects/{project}/roles", self.list_roles, "Who may do what.", _TAG, None, list[Binding]
            ),
            Operation("POST", "/v1/projects/{project}/roles", self.grant, "Give a role.", _TAG, GrantRole, Binding),
            Operation(
                "DELETE", "/v1/projects/{project}/roles/{principal}", self.revoke, "Take a role.", _TAG, status=204
            ),
        ]

    async def me(self, request: Request) -> Response:
        caller = caller_of(request)
        roles = {project: role.name.lower() for project, role in caller.roles.items()}
        everywhere = caller.everywhere.name.lower()
        return json_response({"name": caller.name, "everywhere": everywhere, "roles": roles, "project": caller.project})

    async def list(self, request: Request) -> Response:
        caller = caller_of(request)
        return json_response(await self._database.read(lambda tx: service.list_principals(tx, caller)))

    async def create(self, request: Request) -> Response:
        body, caller = await read_json(request, CreatePrincipal), caller_of(request)
        caller.require_server_admin()  # before the slow hash
        password = await self._passwords.hash(body.password) if body.password else None
        found = await self._database.write(
            lambda tx: service.create_principal(tx, caller, body.name, body.kind, password, admin=body.admin)
        )
        return json_response(found, 201)

    async def change(self, request: Request) -> Response:
        body, caller, name = await read_json(request, ChangePrincipal), caller_of(request), request.path_params["name"]
        if caller.name != name:
            caller.require_server_admin()  # before the slow hash
        password = None if body.password is None else await self._passwords.hash(body.password)
        found = await self._database.write(
            lambda tx: service.change_principal(
                tx, caller, name, password=password, admin=body.admin, active=body.active
            )
        )
        return json_response(found)

    async def list_tokens(self, request: Request) -> Response:
        caller = caller_of(request)
        principal = request.query_params.get("principal") or caller.name
        return json_response(await self._database.read(lambda tx: service.list_tokens(tx, caller, principal)))

    async def create_token(self, request: Request) -> Response:
        body, caller = await read_json(request, CreateToken), caller_of(request)
        principal = body.principal or caller.name
        found = await self._database.write(
            lambda tx: service.create_token(tx, caller, principal, body.description, body.lifetime_ms)
        )
        return json_response(found, 201)

    async def revoke_token(self, request: Request) -> Response:
        caller, token_id = caller_of(request), request.path_params["id"]
        await self._database.write(lambda tx: service.revoke_token(tx, caller, token_id))
        return Response(status_code=204)

    async def list_projects(self, request: Request) -> Response:
        caller = caller_of(request)
        return json_response(await self._database.read(lambda tx: projects.list_all(tx, caller, self._kind)))

    async def create_project(self, request: Request) -> Response:
        body, caller = await read_json(request, CreateProject), caller_of(request)
        found = await self._database.write(
            lambda tx: projects.create(tx, caller, self._kind, body.name, body.description)
        )
        return json_response(found, 201)

    async def list_roles(self, request: Request) -> Response:
        caller, project = caller_of(request), request.path_params["project"]
        return json_response(await self._database.read(lambda tx: service.list_bindings(tx, caller, project)))

    async def grant(self, request: Request) -> Response:
        body, caller, project = await read_json(request, GrantRole), caller_of(request), request.path_params["project"]
        found = await self._database.write(lambda tx: service.grant(tx, caller, project, body.principal, body.role))
        return json_response(found)

    async def revoke(self, request: Request) -> Response:
        caller, parameters = caller_of(request), request.path_params
        await self._database.write(
            lambda tx: service.revoke(tx, caller, parameters["project"], parameters["principal"])
        )
        return Response(status_code=204)
