"""The words of signatures: whose keys a project trusts, and what is known about a signature. Times are Unix ms."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from mlwright.kernel.errors import Invalid

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class KeyState(StrEnum):
    """What a key may do: sign and vouch, only vouch for what it has signed, or neither."""

    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class SigningKeySpec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A key whose signatures the project trusts. To rotate: add a new one, then retire the old one.

    `public_key`: in PEM format, on the curve P-256, P-384 or P-521. `retired_at`: from then on it signs nothing new;
    what it has signed stays trusted. `revoked_at`: from then on nothing that it ever signed is trusted. `reason`: why.
    """

    public_key: Annotated[str, msgspec.Meta(max_length=2_000)]
    description: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    retired_at: _Time | None = None
    revoked_at: _Time | None = None
    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""

    def __post_init__(self) -> None:
        """Keep the one form that the fingerprint is of. Raises ValueError for a private key and for other curves."""
        from mlwright.security.signing import keys  # brings cryptography, which a server without keys does not need

        if "PRIVATE KEY" in self.public_key:
            raise ValueError("this is a private key: keep it where it is, and give its public key")
        try:
            pem = keys.public_pem(keys.load_public(self.public_key.encode())).decode()
        except Invalid as error:
            raise ValueError(error.message) from error
        msgspec.structs.force_setattr(self, "public_key", pem)

    @property
    def fingerprint(self) -> str:
        """How signatures name the key: the SHA-256 of its PEM, in hexadecimal."""
        return hashlib.sha256(self.public_key.encode()).hexdigest()

    def state(self, now_ms: int) -> KeyState:
        """What the key may do at that time."""
        if self.revoked_at is not None and self.revoked_at.timestamp() * 1000 <= now_ms:
            return KeyState.REVOKED
        if self.retired_at is not None and self.retired_at.timestamp() * 1000 <= now_ms:
            return KeyState.RETIRED
        return KeyState.ACTIVE


class VersionSignature(msgspec.Struct, frozen=True):
    """A signature of a version, and whether it counts.

    Attributes:
        key: name of the signing key; empty when the project has none with this fingerprint.
        trusted: whether the key is not revoked and the signature is by it and of just these files.
        reason: why not.
        signed_by: who brought it.
    """

    fingerprint: str
    key: str
    state: KeyState
    trusted: bool
    reason: str
    signed_by: str
    at_ms: int


class FileProblem(msgspec.Struct, frozen=True):
    """A file that is not as it was registered, and why."""

    path: str
    reason: str


class Verification(msgspec.Struct, frozen=True):
    """Whether a version may be trusted: somebody who counts has signed it, and every byte is as it was signed.

    `reason` says why not. `size` is in bytes: all of them were looked at.
    """

    trusted: bool
    reason: str
    digest: str
    files: int
    size: int
    signatures: list[VersionSignature]
    problems: list[FileProblem]
