"""Whether a version may be trusted: its signatures against the keys of its project. Reads only."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, insert, select

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel import store
from mlwright.kernel.blobs import PREFIX
from mlwright.kernel.columns import Int64
from mlwright.kernel.errors import Conflict, Invalid, Untrusted
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import Kind, Resource
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import pinning
from mlwright.registry.signatures.spec import KeyState, SigningKeySpec, VersionSignature
from mlwright.registry.signatures.tables import version_signatures
from mlwright.registry.spec import ModelVersion
from mlwright.registry.tables import model_versions
from mlwright.security import service as security
from mlwright.security.signing.spec import Manifest, SignedFile, differences, manifest

#: Who looks at keys and files, whatever the caller may see.
SYSTEM = Caller("system", everywhere=Role.ADMIN)
_SHOWN = 5

_signatures = version_signatures.c
_of_version = Query(
    select(_signatures.fingerprint, _signatures.bundle, _signatures.signed_by, _signatures.at_ms)
    .where(_signatures.version == bindparam("version"))
    .order_by(_signatures.at_ms, _signatures.fingerprint)
)
_is_signed = Query(select(_signatures.fingerprint).where(_signatures.version == bindparam("version")).limit(1))
_used = Query(
    select(model_versions.c.name, model_versions.c.version)
    .join(version_signatures, _signatures.version == model_versions.c.id)
    .where(_signatures.fingerprint == bindparam("fingerprint"), model_versions.c.project == bindparam("project"))
    .limit(1)
)
_copy = Query(
    insert(version_signatures).from_select(
        [column.name for column in _signatures],
        select(bindparam("target", type_=Int64), *(column for column in _signatures if column.name != "version")).where(
            _signatures.version == bindparam("source")
        ),
    )
)


def _check_unused(tx: Tx, resource: Resource) -> None:
    fingerprint = msgspec.convert(resource.spec, SigningKeySpec).fingerprint
    found = tx.one(_used, {"fingerprint": fingerprint, "project": resource.metadata.project})
    if found is not None:
        raise Conflict(
            f"the key {resource.metadata.name!r} has signed {found[0]}/{found[1]}",
            path="name",
            hint=f"mlwright keys retire {resource.metadata.name}, or revoke",
        )


KIND = Kind(
    "SigningKey",
    "signingkeys",
    SigningKeySpec,
    "A public key whose signatures of model versions are trusted.",
    changed_by=Role.ADMIN,
    before_delete=_check_unused,
)


class Key(NamedTuple):
    """A signing key of a project."""

    name: str
    spec: SigningKeySpec
    state: KeyState


def keys(tx: Tx, project: str) -> list[Key]:
    """The signing keys of a project, by name."""
    found = [
        (each.metadata.name, msgspec.convert(each.spec, SigningKeySpec))
        for each in store.list_all(tx, SYSTEM, KIND, project)
    ]
    now = tx.now_ms()
    return [Key(name, spec, spec.state(now)) for name, spec in found]


def files(tx: Tx, version: ModelVersion) -> list[ArtifactFile]:
    """The pinned files of a version, with paths relative to it. Raises Invalid when there are none here."""
    if version.digest is None:
        raise Invalid(f"the files of version {version.version} are not kept here, so that nobody can look at them")
    root = pinning.root(version.storage)
    return [pinning.relative(each, root) for each in artifacts.inside(tx, root)]


def require_unchanged(version: ModelVersion, found: Sequence[ArtifactFile]) -> None:
    """Raises Untrusted unless these are the files, by path, size and digest, that the version was registered with."""
    if pinning.digest_of(found) != version.digest:
        raise Untrusted(f"version {version.version} of {version.name!r} has other files than it was registered with")


def contents(name: str, found: Sequence[ArtifactFile]) -> Manifest:
    """The files of a version as something to be signed. Raises Invalid for none."""
    return manifest(name, [SignedFile(each.path, each.digest.removeprefix(PREFIX)) for each in found])


def signatures(tx: Tx, version: ModelVersion) -> list[VersionSignature]:
    """The signatures of a version, the oldest first, each judged by the keys that the project has now."""
    stored = tx.all(_of_version, {"version": version.row})
    if not stored:
        return []
    tx.take_time()
    found, known = files(tx, version), keys(tx, version.project)
    return [
        _judged(fingerprint, bundle, [key for key in known if key.spec.fingerprint == fingerprint], found, by, at_ms)
        for fingerprint, bundle, by, at_ms in stored
    ]


def _judged(
    fingerprint: str, bundle: bytes, named: Sequence[Key], found: Sequence[ArtifactFile], by: str, at_ms: int
) -> VersionSignature:
    # A revoked key stays revoked under whatever other name it was added again.
    key = next((each for each in named if each.state is KeyState.REVOKED), named[0] if named else None)
    if key is None:
        reason = f"its key {fingerprint[:16]}… is none of the project's"
        return VersionSignature(fingerprint, "", KeyState.UNKNOWN, False, reason, by, at_ms)
    reason = ""
    if key.state is KeyState.REVOKED:
        reason = f"its key {key.name!r} was revoked" + (f": {key.spec.reason}" if key.spec.reason else "")
    else:
        try:
            check(bundle, key, found)
        except Untrusted as error:
            reason = error.message
    return VersionSignature(fingerprint, key.name, key.state, not reason, reason, by, at_ms)


def check(bundle: bytes, key: Key, found: Sequence[ArtifactFile]) -> None:
    """Raises Untrusted unless the signature is by this key and of just these files."""
    from mlwright.security.signing import bundle as signing  # brings cryptography, see SigningKeySpec
    from mlwright.security.signing import keys as pems

    signed = signing.verify(bundle, pems.load_public(key.spec.public_key.encode()))
    different = differences(signed, contents(signed.name, found))
    if different:
        named = ", ".join(f"{each.path} ({each.change.value})" for each in different[:_SHOWN])
        more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise Untrusted(f"the signature is of other files: {named}{more}", path=different[0].path)


def require(tx: Tx, version: ModelVersion, *, must_be_signed: bool = False) -> None:
    """Called before a version's files are used. Raises Untrusted when it is signed and no signature counts.

    Args:
        must_be_signed: refuse it without a signature too, as a project may ask for all its versions.
    """
    if tx.one(_is_signed, {"version": version.row}) is None:
        if must_be_signed or security.requires_signatures(tx, version.project):
            raise Untrusted(
                f"version {version.version} of {version.name!r} is not signed",
                hint=f"mlwright models sign {version.name}/{version.version} --key KEY",
            )
        return
    found = signatures(tx, version)
    if not any(each.trusted for each in found):
        reasons = "; ".join(each.reason for each in found)
        raise Untrusted(
            f"no signature of version {version.version} of {version.name!r} counts: {reasons}",
            hint=f"sign it with a key that the project {version.project!r} trusts, or have an admin add the key it has",
        )


def copy(tx: Tx, source: int, target: int) -> None:
    """Give a version that has the files of another one its signatures too."""
    tx.run(_copy, {"source": source, "target": target})
