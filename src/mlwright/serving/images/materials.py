"""The bill of materials of an image, in CycloneDX 1.6 JSON: https://cyclonedx.org/docs/1.6/json/.

Written by hand: an image can be built where the library for it, an extra, is not installed.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from mlwright import __version__
from mlwright.serving.images.notes import Package

_SPACE = uuid.UUID("6d1d7a52-52b5-5a8c-9f0e-0b8c1c5d0a77")
_EXPRESSION = re.compile(r"\(?[A-Za-z0-9.+-]+\)?( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")


class Subject(NamedTuple):
    """What the bill is about.

    Attributes:
        model: name of the model.
        digest: of the version, in hexadecimal.
        files: SHA-256 in hexadecimal, by path in the version.
    """

    model: str
    version: int
    digest: str
    files: Mapping[str, str]


def bill(subject: Subject, packages: Sequence[Package]) -> bytes:
    """The bill; the same for the same image."""
    model = {
        "bom-ref": f"model:{subject.model}/{subject.version}",
        "components": [_file(path, subject.files[path]) for path in sorted(subject.files)],
        "hashes": [{"alg": "SHA-256", "content": subject.digest}],
        "name": subject.model,
        "type": "machine-learning-model",
        "version": str(subject.version),
    }
    host = {
        "bom-ref": f"pkg:pypi/mlwright@{__version__}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "name": "mlwright",
        "purl": f"pkg:pypi/mlwright@{__version__}",
        "type": "application",
        "version": __version__,
    }
    listed = [_component(each) for each in sorted(set(packages), key=_purl)]
    components = [model, host, *listed]
    image = {"bom-ref": "image", "name": subject.model, "type": "container", "version": str(subject.version)}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "components": components,
        "dependencies": [{"dependsOn": sorted(str(each["bom-ref"]) for each in components), "ref": "image"}],
        "metadata": {
            "component": image,
            "tools": {"components": [{"name": "mlwright", "type": "application", "version": __version__}]},
        },
        "specVersion": "1.6",
        "version": 1,
    }
    serial = uuid.uuid5(_SPACE, msgspec.json.encode(document, order="deterministic").decode())
    return msgspec.json.encode({**document, "serialNumber": f"urn:uuid:{serial}"}, order="deterministic")


def _component(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bom-ref": _purl(package),
        "name": package.name,
        "purl": _purl(package),
        "type": "library",
        "version": package.version,
    }
    if package.licence:
        # What classifiers call a licence, such as "BSD License", is no SPDX expression.
        spdx = _EXPRESSION.fullmatch(package.licence) is not None
        found["licenses"] = [{"expression": package.licence} if spdx else {"license": {"name": package.licence}}]
    return found


def _purl(package: Package) -> str:
    """https://github.com/package-url/purl-spec"""
    space = f"{package.space}/" if package.space else ""
    machine = f"?arch={package.architecture}" if package.architecture else ""
    return f"pkg:{package.kind}/{space}{quote(package.name)}@{quote(package.version)}{machine}"


def _file(path: str, digest: str) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"bom-ref": f"file:{path}", "hashes": hashes, "name": path, "type": "file"}
