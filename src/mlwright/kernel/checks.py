"""Names and lengths, with the texts of MLflow's messages, which clients show and some parse."""

import json
import posixpath
import re
from collections.abc import Sequence

from mlwright.kernel.errors import Invalid

MAX_LIST_LENGTH = 10_000
_NAME = re.compile(r"^[/\w.\- :]*$")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][\w.\- :]*\Z")
_BAD_CHARACTERS = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:)"
    " and slashes (/)."
)


def invalid_value(path: str, value: object, why: str = "") -> Invalid:
    """MLflow's error for a value that cannot be taken."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    reason = f": {why}" if why else "."
    return Invalid(f"Invalid value {text} for parameter '{path}' supplied{reason}", path=path)


def check_name(name: str, path: str) -> None:
    """Names of metrics, parameters and tags: a few characters, and no other path than their own."""
    if _PLAIN_NAME.match(name):
        return
    if not _NAME.match(name):
        raise invalid_value(path, name, _BAD_CHARACTERS)
    normal = posixpath.normpath(name)
    if normal != name or normal == "." or normal.startswith(("..", "/")):
        raise invalid_value(
            path,
            name,
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such."
            f" This name would resolve to {normal!r}",
        )


def check_length(what: str, value: str, limit: int) -> None:
    if len(value) > limit:
        raise Invalid(f"'{what}' exceeds the maximum length of {limit} characters", path=what)


def check_many(path: str, items: Sequence[object]) -> None:
    """Lists that MLflow does not limit: longer ones would hold up everybody's writes for seconds."""
    if len(items) > MAX_LIST_LENGTH:
        raise Invalid(f"At most {MAX_LIST_LENGTH} {path} at once, not {len(items)}", path=path)
