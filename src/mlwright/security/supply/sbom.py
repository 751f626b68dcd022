"""A software bill of materials for a model, in CycloneDX 1.6 JSON: https://cyclonedx.org/docs/1.6/json/."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from mlwright.security.supply.spec import Needs, Pinned

#: Of the serial numbers: the same version has the same one.
_SPACE = uuid.UUID("6f1c7c6a-4a0e-5b7e-9d59-0e6a5a1f3c0b")


class Model(NamedTuple):
    """The model that the bill is about.

    Attributes:
        files: SHA-256 in hexadecimal, by path.
        digest: of all of it.
        made: when it was registered.
    """

    name: str
    version: str
    digest: str
    files: Mapping[str, str]
    made: datetime


def bill(model: Model, needs: Needs, licences: Mapping[Pinned, str], tool: str) -> str:
    """The bill as JSON; the same for the same model.

    Args:
        licences: as far as they are known.
        tool: version of mlwright.
    """
    subject = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=model.name,
        version=model.version,
        bom_ref=f"model:{model.name}/{model.version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model.digest)],
        properties=[Property(name="mlwright:needs", value=source) for source in needs.sources],
        components=[_file(path, digest) for path, digest in model.files.items()],
    )
    libraries = [_library(each, licences.get(each)) for each in needs.pinned]
    open_ones = [_unpinned(name, text) for name, text in _open(needs)]
    serial = uuid.uuid5(_SPACE, f"{model.digest} {model.name}/{model.version}")
    bom = Bom(serial_number=serial, components=[*libraries, *open_ones])
    bom.metadata.component = subject
    bom.metadata.timestamp = model.made
    bom.metadata.tools.components.add(Component(type=ComponentType.APPLICATION, name="mlwright", version=tool))
    bom.register_dependency(subject, [*libraries, *open_ones])
    return str(JsonV1Dot6(bom).output_as_string(indent=2))


def _file(path: str, digest: str) -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest)]
    return Component(type=ComponentType.FILE, name=path, hashes=hashes, bom_ref=f"file:{path}")


def _library(distribution: Pinned, licence: str | None) -> Component:
    address = PackageURL("pypi", None, distribution.name, distribution.version)
    return Component(
        name=distribution.name,
        version=distribution.version,
        purl=address,
        bom_ref=str(address),
        licenses=[LicenseExpression(licence)] if licence else None,
        properties=[Property(name="mlwright:source", value=distribution.source)],
    )


def _open(needs: Needs) -> Sequence[tuple[str, str]]:
    """What is needed in no certain version, each name once with all that is said about it."""
    found: dict[str, list[str]] = {}
    for each in needs.unpinned:
        found.setdefault(each.name or each.requirement, []).append(f"{each.source}: {each.requirement}")
    return [(name, "; ".join(texts)) for name, texts in found.items()]


def _unpinned(name: str, text: str) -> Component:
    return Component(name=name, bom_ref=f"open:{name}", properties=[Property(name="mlwright:requirement", value=text)])
