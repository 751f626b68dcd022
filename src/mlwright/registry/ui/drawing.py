"""A lineage as a drawing: columns of boxes from what came first to what came last, and curves between them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mlwright.kernel.lineage import LineageGraph, LineageNode

WIDTH, HEIGHT = 190, 46
GAP_X, GAP_Y = 56, 16
MARGIN = 12
#: A drawing of more boxes helps nobody.
MOST = 120
_PASSES = 4


class Box(msgspec.Struct, frozen=True):
    """A node at its place, in pixels."""

    node: LineageNode
    url: str
    x: int
    y: int
    marked: bool


class Curve(msgspec.Struct, frozen=True):
    """An edge as the path of an SVG."""

    path: str
    relation: str


class Drawing(msgspec.Struct, frozen=True):
    """Sizes are in pixels."""

    width: int
    height: int
    box_width: int
    box_height: int
    boxes: list[Box]
    curves: list[Curve]


def draw(graph: LineageGraph, addresses: Mapping[str, str]) -> Drawing | None:
    """The drawing of a graph; None when it has more nodes than can be seen at once, or a single one.

    Args:
        addresses: where the page of a node is, by its id.
    """
    if not 1 < len(graph.nodes) <= MOST:
        return None
    columns = _columns(graph)
    tall = max(len(column) for column in columns)
    places: dict[str, tuple[int, int]] = {}
    for number, column in enumerate(columns):
        top = MARGIN + (tall - len(column)) * (HEIGHT + GAP_Y) // 2
        for place, name in enumerate(column):
            places[name] = (MARGIN + number * (WIDTH + GAP_X), top + place * (HEIGHT + GAP_Y))
    boxes = [
        Box(node, addresses.get(node.id, ""), *places[node.id], marked=node.id == graph.subject) for node in graph.nodes
    ]
    curves = [_curve(places[edge.source], places[edge.target], edge.relation) for edge in graph.edges]
    width = 2 * MARGIN + len(columns) * (WIDTH + GAP_X) - GAP_X
    return Drawing(width, 2 * MARGIN + tall * (HEIGHT + GAP_Y) - GAP_Y, WIDTH, HEIGHT, boxes, curves)


def _columns(graph: LineageGraph) -> list[list[str]]:
    """Ids by column. A node stands right of all that it came from; what goes round in a circle is cut somewhere."""
    above: dict[str, set[str]] = {node.id: set() for node in graph.nodes}
    below: dict[str, set[str]] = defaultdict(set)
    for edge in graph.edges:
        if edge.source != edge.target:
            above[edge.target].add(edge.source)
            below[edge.source].add(edge.target)
    waiting = {name: len(sources) for name, sources in above.items()}
    depth = dict.fromkeys(above, 0)
    while waiting:
        name = min(waiting, key=lambda each: (waiting[each], each))
        del waiting[name]
        for target in below[name] & waiting.keys():
            waiting[target] -= 1
            depth[target] = max(depth[target], depth[name] + 1)
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in sorted(depth):
        columns[depth[name]].append(name)
    return _uncrossed(columns, above, below)


def _uncrossed(
    columns: Sequence[Sequence[str]], above: Mapping[str, Iterable[str]], below: Mapping[str, Iterable[str]]
) -> list[list[str]]:
    """Every node near the middle of its neighbours (the barycentre method of Sugiyama, Tagawa and Toda, 1981)."""
    ordered = [list(column) for column in columns]
    for number in range(_PASSES):
        neighbours = above if number % 2 == 0 else below
        place = {name: index / len(column) for column in ordered for index, name in enumerate(column)}
        for column in ordered:
            column.sort(key=lambda name: (_middle(neighbours.get(name, ()), place, place[name]), name))
            place |= {name: index / len(column) for index, name in enumerate(column)}
    return ordered


def _middle(neighbours: Iterable[str], place: Mapping[str, float], own: float) -> float:
    found = [place[name] for name in neighbours]
    return sum(found) / len(found) if found else own


def _curve(source: tuple[int, int], target: tuple[int, int], relation: str) -> Curve:
    left, right = source[0] + WIDTH, target[0]
    top, bottom = source[1] + HEIGHT // 2, target[1] + HEIGHT // 2
    bend = max(GAP_X // 2, abs(right - left) // 2)
    path = f"M{left},{top} C{left + bend},{top} {right - bend},{bottom} {right},{bottom}"
    return Curve(path, relation)
