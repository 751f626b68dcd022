"""Finding an experiment by what people call it."""

from typing import Any

from mlwright.kernel.client import Client
from mlwright.kernel.errors import NotFound


def experiment(client: Client, text: str, project: str = "") -> dict[str, Any]:
    """The experiment with this id or name, deleted or not. Raises NotFound."""
    if text.isdigit():
        try:
            found: dict[str, Any] = client.get(f"/v1/experiments/{text}")
        except NotFound:
            pass
        else:
            return found
    quoted = text.replace("\\", "\\\\").replace("'", "\\'") if "'" in text else text
    mark = '"' if "'" in text else "'"
    query = f"name = {mark}{text if mark not in text else quoted}{mark}"
    page = client.get("/v1/experiments", filter=query, view="all", project=project or None)
    if not page["items"]:
        raise NotFound(f"there is no experiment {text!r}", path="EXPERIMENT", hint="see: mlwright experiments list")
    first: dict[str, Any] = page["items"][0]
    return first


def pages(client: Client, path: str, limit: int, **query: object) -> list[dict[str, Any]]:
    """Up to `limit` items of a list that comes in pages."""
    items: list[dict[str, Any]] = []
    token = None
    while len(items) < limit:
        page = client.get(path, limit=min(1_000, limit - len(items)), page_token=token, **query)
        items += page["items"]
        token = page["next_token"]
        if not token:
            break
    return items
