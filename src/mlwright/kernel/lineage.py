"""Lineage: what came from what, as one graph over all slices, read from their own tables.

Nothing is written down twice. A slice says which kinds of things it has (`NodeKind`) and which of its rows lead from
one to another (`Hop`); `app` puts them together. A walk asks one query per hop and layer, whatever the number of nodes,
and never goes through what the caller may not see.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Select, bindparam

from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx

#: Most nodes of a graph that is shown.
MAX_NODES = 2_000
#: At the end of a subject of another project than the caller's.
_SCOPE = re.compile(r"\?project=([a-z0-9-]+)\Z")
_KEYS_TOGETHER = 20_000
_STEPS_PER_NODE = 4
_ALL = 2**62


class Direction(StrEnum):
    """Where to look: to what something was made from, to what was made from it, or both."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"

    @classmethod
    def parse(cls, text: str) -> "Direction":
        """The direction called so; both when the text is empty. Raises Invalid."""
        try:
            return cls(text or cls.BOTH)
        except ValueError as error:
            raise Invalid(f"direction is up, down or both, not {text!r}", path="direction") from error


class LineageNode(msgspec.Struct, frozen=True):
    """Something with a history.

    Attributes:
        id: the subject, as in the event log: "run/0123…"; in another project than the caller's, what is called by a
            name ends with that: "model-version/m/1?project=prod".
        kind: what is before the first slash of `id`.
        name: for people.
        facts: what else is worth knowing; what is unknown is absent.
    """

    id: str
    kind: str
    name: str
    project: str
    facts: dict[str, object] = {}


class LineageEdge(msgspec.Struct, frozen=True, order=True):
    """`target` came from `source`, by their ids: it read it, logged it, was registered from it, was decided on."""

    source: str
    target: str
    relation: str


class LineageGraph(msgspec.Struct, frozen=True):
    """What is connected with a subject. `truncated`: there is more than was asked for."""

    subject: str
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    truncated: bool = False


#: Tells rows of one kind apart.
Row = int | str
#: A node while walking: its kind and row.
Key = tuple[str, Row]
#: Source, target, relation.
Step = tuple[Key, Key, str]


class NodeKind(NamedTuple):
    """A kind of things.

    Attributes:
        name: as subjects begin.
        find: the rows that are meant by the rest of a subject. Raises NotFound.
        projects: (row, project) of the rows in the JSON array `wanted`.
        describe: nodes by row.
        live: (row, project) of those that are in use now; None for kinds that never are.
        is_scoped: their subjects mean something else in each project.
    """

    name: str
    find: Callable[[Tx, Caller, str], Sequence[Row]]
    projects: Query
    describe: Callable[[Tx, str], Mapping[Any, LineageNode]]
    live: Query | None = None
    is_scoped: bool = False


class Hop(NamedTuple):
    """How rows of the kind `source` lead to rows of the kind `target`.

    Attributes:
        relation: a verb in the past, with the target as subject or object: "read", "logged", "registered".
        down: at most `most` pairs (source, target) of the sources in the JSON array `wanted`.
        up: (target, source) of the targets in `wanted`.
        is_over: it was so once; what is in use now does not hang on it any more.
    """

    source: str
    target: str
    relation: str
    down: Query
    up: Query
    is_over: bool = False

    @classmethod
    def between(
        cls, source: str, target: str, relation: str, down: Select[Any], up: Select[Any], *, is_over: bool = False
    ) -> "Hop":
        """A hop from its two statements, without their limit."""
        most = bindparam("most", type_=BigInteger())
        return cls(source, target, relation, Query(down.limit(most)), Query(up.limit(most)), is_over)


def scope_of(subject: str) -> tuple[str, str]:
    """A subject as the event log has it, and the project that it names; empty when it names none."""
    found = _SCOPE.search(subject)
    return (subject[: found.start()], found[1]) if found else (subject, "")


