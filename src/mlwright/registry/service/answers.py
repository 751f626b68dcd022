"""What gates and people have answered about some versions: with as many queries for fifty versions as for one.

Nothing is asked of the database before somebody wants to know it.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import literal_column, select
from sqlalchemy.sql import ColumnElement

from mlwright.kernel import events
from mlwright.kernel.identity import Caller
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.tables import gate_approvals, gate_results
from mlwright.registry.service import trust
from mlwright.registry.signatures.spec import VersionSignature
from mlwright.registry.spec import ModelVersion
from mlwright.registry.tables import model_aliases, model_versions
from mlwright.security import service as security

_results, _approvals, _versions = gate_results.c, gate_approvals.c, model_versions.c
#: Decisions hold what programs printed, which lists do not show.
_BRIEF: Sequence[ColumnElement[Any]] = [
    literal_column("''").label("decision") if column.name == "decision" else column for column in _results
]


def _pinned(columns: Sequence[ColumnElement[Any]]) -> Query:
    """An answer stands for a digest: it counts for every version that has it, in one project and of one run.

    Gates may read files of the run, which are not in the digest; what others showed elsewhere proves nothing here.
    """
    decided = model_versions.alias("decided")
    return Query(
        select(_versions.id, *columns)
        .join(gate_results, _results.digest == _versions.digest)
        .join(
            decided,
            (decided.c.id == _results.version)
            & (decided.c.project == _versions.project)
            & decided.c.run_id.is_not_distinct_from(_versions.run_id),
        )
        .where(among(_versions.id, "rows"))
        .order_by(_results.id.desc())
    )


def _unpinned(columns: Sequence[ColumnElement[Any]]) -> Query:
    """What is not pinned has no digest, and answers for itself only."""
    return Query(
        select(_results.version, *columns)
        .where(among(_results.version, "rows"), _results.digest == literal_column("''"))
        .order_by(_results.id.desc())
    )


_BY_DIGEST = {True: _pinned([*_results]), False: _pinned(_BRIEF)}
_BY_VERSION = {True: _unpinned([*_results]), False: _unpinned(_BRIEF)}
_words = Query(select(*_approvals).where(among(_approvals.version, "rows")).order_by(_approvals.id))
_own_models = select(_versions.model).where(among(_versions.id, "rows"))
_beside = Query(
    select(_versions.project, _versions.name, model_aliases.c.alias, _versions.digest)
    .join(
        model_aliases,
        (model_aliases.c.model == _versions.model) & (model_aliases.c.version == _versions.version),
    )
    .where(_versions.model.in_(_own_models))
)


class Result(NamedTuple):
    """A row of gate_results."""

    id: int
    version: int
    digest: str
    policy: str
    policy_version: int
    gate: str
    question: str
    beside: str
    state: str
    place: int
    verdict: str | None
    decision: str
    requested_by: str
    created_ms: int
    started_ms: int | None
    ended_ms: int | None
    lease_ms: int | None
    token: str
    until_ms: int | None


class Word(NamedTuple):
    """What somebody said of a version: a row of gate_approvals."""

    id: int
    version: int
    digest: str
    policy: str
    gate: str
    question: str
    principal: str
    approves: int
    comment: str
    at_ms: int


class Answers:
    """Args:
    tx: where to ask.
    versions: whose answers are wanted.
    whole: with what was found; otherwise decisions are left empty.
    """

    def __init__(self, tx: Tx, versions: Sequence[ModelVersion], *, whole: bool = True) -> None:
        self._tx = tx
        self._versions = versions
        self.whole = whole
        self._signatures: dict[int, list[VersionSignature]] = {}
        self._people: dict[str, Caller] = {}

    def results(self, version: ModelVersion, policy: str, gate: str, question: str) -> list[Result]:
        """What was answered to just this question, the newest first."""
        return self._results.get((version.row, policy, gate, question), [])

    def words(self, version: ModelVersion) -> list[Word]:
        """What people said, the oldest first."""
        return self._said.get(version.row, [])

    def person(self, name: str) -> Caller:
        """Who said something, with the roles of now."""
        if name not in self._people:
            self._people[name] = security.standing_now(self._tx, name)
        return self._people[name]

    @cached_property
    def newest_ms(self) -> int:
        """When the newest event happened, Unix milliseconds."""
        return events.newest_ms(self._tx)

    def signatures(self, version: ModelVersion) -> list[VersionSignature]:
        """Who signed it, each judged by the keys of now."""
        if version.row not in self._signatures:
            self._signatures[version.row] = trust.signatures(self._tx, version)
        return self._signatures[version.row]

    def beside(self, version: ModelVersion, alias: str) -> str | None:
        """The digest of the version of the same model that an alias leads to now."""
        return self._digests.get((version.project, version.name, alias))

    @cached_property
    def _results(self) -> dict[tuple[int, str, str, str], list[Result]]:
        pinned = [version.row for version in self._versions if version.digest is not None]
        others = [version.row for version in self._versions if version.digest is None]
        rows = self._tx.all(_BY_DIGEST[self.whole], {"rows": str(pinned)}) if pinned else []
        rows += self._tx.all(_BY_VERSION[self.whole], {"rows": str(others)}) if others else []
        found: dict[tuple[int, str, str, str], list[Result]] = defaultdict(list)
        for row, *values in rows:
            result = Result._make(values)
            found[row, result.policy, result.gate, result.question].append(result)
        return found

    @cached_property
    def _said(self) -> dict[int, list[Word]]:
        found: dict[int, list[Word]] = defaultdict(list)
        for row in self._tx.all(_words, self._rows()):
            word = Word._make(row)
            found[word.version].append(word)
        return found

    @cached_property
    def _digests(self) -> dict[tuple[str, str, str], str | None]:
        rows = self._tx.all(_beside, self._rows())
        return {(project, name, alias): digest for project, name, alias, digest in rows}

    def _rows(self) -> dict[str, str]:
        return {"rows": str([version.row for version in self._versions])}
