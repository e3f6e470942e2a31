"""Gates, put into a Workflow that has none: before each gated task a suspend node that the portal resumes. Pure.

Nothing else changes: what a gate is not inside of stays word for word. A template that is called from several places is
copied where only some of them have a gate, and one of another document is copied into the Workflow.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition.loader import Node
from pipelines.definition.model import Gate
from pipelines.executors.argo.shown import as_yaml

from .calls import call
from .expand import entrypoint_of
from .model import Graph, Task
from .reading import Document, Template, items, text
from .resolve import Library

PREFIX = "burger-gate-"
ENTRYPOINT = "burger-entrypoint"
ASKS = "burger-asks"  # the input of a gate that says who is asked; its other inputs are those of its task
ANSWERS = ("burger-by", "burger-at", "burger-reason", "burger-plan")  # what the portal writes when it resumes one
_BY_NAME = ("parameters", "artifacts", "volumes", "imagePullSecrets", "templates", "volumeClaimTemplates")


class WeaveError(Exception):
    """A gate cannot be put where it shall be; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Woven:
    """`before` and `after` are whole Workflows, as they would be submitted without and with gates; `notes` are
    sentences: what is different beyond the gates themselves."""

    before: dict[str, Any]
    after: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def diff(self) -> str:
        """Unified, of both as YAML; "" where there are no gates."""
        before, after = (as_yaml(one).splitlines(keepends=True) for one in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, "as it is", "as it is submitted"))


def weave(document: Document, library: Library, graph: Graph, gates: Mapping[int, Gate]) -> Woven:
    """The Workflow that `document` makes, with a gate before each task of `graph` that `gates` names by position.
    Neither may have problems. Raises WeaveError."""
    lender = library.lender(document)
    before = whole(document, lender)
    if not gates:
        return Woven(before, before)
    after = copy.deepcopy(before)
    notes = []
    if lender is not None and lender is not document:
        notes.append(f"{lender.title} is written out in the Workflow: no gate can be put into it from outside.")
    weaver = _Weaver(after["spec"], document, library, graph, gates, notes)
    weaver.run(lender or document)
    return Woven(before, after, tuple(dict.fromkeys(notes)))


def whole(document: Document, lender: Document | None) -> dict[str, Any]:
    """One Workflow: of a CronWorkflow or WorkflowTemplate the one that it makes; a `workflowTemplateRef` written
    out, the way that the controller joins the two."""
    metadata = (document.node.get("metadata") or _empty()).plain() or {}
    spec = document.spec.plain()
    if document.kind != "Workflow":
        made = (document.node.get("spec") or _empty()).plain() or {}
        kept = made.get("workflowMetadata") or {}
        spec.pop("workflowMetadata", None)
        metadata = {"generateName": f"{document.name.removesuffix('-')}-", **kept}
    if lender is not None and lender is not document:
        spec = _joined({key: value for key, value in spec.items() if key != "workflowTemplateRef"}, lender.spec.plain())
        spec.pop("workflowMetadata", None)
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def _empty() -> Node:
    return Node("map", 1, 1)


def _joined(own: Any, lent: Any, key: str = "") -> Any:
    """Own values win; mappings join key by key, lists of named things name by name."""
    if isinstance(own, dict) and isinstance(lent, dict):
        keys = [*lent, *(name for name in own if name not in lent)]
        return {
            name: _joined(own[name], lent[name], name)
            if name in own and name in lent
            else own[name]
            if name in own
            else lent[name]
            for name in keys
        }
    if isinstance(own, list) and isinstance(lent, list) and key in _BY_NAME:
        named = {one.get("name"): one for one in own if isinstance(one, dict)}
        kept = [one for one in lent if not (isinstance(one, dict) and one.get("name") in named)]
        return [*kept, *own]
    return own


