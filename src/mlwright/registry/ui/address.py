"""Where the pages of models and versions lie. Two projects may have models of the same name."""

from urllib.parse import quote


def of_model(project: str, name: str) -> str:
    return f"/projects/{quote(project, safe='')}/models/{quote(name, safe='')}"


def of_version(project: str, name: str, version: int) -> str:
    return f"{of_model(project, name)}/versions/{version}"


def path(file: str) -> str:
    """A file's path as part of an address."""
    return quote(file)
