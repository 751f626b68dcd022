"""Drawings of lineages: whatever the graph, boxes stand apart and inside, and arrows lead to the right."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.lineage import LineageEdge, LineageGraph, LineageNode
from mlwright.registry.ui.drawing import MOST, Drawing, draw


def graph(edges: set[tuple[int, int]], count: int) -> LineageGraph:
    nodes = [LineageNode(f"run/{number}", "run", f"run {number}", "default") for number in range(count)]
    found = sorted(LineageEdge(f"run/{source}", f"run/{target}", "used") for source, target in edges)
    return LineageGraph("run/0", nodes, found)


@st.composite
def graphs(draw_: st.DrawFn) -> tuple[set[tuple[int, int]], int]:
    count = draw_(st.integers(2, 12))
    ends = st.integers(0, count - 1)
    return draw_(st.sets(st.tuples(ends, ends), max_size=30)), count


def drawn(found: LineageGraph) -> Drawing:
    drawing = draw(found, {})
    assert drawing is not None
    return drawing


@given(graphs())
def test_boxes_stand_apart_and_inside(given_: tuple[set[tuple[int, int]], int]) -> None:
    drawing = drawn(graph(*given_))
    places = [(box.x, box.y) for box in drawing.boxes]
    assert len(drawing.curves) == len(given_[0])
    for number, (x, y) in enumerate(places):
        assert 0 <= x <= drawing.width - drawing.box_width
        assert 0 <= y <= drawing.height - drawing.box_height
        for other_x, other_y in places[:number]:
            assert abs(x - other_x) >= drawing.box_width or abs(y - other_y) >= drawing.box_height


@given(graphs())
def test_arrows_lead_to_the_right(given_: tuple[set[tuple[int, int]], int]) -> None:
    edges = {(min(pair), max(pair)) for pair in given_[0] if pair[0] != pair[1]}
    for curve in drawn(graph(edges, given_[1])).curves:
        found = [int(number) for number in re.findall(r"-?\d+", curve.path)]
        assert found[0] < found[-2]


def test_columns_are_ordered_so_that_lines_do_not_cross() -> None:
    drawing = drawn(graph({(0, 5), (1, 4), (2, 3)}, 6))
    height = {box.node.id: box.y for box in drawing.boxes}
    assert [height["run/0"], height["run/1"], height["run/2"]] == [height["run/5"], height["run/4"], height["run/3"]]


def test_one_thing_and_far_too_many_are_not_drawn() -> None:
    assert draw(graph(set(), 1), {}) is None
    assert draw(graph(set(), MOST + 1), {}) is None
    assert draw(graph({(0, 1)}, MOST), {}) is not None


def test_the_subject_is_marked() -> None:
    assert [box.marked for box in drawn(graph({(0, 1)}, 2)).boxes] == [True, False]
