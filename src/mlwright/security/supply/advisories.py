"""Advisories about Python distributions, from a copy of an OSV database: a folder of JSON files, or a zip of them.

OSV publishes such copies for each ecosystem (https://google.github.io/osv.dev/data/). Nothing is asked of the network
here. Format: https://ossf.github.io/osv-schema/, whose evaluation algorithm is followed.
"""

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.security.supply.cvss import base_score
from mlwright.security.supply.spec import Danger, Match, Pinned

ECOSYSTEM = "PyPI"
#: Largest single advisory; some name thousands of versions.
MAX_BYTES = 32 << 20
_WORDS = {"LOW": Danger.LOW, "MODERATE": Danger.MEDIUM, "MEDIUM": Danger.MEDIUM, "HIGH": Danger.HIGH,
          "CRITICAL": Danger.CRITICAL}  # fmt: skip


class _Package(msgspec.Struct):
    ecosystem: str = ""
    name: str = ""


class _Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class _Range(msgspec.Struct):
    type: str = ""
    events: list[_Event] = []


class _Specific(msgspec.Struct):
    severity: object = None


class _Severity(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Affected(msgspec.Struct):
    package: _Package = msgspec.field(default_factory=_Package)
    ranges: list[_Range] = []
    versions: list[str] = []
    severity: list[_Severity] = []
    database_specific: _Specific | None = None
    ecosystem_specific: _Specific | None = None


class _Advisory(msgspec.Struct):
    id: str
    modified: str = ""
    withdrawn: str | None = None
    aliases: list[str] = []
    summary: str = ""
    details: str = ""
    severity: list[_Severity] = []
    affected: list[_Affected] = []
    database_specific: _Specific | None = None


#: OSV's "0": before every version.
_LOWEST = Version("0.dev0")
_decoder = msgspec.json.Decoder(_Advisory)


class Searched(NamedTuple):
    """What was found, and in what.

    Attributes:
        advisories: how many about Python distributions were looked at.
        unreadable: names of files that are no advisories.
        newest: when the newest of them was changed; None when none says.
    """

    matches: list[Match]
    advisories: int
    unreadable: list[str]
    newest: datetime | None


def search(database: Path, distributions: Sequence[Pinned]) -> Searched:
    """The advisories that are about these versions. Raises NotFound and Invalid for what is no such database."""
    wanted: dict[str, list[Pinned]] = defaultdict(list)
    for each in distributions:
        wanted[each.name].append(each)
    matches: list[Match] = []
    unreadable: list[str] = []
    count, newest = 0, ""
    for name, content in _documents(database):
        try:
            advisory = _decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unreadable.append(name)
            continue
        affected = [each for each in advisory.affected if each.package.ecosystem.partition(":")[0] == ECOSYSTEM]
        if not affected:
            continue
        count, newest = count + 1, max(newest, advisory.modified)
        if advisory.withdrawn is None:
            matches += _about(advisory, affected, wanted)
    found = {(each.distribution, each.id): each for each in matches}
    ordered = sorted(found.values(), key=lambda each: (each.distribution, -each.danger, each.id))
    return Searched(_merged(ordered), count, unreadable, _time(newest))


def _documents(database: Path) -> Iterator[tuple[str, bytes]]:
    if database.is_dir():
        for path in sorted(database.rglob("*.json")):
            yield path.name, path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        return
    try:
        with zipfile.ZipFile(database) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".json"):
                    yield entry.filename, archive.read(entry) if entry.file_size <= MAX_BYTES else b""
    except FileNotFoundError:
        raise NotFound(f"there is no database of advisories at {database}", path=str(database)) from None
    # NotImplementedError: packed in a way that is not known here; RuntimeError: encrypted.
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise Invalid(f"{database} is no zip of advisories: {error}", path=str(database)) from error


