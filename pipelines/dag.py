"""Who comes next: from a snapshot of a run to the decisions that follow from it. Pure, linear, no Django.

`decide` looks at each stage once. What it returns is applied by `pipelines.runs.advance`, which takes the next
snapshot; nothing in here remembers anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .states import ENDED, Reason, RunState, State

Depends = Callable[[Mapping[str, Sequence[str]]], bool]
When = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Node:
    """What never changes about a stage while its run lasts. `barrier`, of a first node alone, holds up all others.

    `needs` are positions in `Graph.nodes`. `depends` judges an Argo expression over the states of the groups that
    it names; None means that every need has to have succeeded or been skipped.
    """

    name: str
    needs: tuple[int, ...] = ()
    depends: Depends | None = None
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    when: When | None = None
    gated: bool = False
    environment: str | None = None
    on_exit: bool = False
    barrier: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """The stages in an order in which every need stands before the stage that needs it."""

    nodes: tuple[Node, ...]
    leaves: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """The environment's lock as this run sees it. `held_by` says who has it, in words, "" when it can be had."""

    ours: bool = False
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment. All sequences are by position in `graph.nodes`.

    `planned`: a plan is there. `approved`: that plan has every approval it needs. `frozen` maps an environment to
    the sentence why nothing may change in it now, from which stages in `exempt` are spared. `begun` have an
    attempt that waits, without a worker, for a person or an engine. `said` has the words given to those who wait for
    a lock or a window. `stopping` is "" or "cancel" or "terminate".
    """

    graph: Graph
    states: Sequence[str]
    reasons: Sequence[str]
    planned: Sequence[bool]
    approved: Sequence[bool]
    locks: Mapping[str, Lock] = field(default_factory=dict)
    frozen: Mapping[str, str] = field(default_factory=dict)
    exempt: frozenset[int] = frozenset()
    begun: frozenset[int] = frozenset()
    said: Mapping[int, str] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    stopping: str = ""


class Do(StrEnum):
    PLAN = "plan"  # queue it, to make its plan
    ASK = "ask"  # wait for approval of its plan
    WAIT = "wait"  # wait for a lock or a window
    QUEUE = "queue"  # a worker may take it
    SKIP = "skip"
    OMIT = "omit"
    CANCEL = "cancel"  # nothing was begun
    STOP = "stop"  # something was begun: a worker has to stop it


@dataclass(frozen=True, slots=True)
class Decision:
    position: int
    do: Do
    reason: str = ""
    code: str = ""


_MET = frozenset({State.SUCCEEDED, State.SKIPPED})
_OPEN = frozenset({State.PENDING, State.WAITING})
_UNTOUCHED = _OPEN | {State.QUEUED}
_AFTER = {Do.SKIP: State.SKIPPED, Do.OMIT: State.OMITTED}
PLANNING = "its plan is being made"
_NOT_AGREED = "the change of ownership in this file was not agreed to"
STOPPED = {"cancel": "the run was canceled", "terminate": "the run was terminated"}


def decide(snapshot: Snapshot) -> list[Decision]:
    """Say what has to happen now. Nothing to do gives an empty list."""
    states = list(snapshot.states)
    decisions: list[Decision] = []
    closed = snapshot.graph.nodes[0].barrier and states[0] != State.SUCCEEDED
    if snapshot.stopping:
        _stop(snapshot, states, decisions, spare_exits=not closed)
    if closed:
        return decisions + _before_the_barrier(snapshot, states)
    main_open = False
    pending, ended = State.PENDING, ENDED
    for position, node in enumerate(snapshot.graph.nodes):
        state = states[position]
        # Exit stages stand last, so by then it is known whether one of the others is still to end.
        if state in ended or (node.on_exit and main_open):
            continue
        # Most of a large run, most of the time.
        if state == pending and node.needs and states[node.needs[-1]] not in ended:
            main_open = main_open or not node.on_exit
            continue
        if state not in _OPEN or position in snapshot.begun:
            main_open = main_open or not node.on_exit
            continue
        decision = _decide_one(snapshot, states, position, node)
        if decision is not None:
            decisions.append(decision)
            states[position] = _AFTER.get(decision.do, states[position])
        main_open = main_open or (not node.on_exit and states[position] not in ENDED)
    return decisions


def let_go(snapshot: Snapshot) -> list[Decision]:
    """As `decide`, for a run whose order is somebody else's: what has been approved goes on, and that is all."""
    if snapshot.stopping:
        return []
    return [
        Decision(position, Do.QUEUE)
        for position, node in enumerate(snapshot.graph.nodes)
        if node.gated
        and snapshot.approved[position]
        and (snapshot.states[position], snapshot.reasons[position]) == (State.WAITING, Reason.APPROVAL)
    ]


def _before_the_barrier(snapshot: Snapshot, states: list[str]) -> list[Decision]:
    """Nothing of the run may happen until its first stage has succeeded, not even its exit stages; nor afterwards,
    if that has ended otherwise."""
    if states[0] in ENDED:
        return [Decision(i, Do.OMIT, _NOT_AGREED) for i, state in enumerate(states) if state in _OPEN]
    if states[0] not in _OPEN or 0 in snapshot.begun:
        return []
    decision = _decide_one(snapshot, states, 0, snapshot.graph.nodes[0])
    return [decision] if decision else []


