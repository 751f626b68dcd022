"""Signatures of models: what is proved, and everything that must not pass."""

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid, NotFound, Untrusted
from mlwright.security.signing import bundle, keys
from mlwright.security.signing.folders import manifest_of
from mlwright.security.signing.spec import Change, Difference, Manifest, SignedFile, differences, manifest

KEY = keys.generate()
PUBLIC = KEY.public_key()
MODEL = manifest("flights", [SignedFile("MLmodel", "ab" * 32), SignedFile("data/model.pkl", "cd" * 32)])


def _edited(signature: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(signature)
    edit(document)
    return json.dumps(document).encode()


def _with_statement(edit: Callable[[dict[str, Any]], object], key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    """A signature, valid as such, over a statement that was edited before."""
    document = json.loads(bundle.sign(MODEL, key))
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    edit(statement)
    payload = json.dumps(statement).encode()
    signed = key.sign(
        b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload), keys.algorithm(key.public_key())
    )
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signed).decode()
    return json.dumps(document).encode()


def test_a_signature_proves_what_was_signed() -> None:
    signature = bundle.sign(MODEL, KEY)
    assert bundle.verify(signature, PUBLIC) == MODEL
    assert bundle.signer(signature) == keys.fingerprint(PUBLIC)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_all_curves_of_the_format_work(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    read = keys.load_private(keys.private_pem(key, "secret"), "secret")
    assert bundle.verify(bundle.sign(MODEL, read), keys.load_public(keys.public_pem(key.public_key()))) == MODEL


def test_another_key_proves_nothing() -> None:
    signature = bundle.sign(MODEL, keys.generate())
    with pytest.raises(Untrusted, match="another key"):
        bundle.verify(signature, PUBLIC)
    unnamed = _edited(signature, lambda found: found["verificationMaterial"].pop("publicKey"))
    with pytest.raises(Untrusted, match="does not belong"):
        bundle.verify(unnamed, PUBLIC)


@given(at=st.integers(0), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_no_byte_of_the_signed_content_may_change(at: int, flip: int) -> None:
    def edit(found: dict[str, Any]) -> None:
        payload = bytearray(base64.b64decode(found["dsseEnvelope"]["payload"]))
        payload[at % len(payload)] ^= flip
        found["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    with pytest.raises(Untrusted):
        bundle.verify(_edited(bundle.sign(MODEL, KEY), edit), PUBLIC)


@given(data=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_garbage_is_no_signature(data: bytes) -> None:
    with pytest.raises(Untrusted):
        bundle.verify(data, PUBLIC)
    with pytest.raises(Untrusted):
        bundle.signer(data)


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found.update(mediaType="application/json"),
        lambda found: found["dsseEnvelope"].update(payloadType="text/plain"),
        lambda found: found["dsseEnvelope"]["signatures"].clear(),
        lambda found: found["dsseEnvelope"]["signatures"].append({"sig": "QQ=="}),
        lambda found: found["dsseEnvelope"]["signatures"][0].update(sig="not base64"),
        lambda found: found["dsseEnvelope"].update(payload="QUJD\n"),
        lambda found: found.pop("dsseEnvelope"),
    ],
)
def test_broken_bundles_are_refused(edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(Untrusted):
        bundle.verify(_edited(bundle.sign(MODEL, KEY), edit), PUBLIC)


def _resources(statement: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = statement["predicate"]["resources"]
    return found


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found.update(_type="https://in-toto.io/Statement/v2"),
        lambda found: found.update(predicateType="https://model_signing/Digests/v0.1"),
        lambda found: found["subject"].append(found["subject"][0]),
        lambda found: found["subject"][0]["digest"].update(sha256="0" * 64),
        lambda found: found["predicate"]["serialization"].update(method="shards"),
        lambda found: found["predicate"]["serialization"].update(hash_type="blake3"),
        lambda found: _resources(found)[0].update(algorithm="md5"),
        lambda found: _resources(found)[0].update(digest="no digits"),
        lambda found: _resources(found)[0].update(name="../MLmodel"),
        lambda found: _resources(found)[0].update(name="/etc/passwd"),
        lambda found: _resources(found)[0].update(name="data//model.pkl"),
        lambda found: _resources(found)[0].update(name=_resources(found)[1]["name"]),
        lambda found: found.pop("predicate"),
    ],
)
def test_statements_about_something_else_are_refused(edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(Untrusted):
        bundle.verify(_with_statement(edit), PUBLIC)


def test_a_statement_written_otherwise_is_read() -> None:
    assert bundle.verify(_with_statement(lambda found: None), PUBLIC) == MODEL


def test_too_large_a_signature_is_not_even_read() -> None:
    with pytest.raises(Untrusted, match="larger"):
        bundle.verify(b" " * (bundle.MAX_BYTES + 1), PUBLIC)


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_with_a_password_needs_it() -> None:
    pem = keys.private_pem(KEY, "secret")
    for password in ("", "wrong"):
        with pytest.raises(Invalid):
            keys.load_private(pem, password)
    with pytest.raises(Invalid):
        keys.load_private(keys.private_pem(KEY), "needless")


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff" * 100])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(Invalid):
        keys.load_public(pem)
    with pytest.raises(Invalid):
        keys.load_private(pem)


def test_other_kinds_of_keys_are_refused() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    private = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    curve = ec.generate_private_key(ec.SECP256K1())
    for refused in (
        lambda: keys.load_private(private),
        lambda: keys.load_public(public),
        lambda: keys.load_private(keys.private_pem(curve)),
        lambda: keys.load_public(keys.public_pem(curve.public_key())),
    ):
        with pytest.raises(Invalid, match="P-256"):
            refused()


# --- manifests and folders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/a", "a/", "a/../b", "./a", "a//b", "a\\b", "a\0b"])
def test_paths_that_lead_elsewhere_are_not_signed(path: str) -> None:
    with pytest.raises(Invalid):
        manifest("m", [SignedFile(path, "0" * 64)])


def test_nothing_cannot_be_signed() -> None:
    with pytest.raises(Invalid, match="no files"):
        manifest("m", [])


def test_differences_are_named() -> None:
    now = Manifest("flights", (SignedFile("MLmodel", "00" * 32), SignedFile("new", "11" * 32)))
    assert differences(MODEL, now) == [
        Difference("MLmodel", Change.CHANGED),
        Difference("data/model.pkl", Change.MISSING),
        Difference("new", Change.ADDED),
    ]
    assert differences(MODEL, MODEL) == []


def _model(folder: Path) -> Path:
    for path, content in {"MLmodel": "flavors: {}", "data/模型.bin": "b", ".git/HEAD": "x", ".gitignore": "y"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


def test_a_folder_is_hashed_without_git(tmp_path: Path) -> None:
    found = manifest_of(_model(tmp_path / "m"))
    assert found.name == "m"
    assert [each.path for each in found.files] == ["MLmodel", "data/模型.bin"]
    assert found.files[1].sha256 == "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"


def test_links_devices_and_odd_names_are_not_signed(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m")
    link = folder / "link"
    link.symlink_to("MLmodel")
    with pytest.raises(Invalid, match="link"):
        manifest_of(folder)
    link.unlink()
    (folder / "data" / "\udcff").write_text("not UTF-8")
    with pytest.raises(Invalid, match="UTF-8"):
        manifest_of(folder)
    with pytest.raises(NotFound):
        manifest_of(tmp_path / "nothing")


@pytest.mark.component
def test_the_reference_implementation_agrees(tmp_path: Path, model_signing: Path) -> None:
    """Its signatures are valid here, ours are valid there, and each refuses what was changed."""
    folder = _model(tmp_path / "m")
    private, public, signature = tmp_path / "key.pem", tmp_path / "key.pub", tmp_path / "model.sig"
    private.write_bytes(keys.private_pem(KEY))
    public.write_bytes(keys.public_pem(PUBLIC))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(model_signing), *map(str, arguments), "--signature", str(signature)]
        return subprocess.run(command, capture_output=True, text=True)

    assert run("sign", "key", folder, "--private_key", private).returncode == 0
    signed = bundle.verify(signature.read_bytes(), PUBLIC)
    assert differences(signed, manifest_of(folder, ignored=signed.ignored)) == []

    signature.write_bytes(bundle.sign(manifest_of(folder), KEY))
    verify = ("verify", "key", folder, "--public_key", public)
    assert run(*verify).returncode == 0, run(*verify).stderr
    (folder / "MLmodel").write_text("flavors: {evil: {}}")
    assert run(*verify).returncode != 0
    assert [each.path for each in differences(signed, manifest_of(folder))] == ["MLmodel"]