class Lineage:
    """The graph.

    Args:
        kinds, hops: of all slices.
    """

    def __init__(self, kinds: Iterable[NodeKind], hops: Iterable[Hop]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._hops = tuple(hops)

    def graph(
        self,
        tx: Tx,
        caller: Caller,
        subject: str,
        direction: Direction = Direction.BOTH,
        limit: int = MAX_NODES,
    ) -> LineageGraph:
        """What is connected with `subject`. Raises NotFound, and Invalid for what is no subject.

        Both directions are what it came from and what came from it, not what else came from the same.
        """
        start = self._find(tx, caller, subject)
        steps: dict[Step, None] = {}
        truncated = False
        for one in (Direction.UP, Direction.DOWN):
            if direction in {one, Direction.BOTH}:
                found, more = self._walk(tx, caller, start, one, limit)
                steps |= dict.fromkeys(found)
                truncated |= more
        return self._shown(tx, caller, subject, start, steps, truncated)

    def live(self, tx: Tx, caller: Caller, subject: str) -> list[LineageNode]:
        """What is in use now and came from `subject`: what would be hit if that were wrong.

        Walks upwards from what is in use, which is little, however much came from the subject.
        """
        start = set(self._find(tx, caller, subject))
        used = self._in_use(tx, caller)
        steps, _ = self._walk(tx, caller, used, Direction.UP, None, now=True)
        below: dict[Key, list[Key]] = {}
        for source, target, _ in steps:
            below.setdefault(source, []).append(target)
        hit, frontier = set(start), list(start)
        while frontier:
            fresh = [target for source in frontier for target in below.get(source, ()) if target not in hit]
            hit.update(fresh)
            frontier = list(dict.fromkeys(fresh))
        nodes = self._describe(tx, caller, [key for key in used if key in hit])
        return sorted(nodes.values(), key=lambda node: node.id)

    def _find(self, tx: Tx, caller: Caller, subject: str) -> list[Key]:
        kind, _, rest = subject.partition("/")
        if kind not in self._kinds or not rest:
            known = ", ".join(f"{name}/…" for name in self._kinds)
            raise Invalid(f"{subject!r} names nothing that has a lineage", path="subject", hint=f"subjects are {known}")
        found = self._kinds[kind]
        if found.is_scoped:
            rest, project = scope_of(rest)
            caller = msgspec.structs.replace(caller, project=project or caller.project)
        return [(kind, row) for row in found.find(tx, caller, rest)]

    def _in_use(self, tx: Tx, caller: Caller) -> list[Key]:
        return [
            (kind.name, row)
            for kind in self._kinds.values()
            if kind.live is not None
            for row, project in tx.all(kind.live)
            if caller.may(project, Role.VIEWER)
        ]

    def _walk(
        self,
        tx: Tx,
        caller: Caller,
        start: Sequence[Key],
        direction: Direction,
        limit: int | None,
        *,
        now: bool = False,
    ) -> tuple[list[Step], bool]:
        """Layer by layer. Returns the steps between at most `limit` nodes, and whether there are more.

        Args:
            now: without what is over.
        """
        hops = [hop for hop in self._hops if not (now and hop.is_over)]
        seen, frontier, truncated = set(start), list(start), False
        steps: list[Step] = []
        down = direction is Direction.DOWN
        while frontier:
            layer, more = self._layer(tx, hops, frontier, direction, limit)
            truncated |= more
            fresh = dict.fromkeys(there for _, there, _ in layer if there not in seen)
            visible = self._visible(tx, caller, fresh)
            frontier = [key for key in fresh if key in visible]
            if limit is not None and len(seen) + len(frontier) > limit:
                frontier = frontier[: max(limit - len(seen), 0)]
                truncated = True
            seen.update(frontier)
            between = (step for step in layer if step[1] in seen)
            steps += between if down else ((there, here, relation) for here, there, relation in between)
        return steps, truncated

    def _layer(
        self, tx: Tx, hops: Sequence[Hop], frontier: Iterable[Key], direction: Direction, limit: int | None
    ) -> tuple[list[Step], bool]:
        """All steps from the frontier: from here, to there. With a limit not many more are read than are shown."""
        rows, steps, more = _by_kind(frontier), [], False
        most = _ALL if limit is None else limit * _STEPS_PER_NODE
        for hop in hops:
            if direction is Direction.DOWN:
                near, far, query = hop.source, hop.target, hop.down
            else:
                near, far, query = hop.target, hop.source, hop.up
            for wanted in _batches(rows.get(near, ())):
                found = tx.all(query, {"wanted": wanted, "most": most})
                more |= len(found) == most
                steps += [((near, row), (far, other), hop.relation) for row, other in found]
        return steps, more

    def _visible(self, tx: Tx, caller: Caller, keys: Iterable[Key]) -> set[Key]:
        found: set[Key] = set()
        for kind, rows in _by_kind(keys).items():
            for wanted in _batches(rows):
                pairs = tx.all(self._kinds[kind].projects, {"wanted": wanted})
                seen = {project for project in {pair[1] for pair in pairs} if caller.may(project, Role.VIEWER)}
                found.update((kind, row) for row, project in pairs if project in seen)
        return found

    def _shown(
        self, tx: Tx, caller: Caller, subject: str, start: Sequence[Key], steps: Iterable[Step], truncated: bool
    ) -> LineageGraph:
        keys = dict.fromkeys(start)
        for source, target, _ in steps:
            keys[source] = keys[target] = None
        nodes = self._describe(tx, caller, list(keys))
        edges = {
            LineageEdge(nodes[source].id, nodes[target].id, relation)
            for source, target, relation in steps
            if source in nodes and target in nodes
        }
        named = {node.id: node for node in nodes.values()}
        shown = next((nodes[key].id for key in start if key in nodes), subject) if len(start) == 1 else subject
        return LineageGraph(shown, list(named.values()), sorted(edges), truncated)

    def _describe(self, tx: Tx, caller: Caller, keys: Sequence[Key]) -> dict[Key, LineageNode]:
        """The nodes behind keys; without those that are gone meanwhile."""
        found: dict[Key, LineageNode] = {}
        for kind, rows in _by_kind(keys).items():
            known = self._kinds[kind]
            for wanted in _batches(rows):
                for row, node in known.describe(tx, wanted).items():
                    is_elsewhere = known.is_scoped and node.project != caller.project
                    found[kind, row] = _scoped(node) if is_elsewhere else node
        return found


def _scoped(node: LineageNode) -> LineageNode:
    """The node of another project: two of one name are not one."""
    return msgspec.structs.replace(node, id=f"{node.id}?project={node.project}")


def _by_kind(keys: Iterable[Key]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for kind, row in keys:
        found.setdefault(kind, []).append(row)
    return found


def _batches(rows: Sequence[Row]) -> Iterator[str]:
    """JSON arrays of so many rows as are asked for together."""
    for first in range(0, len(rows), _KEYS_TOGETHER):
        yield msgspec.json.encode(rows[first : first + _KEYS_TOGETHER]).decode()
