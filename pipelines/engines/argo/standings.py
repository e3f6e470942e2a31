"""From a Workflow to where the stages of its run are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.executors.base import Change, Plan
from pipelines.runs.mirrored import Ending, Observed
from pipelines.runs.values import DETAIL, Asked
from pipelines.states import Reason, RunState, State

from .phases import Seen, nodes_of, seen, standing
from .weave import ASKS, PREFIX

_ENDINGS = {"Succeeded": RunState.SUCCEEDED, "Failed": RunState.FAILED, "Error": RunState.ERROR}
NODES = "nodes"  # in the details of a plan: the ids of the nodes that its approval resumes


@dataclass(frozen=True, slots=True)
class Known:
    """What of a stage is needed: its name, the path of its node, and where that leads back to, "" for nowhere."""

    name: str
    node: str
    loops_to: str
    title: str
    gated: bool

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Known:
        with_ = definition["with_"]
        gated = definition.get("gate") is not None
        return cls(definition["name"], with_["node"], with_.get("loops_to", ""), definition["title"], gated)


@dataclass(frozen=True, slots=True)
class Standings:
    """`observed` by the stages' names; `nodes` are those of each stage."""

    observed: Mapping[str, Observed]
    nodes: Mapping[str, Sequence[Seen]]
    ending: Ending | None


def standings(workflow: Mapping[str, Any], stages: Sequence[Known]) -> Standings:
    """Raises NodesElsewhereError."""
    raw = nodes_of(workflow)
    loops = {one.node: one.loops_to for one in stages if one.loops_to}
    found: dict[str, list[Seen]] = {}
    for one in seen(workflow):
        found.setdefault(folded(one.path, loops), []).append(one)
    running = {str(node.get("name")) for node in raw.values() if node.get("phase") == "Running"}
    observed, nodes = {}, {}
    for stage in stages:
        if own := found.get(stage.node):
            nodes[stage.name] = own
            observed[stage.name] = _observed(own, stage, workflow, raw, running)
    return Standings(observed, nodes, ending_of(workflow))


def folded(path: str, loops: Mapping[str, str]) -> str:
    """The path that the same task has in the first turn of a recursion."""
    changed = True
    while changed:
        changed = False
        for inner, outer in loops.items():
            if path.startswith(f"{inner}/"):
                path, changed = f"{outer}/{path[len(inner) + 1 :]}", True
    return path


def ending_of(workflow: Mapping[str, Any]) -> Ending | None:
    """None while it goes on."""
    status = workflow.get("status") or {}
    state = _ENDINGS.get(status.get("phase") or "")
    return Ending(state, "" if state is RunState.SUCCEEDED else str(status.get("message") or "")) if state else None


def _observed(
    own: Sequence[Seen],
    stage: Known,
    workflow: Mapping[str, Any],
    raw: Mapping[str, Mapping[str, Any]],
    running: set[str],
) -> Observed:
    # Items of steps hang on their group, which runs as long as further ones may come.
    more = any(one.index and _group_of(one.name) in running for one in own)
    found = standing(own, more=more)
    plan = None
    suspended = [one for one in own if one.is_suspended]
    if stage.gated and suspended:
        plan = _plan(suspended, stage, workflow, raw)
    code, reason = found.code, found.reason
    if code == Reason.APPROVAL and not stage.gated:
        # It is suspended for a time that its template says.
        code, reason = Reason.ENGINE, "it goes on by itself when its time has passed"
    return Observed(
        found.state, code, reason, _time(found.started_at), _time(found.ended_at), found.done, found.total,
        plan, _who_resumed(workflow) if found.state is State.SUCCEEDED and own[0].type == "Suspend" else "",
    )  # fmt: skip


def _group_of(name: str) -> str:
    before, _, _ = name.rpartition("].")
    return f"{before}]" if before else ""


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:
        return None


def _plan(
    suspended: Sequence[Seen], stage: Known, workflow: Mapping[str, Any], raw: Mapping[str, Mapping[str, Any]]
) -> Plan:
    """What is approved: that exactly these nodes go on, with what the task behind them is given."""
    name, metadata = str(workflow["metadata"]["name"]), workflow["metadata"]
    woven = stage.node.rpartition("/")[2].startswith(PREFIX)
    what = stage.title.removeprefix("before ") if woven else stage.title
    asks = () if woven else _asks(raw[one.id] for one in suspended)
    given = {
        f"{one['name']}": str(one.get("value", ""))
        for node in suspended
        for one in (raw[node.id].get("inputs") or {}).get("parameters") or ()
        if one.get("name") not in {ASKS, *(value.name for value in asks)}
    }
    return Plan(
        summary=f"let {what} go on in {name}" if what == stage.title else f"run {what} of {name}",
        commit="",
        kind="gate",
        stage=stage.name,
        parameters=given,
        changes=[Change(f"{key} of {what}", after=value) for key, value in sorted(given.items())],
        details={
            "workflow": f"{metadata.get('namespace', '')}/{name}",
            "uid": str(metadata.get("uid", "")),
            NODES: sorted(one.id for one in suspended),
            **({DETAIL: [one.as_dict() for one in asks]} if asks else {}),
        },
    )


def _asks(nodes: Iterable[Mapping[str, Any]]) -> list[Asked]:
    """The outputs that these nodes wait for. An input of the same name says what they may be, as Argo has it."""
    found: dict[str, Asked] = {}
    for node in nodes:
        inputs = {one.get("name"): one for one in (node.get("inputs") or {}).get("parameters") or ()}
        for one in (node.get("outputs") or {}).get("parameters") or ():
            if is_asked(one):
                name = str(one["name"])
                found.setdefault(name, _asked(name, one["valueFrom"], inputs.get(name) or {}))
    return list(found.values())


def is_asked(output: Mapping[str, Any]) -> bool:
    """Whether an output of a suspended node is one that somebody has to supply, and nobody has."""
    return "supplied" in (output.get("valueFrom") or {}) and "value" not in output


def _asked(name: str, source: Mapping[str, Any], given: Mapping[str, Any]) -> Asked:
    default = next((one for one in (source.get("default"), given.get("value"), given.get("default")) if one), None)
    choices = tuple(str(one) for one in given.get("enum") or ())
    return Asked(name, None if default is None else str(default), choices, str(given.get("description") or ""))


def _who_resumed(workflow: Mapping[str, Any]) -> str:
    """The program that last wrote the Workflow's status beside the controller: all that the cluster knows of who."""
    fields = workflow["metadata"].get("managedFields") or ()
    found = [
        one
        for one in fields
        if "f:status" in (one.get("fieldsV1") or {}) and "controller" not in str(one.get("manager", ""))
    ]
    found.sort(key=lambda one: str(one.get("time", "")))
    return str(found[-1].get("manager", "")) if found else ""