def _stop(snapshot: Snapshot, states: list[str], decisions: list[Decision], *, spare_exits: bool) -> None:
    """Cancel what has not begun. What runs is stopped by its worker; exit stages run on cancel, not on terminate."""
    for position, node in enumerate(snapshot.graph.nodes):
        if states[position] in ENDED or (spare_exits and node.on_exit and snapshot.stopping == "cancel"):
            continue
        if position in snapshot.begun:
            if snapshot.reasons[position] != "stop":  # else a worker is on its way to do so
                decisions.append(Decision(position, Do.STOP, STOPPED[snapshot.stopping]))
        elif states[position] in _UNTOUCHED:
            decisions.append(Decision(position, Do.CANCEL, STOPPED[snapshot.stopping]))
            states[position] = State.CANCELED


def _decide_one(snapshot: Snapshot, states: list[str], position: int, node: Node) -> Decision | None:
    state, reason = states[position], snapshot.reasons[position]
    if state == State.PENDING:
        verdict = _needs(node, states)
        if verdict is None:
            return None
        if verdict:
            return Decision(position, Do.OMIT, verdict)
        if node.when is not None and not node.when(snapshot.context):
            return Decision(position, Do.SKIP, "its condition is false")
    if node.gated and not snapshot.planned[position]:
        return Decision(position, Do.PLAN, PLANNING)
    if node.gated and not snapshot.approved[position]:
        already = state == State.WAITING and reason == Reason.APPROVAL
        return None if already else Decision(position, Do.ASK, code=Reason.APPROVAL)
    return _enter(snapshot, position, node)


def unmet(graph: Graph, position: int, states: Sequence[str]) -> str:
    """Why this stage would be omitted as things stand, with the names of the stages that it is about; "" if that is not
    so."""
    if graph.nodes[0].barrier and position and states[0] in ENDED and states[0] != State.SUCCEEDED:
        return _NOT_AGREED
    node = graph.nodes[position]
    if not (words := _needs(node, states)):
        return ""
    asked = [graph.nodes[need].name for need in node.needs if states[need] not in _MET]
    return f"{words} ({', '.join(asked[:3])}{', …' if len(asked) > 3 else ''})" if asked else words


def _needs(node: Node, states: Sequence[str]) -> str | None:
    """None: not decided yet. "": met. A sentence: it can never be met."""
    for need in node.needs:
        if states[need] not in ENDED:
            return None
    if node.depends is None:
        for need in node.needs:
            if states[need] not in _MET:
                return "a stage that it needs did not succeed"
        return ""
    results = {name: [states[i] for i in members] for name, members in node.groups.items()}
    return "" if node.depends(results) else "what it depends on did not come true"


def _enter(snapshot: Snapshot, position: int, node: Node) -> Decision | None:
    """Past needs, condition and gate: the environment's window and lock are what is left."""
    environment = node.environment
    if environment is not None:
        frozen = snapshot.frozen.get(environment, "")
        lock = snapshot.locks.get(environment, Lock())
        # A run that is changing the environment already finishes: half a delivery is worse than one in a freeze. Where
        # it stops at a gate it may as well stop for the freeze.
        finishes = lock.ours and not node.gated
        if frozen and not finishes and position not in snapshot.exempt:
            return _wait(snapshot, position, Reason.WINDOW, frozen)
        if lock.held_by and not lock.ours:
            return _wait(snapshot, position, Reason.LOCK, lock.held_by)
    return Decision(position, Do.QUEUE, code=environment or "")


def _wait(snapshot: Snapshot, position: int, code: Reason, words: str) -> Decision | None:
    waits = snapshot.states[position] == State.WAITING and snapshot.reasons[position] == code
    if waits and snapshot.said.get(position, words) == words:
        return None
    return Decision(position, Do.WAIT, words, code)


# --- the whole run ----------------------------------------------------------------------------------------------

_RANK = {
    State.SUCCEEDED: 0,
    State.SKIPPED: 0,
    State.CANCELED: 1,
    State.REJECTED: 2,
    State.FAILED: 3,
    State.ERROR: 4,
}
_BY_RANK = (RunState.SUCCEEDED, RunState.CANCELED, RunState.REJECTED, RunState.FAILED, RunState.ERROR)
_MOVING = frozenset({State.QUEUED, State.RUNNING, State.UNKNOWN})


def run_state(graph: Graph, states: Sequence[str], stopping: str = "") -> RunState:
    """The state of the run. Like Argo, it is judged by the stages that nothing else needs, so that a failure which
    another stage was made to handle does not fail the run; an omitted stage stands for what omitted it."""
    if not _MOVING.isdisjoint(states):
        return RunState.RUNNING
    if State.WAITING in states:
        return RunState.WAITING
    if State.PENDING in states:
        return RunState.RUNNING
    effective = [0] * len(states)
    for position, node in enumerate(graph.nodes):
        if states[position] == State.OMITTED:
            effective[position] = max((effective[need] for need in node.needs), default=0)
        else:
            effective[position] = _RANK[State(states[position])]
    worst = max((effective[leaf] for leaf in graph.leaves), default=0)
    return RunState.CANCELED if stopping and worst < _RANK[State.FAILED] else _BY_RANK[worst]


def leaves(nodes: Sequence[Node]) -> tuple[int, ...]:
    """The stages that no other needs. An exit stage that looks at a stage does not handle its failure."""
    needed = {need for node in nodes for need in node.needs if node.on_exit == nodes[need].on_exit}
    return tuple(i for i in range(len(nodes)) if i not in needed)


def backoff(
    *, limit: int, delay: float, factor: float, maximum: float, on: frozenset[str]
) -> Callable[[str, int], float | None]:
    """A function from an ending and the number of attempts made to the seconds before the next one, or None."""

    def after(state: str, attempts: int) -> float | None:
        if state not in on or attempts > limit:
            return None
        return min(maximum, delay * factor ** (attempts - 1))

    return after
