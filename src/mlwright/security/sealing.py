"""Secrets that must be read again, such as keys for signatures: encrypted wherever they are stored.

They are sealed with Fernet (AES-128-CBC and HMAC-SHA256, https://github.com/fernet/spec) by a key that is not in the
database: whoever gets hold of a copy of it cannot read them.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlwright.kernel.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEY_VARIABLE = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"
_HINT = f"set {KEY_VARIABLE} to the same key for all servers on this database"


class Sealer:
    """Args:
    key: a Fernet key (32 bytes in URL-safe base64); empty to use the file.
    path: of a file with the key, made when it is first needed. None where every server would make its own.
    """

    def __init__(self, key: str, path: Path | None) -> None:
        self._key = key
        self._path = path

    def seal(self, text: str) -> str:
        """The text in sealed form. Raises Invalid where no key is set up."""
        return self._cipher.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text. Raises Unavailable when it was sealed with another key."""
        from cryptography.fernet import InvalidToken  # as below

        try:
            return self._cipher.decrypt(sealed.encode()).decode()
        except (InvalidToken, Invalid) as error:
            raise Unavailable("a secret cannot be read: it was sealed with another key", hint=_HINT) from error

    @cached_property
    def _cipher(self) -> "Fernet":
        from cryptography.fernet import Fernet  # large, and of no use to most servers

        try:
            return Fernet(self._key or self._own_key())
        except ValueError as error:
            raise Invalid(f"the key for secrets is none: {error}", path=KEY_VARIABLE) from error

    def _own_key(self) -> bytes:
        if self._path is None:
            raise Invalid("there is no key to keep secrets with", path=KEY_VARIABLE, hint=_HINT)
        from cryptography.fernet import Fernet  # as above

        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return self._path.read_bytes()
        key = Fernet.generate_key()
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return key
