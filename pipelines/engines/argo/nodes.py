"""What a Workflow in the cluster says of the stages of its run. Pure."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ENDED = frozenset({"Succeeded", "Failed", "Error", "Skipped", "Omitted"})
_BAD = frozenset({"Failed", "Error"})


@dataclass(slots=True)
class Seen:
    """One stage. `phase` is that of its node as a whole, "" while there is none; `pod` that of its last pod, "" before
    the first, and `code` what it ended with; `says` is what Argo or the scheduler says of either."""

    phase: str = ""
    pod: str = ""
    says: str = ""
    code: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ENDED


@dataclass(frozen=True, slots=True)
class Door:
    """A suspended node before a stage's pod, by its id in the Workflow."""

    node: str
    stage: str
    phase: str


@dataclass(frozen=True, slots=True)
class Summary:
    name: str
    uid: str
    phase: str
    says: str
    labels: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, Seen] = field(default_factory=dict)
    doors: Sequence[Door] = ()
    stopping: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ENDED


def summary(workflow: Mapping[str, Any], tasks: Mapping[str, Sequence[str]]) -> Summary:
    """`tasks` maps each task to its stages, for the nodes that say no stage."""
    metadata, status = workflow["metadata"], workflow.get("status") or {}
    stages: dict[str, Seen] = {}
    doors: list[Door] = []
    for node in _nodes(status):
        for stage in _stages_of(node, tasks):
            _add(stages.setdefault(stage, Seen()), node)
            if node["type"] == "Suspend":
                doors.append(Door(node["id"], stage, node.get("phase", "")))
    return Summary(
        name=metadata["name"],
        uid=metadata["uid"],
        phase=status.get("phase", ""),
        says=status.get("message", ""),
        labels=metadata.get("labels") or {},
        stages=stages,
        doors=tuple(doors),
        stopping=(workflow.get("spec") or {}).get("shutdown", ""),
    )


def _nodes(status: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """In the order in which they came to be."""
    nodes = status.get("nodes")
    if nodes is None and (packed := status.get("compressedNodes")):
        nodes = json.loads(zlib.decompress(base64.b64decode(packed), 47))
    yield from sorted((nodes or {}).values(), key=lambda node: (node.get("startedAt") or "", node["id"]))


def _stages_of(node: Mapping[str, Any], tasks: Mapping[str, Sequence[str]]) -> Sequence[str]:
    given = {one["name"]: one.get("value") for one in (node.get("inputs") or {}).get("parameters") or ()}
    if stage := given.get("stage"):
        return () if "{{" in stage else (stage,)
    if node["type"] in ("Skipped", "TaskGroup") and node.get("phase") in ("Skipped", "Omitted"):
        return tasks.get(node.get("displayName", ""), ())
    return ()


def _add(seen: Seen, node: Mapping[str, Any]) -> None:
    kind, phase, says = node["type"], node.get("phase", ""), node.get("message", "")
    template = (node.get("templateRef") or {}).get("template") or node.get("templateName", "")
    if kind == "Pod":
        seen.pod, seen.says = phase, says
        seen.code = str((node.get("outputs") or {}).get("exitCode", ""))
    elif kind == "TaskGroup" and phase not in ("Skipped", "Omitted"):
        return
    if kind in ("Skipped", "TaskGroup") or (template == "stage" and kind in ("Retry", "Steps")):
        seen.phase = phase
        if phase in _BAD and says:
            seen.says = says
