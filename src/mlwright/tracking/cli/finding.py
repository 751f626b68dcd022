"""Finding an experiment by what people call it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid, NotFound


def experiment(client: Client, text: str, project: str = "", where: str = "EXPERIMENT") -> dict[str, Any]:
    """The experiment with this id or name, deleted or not. Raises NotFound, which says `where` it was asked for."""
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
        raise NotFound(f"there is no experiment {text!r}", path=where, hint="see: mlwright experiments list")
    first: dict[str, Any] = page["items"][0]
    return first


def experiment_ids(client: Client, names: Sequence[str], project: str) -> list[int]:
    """The ids of those given with --experiment. Raises NotFound."""
    return [experiment(client, name, project, "--experiment")["experiment_id"] for name in names]


@contextmanager
def example(**examples: str) -> Iterator[None]:
    """Give errors about a parameter of the API the option that it came from, and an example as hint.

    Raises Invalid where the work inside does.
    """
    try:
        yield
    except Invalid as error:
        if error.path in examples:
            hint = error.hint or f"such as: {examples[error.path]}"
            raise Invalid(error.message, path=f"--{error.path.replace('_', '-')}", hint=hint) from error
        raise
