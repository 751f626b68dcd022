"""The registry's part of the answer to artifacts' port `Owners`: pinned files belong to models, and never change."""

from mlwright.kernel.errors import Immutable
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import models
from mlwright.tracking.service import locations


def is_pinned(path: str) -> bool:
    """Whether an artifact path lies in the folder that pinned files have for themselves."""
    return path.partition("/")[0] == locations.PINNED


def project_of(tx: Tx, path: str) -> str | None:
    """The project of the model whose pinned files are at `path`."""
    number = path.split("/")[1] if "/" in path else ""
    return models.project_of(tx, int(number)) if locations.is_number(number) else None


def require_changeable(path: str) -> None:
    """Raises Immutable for everything in the folder of pinned files."""
    if is_pinned(path):
        raise Immutable(
            f"{path!r} belongs to a registered version, and its files never change",
            path="path",
            hint="register another version",
        )
