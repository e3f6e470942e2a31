"""What a Workflow's nodes say, in our words: phases to states, and which task of the graph each node is. Pure.

A node is one execution; a task may have several: one for each item of a fan, each retry, each turn of a recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.executors.argo.nodes import WORDS, NodesElsewhereError, name_of, nodes_of, state_of
from pipelines.states import ENDED, State

__all__ = ["NodesElsewhereError", "Seen", "Standing", "entrypoint_of", "nodes_of", "seen", "standing", "state_of"]

GROUPS = frozenset({"DAG", "Steps", "StepGroup", "TaskGroup", "Retry"})
_SEPARATOR = re.compile(r"^(\[\d+\])?\.")
_HOOK = re.compile(r"^(?P<task>.*?)(?:\.hooks\.(?P<hook>[^.()\[\]]+)|\.(?P<exit>onExit))(?P<index>\(.*\))?$", re.DOTALL)
_INDEX = re.compile(r"^(?P<task>[^(]+)(?P<index>\(.*\))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Seen:
    """One node. `path` is that of its task: the names from the entrypoint down, ":" before a hook's name. `index` is
    "" for the node of the task as a whole, else what Argo put behind the name: "(0:item)", "(1)" of a retry.
    `state` is a `State`, with `code` (a `Reason`, or "") and `reason`, a sentence or "", as a stage has them.
    """

    id: str
    name: str
    path: str
    index: str
    type: str
    template: str
    phase: str
    state: State
    code: str
    reason: str
    started_at: str = ""
    ended_at: str = ""

    @property
    def is_suspended(self) -> bool:
        return self.type == "Suspend" and self.phase == "Running"


def seen(workflow: Mapping[str, Any]) -> list[Seen]:
    """All nodes that stand for a task or an attempt at one, parents before what is inside them. Groups of steps
    and the containers of a pod are left out: they are no task."""
    nodes = nodes_of(workflow)
    paths = _Paths(workflow, nodes)
    found = []
    for key, node in nodes.items():
        path = paths.of(key)
        if path is None or node.get("type") in ("StepGroup", "Container"):
            continue
        state, code, reason = state_of(node)
        found.append(
            Seen(
                key, node.get("name") or "", path[0], path[1], node.get("type") or "",
                node.get("templateName") or (node.get("templateRef") or {}).get("template", ""),
                node.get("phase") or "", state, code, reason,
                node.get("startedAt") or "", node.get("finishedAt") or "",
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (one.path.count("/"), one.started_at, one.name))


class _Paths:
    def __init__(self, workflow: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> None:
        self.nodes = nodes
        self.workflow = name_of(workflow)
        self.entrypoint = entrypoint_of(workflow)
        self._known: dict[str, tuple[str, str] | None] = {}

    def of(self, key: str) -> tuple[str, str] | None:
        """Path and index; None for what is no task."""
        chain = []
        while key not in self._known and key in self.nodes:
            self._known[key] = None  # a boundary that leads to itself ends here
            chain.append(key)
            key = str(self.nodes[key].get("boundaryID") or "")
        for one in reversed(chain):
            self._known[one] = self._found(self.nodes[one])
        return self._known.get(chain[0] if chain else key)

    def _found(self, node: Mapping[str, Any]) -> tuple[str, str] | None:
        name, boundary = str(node.get("name") or ""), self.nodes.get(str(node.get("boundaryID") or ""))
        if boundary is None:
            return self._outermost(name)
        above = self._known.get(str(node.get("boundaryID")))
        rest = name.removeprefix(str(boundary.get("name") or ""))
        if above is None or node.get("type") in ("StepGroup", "Container"):
            return None
        own = _split(_SEPARATOR.sub("", rest, count=1))
        return (f"{above[0]}/{own[0]}", own[1]) if own else None

    def _outermost(self, name: str) -> tuple[str, str] | None:
        """The entrypoint, an attempt at it, or a hook of the whole Workflow, whose path is its bare name."""
        if name == self.workflow:
            return self.entrypoint, ""
        rest = name.removeprefix(self.workflow)
        if rest.startswith("("):
            return self.entrypoint, rest
        own = _split(self.workflow + rest) if rest != name else None
        return (own[0].partition(":")[2], own[1]) if own and ":" in own[0] else None


def _split(name: str) -> tuple[str, str] | None:
    """ "build(0:a).onExit" to path and index."""
    if hook := _HOOK.match(name):
        task = _INDEX.match(hook["task"])
        called = "exit" if hook["exit"] else hook["hook"]
        return (f"{task['task']}:{called}", (task["index"] or "") + (hook["index"] or "")) if task else None
    plain = _INDEX.match(name)
    return (plain["task"], plain["index"] or "") if plain else None


def entrypoint_of(workflow: Mapping[str, Any]) -> str:
    """What the controller starts with, of a `workflowTemplateRef` too once it has resolved it; "" until then."""
    status = workflow.get("status") or {}
    lent = status.get("storedWorkflowTemplateSpec") or {}
    return str((workflow.get("spec") or {}).get("entrypoint") or lent.get("entrypoint") or "")


# --- one state for each task ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one task is. `done` of `total` of its items have ended, both 0 where it runs once."""

    state: State
    code: str = ""
    reason: str = ""
    started_at: str = ""
    ended_at: str = ""
    done: int = 0
    total: int = 0
    nodes: tuple[str, ...] = ()


