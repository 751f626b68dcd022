"""What commands ask about the gates of a version, and how they show it."""

import time
from typing import Any
from urllib.parse import quote

import msgspec

from mlwright import __version__
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid, Unavailable
from mlwright.registry.cli.naming import model_path
from mlwright.registry.gates.spec import Standing

REPORTS = ("junit", "sarif", "markdown")
_LOOK_AGAIN_S = 0.5
Found = list[dict[str, Any]]


def gates_path(version: str) -> str:
    """The path of the gates of MODEL/3. Raises Invalid."""
    name, slash, number = version.rpartition("/")
    if not slash:
        raise Invalid(f"{version!r} names no version", path="VERSION", hint="write MODEL/3")
    return f"{model_path(name)}/versions/{quote(number, safe='')}/gates"


def where(project: str) -> str:
    """The query that names a project."""
    return f"?project={quote(project)}" if project else ""


def require_server(client: Client) -> None:
    """Raises Unavailable when nobody is there to run gates."""
    if client.alone:
        raise Unavailable("gates are run by a server, and none is running", hint="start one: mlwright up --detach")


def standings(client: Client, version: str, policy: str, project: str) -> Found:
    """How a version stands now."""
    found: Found = client.get(gates_path(version), policy=policy or None, project=project or None)
    return found


def settled(client: Client, version: str, policy: str, project: str) -> Found:
    """How a version stands when none of its gates waits or runs any more. Blocks; people are not waited for."""
    found = standings(client, version, policy, project)
    while any(each["state"] in {"waiting", "running"} for each in found):
        time.sleep(_LOOK_AGAIN_S)
        found = standings(client, version, policy, project)
    return found


def closed(found: Found) -> Found:
    """The gates that are not passed."""
    return [each for each in found if not (each["state"] == "done" and each["decision"]["verdict"] == "pass")]


def in_words(standing: dict[str, Any]) -> str:
    """One line for people."""
    decision = standing["decision"]
    return f"{standing['policy']}/{standing['gate']}: {decision['verdict']}: {decision['reason']}"


def report(version: str, found: Found, form: str) -> str:
    """The text of a report: one of REPORTS."""
    from mlwright.registry.gates import reports  # of no use to the other formats

    known = msgspec.convert(found, list[Standing])
    if form == "sarif":
        return msgspec.json.format(msgspec.json.encode(reports.sarif(version, known, __version__))).decode() + "\n"
    return {"junit": reports.junit, "markdown": reports.markdown}[form](version, known)
