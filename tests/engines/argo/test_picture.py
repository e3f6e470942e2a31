"""The picture of a workflow that has not run."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from pipelines.engines.argo.model import Graph
from pipelines.engines.argo.ownership import Assigned
from pipelines.engines.argo.picture import picture
from pipelines.graph import COLUMNS, MOST_BOXES

from .helpers import drawn, imported, workflow

pytestmark = pytest.mark.django_db
SVG = "{http://www.w3.org/2000/svg}"


def svg(graph: Graph, assigned: Assigned | None = None, columns: int = COLUMNS) -> ElementTree.Element:
    found = picture(graph, assigned or Assigned(), anchor="t1-", columns=columns)
    assert found.svg, found.why_not
    return ElementTree.fromstring(str(found.svg))  # noqa: S314  our own


def boxes(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [part for part in root.iter(f"{SVG}g") if part.get("data-task") is not None]


def words(box: ElementTree.Element) -> str:
    return next(text.text or "" for text in box.iter(f"{SVG}text") if text.get("class") == "word")


FLOW = workflow("""
- name: main
  steps:
  - - {name: gen, template: leaf}
  - - {name: each, template: again, withParam: "{{steps.gen.outputs.result}}"}
    - {name: three, template: leaf, withItems: [1, 2, 3]}
    - {name: never, template: leaf, when: "false"}
    - {name: maybe, template: leaf, when: "{{steps.gen.outputs.result}} == 1", onExit: leaf}
- name: again
  steps:
  - - {name: ask, template: wait}
  - - {name: loop, template: again, when: "{{workflow.status}} == x"}
- {name: wait, suspend: {}}
""")


def test_each_task_has_a_box_that_leads_to_its_row_and_says_what_is_special():
    graph = drawn(FLOW)
    found = boxes(svg(graph))
    assert len(found) == len(graph.tasks)
    said = {graph.tasks[int(box.get("data-task", "-1"))].path: words(box) for box in found}
    times = "\N{MULTIPLICATION SIGN}"
    assert said == {
        "main": "steps", "main/gen": "container", "main/each": f"{times} ?", "main/each/ask": "suspend",
        "main/each/loop": "again · if", "main/three": f"{times} 3", "main/never": "never", "main/maybe": "if",
        "main/maybe:exit": "at the end",
    }  # fmt: skip
    links = [link.get("href") for box in found for link in box.iter(f"{SVG}a")]
    assert links == [f"#t1-{position}" for position in range(len(graph.tasks))]


def test_what_is_unknown_looks_so_and_what_repeats_leads_back():
    graph = drawn(FLOW)
    root = svg(graph)
    states = {graph.tasks[int(box.get("data-task", "-1"))].name: box.get("class", "") for box in boxes(root)}
    assert "state-unknown" in states["each"]
    assert "state-unknown" not in states["three"]
    assert "state-skipped" in states["never"]
    assert "state-waiting" in states["ask"]
    back = [path for path in root.iter(f"{SVG}path") if path.get("class") == "edge loop"]
    assert len(back) == 1


def points(path: str) -> list[tuple[float, float]]:
    """Points that a line goes through. What a curve only bends towards may lie outside of the picture."""
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]
    found = list(zip(numbers[::2], numbers[1::2], strict=True))
    if "C" not in path:
        return found
    curves = [found[at : at + 4] for at in range(0, len(found) - 3, 3)]
    weights = [((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3) for t in (0, 0.25, 0.5, 0.75, 1)]
    return [
        tuple(sum(w * point[axis] for w, point in zip(some, curve, strict=True)) for axis in (0, 1))
        for curve in curves
        for some in weights
    ]  # type: ignore[misc]


@pytest.mark.parametrize("columns", [1, 2, COLUMNS])
def test_every_line_stays_inside_of_the_picture(columns):
    root = svg(drawn(FLOW), columns=columns)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for path in root.iter(f"{SVG}path"):
        if (path.get("class") or "").startswith("edge"):
            for x, y in points(path.get("d", "")):
                assert -1 <= x <= width + 1
                assert -1 <= y <= height + 1


def test_names_turn_into_no_markup():
    bad = '<script>alert(1)</script>"&'
    found = imported(workflow(f"- name: main\n  steps: [[{{name: '{bad}', template: '{bad}'}}]]"))
    text = str(picture(found.graphs[0], Assigned(), anchor="t1-").svg)
    assert "<script" not in text
    assert ElementTree.fromstring(text) is not None  # noqa: S314  our own


def test_owners_and_gates_are_seen():
    from pipelines.definition.model import Gate, GateTeam

    graph = drawn(FLOW)
    root = svg(graph, Assigned({1: "ops"}, {1: Gate((GateTeam("ops"),))}))
    box = next(box for box in boxes(root) if box.get("data-task") == "1")
    assert {"team-ops", "state-waiting"} <= set(box.get("class", "").split())
    assert words(box) == "gate"
    assert [rect for rect in box.iter(f"{SVG}rect") if rect.get("class") == "gate"]


def test_far_too_many_tasks_are_drawn_as_fewer_boxes():
    count = MOST_BOXES + 100
    steps = "".join(f"  - - {{name: a{n}, template: leaf}}\n" for n in range(count))
    graph = drawn(workflow(f"- name: main\n  steps:\n{steps}"))
    found = picture(graph, Assigned(), anchor="t1-")
    assert found.svg
    assert found.folded
    assert found.boxes < 100
    assert f"{count} tasks" in str(found.svg) or "tasks, from" in str(found.svg)
