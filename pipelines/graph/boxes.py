"""Which boxes a picture has: one for each stage while they are few, then fewer that stand for several stages each.

What waits, runs or failed keeps a box of its own as long as it can. Everything here is arithmetic over positions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import dag
from ..selectors import Glance
from ..states import ENDED, State

MOST_ALONE = 8  # stages of a matrix that are drawn one by one
MANY = 32  # boxes; beyond, what looks alike is drawn as one
FAR_TOO_MANY = 80  # boxes; beyond, one for each distance from the start
FEWEST = 3  # stages that are worth folding
MOST_KEPT, MOST_GATES = 20, 5
AROUND = 2  # stages before and behind what matters, along a chain

# What a box that stands for several stages shows: the first of these that one of them is in. live.js has the same.
WORST = (
    State.FAILED, State.ERROR, State.REJECTED, State.UNKNOWN, State.WAITING, State.RUNNING, State.QUEUED,
    State.PENDING, State.CANCELED, State.OMITTED, State.SKIPPED, State.SUCCEEDED,
)  # fmt: skip
_MATTERS = (
    State.WAITING, State.UNKNOWN, State.FAILED, State.ERROR, State.REJECTED, State.RUNNING,
)  # fmt: skip

Parts = list[list[int]]


@dataclass(frozen=True, slots=True)
class Box:
    """A stage, or several drawn as one. `members` are positions in the run, `needs` positions among the boxes,
    `what` says what the members have in common: "" for one alone, "matrix", "group" or "chain"."""

    definition: dict[str, Any]
    title: str
    members: tuple[int, ...]
    needs: frozenset[int]
    what: str = ""


def plain(graph: dag.Graph, definitions: Sequence[dict[str, Any]]) -> list[Box]:
    """A box for each stage."""
    return _boxes(graph, definitions, [[position] for position in range(len(definitions))])


def folded(
    graph: dag.Graph, definitions: Sequence[dict[str, Any]], stages: Sequence[Glance], selected: str
) -> list[Box]:
    """At most some FAR_TOO_MANY boxes, however many stages there are. `stages` by position, as the graph's nodes."""
    parts = _matrices(definitions)
    if len(parts) > MANY:
        keep = _kept(graph, definitions, stages, selected)
        parts = _reduced(graph, parts, keep)
        if len(parts) > FAR_TOO_MANY:
            parts = _chains(graph, _by_distance(graph, len(definitions)), keep)
    return _boxes(graph, definitions, sorted(parts, key=min))


def _matrices(definitions: Sequence[dict[str, Any]]) -> Parts:
    groups: dict[str, list[int]] = {}
    for position, definition in enumerate(definitions):
        groups.setdefault(definition.get("group") or definition["name"], []).append(position)
    parts: Parts = []
    for members in groups.values():
        parts += [members] if len(members) > MOST_ALONE else [[member] for member in members]
    return parts


def _kept(
    graph: dag.Graph, definitions: Sequence[dict[str, Any]], stages: Sequence[Glance], selected: str
) -> frozenset[int]:
    """The positions that stay alone: what is selected, what matters now with its neighbours, the next gates."""
    kept = [position for position, stage in enumerate(stages) if stage.name == selected]
    by_state: dict[str, list[int]] = {}
    for position, stage in enumerate(stages):
        by_state.setdefault(stage.state, []).append(position)
    kept += [position for state in _MATTERS for position in by_state.get(state, [])[:MOST_KEPT]][:MOST_KEPT]
    gates = (i for i, one in enumerate(definitions) if one.get("gate") and stages[i].state not in ENDED)
    return frozenset(kept) | frozenset(_around(graph, kept)) | frozenset(_first(gates, MOST_GATES))


def _first(items: Iterable[int], count: int) -> list[int]:
    return [item for item, _ in zip(items, range(count), strict=False)]


def _around(graph: dag.Graph, positions: Collection[int]) -> set[int]:
    """What stands right before and behind these, where that is one stage."""
    behind: dict[int, list[int]] = {}
    for position, node in enumerate(graph.nodes):
        for need in node.needs:
            behind.setdefault(need, []).append(position)
    found: set[int] = set()
    for step in (lambda one: graph.nodes[one].needs, lambda one: behind.get(one, ())):
        for position in positions:
            for _ in range(AROUND):
                others = step(position)
                if len(others) != 1:
                    break
                position = others[0]
                found.add(position)
    return found