# What of several items is shown for all of them: what waits for somebody first, then what still goes on.
_FIRST = (State.WAITING, State.UNKNOWN, State.RUNNING, State.QUEUED, State.PENDING)
_WORST = (State.ERROR, State.FAILED, State.CANCELED, State.OMITTED, State.SUCCEEDED, State.SKIPPED)


def standing(nodes: Sequence[Seen], *, more: bool = False) -> Standing:
    """One task by its nodes, which are at least one. `more`: further items of it may still come."""
    whole = [one for one in nodes if not one.index]
    items = [one for one in nodes if one.index and not _is_attempt(one, nodes)]
    told = _latest(whole) if whole else _of_items(items)
    of_items = items if not whole or told.type == "TaskGroup" else []
    state, code, reason = told.state, told.code, told.reason
    if state is State.RUNNING and (waits := _held_up(nodes)):
        state, code, reason = waits.state, waits.code, waits.reason
    elif not whole and more and state in ENDED:
        state, code, reason = State.RUNNING, "", ""
    if state in (State.FAILED, State.ERROR) and not _says(told):
        reason = next((one.reason for one in reversed(nodes) if one.state is state and _says(one)), reason)
    return Standing(
        state, code, reason,
        min((one.started_at for one in nodes if one.started_at), default=""),
        told.ended_at if state in ENDED else "",
        sum(one.state in ENDED for one in of_items), len(of_items), tuple(one.id for one in nodes),
    )  # fmt: skip


def _says(one: Seen) -> bool:
    return bool(one.reason) and one.reason != WORDS.get(one.state)


def _is_attempt(one: Seen, nodes: Iterable[Seen]) -> bool:
    """Whether it is one try of a node with retries, which stands for it."""
    return any(
        other.type == "Retry" and other.id != one.id and one.name.startswith(f"{other.name}(") for other in nodes
    )


def _latest(nodes: Sequence[Seen]) -> Seen:
    return max(nodes, key=lambda one: (one.state not in ENDED, one.started_at))


def _of_items(items: Sequence[Seen]) -> Seen:
    for state in _FIRST:
        if found := next((one for one in items if one.state is state), None):
            return found
    return min(items, key=lambda one: _WORST.index(one.state))


def _held_up(nodes: Sequence[Seen]) -> Seen | None:
    """What holds up a task that Argo calls running only because something in it has begun: none of its pods runs."""
    leaves = [one for one in nodes if one.type not in GROUPS]
    if not leaves or any(one.state is State.RUNNING for one in leaves):
        return None
    return next((one for one in leaves if one.state in (State.WAITING, State.QUEUED)), None)
