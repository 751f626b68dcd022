"""How commands name models and versions, and where these are in the API."""

import re
from typing import Any
from urllib.parse import quote

from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid

_VERSION = re.compile(r"[^/@]+(/[0-9]+|@[^/@]+)")


def model_path(name: str) -> str:
    """The path of a model."""
    return f"/v1/models/{quote(name, safe='')}"


def path_of(text: str) -> str:
    """The path of a model, MODEL/VERSION or MODEL@ALIAS."""
    name, slash, version = text.partition("/")
    if slash:
        return f"{model_path(name)}/versions/{quote(version, safe='')}"
    name, at, alias = text.rpartition("@")
    return f"{model_path(name)}/aliases/{quote(alias, safe='')}" if at else model_path(text)


def is_version(text: str) -> bool:
    """Whether a text names a version, as MODEL/3 or MODEL@champion, and not a folder."""
    return not text.startswith((".", "~")) and _VERSION.fullmatch(text) is not None


def find_version(client: Client, text: str, project: str) -> dict[str, Any]:
    """What the API knows of MODEL/3 or MODEL@champion. Raises Invalid for other texts, and NotFound."""
    if not is_version(text):
        raise Invalid(f"{text!r} names no version", path="VERSION", hint="write MODEL/3 or MODEL@champion")
    found: dict[str, Any] = client.get(path_of(text), project=project or None)
    return found
