"""Signatures of versions on both databases: who has signed counts, every byte counts, and what is refused is known."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.artifacts.tables import artifact_contents, artifact_files
from mlwright.compute.environments import Environments
from mlwright.kernel import store
from mlwright.kernel.blobs import blob_of
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Conflict, Denied, GateClosed, Invalid, NotFound, Untrusted
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.registry.gate_runner import GateRunner
from mlwright.registry.gates.spec import GateVerdict
from mlwright.registry.service import aliases, gates, loading, models, signatures, trust, versions
from mlwright.registry.service.evidence import Stored
from mlwright.registry.service.loading import VersionLoader
from mlwright.registry.signatures.spec import KeyState, Verification
from mlwright.registry.signatures.tables import version_signatures
from mlwright.registry.spec import ModelVersion
from mlwright.security import projects
from mlwright.security.signing import bundle, keys
from mlwright.security.signing.spec import SignedFile, manifest
from tests.contract.registry import FILES, Registry

FIRST, SECOND = keys.generate(), keys.generate()
PAST, FUTURE = "1970-01-01T00:00:00Z", "2990-01-01T00:00:00Z"
SIGNED: dict[str, Any] = {"name": "signed", "signature": {}}


class InDatabase:
    """The files of these tests are all small."""

    def copy(self, file: ArtifactFile, target: Path) -> None:
        target.write_bytes(file.content or b"")

    def store(self, data: bytes) -> Stored:
        return Stored(blob_of(data), data)

    def digest(self, file: ArtifactFile) -> str:
        if file.content is None:
            raise NotFound("the bytes are gone")
        return f"sha256:{hashlib.sha256(file.content).hexdigest()}"


class Signing(Registry):
    """A registry whose project trusts the key "first"."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.model()
        self.key("first", FIRST)
        self.version = self.register(self.logged())
        self.loader = VersionLoader(database, InDatabase())

    def apply(self, kind: Any, name: str, spec: Mapping[str, Any]) -> None:
        manifest = Manifest(API_VERSION, kind.name, Metadata(name), dict(spec))
        self.database.write_now(lambda tx: store.apply(tx, LOCAL, kind, manifest))

    def key(self, name: str, key: Any, **changes: str) -> None:
        self.apply(trust.KIND, name, {"publicKey": keys.public_pem(key.public_key()).decode(), **changes})

    def policy(self, *asked: dict[str, Any]) -> None:
        self.apply(gates.KIND, "production", {"gates": list(asked), "aliases": ["champion"]})

    def project(self, asked: str) -> None:
        self.apply(projects.kind(), "default", {"signatures": asked})

    def sign(self, version: ModelVersion, key: Any = FIRST) -> None:
        found = self.database.read_now(lambda tx: trust.files(tx, version))
        self(signatures.add, version.name, version.version, bundle.sign(trust.contents("m", found), key))

    def trusted(self, version: ModelVersion) -> dict[str, bool]:
        found = self(signatures.list_all, version.name, version.version)
        return {each.key: each.trusted for each in found}

    def verify(self, version: ModelVersion) -> Verification:
        return loading.verify(self.database, InDatabase(), LOCAL, version.name, version.version)

    def refusals(self) -> list[Any]:
        return [data for kind, _, data in self.log() if kind == "registry.version.refused"]

    def tamper(self, version: ModelVersion, path: str) -> None:
        """Change bytes behind the platform's back."""
        stored = f"{version.storage.removeprefix('mlflow-artifacts:/')}/{path}"
        digest = self(artifacts.get, stored).digest
        change = artifact_contents.update().where(artifact_contents.c.digest == digest).values(data=b"evil")
        self.database.write_now(lambda tx: tx.change(change))


@pytest.fixture
def signing(database: Database) -> Signing:
    return Signing(database)


def test_a_version_is_signed_and_loaded(signing: Signing, tmp_path: Path) -> None:
    assert signing.verify(signing.version).reason == "version 1 of 'm' is not signed"
    signing.sign(signing.version)
    signing.sign(signing.version)  # again is as good as once
    (found,) = signing(signatures.list_all, "m", 1)
    assert (found.key, found.state, found.trusted, found.signed_by) == ("first", KeyState.ACTIVE, True, "local")
    verification = signing.verify(signing.version)
    assert (verification.trusted, verification.files, verification.problems) == (True, len(FILES), [])
    assert verification.size == sum(map(len, FILES.values()))
    signing.loader.unpack(signing.version, tmp_path / "model")
    assert (tmp_path / "model" / "MLmodel").read_bytes() == FILES["MLmodel"]
    assert signing.refusals() == []


