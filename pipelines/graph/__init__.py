"""The picture of a run, as inline SVG: Graphviz places the boxes, everything that is shown is written here.

`boxes` says what is drawn, `bands` puts a long graph into lines, `drawing` writes the SVG. Graphviz gets no more than
the shape of the graph, and only numbers are taken from its answer. So one shape is laid out once however many runs
have it, and no text of a pipeline file can turn into markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import graphviz
from django.utils.safestring import SafeString

from .. import layout, snapshots
from ..models import Run
from ..selectors import Glance
from . import drawing
from .bands import GAP, HEIGHT, WIDTH, arrange
from .boxes import Box, folded, plain, title_of

__all__ = ["COLUMNS", "MOST_BOXES", "Picture", "can_draw", "picture", "title_of"]

MOST_BOXES, MOST_EDGES = 400, 4000
COLUMNS = 5  # fit a page on a desk at full size


@dataclass(frozen=True, slots=True)
class Picture:
    """`svg` is None when there is none; `why_not` says so in a sentence. `folded` says that some of its `boxes` stand
    for several stages, `may_be_whole` whether every stage could have its own."""

    svg: SafeString | None
    boxes: int = 0
    folded: bool = False
    may_be_whole: bool = False
    why_not: str = ""


def can_draw() -> bool:
    """Whether something that lays out graphs is installed."""
    return layout.program() is not None


def picture(
    run: Run, stages: Sequence[Glance], selected: str = "", *, whole: bool = False, columns: int = COLUMNS
) -> Picture:
    """The run as it stands: a link `?stage=NAME` for each stage, `?only=POSITIONS&stage=NAME` for several in one box.

    `stages` are all of the run's, by position; `whole` asks for a box for each, which is done up to MOST_BOXES.
    """
    graph, definitions = snapshots.graph_of(run)
    if not definitions:
        return Picture(None, why_not="This run has no stages.")
    may_be_whole = len(definitions) <= MOST_BOXES and sum(len(node.needs) for node in graph.nodes) <= MOST_EDGES
    boxes = plain(graph, definitions) if whole and may_be_whole else folded(graph, definitions, stages, selected)
    placed = layout.place(source(boxes).source)
    if placed is None:
        return Picture(None, why_not=_why_not())
    svg = drawing.svg(run, boxes, arrange(placed, columns), stages, selected)
    return Picture(svg, len(boxes), len(boxes) < len(definitions), may_be_whole)


def _why_not() -> str:
    if not can_draw():
        return "No program that draws graphs is installed (apt-get install graphviz), so here are the stages as a list."
    return "The graph could not be drawn, so here are the stages as a list."


def source(boxes: Sequence[Box]) -> graphviz.Digraph:
    """The shape alone: boxes n0, n1, ... of one size, and what leads from one to another."""
    shape = graphviz.Digraph(
        graph_attr={"rankdir": "LR", "nodesep": "0.2", "ranksep": f"{GAP / 72:.3f}", "margin": "0", "pad": "0.1"},
        node_attr={"shape": "box", "fixedsize": "true", "label": ""}
        | {"width": f"{WIDTH / 72:.3f}", "height": f"{HEIGHT / 72:.3f}"},
        edge_attr={"arrowsize": "0.7", "tailport": "e", "headport": "w"},
    )
    for number in range(len(boxes)):
        shape.node(f"n{number}")
    for tail, head in _edges(boxes):
        # What only leads to the end must not draw a stage there, away from what it needs.
        to_exit = boxes[head].definition.get("on_exit") and not boxes[tail].definition.get("on_exit")
        shape.edge(f"n{tail}", f"n{head}", weight="0" if to_exit else "1")
    return shape


def _edges(boxes: Sequence[Box]) -> list[tuple[int, int]]:
    """Exit stages stand at the end, behind everything that nothing else needs: that is when they run."""
    is_exit = [bool(box.definition.get("on_exit")) for box in boxes]
    edges, first_exits = [], []
    for head, box in enumerate(boxes):
        needs = sorted(need for need in box.needs if is_exit[need] == is_exit[head] and need != head)
        edges += [(need, head) for need in needs]
        if is_exit[head] and not needs:
            first_exits.append(head)
    needed = {tail for tail, _ in edges}
    last = [number for number in range(len(boxes)) if not is_exit[number] and number not in needed]
    return edges + [(tail, head) for head in first_exits for tail in last]
