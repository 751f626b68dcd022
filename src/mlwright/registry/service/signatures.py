"""The verbs of signatures: bring one, list them, ask whether a version may be loaded.

Private keys never come here: a signature is made where the key is, over the files that are pinned here. Nobody can take
a signature away; what must not be trusted any more is ended by revoking its key.
"""

from collections.abc import Mapping

from sqlalchemy import bindparam, select

from mlwright.kernel.errors import NotFound, TooLarge, Untrusted
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.registry.service import gates, trust, versions
from mlwright.registry.signatures.spec import FileProblem, KeyState, VersionSignature
from mlwright.registry.signatures.tables import version_signatures
from mlwright.registry.spec import ModelVersion

#: Some 80,000 files.
MAX_BUNDLE_BYTES = 16 << 20

_put = Query(
    upsert(version_signatures)
    .values({column.name: bindparam(column.name) for column in version_signatures.c})
    .on_conflict_do_update(
        index_elements=["version", "fingerprint"],
        set_={name: upsert(version_signatures).excluded[name] for name in ("bundle", "signed_by", "at_ms")},
    )
)
_bundle = Query(
    select(version_signatures.c.bundle).where(
        version_signatures.c.version == bindparam("version"),
        version_signatures.c.fingerprint == bindparam("fingerprint"),
    )
)


def add(tx: Tx, caller: Caller, name: str, version: int, bundle: bytes, project: str = "") -> VersionSignature:
    """Keep a signature of a version. Raises Untrusted unless an active key of the project made it, of these files."""
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise TooLarge(f"a signature has at most {MAX_BUNDLE_BYTES} bytes", path="bundle")
    tx.take_time()
    _, found = versions.find(tx, caller, name, version, Role.EDITOR, project)
    key = _signer(tx, bundle, found.project)
    trust.check(bundle, key, trust.files(tx, found))
    was_trusted = any(each.trusted for each in trust.signatures(tx, found))
    values = {"version": found.row, "fingerprint": key.spec.fingerprint, "bundle": bundle}
    tx.run(_put, {**values, "signed_by": caller.name, "at_ms": tx.now_ms()})
    data = {"key": key.name, "fingerprint": key.spec.fingerprint, "digest": found.digest}
    _emit(tx, caller.name, found, "signed", data)
    if not was_trusted:
        gates.request_undecided(tx, caller, found)
    return next(each for each in trust.signatures(tx, found) if each.fingerprint == key.spec.fingerprint)


def _signer(tx: Tx, bundle: bytes, project: str) -> trust.Key:
    """The active key of the project that the signature names."""
    from mlwright.security.signing import bundle as signing  # brings cryptography, see SigningKeySpec

    fingerprint = signing.signer(bundle)
    named = [each for each in trust.keys(tx, project) if each.spec.fingerprint == fingerprint]
    if not named:
        raise Untrusted(
            f"the project {project!r} has no signing key {fingerprint[:16]}…",
            path="bundle",
            hint="an admin adds it: mlwright keys add NAME PUBLIC.pem",
        )
    ended = next((each for each in named if each.state is not KeyState.ACTIVE), None)
    if ended is not None:
        raise Untrusted(f"the key {ended.name!r} is {ended.state.value}: it signs nothing new", path="bundle")
    return named[0]


def list_all(tx: Tx, caller: Caller, name: str, version: int, project: str = "") -> list[VersionSignature]:
    """The signatures of a version, the oldest first. Raises NotFound."""
    return trust.signatures(tx, versions.find(tx, caller, name, version, Role.VIEWER, project)[1])


def bundle(tx: Tx, caller: Caller, name: str, version: int, fingerprint: str, project: str = "") -> bytes:
    """One signature itself, as it was brought. Raises NotFound."""
    found = versions.find(tx, caller, name, version, Role.VIEWER, project)[1]
    row = tx.one(_bundle, {"version": found.row, "fingerprint": fingerprint})
    if row is None:
        raise NotFound(f"{name}/{version} is not signed by {fingerprint[:16]}…", path="fingerprint")
    return bytes(row[0])


def require(tx: Tx, version: ModelVersion) -> None:
    """Called before a version is loaded to be used. Raises Untrusted when it must not be.

    It must be signed when its project says so, or a policy about it has a gate that asks for signatures.
    """
    policies = gates.policies(tx, version.project, version.name)
    asked = any(gate.signature for policy in policies for gate in policy.spec.gates)
    trust.require(tx, version, must_be_signed=asked)


def refused(tx: Tx, caller: Caller, version: ModelVersion, reason: str, problems: list[FileProblem]) -> None:
    """Put on the record that files of a version were not given to a loader."""
    files = [{"path": each.path, "reason": each.reason} for each in problems]
    _emit(tx, caller.name, version, "refused", {"digest": version.digest, "reason": reason, "files": files})


def _emit(tx: Tx, actor: str, version: ModelVersion, what: str, data: Mapping[str, object]) -> None:
    subject = f"model-version/{version.name}/{version.version}"
    tx.emit(Draft(actor, version.project, f"registry.version.{what}", subject, data))
