"""A version as a client gets it: its files and signatures, which are not believed but verified."""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlwright.kernel.client import Client
from mlwright.kernel.errors import AlreadyExists, Invalid, Untrusted
from mlwright.registry.cli import naming, pems
from mlwright.security.signing.spec import Manifest, SignedFile, differences, manifest

_PREFIX = "sha256:"


class Copy:
    """Args:
    client: of the server that has the version.
    path: of the version in the API.
    where: the query that names its project.
    manifest: what the server says that its files are.
    """

    def __init__(self, client: Client, path: str, where: str, manifest: Manifest) -> None:
        self._client = client
        self._path = path
        self._where = where
        self.manifest = manifest

    @classmethod
    def of(cls, client: Client, text: str, project: str, *, load: bool = False) -> "Copy":
        """The version that a text names. Raises Invalid, NotFound, and with `load` what the server refuses to load."""
        found = naming.find_version(client, text, project)
        name, number = found["name"], found["version"]
        path = f"{naming.model_path(name)}/versions/{number}"
        files = client.get(f"{path}/files", project=found["project"], load="true" if load else None)
        listed = [SignedFile(each["path"], each["digest"].removeprefix(_PREFIX)) for each in files]
        return cls(client, path, f"?project={quote(found['project'])}", manifest(f"{name}/{number}", listed))

    def sign(self, bundle: bytes) -> Any:
        """Bring a signature. Raises Untrusted when the server does not take it."""
        return self._client.post(f"{self._path}/signatures{self._where}", {"bundle": bundle.decode("utf-8", "replace")})

    def verification(self) -> dict[str, Any]:
        """What the server finds when it looks at every byte."""
        found: dict[str, Any] = self._client.post(f"{self._path}/verification{self._where}")
        return found

    def proved(self, found: Manifest, keys: Sequence[bytes]) -> bytes | None:
        """The signature of just these files by one of the keys; without keys, by one that the server trusts.

        Returns None when there is neither a signature nor a key. Raises Untrusted.
        """
        listed = self._client.get(f"{self._path}/signatures{self._where}")
        if not listed and not keys:
            return None
        reason = "it is not signed"
        for each in listed:
            if not keys and not each["trusted"]:
                reason = each["reason"]
                continue
            signature = self._client.get(f"{self._path}/signatures/{each['fingerprint']}{self._where}")
            bundle = str(signature["bundle"]).encode()
            own = [signature["public_key"].encode()] if signature["public_key"] else []
            try:
                signed, _ = pems.proved(bundle, keys or own)
            except Untrusted as error:
                reason = error.message
                continue
            if not differences(signed, found):
                return bundle
            reason = "the signature is of other files"
        raise Untrusted(f"{self.manifest.name} is not to be trusted: {reason}")

    def download(self, folder: Path, signature: Path, keys: Sequence[bytes]) -> bytes | None:
        """Put all files into a new folder, which appears when all of them are verified. Returns the signature.

        Args:
            signature: where it is put, if there is one.

        Raises AlreadyExists, and Untrusted for bytes that are not what was registered and signed.
        """
        if signature.exists() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise AlreadyExists(f"{folder} is there already", path=str(folder), hint="name a new folder")
        above = folder.absolute().parent
        above.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=above))
        try:
            files = [SignedFile(each.path, self._download(each, made)) for each in self.manifest.files]
            bundle = self.proved(manifest(self.manifest.name, files), keys)
            if bundle is not None:
                pems.write(signature, bundle)
            made.chmod(0o755)
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return bundle

    def _download(self, file: SignedFile, folder: Path) -> str:
        """Download a file. Returns the SHA-256 of the bytes that came. Raises Untrusted when it was to be another."""
        target = folder / file.path  # a manifest has no path that leads out of its folder
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        pieces = self._client.download(f"{self._path}/files/{quote(file.path)}{self._where}")
        try:
            with target.open("wb") as out:
                for piece in pieces:
                    found.update(piece)
                    out.write(piece)
        except OSError as error:
            raise Invalid(f"{target} cannot be written: {error.strerror}", path=str(folder)) from error
        if found.hexdigest() != file.sha256:
            raise Untrusted(f"{file.path}: its bytes are not those that were registered", path=file.path)
        return found.hexdigest()