@dataclass
class _Weaver:
    spec: dict[str, Any]
    document: Document
    library: Library
    graph: Graph
    gates: Mapping[int, Gate]
    notes: list[str]
    open: dict[tuple[int, str], str] = field(default_factory=dict)
    copied: set[int] = field(default_factory=set)

    def run(self, scope: Document) -> None:
        self.scope = scope
        self.copied = _to_copy(self.graph.tasks, set(self.gates))
        self.by_path = {task.path: task for task in self.graph.tasks}
        name = entrypoint_of(self.document, self.library)
        roots = [task for task in self.graph.tasks if task.within is None and not task.role]
        if len(roots) != 1 or not name or name not in scope.templates:
            raise WeaveError(f"{self.graph.title} has no entrypoint, so it cannot be submitted as it is. Name one.")
        (root,) = roots
        entry = scope.templates[name]
        for task in self.graph.tasks:
            if task.within is None and task.role and task.position in self.copied:
                raise WeaveError(f"No gate can stand inside of {task.path}, which the controller starts by itself.")
        if root.position in self.copied:
            self.spec["entrypoint"] = self._copy(entry, root)
        if root.position in self.gates:
            self._before_all(root, entry, str(self.spec["entrypoint"]))

    # --- templates ----------------------------------------------------------------------------------------

    def _copy(self, template: Template, task: Task) -> str:
        """The name of the template that runs instead of `template` at `task`; it is put into the Workflow."""
        key = (id(template.document), template.name)
        own = template.document in (self.document, self.scope)
        alone = own and self._callers(template) == 1
        name = template.name if alone else self._free(f"{template.name}-gated")
        self.open[key] = name
        body = self._woven(template, task)
        del self.open[key]
        return self._put(name, body, instead=alone)

    def _callers(self, template: Template) -> int:
        return sum(task.template == template.title and task.loops_to is None for task in self.graph.tasks)

    def _free(self, wanted: str) -> str:
        taken = {one.get("name") for one in self.spec["templates"]} | set(self.open.values())
        number, name = 1, wanted
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _put(self, name: str, body: dict[str, Any], *, instead: bool = False) -> str:
        templates = self.spec.setdefault("templates", [])
        for number, one in enumerate(templates):
            if instead and one.get("name") == name:
                templates[number] = {**body, "name": name}
                return name
            if not instead and {**one, "name": ""} == {**body, "name": ""} and one["name"].startswith(body["name"]):
                return str(one["name"])
        templates.append({**body, "name": name})
        return name

    def _woven(self, template: Template, task: Task) -> dict[str, Any]:
        body: dict[str, Any] = template.node.plain()
        for node, one in _calls(template.node, body):
            self._one_call(node, one, template, task)
        if template.does == "dag":
            self._into_dag(body["dag"], task)
        elif template.does == "steps":
            self._into_steps(body, task)
        return body

    def _one_call(self, node: Node, one: dict[str, Any], template: Template, above: Task) -> None:
        """What a task of a copy calls: a copy again, the copy that it stands in, or what it called before."""
        task = self._task(above, str(one.get("name") or ""))
        found = self.library.of(call(node), template.document).template
        key = (id(found.document), found.name) if found else None
        if key in self.open and not one.get("inline"):
            one.pop("templateRef", None)
            one["template"] = self.open[key]
        elif task is not None and task.position in self.copied and found is not None:
            if one.get("inline"):
                one["inline"] = self._woven(found, task)
            else:
                name = self._copy(found, task)
                one.pop("templateRef", None)
                one["template"] = name
        elif one.get("template") and template.document not in (self.document, self.scope):
            one["templateRef"] = _reference(template.document, one.pop("template"))
        for hook in (one.get("hooks") or {}).values():
            if hook.get("template") and template.document not in (self.document, self.scope):
                hook["templateRef"] = _reference(template.document, hook.pop("template"))
        if one.get("onExit") and template.document not in (self.document, self.scope):
            one.setdefault("hooks", {})["exit"] = {"templateRef": _reference(template.document, one.pop("onExit"))}

    def _task(self, above: Task, name: str) -> Task | None:
        return self.by_path.get(f"{above.path}/{name}")

    # --- gates --------------------------------------------------------------------------------------------

    def _gate(self, one: dict[str, Any], task: Task) -> dict[str, Any]:
        """The task that asks before `one` runs: for the same reasons, and shown what it will be given."""
        given = [
            item
            for item in (one.get("arguments") or {}).get("parameters") or ()
            if item.get("name") and "{{item" not in json.dumps(item)
        ]
        name = f"{PREFIX}{one['name']}"
        template = {
            "name": name,
            "inputs": {"parameters": [{"name": ASKS}, *({"name": item["name"]} for item in given)]},
            "suspend": {},
            "outputs": {"parameters": [{"name": answer, "valueFrom": {"supplied": {}}} for answer in ANSWERS]},
        }
        asks = {"name": ASKS, "value": _asked(self.gates[task.position])}
        found = {"name": name, "template": self._gate_template(template), "arguments": {"parameters": [asks, *given]}}
        when = str(one.get("when") or "")
        if when and "{{item" in when:
            self.notes.append(f"Before {task.path} its gate asks even if no item of it meets its condition, {when}.")
        elif when:
            found["when"] = when
        return found

    def _gate_template(self, template: dict[str, Any]) -> str:
        for one in self.spec["templates"]:
            if {**one, "name": ""} == {**template, "name": ""} and str(one["name"]).startswith(template["name"]):
                return str(one["name"])
        return self._put(self._free(template["name"]), template)

    def _gated(self, calls: Sequence[Any], above: Task) -> list[tuple[dict[str, Any], Task]]:
        found = []
        names = {one.get("name") for one in calls}
        for one in calls:
            task = self._task(above, str(one.get("name") or ""))
            if task is None or task.position not in self.gates:
                continue
            if f"{PREFIX}{one['name']}" in names:
                raise WeaveError(f"{above.path} has a task {PREFIX}{one['name']} already. Give it another name.")
            found.append((one, task))
        return found

    def _into_dag(self, dag: dict[str, Any], above: Task) -> None:
        tasks = dag["tasks"]
        logic = any(one.get("depends") for one in tasks)
        for one, task in self._gated(tasks, above):
            gate = self._gate(one, task)
            for key in ("depends", "dependencies"):
                if one.get(key):
                    gate[key] = one.pop(key)
            one["depends" if logic else "dependencies"] = gate["name"] if logic else [gate["name"]]
            tasks.insert(tasks.index(one), gate)

    def _into_steps(self, body: dict[str, Any], above: Task) -> None:
        groups = []
        for group in body["steps"]:
            gated = self._gated(group, above)
            if gated:
                groups.append([self._gate(one, task) for one, task in gated])
                wait = [one["name"] for one in group if all(one is not other for other, _ in gated)]
                if wait:
                    beside = " and ".join(task.path for _, task in gated)
                    self.notes.append(f"{', '.join(wait)} of the same group of steps waits for the gate of {beside}.")
            groups.append(group)
        body["steps"] = groups

    def _before_all(self, root: Task, entry: Template, name: str) -> None:
        """A gate before the whole Workflow: an entrypoint of its own asks, then calls the real one."""
        if items(entry.node.get("inputs"), "artifacts"):
            raise WeaveError(f"{root.path} takes artifacts, so no gate can stand before it. Put it before its tasks.")
        known = {text(item, "name") for item in items(self.document.spec.get("arguments"), "parameters")}
        known |= {text(item, "name") for item in items(self.scope.spec.get("arguments"), "parameters")}
        asked = [text(item, "name") for item in items(entry.node.get("inputs"), "parameters")]
        given = [{"name": one, "value": f"{{{{workflow.parameters.{one}}}}}"} for one in asked if one in known]
        one = {"name": root.name, "template": name} | ({"arguments": {"parameters": given}} if given else {})
        self._put(ENTRYPOINT, {"name": ENTRYPOINT, "steps": [[self._gate(one, root)], [one]]})
        self.spec["entrypoint"] = ENTRYPOINT


