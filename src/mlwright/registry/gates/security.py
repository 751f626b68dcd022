"""The gate `security`: code, secrets, vulnerable distributions, licences. Each answers for itself, the worst counts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlwright import __version__
from mlwright.compute.spec import Limits
from mlwright.kernel.errors import MlwrightError, Unsupported
from mlwright.registry.gates import scanned
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Security, conclude, undecided
from mlwright.registry.gates.supply_spec import COMPANION, Ignored, Licences, Vulnerabilities

if TYPE_CHECKING:  # it needs extras
    from mlwright.security.supply.spec import Match, Needs, Pinned

SBOM = "sbom.cdx.json"
_NO_VULNERABILITY = "no known vulnerability"
_DAY = timedelta(days=1)
_ORDER = (GateVerdict.PASS, GateVerdict.INCONCLUSIVE, GateVerdict.FAIL)


def decide(room: Room, asked: Security) -> Decision:
    """Only a version in which nothing that is asked for was found passes. What cannot be found out is inconclusive."""
    model, now = room.unpack(), datetime.fromtimestamp(room.now_ms / 1000, UTC)
    code = scanned.scan(room, asked.seconds, asked.secrets.ignore if asked.secrets else None)
    checks, ends = list(code.checks), _ends(asked)
    documents: dict[str, str] = {}
    if asked.vulnerabilities or asked.licences or asked.sbom:
        try:
            found, documents, age_ends = _supply(room, asked, model, now)
        except ModuleNotFoundError as error:
            raise Unsupported(f"{error.name} is not installed: pip install 'mlwright[sbom]'") from error
        checks += found
        ends += age_ends
    whole = conclude(checks)
    worst = max(code, whole, key=lambda each: _ORDER.index(each.verdict))
    until_ms = min((int(each.timestamp() * 1000) for each in ends if each > now), default=None)
    return Decision(worst.verdict, worst.reason, checks, code.output, documents, until_ms)


class _Made(NamedTuple):
    """What a version is made of, and the licences that are known."""

    needs: "Needs"
    licences: "Mapping[Pinned, str]"


def _supply(
    room: Room, asked: Security, model: Path, now: datetime
) -> tuple[list[Check], dict[str, str], list[datetime]]:
    """Checks, documents, and until when they hold. Raises ModuleNotFoundError without the extras."""
    checks: list[Check] = []
    ends: list[datetime] = []
    documents: dict[str, str] = {}
    try:
        needs, known = _made(room, asked, model)
    except MlwrightError as error:
        return [undecided("distributions", "to know what the model needs", error.message)], {}, []
    if not needs.sources and (asked.vulnerabilities or asked.licences):
        checks.append(undecided("distributions", "to know what the model needs", "no file of the version says it"))
    if asked.vulnerabilities is not None:
        found, end = _vulnerabilities(asked.vulnerabilities, needs, room.advisories, now)
        checks += found
        ends += end
    if asked.licences is not None:
        checks += _licences(asked.licences, needs, known, now.date())
    if asked.sbom:
        bill, documents = _bill(room, model, needs, known)
        checks.append(bill)
    return checks, documents, ends


def _made(room: Room, asked: Security, model: Path) -> _Made:
    """By the files of the version, or by the environment that is built from them."""
    from mlwright.security.supply import licences, locks  # extras

    companion = asked.licences.companion if asked.licences else COMPANION
    if not asked.environment:
        needs = locks.needs(model)
        return _Made(needs, licences.known(needs.pinned, model, companion))
    with room.environment_of_model(Limits(asked.build_seconds), builds=False) as built:
        needs = locks.installed(built.packages, built.unavailable, "environment")
        return _Made(needs, licences.known(needs.pinned, model, companion, Path(built.folder)))


# --- vulnerabilities ----------------------------------------------------------------------------------------------


def _vulnerabilities(
    asked: Vulnerabilities, needs: "Needs", database: Path | None, now: datetime
) -> tuple[list[Check], list[datetime]]:
    from mlwright.security.supply import advisories  # an extra

    if database is None:
        why = "this server has no database of advisories: mlwright up --advisories PATH"
        return [undecided("advisories", _NO_VULNERABILITY, why)], []
    try:
        searched = advisories.search(database, needs.pinned)
    except (MlwrightError, OSError) as error:
        return [undecided("advisories", _NO_VULNERABILITY, str(error))], []
    dated = f"{searched.newest:%Y-%m-%d}" if searched.newest else "an unknown day"
    about = f"{len(needs.pinned)} distributions against {searched.advisories} advisories of {dated}"
    checks, ends = [Check("advisories", GateVerdict.PASS, "a database of advisories about PyPI", about)], []
    if not searched.advisories or searched.unreadable:
        named = ", ".join(searched.unreadable[:5])
        why = f"{len(searched.unreadable)} cannot be read: {named}" if searched.unreadable else "there are none in it"
        checks = [undecided("advisories", "a database of advisories about PyPI", why)]
    elif asked.max_age_days is not None:
        end = searched.newest + asked.max_age_days * _DAY if searched.newest else now
        ends.append(end)
        if end <= now:
            checks = [undecided("advisories", f"at most {asked.max_age_days:g} days old", f"its newest is of {dated}")]
    checks += [_match(asked, each, now.date()) for each in searched.matches]
    checks += _unpinned(needs, _NO_VULNERABILITY, asked.ignore, now.date())
    return checks, ends


def _match(asked: Vulnerabilities, match: "Match", today: date) -> Check:
    from mlwright.security.supply.spec import Danger  # see above

    distribution = f"{match.distribution.name} {match.distribution.version}"
    names = " ".join((match.id, *match.aliases))
    fixed = f"fixed in {', '.join(match.fixed)}" if match.fixed else "not fixed yet"
    found = f"{names} ({match.danger.name.lower()}): {match.summary} ({fixed})"
    required = f"{_NO_VULNERABILITY} of severity {asked.severity} or worse"
    ignored, expired = _ignored({match.id, *match.aliases}, asked.ignore, today)
    if match.danger < Danger[asked.severity.upper()]:
        return Check(distribution, GateVerdict.PASS, required, found)
    verdict = GateVerdict.PASS if ignored and not expired else GateVerdict.FAIL
    return Check(distribution, verdict, required, f"{found}{ignored}{expired}")


def _unpinned(needs: "Needs", required: str, ignore: Sequence[Ignored], today: date) -> Iterator[Check]:
    for each in needs.unpinned:
        ignored, expired = _ignored({each.name}, ignore, today)
        verdict = GateVerdict.PASS if ignored and not expired else GateVerdict.INCONCLUSIVE
        text = f"{each.source}: {each.requirement!r} is not pinned to a version{ignored}{expired}"
        yield Check(each.name or each.requirement, verdict, required, text)


def _ignored(names: Iterable[str], ignore: Sequence[Ignored], today: date) -> tuple[str, str]:
    """Why something is ignored, in words, empty if it is not; and that this is over, empty if not."""
    found = [each for each in ignore if each.id.lower() in {name.lower() for name in names}]
    valid = next((each for each in found if each.until is None or today <= each.until), None)
    if valid is not None:
        return f"; ignored: {valid.reason}", ""
    return ("; ignored", f" until {found[0].until} only") if found else ("", "")


# --- licences -----------------------------------------------------------------------------------------------------


def _licences(asked: Licences, needs: "Needs", known: "Mapping[Pinned, str]", today: date) -> Iterator[Check]:
    from mlwright.security.supply import licences  # an extra

    required = f"a licence among {', '.join(asked.allow)}"
    for each in needs.pinned:
        licence = known.get(each)
        ignored, expired = _ignored({each.name}, asked.ignore, today)
        name = f"{each.name} {each.version}"
        if (ignored and not expired) or (licence is not None and licences.is_allowed(licence, asked.allow)):
            yield Check(name, GateVerdict.PASS, required, f"{licence or 'not known'}{ignored}")
        elif licence is None:
            why = f"its licence is not known: say it in {asked.companion}{ignored}{expired}"
            yield Check(name, GateVerdict.INCONCLUSIVE, required, why)
        else:
            yield Check(name, GateVerdict.FAIL, required, f"{licence}{ignored}{expired}")
    yield from _unpinned(needs, required, asked.ignore, today)


# --- the bill of materials ----------------------------------------------------------------------------------------


def _bill(room: Room, model: Path, needs: "Needs", known: "Mapping[Pinned, str]") -> tuple[Check, dict[str, str]]:
    from mlwright.security.signing import folders  # hashes files
    from mlwright.security.supply import sbom  # an extra

    version = room.version
    files = {each.path: each.sha256 for each in folders.manifest_of(model, ignored=()).files}
    made = datetime.fromtimestamp(version.created_ms / 1000, UTC)
    digest = (version.digest or "").partition(":")[2]
    text = sbom.bill(sbom.Model(version.name, str(version.version), digest, files, made), needs, known, __version__)
    found = f"{len(needs.pinned)} distributions and {len(files)} files, kept as {SBOM}"
    return Check("sbom", GateVerdict.PASS, "a bill of materials", found), {SBOM: text}


def _ends(asked: Security) -> list[datetime]:
    """When what is ignored is ignored no more: the answer holds until then."""
    lists = (asked.secrets, asked.vulnerabilities, asked.licences)
    days = [each.until for one in lists if one is not None for each in one.ignore if each.until is not None]
    return [datetime.combine(day, time(), UTC) + _DAY for day in days]
