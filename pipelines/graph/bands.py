"""A long graph in lines, as text is: columns from left to right, then the next ones underneath.

Graphviz lays a graph out in one line, a column for each step. Here the columns are cut into bands. What leads from
one band into another runs where no box can stand: between two columns, between two bands, and at the left edge.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ..layout import Edge, Layout

WIDTH, HEIGHT = 208, 64  # of a box, in pixels
GAP, ARROW = 36, 7  # between two columns, and what the arrow's head takes of it
LEFT, RIGHT, BETWEEN = 30, 20, 34  # of all boxes, and between two bands
EDGE = 5  # of the picture
_TURN = 8  # the radius of a line's corners
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_PAIR = re.compile(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)")

Point = tuple[float, float]


def arrange(placed: Layout, columns: int) -> Layout:
    """The same graph, at most so many columns wide."""
    xs = sorted({round(x) for x, _ in placed.centers.values()})
    column = {x: number for number, x in enumerate(xs)}
    at = {node: column[round(x)] for node, (x, _) in placed.centers.items()}
    if len(xs) <= columns:
        edges = (Edge(edge.tail, edge.head, _beside(edge, placed.centers)) for edge in placed.edges)
        return Layout(placed.width, placed.height, placed.centers, tuple(edges))
    return _Bands(placed, at, len(xs), columns).layout()


def cuts(at: dict[int, int], edges: Sequence[Edge], count: int, columns: int) -> list[int]:
    """The first column of each band: as few bands as can be, then cut where the fewest lines cross."""
    crossing = [0] * (count + 1)
    for edge in edges:
        for cut in range(min(at[edge.tail], at[edge.head]) + 1, max(at[edge.tail], at[edge.head]) + 1):
            crossing[cut] += 1
    best: list[tuple[int, int, int]] = [(0, 0, 0)]  # bands, crossings, where the last band began
    for end in range(1, count + 1):
        options = (
            (best[begin][0] + 1, best[begin][1] + (crossing[begin] if begin else 0), -begin)
            for begin in range(max(0, end - columns), end)
        )
        bands, crossed, begin = min(options)
        best.append((bands, crossed, -begin))
    found, end = [], count
    while end:
        end = best[end][2]
        found.append(end)
    return found[::-1]


class _Bands:
    def __init__(self, placed: Layout, at: dict[int, int], count: int, columns: int) -> None:
        self._edges = placed.edges
        begins = cuts(at, placed.edges, count, columns)
        ends = [*begins[1:], count]
        self._band = {node: next(i for i, end in enumerate(ends) if at[node] < end) for node in at}
        self._first = {node: at[node] == begins[self._band[node]] for node in at}
        self._alone = {band for band, count in Counter(self._band.values()).items() if count == 1}
        self._narrow = columns == 1
        self._width = LEFT + max(end - begin for begin, end in zip(begins, ends, strict=True)) * (WIDTH + GAP) - GAP
        tops, bottoms = self._extents(placed, len(begins))
        # What leads back, into a band further up, runs above the first band and below the last.
        back = not self._narrow and any(self._band[edge.tail] > self._band[edge.head] for edge in self._edges)
        around = BETWEEN / 2 if back else 0.0
        shift, top = [], EDGE + around
        self._tops, self._bottoms = [], []
        for one, other in zip(tops, bottoms, strict=True):
            shift.append(top - one)
            self._tops.append(top)
            top += other - one
            self._bottoms.append(top)
            top += BETWEEN
        self._height = top - BETWEEN + EDGE + around
        self._moves = {
            node: (LEFT + (at[node] - begins[band]) * (WIDTH + GAP) + WIDTH / 2 - placed.centers[node][0], shift[band])
            for node, band in self._band.items()
        }
        self._centers = {
            node: (x + self._moves[node][0], y + self._moves[node][1]) for node, (x, y) in placed.centers.items()
        }

    def _extents(self, placed: Layout, count: int) -> tuple[list[float], list[float]]:
        """The top and the bottom of each band where Graphviz put it, with the lines inside it."""
        ys: list[list[float]] = [[] for _ in range(count)]
        for node, (_, y) in placed.centers.items():
            ys[self._band[node]] += [y - HEIGHT / 2, y + HEIGHT / 2]
        for edge in placed.edges:
            if self._band[edge.tail] == self._band[edge.head]:
                ys[self._band[edge.tail]] += [float(y) for y in _NUMBER.findall(edge.path)[1::2]]
        return [min(some) for some in ys], [max(some) for some in ys]

    def layout(self) -> Layout:
        edges = tuple(Edge(edge.tail, edge.head, self._path(edge)) for edge in self._edges)
        return Layout(self._width + RIGHT, self._height, self._centers, edges)

    def _path(self, edge: Edge) -> str:
        if self._narrow:
            return self._down(edge)
        if self._band[edge.tail] == self._band[edge.head]:
            dx, dy = self._moves[edge.tail]
            moved = _PAIR.sub(lambda pair: f"{float(pair[1]) + dx:.1f},{float(pair[2]) + dy:.1f}", edge.path)
            return _beside(Edge(edge.tail, edge.head, moved), self._centers)
        return _line(self._around(edge))

    def _around(self, edge: Edge) -> list[Point]:
        """Out to the right, down between two columns, along between two bands, down again, in from the left."""
        (x1, y1), (x2, y2) = self._centers[edge.tail], self._centers[edge.head]
        band, below = self._band[edge.tail], self._band[edge.head]
        out = x1 + WIDTH / 2 + 12
        into = x2 - WIDTH / 2 - (12 if self._first[edge.head] else 20)
        under = self._bottoms[band] + BETWEEN / 2
        points = [(x1 + WIDTH / 2, y1), (out, y1), (out, under)]
        if below == band + 1:
            points.append((into, under))
        else:
            over = self._tops[below] - BETWEEN / 2
            points += [(EDGE, under), (EDGE, over), (into, over)]
        return [*points, (into, y2), (x2 - WIDTH / 2 - ARROW, y2)]

    def _down(self, edge: Edge) -> str:
        """One column: straight down to the next box, else along the left edge."""
        (x1, y1), (_, y2) = self._centers[edge.tail], self._centers[edge.head]
        band, below = self._band[edge.tail], self._band[edge.head]
        if {band, below} <= self._alone and below == band + 1:
            return f"M{x1:.1f},{y1 + HEIGHT / 2:.1f}L{x1:.1f},{y2 - HEIGHT / 2 - ARROW:.1f}"
        rail = LEFT - 16 if below == band + 1 else EDGE
        left = x1 - WIDTH / 2
        return _line([(left, y1), (rail, y1), (rail, y2), (left - ARROW, y2)])


def _beside(edge: Edge, centers: dict[int, Point]) -> str:
    """Neighbours are joined by an even curve; where others stand between, Graphviz knows the way around them."""
    (left, top), (right, bottom) = centers[edge.tail], centers[edge.head]
    begin, end = left + WIDTH / 2, right - WIDTH / 2 - ARROW
    if not 0 < end - begin < GAP:
        return edge.path
    middle = (begin + end) / 2
    return f"M{begin:.1f},{top:.1f}C{middle:.1f},{top:.1f} {middle:.1f},{bottom:.1f} {end:.1f},{bottom:.1f}"


def _line(points: Sequence[Point]) -> str:
    """Straight lines with round corners."""
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        turn = min(_TURN, _length(before, corner) / 2, _length(corner, after) / 2)
        (ax, ay), (bx, by) = _toward(corner, before, turn), _toward(corner, after, turn)
        path += f"L{ax:.1f},{ay:.1f}Q{corner[0]:.1f},{corner[1]:.1f} {bx:.1f},{by:.1f}"
    return f"{path}L{points[-1][0]:.1f},{points[-1][1]:.1f}"


def _length(one: Point, other: Point) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _toward(here: Point, there: Point, far: float) -> Point:
    length = _length(here, there) or 1.0
    return here[0] + (there[0] - here[0]) * far / length, here[1] + (there[1] - here[1]) * far / length
