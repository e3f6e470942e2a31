"""A Workflow under ownership: what is submitted, and the stages that its nodes are in the portal. Pure.

A stage is a task that does something; a dag or steps as a whole is only where its tasks stand. A gate is a stage of
its own, as it is a node of its own, and so is a suspend template that the Workflow has itself: its owner lets it go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.definition.model import Definition, Gate, GateTeam, StageDef
from pipelines.executors.argo.shown import as_yaml

from .chosen import AdoptError, choose, draw, said
from .model import UNTIL_RESUMED, Graph, Task
from .ownership import Assigned, Rules, assign
from .reading import Document, Source, read
from .resolve import Elsewhere, Library
from .weave import ENTRYPOINT, PREFIX, WeaveError, Woven, weave

KIND = "workflow"  # of the stages: what the node of a Workflow does
LONGEST_STAGE = 110  # characters of a stage's name


@dataclass(frozen=True, slots=True)
class Adopted:
    """`stages` in an order in which each need stands before what needs it; the `with_` of each names its `node` (the
    path, as `phases.Seen` has it), its `template` and what that does. `graph` is that of what is submitted."""

    title: str
    woven: Woven
    graph: Graph
    stages: tuple[StageDef, ...]

    @property
    def gates(self) -> tuple[StageDef, ...]:
        return tuple(stage for stage in self.stages if stage.gate)

    @property
    def text(self) -> str:
        """The Workflow as it is submitted, save its name."""
        return as_yaml(self.woven.after)

    @property
    def definition(self) -> Definition:
        """Who owns what and who is asked, to be compared with another version of it."""
        return Definition(self.graph.name, digest_of(self.text), self.stages)


def digest_of(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def adopt(
    sources: Sequence[Source],
    owners: Source,
    *,
    teams: Collection[str] | None = None,
    elsewhere: Elsewhere | None = None,
    document: str = "",
    over: Rules | None = None,
) -> Adopted:
    """One Workflow of these files with an ownership file. `document` names it where there are several, `over` are
    rules that win over the file's. Raises AdoptError."""
    found = choose(
        sources, owners, teams=teams, elsewhere=elsewhere, document=document, over=over, submitted=True
    )  # fmt: skip
    try:
        woven = weave(found.document, found.library, found.graph, found.assigned.gates)
    except WeaveError as error:
        raise AdoptError(str(error)) from error
    after = _drawn_anew(woven, found.library, found.document)
    return Adopted(found.document.title, woven, after, stages_of(after, found.graph, found.assigned))


def watched(workflow: Mapping[str, Any], rules: Rules, default: str, elsewhere: Elsewhere | None = None) -> Adopted:
    """A Workflow as somebody submitted it, by its manifest. `default` owns what `rules` give to nobody; they may well
    name what it does not have. Raises AdoptError."""
    kept = {key: workflow.get(key) for key in ("apiVersion", "kind", "metadata", "spec")}
    if stored := (workflow.get("status") or {}).get("storedWorkflowTemplateSpec"):
        kept["spec"] = stored
    kept["metadata"] = {"name": workflow["metadata"]["name"], "namespace": workflow["metadata"].get("namespace", "")}
    files = read([Source("the Workflow", json.dumps(kept, indent=2).encode())])
    library = Library(files, elsewhere)
    if not library.documents:
        raise AdoptError("It cannot be drawn.", said(files))
    graph = draw(library.documents[0], library)
    assigned = assign(graph, rules)
    assigned = Assigned({at: team or default for at, team in assigned.teams.items()}, {})
    kept["apiVersion"], kept["kind"] = "argoproj.io/v1alpha1", "Workflow"
    return Adopted(f"Workflow {graph.name}", Woven(kept, kept), graph, stages_of(graph, graph, assigned))


def _drawn_anew(woven: Woven, library: Library, original: Document) -> Graph:
    """The graph of what is submitted, gates included; references still lead to what the files and the cluster have."""
    named = json.loads(json.dumps(woven.after))
    named["metadata"] = {
        "name": original.name.removesuffix("-") or "workflow",
        "namespace": original.namespace,
    }
    (file,) = read([Source(original.file.name, json.dumps(named, indent=2).encode())])
    (document,) = file.documents
    return draw(document, library.again())


# --- stages -----------------------------------------------------------------------------------------------------


def stages_of(graph: Graph, original: Graph, assigned: Assigned) -> tuple[StageDef, ...]:
    """`assigned` is by the positions of `original`, which is `graph` without gates."""
    at = {task.path: task.position for task in original.tasks}
    names = _Names()
    known: dict[int, tuple[str, ...]] = {}  # by position: the stages that have to end before what needs it
    found: list[StageDef] = []
    for task in graph.tasks:
        needs = tuple(dict.fromkeys(name for need in sorted(task.needs) for name in known[need]))
        if task.inside and task.loops_to is None:
            known[task.position] = needs
            continue
        path = _unwoven(task.path)
        position = at.get(path)
        stage = _stage(task, path, needs, names, assigned, position)
        if task.loops_to is not None:
            stage = replace(stage, with_={**stage.with_, "loops_to": graph.tasks[task.loops_to].path})
        known[task.position] = (stage.name,)
        found.append(stage)
    return tuple(found)


def _stage(
    task: Task, path: str, needs: tuple[str, ...], names: _Names, assigned: Assigned, position: int | None
) -> StageDef:
    gated = task.name.startswith(PREFIX)
    owner = assigned.teams.get(position, "") if position is not None else ""
    gate = assigned.gates.get(position) if gated and position is not None else None
    if not gated and task.does == "suspend" and task.suspend == UNTIL_RESUMED:
        gate = Gate((GateTeam(owner),))
    name = names.of(path, gate=gated)
    return StageDef(
        name=name,
        kind="gate" if gate else KIND,
        owner=owner,
        group=name,
        title=f"before {task.name.removeprefix(PREFIX)}" if gated else task.name,
        depends=" && ".join(needs),
        needs=needs,
        gate=gate,
        on_exit=task.on_exit,
        with_={"node": task.path, "template": task.template, "does": task.does, "asks_before": path if gated else ""},
    )


def _unwoven(path: str) -> str:
    """The path in the Workflow as it was: a gate has that of the task that it stands before."""
    names = path.split("/")
    if names[0] == ENTRYPOINT and len(names) > 1:
        names = names[1:]
    return "/".join([*names[:-1], names[-1].removeprefix(PREFIX)])


class _Names:
    """Names of stages: the path without the entrypoint, in words that an address can hold."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def of(self, path: str, *, gate: bool) -> str:
        _, _, below = path.partition("/")
        name = (below or path).replace("/", ".").replace(":", ".on-")
        before, dot, last = name.rpartition(".")
        name = f"{before}{dot}before-{last}" if gate else name
        if len(name) > LONGEST_STAGE:
            name = f"{name[: LONGEST_STAGE - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        number, found = 1, name
        while found in self.taken:
            number += 1
            found = f"{name}-{number}"
        self.taken.add(found)
        return found
