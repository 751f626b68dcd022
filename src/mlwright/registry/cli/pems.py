"""Keys in files, for commands: read, written, asked for their passwords."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlwright.kernel.errors import AlreadyExists, Invalid, NotFound, Untrusted

if TYPE_CHECKING:  # cryptography is brought by those commands alone that need it
    from cryptography.hazmat.primitives.asymmetric import ec

    from mlwright.security.signing.spec import Manifest

#: Password of a private key; without it, a person is asked.
PASSWORD = "MLWRIGHT_KEY_PASSWORD"  # noqa: S105 - the name of a variable


def read(path: Path) -> bytes:
    """The bytes of a file that the user names. Raises NotFound and Invalid."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", path=str(path)) from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", path=str(path)) from error


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a new file. Raises AlreadyExists: no key or signature is overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise AlreadyExists(f"there is a file {path} already", path=str(path)) from None
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}", path=str(path)) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def private_key(path: Path) -> "ec.EllipticCurvePrivateKey":
    """The private key in a file. Raises NotFound and Invalid."""
    from mlwright.security.signing import keys

    pem = read(path)
    password = ""
    if b"ENCRYPTED" in pem:
        given = os.environ.get(PASSWORD)
        password = given if given is not None else click.prompt(f"Password of {path}", hide_input=True, err=True)
    return keys.load_private(pem, password)


def new_password() -> str:
    """A password for a new key, from the environment or from the person. Raises Invalid for an empty one."""
    given = os.environ.get(PASSWORD)
    found: str = given if given is not None else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not found:
        raise Invalid("the password is empty", path="--password")
    return found


def write_pair(private: Path, public: Path, password: str) -> bytes:
    """Make a pair of keys, write it to two new files, and return the public one. Raises AlreadyExists."""
    from mlwright.security.signing import keys

    key = keys.generate()
    pem = keys.public_pem(key.public_key())
    write(private, keys.private_pem(key, password), 0o600)
    write(public, pem)
    return pem


def proved(signature: bytes, pems: Iterable[bytes]) -> "tuple[Manifest, str]":
    """What was signed, and the fingerprint of the first of the keys that the signature is by. Raises Untrusted."""
    from mlwright.security.signing import bundle, keys

    refused = Untrusted("no key was given")
    for pem in pems:
        key = keys.load_public(pem)
        try:
            return bundle.verify(signature, key), keys.fingerprint(key)
        except Untrusted as error:
            refused = error
    raise refused