def test_the_server_takes_only_what_it_can_prove(signing: Signing) -> None:
    other = manifest("m", [SignedFile("MLmodel", "ab" * 32)])
    for bad, why in [
        (bundle.sign(other, FIRST), "other files: MLmodel .changed., model.pkl .added."),
        (bundle.sign(other, SECOND), "no signing key"),
        (b"{}", "no signature of a model"),
        (bundle.sign(other, FIRST)[:-2], "no signature of a model"),
    ]:
        with pytest.raises(Untrusted, match=why):
            signing(signatures.add, "m", 1, bad)
    with pytest.raises(Invalid, match="at most"):
        signing(signatures.add, "m", 1, b" " * (signatures.MAX_BUNDLE_BYTES + 1))
    viewer = Caller("vic", roles={"default": Role.VIEWER})
    with pytest.raises(Denied):
        signing.database.write_now(lambda tx: signatures.add(tx, viewer, "m", 1, b"{}"))
    elsewhere = signing.register("s3://bucket/model")
    with pytest.raises(Invalid, match="not kept here"):
        signing(signatures.add, "m", elsewhere.version, bundle.sign(other, FIRST))
    assert signing(signatures.list_all, "m", 1) == []


def test_keys_rotate(signing: Signing) -> None:
    signing.sign(signing.version)
    signing.key("second", SECOND)
    signing.key("first", FIRST, retiredAt=FUTURE)
    signing.sign(signing.version)
    signing.key("first", FIRST, retiredAt=PAST)
    assert signing.trusted(signing.version) == {"first": True}
    with pytest.raises(Untrusted, match="retired"):
        signing.sign(signing.version)
    signing.sign(signing.version, SECOND)
    assert signing.trusted(signing.version) == {"first": True, "second": True}


