"""Files behind the artifact URIs that MLflow recorded: local folders, and object stores through obstore."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlwright.kernel.blobs import PIECE_BYTES
from mlwright.kernel.errors import NotFound, Unavailable
from mlwright.tracking.ports import MovedFile

_OBJECT_STORES = {"s3", "gs", "az", "abfs", "abfss", "wasbs"}
_ELSEWHERE_HINT = "say where they are with --artifacts-root, or leave them there with --no-artifacts"


class ArtifactStore:
    """Args:
    root: replaces the recorded root of all artifacts, unless empty.
    proxied: root of what was stored through the server (mlflow-artifacts:), when `root` is empty.
    beside: folder that recorded relative paths start from.
    """

    def __init__(self, root: str = "", proxied: str = "", beside: Path | None = None) -> None:
        self._root = root
        self._proxied = root or proxied
        self._beside = beside or Path()
        self._stores: dict[str, Any] = {}

    def locate(self, uri: str, experiment_location: str) -> str:
        """Where the files of `uri` lie: a local folder, or the URL of one in an object store.

        Raises NotFound with a hint when that cannot be known.
        """
        if self._root:
            return f"{self._root.rstrip('/')}/{_below_root(uri, experiment_location)}"
        scheme, separator, rest = uri.partition(":")
        if not separator or "/" in scheme:
            return str(self._beside / uri)
        if scheme == "file":
            return unquote(urlsplit(uri).path)
        if scheme == "mlflow-artifacts":
            if not self._proxied:
                raise NotFound(f"the artifacts at {uri} went through a server", path=uri, hint=_ELSEWHERE_HINT)
            path = rest[2:].partition("/")[2] if rest.startswith("//") else rest.lstrip("/")
            return f"{self._proxied.rstrip('/')}/{path}"
        if scheme in _OBJECT_STORES:
            return uri
        raise NotFound(f"artifacts at {uri} cannot be read from here", path=uri, hint=_ELSEWHERE_HINT)

    def files(self, place: str) -> Iterator[MovedFile]:
        """All files at a place, by path; none when there is no such folder."""
        if "://" in place:
            return self._objects(place)
        return _walk(Path(place), "")

    def read(self, place: str, file: MovedFile) -> Iterator[bytes]:
        """The bytes of a file at a place."""
        if "://" in place:
            store, prefix = self._store(place)
            return iter(store.get(f"{prefix}{file.path}").stream(min_chunk_size=PIECE_BYTES))
        return _pieces(Path(place) / file.path)

    def _objects(self, place: str) -> Iterator[MovedFile]:
        store, prefix = self._store(place)
        found = []
        for batch in store.list(prefix=prefix or None):
            found += [MovedFile(each["path"].removeprefix(prefix), each["size"]) for each in batch]
        return iter(sorted(found, key=lambda each: each.path))

    def _store(self, place: str) -> tuple[Any, str]:
        """The store of a bucket, opened once, and the prefix of the place in it, ending with a slash."""
        parts = urlsplit(place)
        bucket = f"{parts.scheme}://{parts.netloc}"
        if bucket not in self._stores:
            from obstore.store import from_url

            self._stores[bucket] = from_url(bucket)
        prefix = parts.path.strip("/")
        return self._stores[bucket], f"{prefix}/" if prefix else ""


def _below_root(uri: str, experiment_location: str) -> str:
    """`uri` relative to the root that holds the experiments: MLflow puts each into a folder called by its id."""
    location = experiment_location.rstrip("/")
    if location and uri.startswith(f"{location}/"):
        return f"{location.rpartition('/')[2]}/{uri.removeprefix(f'{location}/')}"
    return "/".join(uri.rstrip("/").split("/")[-3:])


def _walk(folder: Path, prefix: str) -> Iterator[MovedFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"{folder} cannot be read: {error.strerror}", path=str(folder)) from error
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{path}/")
        elif entry.is_file():
            yield MovedFile(path, entry.stat().st_size)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