def _reduced(graph: dag.Graph, parts: Parts, keep: frozenset[int]) -> Parts:
    """Fold what stands side by side, then what stands in a row, until nothing more folds or it is few enough."""
    while len(parts) > MANY:
        before = len(parts)
        parts = _chains(graph, _side_by_side(graph, parts, keep), keep)
        if len(parts) == before:
            break
    return parts


def _side_by_side(graph: dag.Graph, parts: Parts, keep: frozenset[int]) -> Parts:
    """Those that need the same and are needed by the same, as one."""
    needs = _needs(graph, parts)
    behind = _behind(needs)
    alike: dict[Any, list[int]] = {}
    for number, part in enumerate(parts):
        alone = number if keep.intersection(part) else -1
        alike.setdefault((alone, graph.nodes[part[0]].on_exit, needs[number], behind[number]), []).append(number)
    found: Parts = []
    for numbers in alike.values():
        if len(numbers) >= FEWEST:
            found.append([member for number in numbers for member in parts[number]])
        else:
            found += [parts[number] for number in numbers]
    return found


def _chains(graph: dag.Graph, parts: Parts, keep: frozenset[int]) -> Parts:
    """Those that follow one another with nothing beside them, as one."""
    needs = _needs(graph, parts)
    behind = _behind(needs)
    kept = [bool(keep.intersection(part)) for part in parts]

    def follower(number: int) -> int | None:
        if kept[number] or len(behind[number]) != 1:
            return None
        (other,) = behind[number]
        same_kind = graph.nodes[parts[number][0]].on_exit == graph.nodes[parts[other][0]].on_exit
        return other if same_kind and not kept[other] and len(needs[other]) == 1 else None

    followers = {number: other for number in range(len(parts)) if (other := follower(number)) is not None}
    found: Parts = []
    for first in set(range(len(parts))) - set(followers.values()):
        row = [first]
        while row[-1] in followers:
            row.append(followers[row[-1]])
        folds = len(row) >= FEWEST
        found += (
            [[member for number in row for member in parts[number]]] if folds else [parts[number] for number in row]
        )
    return found


def _by_distance(graph: dag.Graph, count: int) -> Parts:
    """All that are as far from the start as one another, as one. Exit stages stand by themselves."""
    distance: list[int] = []
    found: dict[tuple[bool, int], list[int]] = {}
    for position in range(count):
        node = graph.nodes[position]
        distance.append(1 + max((distance[need] for need in node.needs if need < position), default=-1))
        found.setdefault((node.on_exit, distance[position]), []).append(position)
    return list(found.values())


def _needs(graph: dag.Graph, parts: Parts) -> list[frozenset[int]]:
    """What each part needs, as numbers of parts."""
    number = {member: i for i, part in enumerate(parts) for member in part}
    return [
        frozenset({number[need] for member in part for need in graph.nodes[member].needs} - {i})
        for i, part in enumerate(parts)
    ]


def _behind(needs: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    found: list[set[int]] = [set() for _ in needs]
    for number, needed in enumerate(needs):
        for need in needed:
            found[need].add(number)
    return [frozenset(one) for one in found]


# --- what is written on them ---


def _boxes(graph: dag.Graph, definitions: Sequence[dict[str, Any]], parts: Parts) -> list[Box]:
    needs = _needs(graph, parts)
    title: Callable[[int], str] = lambda position: title_of(definitions[position])  # noqa: E731
    boxes = []
    for part, needed in zip(parts, needs, strict=True):
        first = definitions[part[0]]
        if len(part) == 1:
            boxes.append(Box(first, title(part[0]), tuple(part), needed))
        elif len({definitions[member].get("group") for member in part}) == 1 and first.get("group"):
            boxes.append(Box(first, first.get("title") or first["group"], tuple(part), needed, "matrix"))
        else:
            inside = any(need in part for need in graph.nodes[part[-1]].needs)
            between = f"{title(part[0])} {'→' if inside else '…'} {title(part[-1])}"
            boxes.append(Box(first, between, tuple(part), needed, "chain" if inside else "group"))
    return boxes


def title_of(definition: dict[str, Any]) -> str:
    """What people call a stage, with the values of its matrix."""
    if definition.get("matrix") and definition.get("title"):
        return f"{definition['title']} [{', '.join(definition['matrix'].values())}]"
    return definition.get("title") or definition["name"]