def test_what_a_revoked_key_signed_is_refused(signing: Signing, tmp_path: Path) -> None:
    signing.sign(signing.version)
    signing.key("first", FIRST, revokedAt=PAST, reason="laptop stolen")
    with pytest.raises(Untrusted, match="'first' was revoked: laptop stolen"):
        signing.loader.unpack(signing.version, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert "laptop stolen" in signing.refusals()[0]["reason"]
    signing.key("again", FIRST)  # under another name it is the same key
    assert signing.trusted(signing.version) == {"first": False}
    with pytest.raises(Untrusted, match="revoked"):
        signing.sign(signing.version)
    assert not signing.verify(signing.version).trusted
    signing.key("second", SECOND)
    signing.sign(signing.version, SECOND)  # somebody looked at it anew
    signing.loader.unpack(signing.version, tmp_path / "model")


@pytest.mark.parametrize("path", ["model.pkl", "MLmodel"])
def test_a_tampered_byte_is_refused_and_the_file_named(signing: Signing, tmp_path: Path, path: str) -> None:
    signing.sign(signing.version)
    signing.tamper(signing.version, path)
    with pytest.raises(Untrusted, match=f"{path}: its bytes are not those that were registered"):
        signing.loader.unpack(signing.version, tmp_path / "model")
    assert not (tmp_path / "model" / path).exists()
    found = signing.verify(signing.version)
    assert (found.trusted, [each.path for each in found.problems]) == (False, [path])
    for event in signing.refusals():
        assert [each["path"] for each in event["files"]] == [path]
    assert len(signing.refusals()) == 2


def test_bytes_that_are_gone_are_missed(signing: Signing) -> None:
    signing.sign(signing.version)
    signing.database.write_now(lambda tx: tx.change(artifact_contents.delete()))
    assert {each.reason for each in signing.verify(signing.version).problems} == {"its bytes are gone"}


def test_an_unsigned_version_is_verified_byte_for_byte_too(signing: Signing, tmp_path: Path) -> None:
    signing.tamper(signing.version, "model.pkl")
    with pytest.raises(Untrusted, match=r"model\.pkl"):
        signing.loader.unpack(signing.version, tmp_path / "model")


@pytest.mark.parametrize("signed", [True, False])
def test_files_that_appear_or_go_are_noticed(signing: Signing, signed: bool) -> None:
    if signed:
        signing.sign(signing.version)
    stored = f"{signing.version.storage.removeprefix('mlflow-artifacts:/')}/model.pkl"
    signing.database.write_now(lambda tx: tx.change(artifact_files.delete().where(artifact_files.c.path == stored)))
    assert not signing.verify(signing.version).trusted
    with pytest.raises(Untrusted, match="model.pkl .missing." if signed else "has other files"):
        signing.loader.files(signing.version)


def test_a_copy_has_the_signatures_and_a_deleted_version_none(signing: Signing) -> None:
    signing.sign(signing.version)
    signing.model("copies")
    copied = signing.register("models:/m/1", "copies")
    assert signing.trusted(copied) == {"first": True}
    signing(versions.delete_version, "m", 1)
    signing(models.delete_model, "copies")
    assert signing.database.read_now(lambda tx: tx.select(version_signatures.select())) == []


def test_who_changes_keys(signing: Signing) -> None:
    editor = Caller("eve", roles={"default": Role.EDITOR})
    spec = {"publicKey": keys.public_pem(SECOND.public_key()).decode()}
    wanted = Manifest(API_VERSION, "SigningKey", Metadata("mine"), spec)
    with pytest.raises(Denied):
        signing.database.write_now(lambda tx: store.apply(tx, editor, trust.KIND, wanted))
    signing.sign(signing.version)
    with pytest.raises(Conflict, match="has signed m/1"):
        signing(store.remove, trust.KIND, "first")
    signing.key("second", SECOND)
    signing(store.remove, trust.KIND, "second")


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        ("", "no public key"),
        (keys.private_pem(FIRST).decode(), "private key"),
        (keys.private_pem(FIRST, "secret").decode(), "private key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
    ],
)
def test_what_is_no_public_key(signing: Signing, pem: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        signing.apply(trust.KIND, "bad", {"publicKey": pem})
    assert caught.value.path.startswith("spec")


# --- where signatures are asked for -------------------------------------------------------------------------------


def test_a_project_may_ask_for_signatures(signing: Signing) -> None:
    signing.project("required")
    with pytest.raises(Untrusted, match="is not signed"):
        signing.loader.files(signing.version)
    assert signing.refusals()[0]["files"] == []
    signing.sign(signing.version)
    assert len(signing.loader.files(signing.version)) == len(FILES)


def test_a_gate_asks_for_signatures_and_closes_again(signing: Signing) -> None:
    signing.policy(SIGNED)
    with pytest.raises(GateClosed, match="0 of 1 signatures by a key of the project"):
        signing(aliases.move, "m", "champion", 1)
    with pytest.raises(Untrusted, match="is not signed"):  # whoever serves it has to ask, too
        signing.loader.files(signing.version)
    signing.sign(signing.version)
    signing(aliases.move, "m", "champion", 1)
    signing.key("first", FIRST, revokedAt=PAST, reason="stolen")
    with pytest.raises(GateClosed, match="fail: its key 'first' was revoked: stolen"):
        signing(aliases.move, "m", "champion", 1)


def test_a_gate_asks_for_certain_keys(signing: Signing) -> None:
    signing.policy({"name": "signed", "signature": {"keys": ["second", "third"], "count": 2}})
    signing.sign(signing.version)
    signing.key("second", SECOND)
    signing.sign(signing.version, SECOND)
    with pytest.raises(GateClosed, match="1 of 2 signatures by 2 of second, third"):
        signing(aliases.move, "m", "champion", 1)
    third = keys.generate()
    signing.key("third", third)
    signing.sign(signing.version, third)
    signing(aliases.move, "m", "champion", 1)
    with pytest.raises(Invalid, match="cannot be had"):
        signing.policy({"name": "signed", "signature": {"keys": ["second"], "count": 2}})


def test_gates_wait_for_the_signature_that_their_project_asks_for(signing: Signing, tmp_path: Path) -> None:
    signing.project("required")
    signing.policy({"name": "smoke", "command": {"command": ["test", "-s", "model/MLmodel"]}})
    signing(gates.request, signing.version)
    runner = GateRunner(signing.database, InDatabase(), Environments(Path("not used")), tmp_path)
    while runner.run_one():
        continue

    def verdict() -> GateVerdict:
        return signing.database.read_now(lambda tx: gates.standings(tx, signing.version))[0].decision.verdict

    assert verdict() is GateVerdict.INCONCLUSIVE
    signing.sign(signing.version)
    assert runner.run_one()
    assert verdict() is GateVerdict.PASS


def test_a_state_changes_with_the_clock(signing: Signing) -> None:
    clock = signing.database.clock
    assert isinstance(clock, ManualClock)
    signing.key("first", FIRST, retiredAt="2990-01-01T00:00:00Z", revokedAt="2991-01-01T00:00:00Z")
    states = []
    for _ in range(3):
        states.append(signing.database.read_now(lambda tx: trust.keys(tx, "default"))[0].state)
        clock.advance(1_000 * 365 * 86_400_000 if len(states) == 1 else 400 * 86_400_000)
    assert states[0] is KeyState.ACTIVE
    assert states[-1] is KeyState.REVOKED
