"""The picture of a run, as inline SVG: Graphviz places the stages, everything that is shown is written here.

Graphviz gets no more than the shape of the graph, and only numbers are taken from its answer. So one shape is laid
out once however many runs have it, and no text of a pipeline file can turn into markup. Colours come from CSS
classes alone, so that a page can recolour a stage by changing its class.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import graphviz
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from . import dag, layout, snapshots
from .models import Run, Stage
from .states import State

MOST_BOXES, MOST_EDGES = 400, 4000
WIDTH, HEIGHT = 208, 70  # of a box, in pixels
GAP, ARROW = 36, 7  # between two columns, and what the arrow's head takes of it
TITLE_WIDTH, TITLE_LINES = 20, 2  # in characters, lines
OWNER_WIDTH = 11

# What a box that stands for several stages shows: the first of these that one of them is in. live.js has the same.
WORST = (
    State.FAILED, State.ERROR, State.REJECTED, State.UNKNOWN, State.WAITING, State.RUNNING, State.QUEUED,
    State.PENDING, State.CANCELED, State.OMITTED, State.SKIPPED, State.SUCCEEDED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """A stage, or the stages of a matrix drawn as one. `needs` are positions among the boxes."""

    definition: dict[str, Any]
    title: str
    members: tuple[int, ...]  # positions of its stages in the run
    needs: frozenset[int]


@dataclass(frozen=True, slots=True)
class Now:
    """How a stage stands."""

    pk: int
    state: str
    code: str


def can_draw() -> bool:
    """Whether something that lays out graphs is installed."""
    return layout.program() is not None


def svg(run: Run, selected: str = "") -> SafeString | None:
    """The run as inline SVG with a link `?stage=NAME` for each stage; None when there is no picture (see `why_not`)."""
    boxes = _boxes(run)
    if not _is_drawable(boxes):
        return None
    placed = layout.place(source(boxes).source)
    if placed is None:
        return None
    rows = Stage.objects.filter(run=run).order_by("position").values_list("pk", "state", "reason_code")
    return _draw(run, boxes, placed, [Now(*row) for row in rows], selected)


def why_not(run: Run) -> str:
    """One sentence for a page that has to do without the picture."""
    boxes = _boxes(run)
    if not boxes:
        return "This run has no stages."
    if not _is_drawable(boxes):
        return f"A graph of {len(boxes)} stages would show nothing, so here they are as a list."
    if not can_draw():
        return "No program that draws graphs is installed (apt-get install graphviz), so here are the stages as a list."
    return "The graph could not be drawn, so here are the stages as a list."


def _is_drawable(boxes: Sequence[Box]) -> bool:
    return 0 < len(boxes) <= MOST_BOXES and sum(len(box.needs) for box in boxes) <= MOST_EDGES


# --- what is drawn ---


def _boxes(run: Run) -> list[Box]:
    """A box for each stage; when those are too many, one for each matrix."""
    graph, definitions = snapshots.graph_of(run)
    if len(definitions) <= MOST_BOXES:
        return _grouped(graph, definitions, lambda position: definitions[position]["name"])
    return _grouped(
        graph, definitions, lambda position: definitions[position].get("group") or definitions[position]["name"]
    )


def _grouped(graph: dag.Graph, definitions: Sequence[dict[str, Any]], name: Callable[[int], str]) -> list[Box]:
    members: dict[str, list[int]] = {}
    for position in range(len(definitions)):
        members.setdefault(name(position), []).append(position)
    number = {key: i for i, key in enumerate(members)}
    boxes = []
    for positions in members.values():
        first = definitions[positions[0]]
        needs = {number[name(need)] for position in positions for need in graph.nodes[position].needs}
        title = first.get("title") or first["name"]
        if len(positions) > 1:
            title = f"{first.get('title') or first['group']} ({len(positions)})"
        elif first.get("matrix") and first.get("title"):
            title = f"{title} [{', '.join(first['matrix'].values())}]"
        boxes.append(Box(first, title, tuple(positions), frozenset(needs)))
    return boxes


def source(boxes: Sequence[Box]) -> graphviz.Digraph:
    """The shape alone: boxes n0, n1, ... of one size, and what leads from one to another."""
    drawing = graphviz.Digraph(
        graph_attr={"rankdir": "LR", "nodesep": "0.25", "ranksep": f"{GAP / 72:.3f}", "margin": "0", "pad": "0.1"},
        node_attr={"shape": "box", "fixedsize": "true", "label": ""}
        | {"width": f"{WIDTH / 72:.3f}", "height": f"{HEIGHT / 72:.3f}"},
        edge_attr={"arrowsize": "0.7", "tailport": "e", "headport": "w"},
    )
    for number in range(len(boxes)):
        drawing.node(f"n{number}")
    for tail, head in _edges(boxes):
        drawing.edge(f"n{tail}", f"n{head}")
    return drawing


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


# --- the drawing ---


def _draw(run: Run, boxes: Sequence[Box], placed: layout.Layout, now: Sequence[Now], selected: str) -> SafeString:
    on_exit = {number for number, box in enumerate(boxes) if box.definition.get("on_exit")}
    edges = format_html_join(
        "",
        '<path class="edge{}" d="{}" marker-end="url(#edge-end)"/>',
        ((" on-exit" if edge.head in on_exit else "", _path(edge, placed)) for edge in placed.edges),
    )
    nodes = format_html_join(
        "",
        "{}",
        ((_node(box, [now[i] for i in box.members], placed.centers[n], selected),) for n, box in enumerate(boxes)),
    )
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" class="dag" role="group" aria-label="Stages of run {number}" '
        'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        '<defs><marker id="edge-end" class="edge-end" viewBox="0 0 7 6" refX="0" refY="3" markerWidth="7" '
        'markerHeight="6" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L7 3L0 6z"/></marker></defs>'
        '<g class="edges" aria-hidden="true">{edges}</g>{nodes}</svg>',
        number=run.number,
        width=f"{placed.width:.0f}",
        height=f"{placed.height:.0f}",
        edges=edges,
        nodes=nodes,
    )


def _path(edge: layout.Edge, placed: layout.Layout) -> str:
    """Neighbours are joined by an even curve; where others stand between, Graphviz knows the way around them."""
    (left, top), (right, bottom) = placed.centers[edge.tail], placed.centers[edge.head]
    begin, end = left + WIDTH / 2, right - WIDTH / 2 - ARROW
    if not 0 < end - begin < GAP:
        return edge.path
    middle = (begin + end) / 2
    return f"M{begin:.1f},{top:.1f}C{middle:.1f},{top:.1f} {middle:.1f},{bottom:.1f} {end:.1f},{bottom:.1f}"


def _node(box: Box, members: Sequence[Now], center: tuple[float, float], selected: str) -> SafeString:
    definition = box.definition
    state, word = _shown(members)
    name = f"{box.title}, team {definition['owner']}"
    classes = ["stage", f"state-{state}", f"team-{definition['owner']}", f"kind-{definition['kind']}"]
    classes += ["gated"] * bool(definition.get("gate")) + ["on-exit"] * bool(definition.get("on_exit"))
    classes += ["selected"] * (definition["name"] == selected)
    return format_html(
        '<g {identity} class="{classes}" transform="translate({x} {y})"><a href="?{query}" data-name="{name}" '
        'aria-label="{name}, {word}"><title>{about}</title>'
        '<rect class="box" width="{width}" height="{height}" rx="10"/>{gate}'
        '<rect class="team-mark" x="9" y="12" width="3" height="{mark}" rx="1.5"/>'
        # It turns around the origin, so that is put into its middle.
        '<g transform="translate(28 20)"><use class="state-icon" href="#icon-{state}" x="-8" y="-8" width="16" '
        'height="16"/></g>{lines}'
        '<text class="owner" x="20" y="{below}">{owner}</text>'
        '<text class="word" data-live-word="" x="{right}" y="{below}" text-anchor="end">{word}</text></a></g>',
        identity=_identity(members),
        classes=" ".join(classes),
        x=f"{center[0] - WIDTH / 2:.1f}",
        y=f"{center[1] - HEIGHT / 2:.1f}",
        query=urlencode({"stage": definition["name"]}),
        name=name,
        word=word,
        about=_about(box),
        width=WIDTH,
        height=HEIGHT,
        mark=HEIGHT - 24,
        gate=_GATE if definition.get("gate") else "",
        state=state,
        lines=_title(box.title),
        owner=textwrap.shorten(definition["owner"], OWNER_WIDTH, placeholder="…") or definition["owner"][:10] + "…",
        below=HEIGHT - 13,
        right=WIDTH - 12,
    )


_GATE = format_html('<rect class="gate" x="3" y="3" width="{}" height="{}" rx="7.5"/>', WIDTH - 6, HEIGHT - 6)


def _identity(members: Sequence[Now]) -> SafeString:
    if len(members) == 1:
        return format_html('id="stage-{}"', members[0].pk)
    return format_html('data-members="{}"', " ".join(f"{one.pk}:{one.state}" for one in members))


def _shown(members: Sequence[Now]) -> tuple[str, str]:
    """The state that a box shows, and the word for it. live.js says the same."""
    if len(members) == 1:
        one = members[0]
        waits = one.state == State.WAITING and one.code
        return one.state, f"{one.state}: {one.code}" if waits else one.state
    states = [one.state for one in members]
    worst = next(state for state in WORST if state in states)
    return worst, f"{states.count(worst)} {worst}"


def _about(box: Box) -> str:
    definition = box.definition
    parts = [definition["name"] if len(box.members) == 1 else definition["group"], definition["kind"]]
    if definition.get("environment"):
        parts.append(f"in {definition['environment']}")
    if gate := definition.get("gate"):
        asked = " and ".join(f"{team['quorum']} of {team['team']}" for team in gate["teams"])
        parts.append(f"gate: {asked}")
    if definition.get("on_exit"):
        parts.append("at the end, whatever happened")
    return " · ".join(parts)


def _title(title: str) -> SafeString:
    # Names are cut like words at their hyphens, and anywhere if one is longer than a line.
    lines = textwrap.wrap(title, TITLE_WIDTH, max_lines=TITLE_LINES, placeholder="…") or [title[:TITLE_WIDTH]]
    rows = ((24 + 16 * i, line) for i, line in enumerate(lines))
    return format_html_join("", '<text class="title" x="42" y="{}">{}</text>', rows)
