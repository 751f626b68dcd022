"""The words of the gate `security` about what a model is made of."""

from datetime import date
from typing import Annotated, Literal

import msgspec

#: The file in which a model says the licences of what it needs.
COMPANION = "licences.json"
_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, description="Why it does not matter here.")]


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class Ignored(_Spec, frozen=True):
    """Something that is known and does not matter here, and why. `until`: the last day; for ever when not given."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    reason: _Reason
    until: date | None = None


class IgnoredSecret(_Spec, frozen=True):
    """What looks like a secret and is none, and why. `path`: a pattern such as "tests/*". `until`: the last day."""

    rule: Annotated[str, msgspec.Meta(pattern="^secret-")]
    reason: _Reason
    path: str = "*"
    until: date | None = None


class Vulnerabilities(_Spec, frozen=True):
    """Advisories about the distributions that the version needs, by the server's copy of an OSV database.

    `severity`: the least that counts; an advisory that does not say how bad it is counts always. `ignore`: by id or
    alias of the advisory, or by the name of a distribution that is not pinned. `max_age_days`: of the database.
    """

    severity: Literal["low", "medium", "high", "critical"] = "low"
    ignore: list[Ignored] = []
    max_age_days: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Secrets(_Spec, frozen=True):
    """Keys, tokens and passwords in the version's files."""

    ignore: list[IgnoredSecret] = []


class Licences(_Spec, frozen=True):
    """The licences of the distributions that the version needs must be among those allowed, which are SPDX ids.

    `companion`: a file of the version with the licences, as JSON by name or as an SBOM of CycloneDX. `ignore`: by name
    of the distribution.
    """

    allow: Annotated[list[str], msgspec.Meta(min_length=1)]
    companion: str = COMPANION
    ignore: list[Ignored] = []
