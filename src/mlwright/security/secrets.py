"""Passwords and token secrets: how they are made, hashed and compared. Only hashes are stored."""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from typing import NamedTuple

# scrypt (RFC 7914) with 16 MiB of memory: about 50 ms, once per log-in.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
_TOKEN_PREFIX = "mlw"  # noqa: S105 - the visible beginning of every token, so that scanners find leaked ones


class PasswordHash(NamedTuple):
    """What is stored of a password: a salted scrypt hash, with its parameters."""

    text: str


def hash_password(password: str) -> PasswordHash:
    """Slow on purpose: never call it in a transaction."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _COST)
    return PasswordHash(f"scrypt${_COST}${b64encode(salt).decode()}${b64encode(digest).decode()}")


def password_matches(password: str, stored: str) -> bool:
    """Whether `password` is the one behind a stored hash; takes the same time either way."""
    _, cost, salt, expected = stored.split("$")
    return hmac.compare_digest(_scrypt(password, b64decode(salt), int(cost)), b64decode(expected))


def _scrypt(password: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=_BLOCK, p=_PARALLEL, maxmem=64 << 20)


def new_token() -> tuple[str, str]:
    """A token's public id, and the secret that proves it."""
    public = secrets.token_hex(6)
    return public, f"{_TOKEN_PREFIX}_{public}_{secrets.token_urlsafe(32)}"


def token_id(secret: str) -> str:
    """The public id within a token's secret; empty when it is not shaped like one."""
    parts = secret.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == _TOKEN_PREFIX else ""


def token_digest(secret: str) -> str:
    """What is stored of a token. Secrets are random, so that a fast hash suffices."""
    return hashlib.sha256(secret.encode()).hexdigest()


#: Compared against when there is no such user, so that guessing names takes as long as guessing passwords.
UNKNOWN_PASSWORD = f"scrypt${_COST}${b64encode(bytes(16)).decode()}${b64encode(bytes(64)).decode()}"
