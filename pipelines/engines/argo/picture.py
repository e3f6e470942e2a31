"""The picture of a workflow that has not run, with the same boxes and lines as the picture of a run."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.safestring import mark_safe

from pipelines import dag, layout
from pipelines.graph import COLUMNS, MOST_BOXES, MOST_EDGES, Picture, can_draw, source
from pipelines.graph.bands import arrange
from pipelines.graph.boxes import Box, folded, plain
from pipelines.graph.drawing import Face, drawn, lines, short_owner, spoken
from pipelines.selectors import Glance
from pipelines.states import State

from .model import Fan, Graph, Task
from .ownership import Assigned

_ICONS = {"steps": "rows", "dag": "flow", "suspend": "waiting"}


def picture(graph: Graph, assigned: Assigned, *, anchor: str, columns: int = COLUMNS) -> Picture:
    """`anchor` begins the address within the page that a task's box leads to: its position follows."""
    tasks = graph.tasks
    if not tasks:
        return Picture(None, why_not="There is no task in it.")
    boxes = _boxes(graph)
    shape = source(boxes)
    at = {member: number for number, box in enumerate(boxes) for member in box.members}
    # Lines back do not decide where anything stands, or what repeats would stand before what it follows.
    back = {(at[one.position], at[one.loops_to]) for one in tasks if one.loops_to is not None} - {
        (number, number) for number in at.values()
    }
    for tail, head in sorted(back):
        shape.edge(f"n{tail}", f"n{head}", constraint="false")
    placed = layout.place(shape.source)
    if placed is None:
        what = "could not be drawn" if can_draw() else "cannot be drawn here: apt-get install graphviz"
        return Picture(None, why_not=f"The graph {what}; the tasks are listed below.")
    placed = arrange(placed, columns)
    faces = [_face(box, [tasks[i] for i in box.members], assigned, anchor) for box in boxes]
    classes = [_edge((edge.tail, edge.head), back, boxes, tasks) for edge in placed.edges]
    svg = drawn(f"Tasks of {graph.title}", faces, placed, classes)
    return Picture(svg, len(boxes), len(boxes) < len(tasks))


def _boxes(graph: Graph) -> list[Box]:
    nodes = dag.Graph(tuple(dag.Node(t.path, tuple(sorted(t.needs)), on_exit=t.on_exit) for t in graph.tasks))
    definitions = [{"name": t.path, "title": t.name, "on_exit": t.on_exit} for t in graph.tasks]
    edges = sum(len(task.needs) for task in graph.tasks)
    if len(graph.tasks) <= MOST_BOXES and edges <= MOST_EDGES:
        return plain(nodes, definitions)
    stages = [Glance(t.position, t.position, t.path, "", State.PENDING, "", t.on_exit) for t in graph.tasks]
    return folded(nodes, definitions, stages, "")


def _edge(edge: tuple[int, int], back: set[tuple[int, int]], boxes: Sequence[Box], tasks: Sequence[Task]) -> str:
    first = tasks[boxes[edge[1]].members[0]]
    if edge in back:
        return " loop"
    if first.role:
        return " hook" if first.role == "hook" else " on-exit"
    return " on-exit" if first.on_exit else ""


def _face(box: Box, members: Sequence[Task], assigned: Assigned, anchor: str) -> Face:
    first = members[0]
    teams = sorted({assigned.teams.get(one.position, "") for one in members} - {""})
    gate = len(members) == 1 and first.position in assigned.gates
    seen = lines(box.title)
    below = short_owner(teams) if teams else _shortened(first.template or first.does)
    word = marks(first, gated=gate) if len(members) == 1 else f"{len(members)} tasks"
    return Face(
        href=f"#{anchor}{first.position}",
        lines=seen,
        owner=below if len(members) == 1 else "",
        word=word,
        icon=_icon(first, gated=gate) if len(members) == 1 else "flow",
        name=spoken(box.title, seen, below),
        about=_about(members),
        classes=_classes(first, len(members) > 1, teams, gated=gate),
        identity=mark_safe(f'data-task="{first.position}"'),  # noqa: S308  a number
        several=len(members) > 1 or first.fan is not None,
        gated=gate,
    )


def marks(task: Task, *, gated: bool = False) -> str:
    """What is special about it, in so few words that a box holds them; else its kind."""
    found = ["gate"] * gated
    if task.never:
        found.append("never")
    if task.loops_to is not None:
        found.append("again")
    if task.role == "hook":
        found.append("hook")
    elif task.role == "exit":
        found.append("at the end")
    if task.when and not task.never:
        found.append("if")
    if task.fan:
        found.append(times(task.fan))
    if task.daemon:
        found.append("daemon")
    return " · ".join(found[:3]) or task.does or "unknown"


def times(fan: Fan) -> str:
    return f"\N{MULTIPLICATION SIGN} {'?' if fan.width is None else fan.width}"


def _icon(task: Task, *, gated: bool) -> str:
    if task.never:
        return "skipped"
    if task.loops_to is not None:
        return "loop"
    if not task.does:
        return "unknown"
    return "waiting" if gated else _ICONS.get(task.does, "task")


def _classes(task: Task, several: bool, teams: Sequence[str], *, gated: bool) -> list[str]:
    state = "waiting" if gated or task.does == "suspend" else "unknown" if task.unknown else "pending"
    state = "skipped" if task.never else state
    owners = [f"team-{teams[0]}"] if len(teams) == 1 else ["teams"] * bool(teams)
    return ["stage", "planned", f"state-{state}", *owners] + ["several"] * several + ["on-exit"] * task.on_exit


def _shortened(name: str) -> str:
    last = name.rsplit("/", 1)[-1]
    return last if len(last) <= 14 else last[:13] + "…"


def _about(members: Sequence[Task]) -> str:
    one = members[0]
    if len(members) > 1:
        return f"{len(members)} tasks, from {one.path} to {members[-1].path}"
    return " · ".join(
        filter(
            None, [one.path, one.does, one.template, f"needs {one.condition}" if one.condition else "", *one.unknown]
        )
    )