def _asked(gate: Gate) -> str:
    return ", ".join(team.team + (f" ({team.quorum})" if team.quorum > 1 else "") for team in gate.teams)


def _reference(document: Document, template: str) -> dict[str, Any]:
    scope = {"clusterScope": True} if document.kind == "ClusterWorkflowTemplate" else {}
    return {"name": document.name, "template": template, **scope}


def _calls(node: Node, body: dict[str, Any]) -> Iterator[tuple[Node, dict[str, Any]]]:
    """The steps or tasks of a template, as they were read and as plain values."""
    for group, plain in zip(items(node, "steps"), body.get("steps") or (), strict=True):
        yield from zip(group.items, plain, strict=True)
    yield from zip(items(node.get("dag"), "tasks"), (body.get("dag") or {}).get("tasks") or (), strict=True)


def _to_copy(tasks: Sequence[Task], gated: set[int]) -> set[int]:
    """All tasks that have a gate somewhere inside, those included that lead back to one of these."""
    found: set[int] = set()
    ahead = {tasks[one].within for one in gated} - {None}
    while ahead:
        for one in ahead:
            here: int | None = one
            while here is not None and here not in found:
                found.add(here)
                here = tasks[here].within
        ahead = {
            task.within
            for task in tasks
            if task.loops_to in found and task.within is not None and task.within not in found
        }
    return found
