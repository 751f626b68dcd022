"""What commands about endpoints share."""

from typing import Any
from urllib.parse import quote

from mlwright.kernel.client import Client
from mlwright.kernel.errors import Unavailable


def endpoint_path(name: str) -> str:
    """The path of an endpoint."""
    return f"/v1/endpoints/{quote(name, safe='')}"


def where(project: str) -> str:
    """The query that names a project."""
    return f"?project={quote(project)}" if project else ""


def document(client: Client, name: str, project: str) -> dict[str, Any]:
    """An endpoint in full."""
    found: dict[str, Any] = client.get(endpoint_path(name), project=project or None)
    return found


def require_server(client: Client) -> None:
    """Raises Unavailable when nobody is there to serve."""
    if client.alone:
        raise Unavailable("endpoints are served by a server, and none is running", hint="start one: mlwright up -d")