def _about(advisory: _Advisory, affected: Iterable[_Affected], wanted: dict[str, list[Pinned]]) -> Iterator[Match]:
    for each in affected:
        for distribution in wanted.get(canonicalize_name(each.package.name), ()):
            if is_affected(distribution.version, each.versions, each.ranges):
                text = advisory.summary or advisory.details.strip().partition("\n")[0]
                fixed = [event.fixed for found in _ordered(each.ranges) for event in found.events if event.fixed]
                danger = _danger(advisory, each)
                yield Match(distribution, advisory.id, advisory.aliases, text[:200], danger, fixed)


def _ordered(ranges: Iterable[_Range]) -> Iterator[_Range]:
    """Ranges of versions; those of commits say nothing about releases."""
    return (each for each in ranges if each.type != "GIT")


def is_affected(version: str, versions: Iterable[str], ranges: Iterable[_Range]) -> bool:
    """Whether a version is among those listed, or in one of the ranges."""
    own = Version(Version(version).public)  # whoever built it, it has the faults of the release
    if any(version == each or _version(each) == own for each in versions):
        return True
    return any(_in_range(own, each.events) for each in _ordered(ranges))


def _in_range(own: Version, events: Sequence[_Event]) -> bool:
    """OSV's algorithm: the last event at or before the version decides."""
    limits = [_version(each.limit) for each in events if each.limit and each.limit != "*"]
    if limits and not any(limit is None or own < limit for limit in limits):
        return False
    turns: list[tuple[Version, int, bool]] = []
    for each in events:
        if each.introduced is not None:
            turns.append((_version(each.introduced) or _LOWEST, 0, True))
        for kind, text in ((1, each.fixed), (2, each.last_affected)):
            # An end that is no version ends nothing.
            if text is not None and (end := _version(text)) is not None:
                turns.append((end, kind, False))
    inside = False
    for at, kind, begins in sorted(turns):
        if own > at or (own == at and kind != 2):
            inside = begins
    return inside


def _version(text: str) -> Version | None:
    if text == "0":
        return _LOWEST
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _danger(advisory: _Advisory, affected: _Affected) -> Danger:
    """By the words of who published it, else by the score; the worst of those that speak."""
    for place in (affected.ecosystem_specific, affected.database_specific, advisory.database_specific):
        word = place.severity if place is not None else None
        if isinstance(word, str) and word.upper() in _WORDS:
            return _WORDS[word.upper()]
    scores = [base_score(each.score) for each in (*affected.severity, *advisory.severity)]
    known = [score for score in scores if score is not None]
    if not known:
        return Danger.UNKNOWN
    return next(danger for least, danger in _SCALE if max(known) >= least)


#: The qualitative scale of CVSS 3.1, section 5.
_SCALE = ((9.0, Danger.CRITICAL), (7.0, Danger.HIGH), (4.0, Danger.MEDIUM), (0.0, Danger.LOW))


def _merged(matches: Sequence[Match]) -> list[Match]:
    """The same thing is published by several: each once for a distribution, the first of its names kept."""
    kept: list[Match] = []
    seen: dict[tuple[Pinned, str], int] = {}
    for each in matches:
        names = {each.id, *each.aliases}
        known = (seen.get((each.distribution, name)) for name in sorted(names))
        place = next((found for found in known if found is not None), None)
        if place is None:
            place = len(kept)
            kept.append(each)
        else:
            kept[place] = _together(kept[place], each)
        seen |= {(each.distribution, name): place for name in names}
    return kept


def _together(first: Match, other: Match) -> Match:
    names = sorted({*first.aliases, other.id, *other.aliases} - {first.id})
    known = [each for each in (first.danger, other.danger) if each is not Danger.UNKNOWN]
    danger = max(known) if known else Danger.UNKNOWN
    fixed = sorted({*first.fixed, *other.fixed}, key=lambda text: _version(text) or _LOWEST)
    summary = first.summary or other.summary
    return msgspec.structs.replace(first, aliases=names, danger=danger, fixed=fixed, summary=summary)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
