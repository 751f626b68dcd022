"""Which kind of source an address means."""

from pathlib import Path

from mlwright.backends.mlflow.artifacts import ArtifactStore
from mlwright.backends.mlflow.database import DatabaseSource
from mlwright.backends.mlflow.folder import FolderSource
from mlwright.backends.mlflow.rows import open_rows
from mlwright.backends.mlflow.server import ServerSource
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.tracking.ports import Source

_HINT = "give the URL of a server, a database (sqlite:///mlflow.db, postgresql://…) or an mlruns folder"
_SQLITE_START = b"SQLite format 3\x00"


def open_source(address: str, artifacts_root: str = "", token: str = "") -> Source:
    """Open a source for reading.

    Args:
        address: URL of an MLflow server, URL of its database, a SQLite file, or an mlruns folder.
        artifacts_root: where the artifacts lie now, when the recorded places are not to be used: a folder or the URL
            of an object store, as given to the server as --default-artifact-root or --artifacts-destination.
        token: bearer token for a server.

    Raises NotFound, Invalid, Unavailable.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme in {"http", "https"}:
        return ServerSource(address, token)
    if separator and scheme.partition("+")[0] in {"postgresql", "postgres"}:
        return DatabaseSource(open_rows(address), ArtifactStore(artifacts_root))
    if separator and scheme == "sqlite":
        return _sqlite(Path(rest.removeprefix("/")), artifacts_root)
    if separator and scheme != "file":
        raise Invalid(f"{scheme}:// is not a source of tracking data", path="SOURCE", hint=_HINT)
    path = Path(address.removeprefix("file://").removeprefix("file:"))
    if path.is_file():
        return _sqlite(path, artifacts_root)
    if not path.is_dir():
        raise NotFound(f"there is no file or folder {path}", path="SOURCE", hint=_HINT)
    return FolderSource(path, ArtifactStore(artifacts_root, beside=path))


def _sqlite(path: Path, artifacts_root: str) -> Source:
    if not path.is_file():
        raise NotFound(f"there is no database {path}", path="SOURCE", hint=_HINT)
    with path.open("rb") as file:
        if file.read(16) != _SQLITE_START:
            raise Invalid(f"{path} is not a SQLite database", path="SOURCE", hint=_HINT)
    beside = path.parent / "mlartifacts"
    root = artifacts_root or (str(beside) if beside.is_dir() else "")
    store = ArtifactStore(artifacts_root, proxied=root, beside=path.parent)
    return DatabaseSource(open_rows(str(path)), store)
