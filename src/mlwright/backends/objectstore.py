"""Blobs in an object store (S3, Google Cloud Storage, Azure) through obstore.

Bytes are spooled to a local temporary file while they are hashed, because an object's name is its digest; then they
are uploaded in parts, unless the object is there already. An object store publishes an upload only when it is
complete, so a blob is whole or not there. Credentials come from the environment variables that the store's own tools
read (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …).
"""

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlwright.kernel.blobs import PIECE_BYTES, PREFIX, Blob, BlobWriter, check_once, checked, missing
from mlwright.kernel.errors import Invalid, StorageFull, Unavailable
from mlwright.kernel.soundness import Soundness

_FOLDER = "sha256"
#: Larger blobs are uploaded in parts of this size, so many at once: bounds the memory of an upload.
_PART_BYTES = 8 << 20
#: An object written within this time, in seconds, is not written again: well below the grace that blobs have.
_RECENT_S = 900.0
_PARALLEL_PARTS = 4
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: Tries and patience for one request to the store.
_RETRIES = 3
_RETRY_FOR = timedelta(seconds=20)


class ObjectStoreBlobs:
    """Blobs as objects `<prefix>/sha256/ab/cdef…`.

    Args:
        url: s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.
        environment: where credentials and endpoints are looked up.

    Raises Invalid for a URL or configuration that cannot be.
    """

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        import obstore.store  # loads 40 MB of native code

        parts = urlsplit(url)
        if not parts.netloc:
            raise Invalid(f"{url!r} names no bucket", path="artifacts", hint=f"use {parts.scheme}://BUCKET/PREFIX")
        self._url = url
        self._soundness = Soundness()
        retries: Any = {"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR}
        try:
            self._store: Any = obstore.store.from_url(
                url,
                client_options=_client_options(environment),
                retry_config=retries,
                **_configuration(parts.scheme, environment),
            )
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise Invalid(f"the artifact store {url} cannot be used: {_brief(error)}", path="artifacts") from error

    def writer(self) -> BlobWriter:
        return _SpooledWriter(self)

    def path(self, digest: str) -> Path | None:
        checked(digest)
        return None

    def is_sound(self, digest: str) -> bool:
        return False  # asking the store would take as long as whoever asks must not wait

    def check(self, digest: str) -> None:
        check_once(self, self._soundness, digest, self._stamp(digest))

    def _stamp(self, digest: str) -> object:
        import obstore

        try:
            found = obstore.head(self._store, _key(checked(digest)))
        except FileNotFoundError:
            raise missing(digest) from None
        except obstore.exceptions.BaseError as error:
            raise self._unavailable(error) from error
        return found["size"], found["last_modified"], found.get("e_tag"), found.get("version")

    def read(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        import obstore

        key = _key(checked(digest))
        try:
            size = int(obstore.head(self._store, key)["size"])
            stop = size if end is None else min(end, size)
            if start >= stop:
                return iter(())
            found = obstore.get(self._store, key, options={"range": (start, stop)})
        except FileNotFoundError:
            raise missing(digest) from None
        except obstore.exceptions.BaseError as error:
            raise self._unavailable(error) from error
        return self._pieces(found)

    def _pieces(self, found: Any) -> Iterator[bytes]:
        import obstore

        try:
            for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)
        except obstore.exceptions.BaseError as error:
            raise self._unavailable(error) from error

    def delete(self, digest: str) -> None:
        import obstore

        key = _key(checked(digest))
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except obstore.exceptions.BaseError as error:
            raise self._unavailable(error) from error

    def delete_older(self, digest: str, before_s: float) -> bool:
        """As the port says; a store has no lock, so that the check precedes the removal by one request."""
        import obstore

        key = _key(checked(digest))
        try:
            if obstore.head(self._store, key)["last_modified"].timestamp() >= before_s:
                return False
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return False
        except obstore.exceptions.BaseError as error:
            raise self._unavailable(error) from error
        return True

    def digests(self) -> Iterator[tuple[str, int, float]]:
        import obstore

        try:
            for page in obstore.list(self._store, prefix=f"{_FOLDER}/"):
                for each in page:
                    digits = each["path"].removeprefix(f"{_FOLDER}/").replace("/", "")
                    if len(digits) == 64:
                        yield f"{PREFIX}{digits}", int(each["size"]), each["last_modified"].timestamp()
        except obstore.exceptions.BaseError as error:
            raise self._unavailable(error) from error

    def upload(self, digits: str, file: Any) -> None:
        """Store the bytes of an open file under their digest, unless they were lately. Raises Unavailable.

        An old object is written again: its time tells the garbage collector that somebody is about to need it.
        """
        import obstore

        key = _key(digits)
        try:
            if not self._is_recent(key):
                obstore.put(self._store, key, file, chunk_size=_PART_BYTES, max_concurrency=_PARALLEL_PARTS)
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:  # not found: there is no such bucket
            raise self._unavailable(error) from error

    def _is_recent(self, key: str) -> bool:
        import obstore

        try:
            written_s: float = obstore.head(self._store, key)["last_modified"].timestamp()
        except FileNotFoundError:
            return False
        return time.time() - written_s < _RECENT_S

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the artifact store {self._url} does not answer as it should: {_brief(error)}",
            path="artifacts",
            hint="check its address, credentials and permissions",
        )


class _SpooledWriter:
    """A temporary file until the digest is known. It has no name, so that nothing stays when the process is killed."""

    def __init__(self, store: ObjectStoreBlobs) -> None:
        self._store = store
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives until commit or abort
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                where = tempfile.gettempdir()
                raise StorageFull(f"the disk with {where} is full", hint="free some space, or set TMPDIR") from error
            raise Unavailable(f"the upload cannot be kept: {error.strerror}") from error
        self._hash.update(data)
        self._size += len(data)

    def commit(self) -> Blob:
        digits = self._hash.hexdigest()
        try:
            self._file.seek(0)
            self._store.upload(digits, self._file)
        finally:
            self._file.close()
        return Blob(f"{PREFIX}{digits}", self._size)

    def abort(self) -> None:
        self._file.close()


def _key(digits: str) -> str:
    return f"{_FOLDER}/{digits[:2]}/{digits[2:]}"


def _configuration(scheme: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What cannot be said in the environment: S3 needs a region, also where there is only one."""
    if scheme == "s3" and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & environment.keys():
        return {"region": "us-east-1"}
    return {}


def _client_options(environment: Mapping[str, str]) -> Any:
    """Plain HTTP only to this machine, unless AWS_ALLOW_HTTP says otherwise."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT", "STORAGE_EMULATOR_HOST")
    endpoint = next((environment[name] for name in names if environment.get(name)), "")
    allowed = environment.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}
    return {"allow_http": allowed or urlsplit(endpoint).hostname in _LOOPBACK, "timeout": "60 seconds"}


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
