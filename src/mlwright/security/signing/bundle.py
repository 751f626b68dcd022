"""Signatures as OpenSSF model signing 1.0 writes them.

An in-toto statement that lists the files lies in a DSSE envelope, that in a Sigstore bundle. Sources:
https://github.com/ossf/model-signing-spec, https://github.com/in-toto/attestation/tree/main/spec/v1,
https://github.com/secure-systems-lab/dsse, https://docs.sigstore.dev/about/bundle/.
"""

import base64
import binascii
import hashlib
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from mlwright.kernel.errors import Invalid, Untrusted
from mlwright.security.signing import keys
from mlwright.security.signing.spec import Manifest, SignedFile, manifest

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
#: Largest signature that is read: some 300,000 files.
MAX_BYTES = 64 << 20


class _Resource(msgspec.Struct):
    name: str
    digest: str
    algorithm: Literal["sha256"] = "sha256"


class _Serialization(msgspec.Struct):
    method: str = "files"
    hash_type: str = "sha256"
    allow_symlinks: bool = False
    ignore_paths: list[str] = []


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: list[_Resource]


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: list[_Subject]
    predicate_type: str
    predicate: _Predicate


class _Signature(msgspec.Struct):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _PublicKey(msgspec.Struct):
    hint: str = ""


class _Material(msgspec.Struct, rename="camel"):
    public_key: _PublicKey | None = None
    tlog_entries: list[Any] = []


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


def sign(signed: Manifest, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A signature of the manifest: a Sigstore bundle as JSON."""
    payload = msgspec.json.encode(_statement(signed))
    public = key.public_key()
    signature = key.sign(_authenticated(payload), keys.algorithm(public))
    bundle = _Bundle(
        MEDIA_TYPE,
        _Material(_PublicKey(keys.fingerprint(public))),
        _Envelope(_text(payload), PAYLOAD_TYPE, [_Signature(_text(signature))]),
    )
    return msgspec.json.encode(bundle)


def signer(signature: bytes) -> str:
    """The fingerprint of the key that the signature says it was made with; empty when it says nothing."""
    key = _read(signature).verification_material.public_key
    return key.hint if key else ""


def verify(signature: bytes, key: ec.EllipticCurvePublicKey) -> Manifest:
    """What was signed. Raises Untrusted unless the signature is whole and by this key."""
    bundle = _read(signature)
    hint = bundle.verification_material.public_key
    if hint is not None and hint.hint and hint.hint != keys.fingerprint(key):
        raise Untrusted(f"signed with another key ({hint.hint[:16]}…)")
    envelope = bundle.dsse_envelope
    if envelope.payload_type != PAYLOAD_TYPE or len(envelope.signatures) != 1:
        raise Untrusted("the envelope is not one that model signing makes")
    payload = _bytes(envelope.payload)
    try:
        key.verify(_bytes(envelope.signatures[0].sig), _authenticated(payload), keys.algorithm(key))
    except InvalidSignature:
        raise Untrusted("the signature does not belong to this content and key") from None
    return _manifest(payload)


def _statement(signed: Manifest) -> _Statement:
    resources = [_Resource(each.path, each.sha256) for each in signed.files]
    subject = _Subject(signed.name, {"sha256": _root(resources)})
    predicate = _Predicate(_Serialization(ignore_paths=list(signed.ignored)), resources)
    return _Statement(STATEMENT_TYPE, [subject], PREDICATE_TYPE, predicate)


def _root(resources: list[_Resource]) -> str:
    """The digest of the whole model: SHA-256 over the digests of its files, in their order."""
    return hashlib.sha256(b"".join(bytes.fromhex(each.digest) for each in resources)).hexdigest()


def _authenticated(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _read(signature: bytes) -> _Bundle:
    if len(signature) > MAX_BYTES:
        raise Untrusted(f"the signature is larger than {MAX_BYTES} bytes")
    try:
        bundle = msgspec.json.decode(signature, type=_Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"this is no signature of a model: {error}") from error
    if bundle.media_type != MEDIA_TYPE:
        raise Untrusted(f"this is no signature of a model, but {bundle.media_type[:100]!r}")
    return bundle


def _manifest(payload: bytes) -> Manifest:
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        resources = statement.predicate.resources
        root = _root(resources)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Untrusted(f"what was signed is no statement about a model: {error}") from error
    if statement.type != STATEMENT_TYPE or statement.predicate_type != PREDICATE_TYPE or len(statement.subject) != 1:
        raise Untrusted("what was signed is no statement about a model")
    serialization = statement.predicate.serialization
    if (serialization.method, serialization.hash_type) != ("files", "sha256"):
        raise Untrusted(f"files are hashed in a way that is not known here: {serialization.method[:100]}")
    subject = statement.subject[0]
    if subject.digest.get("sha256") != root:
        raise Untrusted("the files in the signature are not those that its own digest is of")
    files = [SignedFile(each.name, each.digest) for each in resources]
    try:
        return manifest(subject.name, files, serialization.ignore_paths)
    except Invalid as error:
        raise Untrusted(error.message) from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Untrusted("the signature is not base64") from error
