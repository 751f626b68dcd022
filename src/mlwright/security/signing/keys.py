"""Keys that sign models: elliptic curves P-256, P-384 and P-521, as PEM."""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlwright.kernel.errors import Invalid

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_CURVES = "P-256, P-384 or P-521"


def generate() -> ec.EllipticCurvePrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey, password: str = "") -> bytes:
    """The key as PKCS #8, encrypted when there is a password."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_private(pem: bytes, password: str = "") -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises Invalid for anything else, and for a wrong password."""
    try:
        key = serialization.load_pem_private_key(pem, password.encode() or None)
    except TypeError as error:  # encrypted without a password, or the other way round
        raise Invalid(str(error), hint="give the password of the key, or none for a key without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("this is no private key in PEM format, or the password is wrong") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid(f"only elliptic curve keys sign models: {_CURVES}")
    algorithm(key.public_key())
    return key


def load_public(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Read a public key. Raises Invalid for anything else."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("this is no public key in PEM format") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Invalid(f"only elliptic curve keys sign models: {_CURVES}")
    algorithm(key)
    return key


def algorithm(key: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    """The signature algorithm that goes with the curve (Sigstore's choice). Raises Invalid for other curves."""
    found = _HASHES.get(key.curve.name)
    if found is None:
        raise Invalid(f"keys on the curve {key.curve.name} do not sign models, only {_CURVES}")
    return ec.ECDSA(found)


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """How signatures name the key: the SHA-256 of its PEM, in hexadecimal."""
    return hashlib.sha256(public_pem(key)).hexdigest()
