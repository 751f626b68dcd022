"""Licences of distributions, and whether they are allowed. Licences are SPDX expressions: https://spdx.org/licenses/."""

import json
from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from mlwright.kernel.errors import Invalid
from mlwright.security.supply.spec import Pinned

_MAX_BYTES = 8 << 20
#: The classifiers of PyPI that mean exactly one licence of SPDX. "BSD License" is not among them: there are several.
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}


def canonical(text: str) -> str | None:
    """A licence as SPDX writes it; None when it is no SPDX expression."""
    try:
        return str(canonicalize_license_expression(text))
    except (InvalidLicenseExpression, ValueError, RecursionError):
        return None


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """Whether somebody who may use only these licences may use what has this one.

    Of a choice (OR) one must be allowed, of a combination (AND) all. An exception (WITH) only gives more rights.
    """
    words = expression.replace("(", " ( ").replace(")", " ) ").split()
    names = {name.lower() for name in allowed}
    result, rest = _choice(words, names)
    return result and not rest


def _choice(words: Sequence[str], allowed: set[str]) -> tuple[bool, Sequence[str]]:
    result, words = _combination(words, allowed)
    while words and words[0] == "OR":
        other, words = _combination(words[1:], allowed)
        result = result or other
    return result, words


def _combination(words: Sequence[str], allowed: set[str]) -> tuple[bool, Sequence[str]]:
    result, words = _single(words, allowed)
    while words and words[0] == "AND":
        other, words = _single(words[1:], allowed)
        result = result and other
    return result, words


def _single(words: Sequence[str], allowed: set[str]) -> tuple[bool, Sequence[str]]:
    if not words:
        return False, words
    if words[0] == "(":
        result, words = _choice(words[1:], allowed)
        return result, words[1:]
    name, words = words[0], words[1:]
    if words and words[0] == "WITH":
        whole = " ".join((name, *words[:2]))
        return whole.lower() in allowed or name.lower() in allowed, words[2:]
    return name.lower() in allowed, words


def known(
    distributions: Iterable[Pinned], folder: Path, companion: str, environment: Path | None = None
) -> dict[Pinned, str]:
    """The licences that are known: said by the companion file in the model, or by what is installed.

    Args:
        companion: JSON with licences by name of the distribution, or an SBOM of CycloneDX.
        environment: a virtual environment of the model; without it, the same versions where they are installed here.

    Raises Invalid for a companion that cannot be read.
    """
    said = _companion(folder / companion)
    sites = None if environment is None else [str(site) for site in environment.glob("lib/python*/site-packages")]
    found = {each: said.get(each.name) or _installed(each, sites) for each in distributions}
    return {each: licence for each, licence in found.items() if licence}


def _installed(distribution: Pinned, sites: list[str] | None) -> str | None:
    named = {"name": distribution.name} if sites is None else {"name": distribution.name, "path": sites}
    here = next(iter(metadata.distributions(**named)), None)
    return of_metadata(here.metadata) if here is not None and here.version == distribution.version else None


def of_metadata(found: "Message | metadata.PackageMetadata") -> str | None:
    """The licence in the metadata of a distribution, if it says one that can only mean one thing."""
    for field in ("License-Expression", "License"):
        for text in found.get_all(field) or ():
            if licence := canonical(str(text).strip()):
                return licence
    classifiers = [str(each).rpartition(" :: ")[2] for each in found.get_all("Classifier") or ()
                   if str(each).startswith("License ::")]  # fmt: skip
    licences = {_CLASSIFIERS.get(each) for each in classifiers if each != "OSI Approved"}
    return licences.pop() if len(licences) == 1 else None


def _companion(path: Path) -> dict[str, str]:
    """Licences by normal name."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        document: Any = json.loads(content) if len(content) <= _MAX_BYTES else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{path.name} cannot be read: {str(error)[:200]}", path=path.name) from error
    if not isinstance(document, dict):
        raise Invalid(f"{path.name} is no list of licences", path=path.name)
    named = _of_bom(document) if document.get("bomFormat") == "CycloneDX" else document.items()
    pairs = ((str(canonicalize_name(str(name))), canonical(str(text))) for name, text in named)
    return {name: licence for name, licence in pairs if licence}


def _of_bom(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for each in document.get("components") or ():
        licences = each.get("licenses") if isinstance(each, dict) else None
        texts = [_of_choice(one) for one in licences or () if isinstance(one, dict)]
        if texts and all(texts):
            found.append((str(each.get("name")), " AND ".join(f"({text})" for text in texts)))
    return found


def _of_choice(found: Mapping[str, Any]) -> str:
    licence = found.get("license")
    return str(found.get("expression") or (licence.get("id") if isinstance(licence, dict) else "") or "")
