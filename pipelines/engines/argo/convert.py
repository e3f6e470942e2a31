"""A Workflow as a pipeline file of ours: order, gates and schedules in our words, the work itself as stages of the kind
`argo`, which run one task of the Workflow's file each. Pure.

What cannot be said task by task (files handed from one to the next, daemons, volumes that tasks share) makes the whole
Workflow one stage. Whatever is lost is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition.depends import parse_depends
from pipelines.definition.durations import parse_duration
from pipelines.definition.grammar import written
from pipelines.definition.model import Gate
from pipelines.executors.argo.shown import as_yaml

from .alone import NAME, becomes_gate, why_whole
from .calls import Call, call, fan, hooks_of
from .chosen import AdoptError, Chosen, choose
from .expand import entrypoint_of, in_order, tasks_of
from .inputs import scalars
from .model import UNTIL_RESUMED, Graph
from .ownership import Assigned
from .reading import Document, Source, Template, is_nothing, items, text
from .resolve import Elsewhere, Library

SOURCE = "checkout"

_CARRIED = frozenset(
    ("templates", "entrypoint", "arguments", "onExit", "hooks", "serviceAccountName", "workflowTemplateRef")
)
# Stays true of each stage's own Workflow, since the file stays as it is.
_KEPT = frozenset(
    (
        "templateDefaults", "podGC", "ttlStrategy", "nodeSelector", "tolerations", "affinity", "imagePullSecrets",
        "securityContext", "volumes", "archiveLogs", "artifactRepositoryRef", "podMetadata", "workflowMetadata",
        "podPriorityClassName", "dnsConfig", "dnsPolicy", "hostNetwork", "hostAliases", "automountServiceAccountToken",
        "executor", "metrics", "artifactGC", "schedulerName", "podDisruptionBudget",
    )
)  # fmt: skip
_LOST = {
    "activeDeadlineSeconds": "it limits each stage's Workflow, no longer all of them together",
    "parallelism": "it holds within each stage's Workflow, no longer over all of them",
    "synchronization": "each stage's Workflow takes the lock for itself, so others may come between two stages",
    "priority": "each stage's Workflow has it, the run has none",
    "retryStrategy": "it is no longer over the whole Workflow; a person retries what failed",
    "suspend": "the run begins at once",
    "shutdown": "a run is stopped in the portal",
    "podSpecPatch": "it stays with each stage's Workflow, where it may set no service account",
}
_ENDINGS = {"failed": "Failed", "error": "Errored"}


@dataclass(frozen=True, slots=True)
class Converted:
    """`text` is a pipeline file; `lost` are sentences: what it does not say, or says in another way."""

    text: str
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the Workflow does not say: where it runs (a place of connections.yaml), the path of its file in the
    repository, and who owns what no ownership file gives to anybody."""

    place: str
    path: str
    owner: str = ""


def convert(chosen: Chosen, wish: Wish) -> Converted:
    """Raises AdoptError."""
    document, library = chosen.document, chosen.library
    if library.lender(document) is not document:
        raise AdoptError(
            f"{document.title} takes its templates from another document (workflowTemplateRef). Convert that one."
        )
    entry = entrypoint_of(document, library)
    template = document.templates.get(entry)
    if template is None:
        raise AdoptError(f"{document.title} names no entrypoint of its own, so there is nothing to convert.")
    return _Conversion(document, library, chosen.graph, chosen.assigned, wish, template).result()


def convert_files(
    sources: Sequence[Source],
    wish: Wish,
    *,
    owners: Source | None = None,
    teams: Collection[str] | None = None,
    elsewhere: Elsewhere | None = None,
    document: str = "",
) -> Converted:
    """One workflow of these files; `document` names it where there are several. Raises AdoptError."""
    return convert(choose(sources, owners, teams=teams, elsewhere=elsewhere, document=document), wish)


@dataclass
class _Conversion:
    document: Document
    library: Library
    graph: Graph
    assigned: Assigned
    wish: Wish
    entry: Template
    lost: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def result(self) -> Converted:
        self.at = {task.path: task.position for task in self.graph.tasks}
        whole = why_whole(self.document, self.library, self.entry)
        if whole:
            self.lost.append(f"All of it is one stage, because {whole}.")
            stages = [self._whole()]
        else:
            stages = self._stages()
        exits = [] if whole else self._exits()
        self._say_what_is_lost()
        owner = stages[0]["owner"]
        parameters = self._parameters()
        source = {"name": SOURCE, "title": "Fetch the commit", "kind": "source", "owner": owner}
        for stage in stages:
            if not stage.get("needs") and not stage.get("depends"):
                stage["needs"] = [SOURCE]
        found: dict[str, Any] = {"name": _short(self.document.name.removesuffix("-"))}
        if parameters:
            found["parameters"] = parameters
        if triggers := self._triggers():
            found["on"] = triggers
        found["stages"] = [source, *(_in_order(stage) for stage in stages)]
        if exits:
            found["on_exit"] = [_in_order(stage) for stage in exits]
        return Converted(self._head() + as_yaml(found), tuple(dict.fromkeys(self.lost)))

    def _head(self) -> str:
        return f"# Converted from {self.document.title} in {self.document.file.name}, which stays where it is.\n"

    # --- stages -------------------------------------------------------------------------------------------

    def _stages(self) -> list[dict[str, Any]]:
        found = []
        if self.entry.does == "dag":
            named = tasks_of(self.entry)
            for name in in_order(named):
                one = call(named[name])
                found.append(self._stage(one) | self._logic(one, {n: call(node) for n, node in named.items()}))
            return found
        before: list[Call] = []
        for group in items(self.entry.node, "steps"):
            calls = [call(step) for step in group.items]
            found += [self._stage(one) | _needs(before) for one in calls]
            before = calls or before
        return found

    def _stage(self, one: Call) -> dict[str, Any]:
        path = f"{self.entry.name}/{one.name}"
        position = self.at.get(path)
        stage: dict[str, Any] = {"name": one.name, "owner": self._owner(position)}
        template = self.library.of(one, self.entry.document).template
        if becomes_gate(template):
            return self._gate_of_suspend(one, stage, position)
        stage |= {"kind": "argo", "with": self._with({"task": path})}
        if gate := self._gate(position):
            stage["gate"] = gate
        if template is not None:
            stage |= self._retry(one, template) | self._timeout(one, template)
        if fan(one.node, {}) is not None:
            self.lost.append(f"{path} is one stage for all its items; who looks at it sees how many have ended.")
        if one.when:
            self.lost.append(f"{path} is a stage that succeeds when Argo skips its task ({one.when}).")
        if template is not None and template.does in ("dag", "steps"):
            self.lost.append(f"{path} is one stage with all that is inside of {template.title}.")
        return stage

    def _gate_of_suspend(self, one: Call, stage: dict[str, Any], position: int | None) -> dict[str, Any]:
        if one.when:
            self.lost.append(
                f"{self.entry.name}/{one.name} asks always; its condition, {one.when}, is not carried over."
            )
        return stage | {"kind": "gate", "gate": self._gate(position) or stage["owner"]}

    def _with(self, more: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = {"place": self.wish.place, "file": self.wish.path}
        if len([one for one in self.document.file.documents if not one.is_library]) > 1:
            found["workflow"] = self.document.name
        found |= more
        if names := list(self._parameters()):
            found["arguments"] = {name: f"{{{{parameters.{name}}}}}" for name in names}
        return found

    def _owner(self, position: int | None) -> str:
        owner = self.assigned.teams.get(position, "") if position is not None else ""
        if not (owner or self.wish.owner):
            raise AdoptError("A stage needs an owner: give an ownership file (--owners) or a team (--owner).")
        return owner or self.wish.owner

    def _gate(self, position: int | None) -> Any:
        gate = self.assigned.gates.get(position) if position is not None else None
        return None if gate is None else _gate_in_words(gate)

    def _logic(self, one: Call, named: Mapping[str, Call]) -> dict[str, Any]:
        depends = text(one.node, "depends") if one.condition else ""
        if not depends:
            known = [named[name] for name in one.dependencies if name in named]
            return _needs(known)
        return {"depends": written(parse_depends(depends).tree, str)}

    def _retry(self, one: Call, template: Template) -> dict[str, Any]:
        if template.node.get("retryStrategy") is not None:
            self.lost.append(
                f"{self.entry.name}/{one.name} is tried again by Argo, within its stage; the stage is tried once."
            )
        return {}

    def _timeout(self, one: Call, template: Template) -> dict[str, Any]:
        limit = text(template.node, "timeout")
        try:
            parse_duration(limit)
        except ValueError:
            return {}
        return {"timeout": limit} if limit else {}

    def _whole(self) -> dict[str, Any]:
        position = self.at.get(self.entry.name, 0)
        stage = {
            "name": _short(self.entry.name),
            "kind": "argo",
            "owner": self._owner(position),
            "with": self._with({}),
        }
        if gate := self._gate(position):
            stage["gate"] = gate
        for task in self.graph.tasks:
            if task.does == "suspend" and task.suspend == UNTIL_RESUMED:
                self.lost.append(f"{task.path} waits within the stage until somebody resumes it with Argo's own tools.")
        inner = sorted({team for team in self.assigned.teams.values() if team and team != stage["owner"]})
        if inner:
            self.lost.append(f"{', '.join(inner)} own tasks of it, and {stage['owner']} owns the stage.")
        if len(self.assigned.gates) > (1 if gate else 0):
            self.lost.append("Gates before single tasks of it are not carried over; submit it as it is to keep them.")
        return stage

    # --- around the stages --------------------------------------------------------------------------------

    def _exits(self) -> list[dict[str, Any]]:
        found = []
        for hook in hooks_of(self.document.spec):
            name = hook.call.name
            if hook.expression:
                self.lost.append(f"The hook {name} of the Workflow ({hook.expression}) has no equivalent.")
                continue
            template = self.library.of(hook.call, self.document).template
            if template is None or template.document is not self.document or hook.call.ref is not None:
                self.lost.append(f"The exit handler {name} is of another document and is not carried over.")
                continue
            if any(
                "{{workflow.status" in one or "workflow.failures" in one
                for one in (scalar.text for scalar in scalars(template.node))
            ):
                self.lost.append(
                    f"{template.name}, at the end, asks for the workflow's status: it sees that of its own stage."
                )
            owner = self._owner(self.at.get(name))
            found.append(
                {"name": _short(f"exit-{template.name}"), "kind": "argo", "owner": owner}
                | {"needs": [SOURCE], "with": self._with({"template": template.name})}
            )
        return found

    def _parameters(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for item in items(self.document.spec.get("arguments"), "parameters"):
            name, value, choices = text(item, "name"), item.get("value"), items(item, "enum")
            if not NAME.fullmatch(name):
                self.lost.append(f"The parameter {name!r} can be no parameter of a pipeline; its value stays.")
                continue
            if value is None or is_nothing(value):
                if item.get("valueFrom") is not None:
                    self.lost.append(f"The parameter {name} comes from elsewhere (valueFrom), and stays so.")
                    continue
                found[name] = {"required": True}
            else:
                found[name] = {"default": value.text}
            if choices:
                found[name]["choices"] = [one.text for one in choices]
        return found

    def _triggers(self) -> dict[str, Any]:
        if self.document.kind != "CronWorkflow":
            return {}
        spec = self.document.node.get("spec")
        schedules = [text(spec, "schedule"), *(one.text for one in items(spec, "schedules"))]
        if text(spec, "timezone") not in ("", "UTC", "Etc/UTC"):
            self.lost.append(f"The schedule was in {text(spec, 'timezone')}; a pipeline's is in UTC. Adjust it.")
        for key in ("concurrencyPolicy", "startingDeadlineSeconds", "suspend", "stopStrategy", "when"):
            if spec is not None and spec.get(key) is not None:
                self.lost.append(f"{key} of the CronWorkflow has no equivalent.")
        return {"schedule": [one for one in schedules if one]}

    def _say_what_is_lost(self) -> None:
        for key, value in self.document.spec.items if self.document.spec.kind == "map" else ():
            if key.text in _LOST:
                self.lost.append(f"{key.text} (line {value.line}): {_LOST[key.text]}.")
            elif key.text not in _CARRIED | _KEPT and key.text != "volumeClaimTemplates":
                self.lost.append(f"{key.text} (line {value.line}) stays with each stage's Workflow.")


def _needs(before: Sequence[Call]) -> dict[str, Any]:
    """Behind all of these; where one may fail without harm, in the words of `depends`."""
    if not before:
        return {}
    spared = {one.name: _spared(one) for one in before}
    if not any(spared.values()):
        return {"needs": [one.name for one in before]}
    parts = []
    for name, endings in spared.items():
        ways = [name, *(f"{name}.{_ENDINGS[ending]}" for ending in endings)]
        parts.append(f"({' || '.join(ways)})" if len(ways) > 1 and len(spared) > 1 else " || ".join(ways))
    return {"depends": " && ".join(parts)}


def _spared(one: Call) -> list[str]:
    goes_on = one.node.get("continueOn")
    return [key for key in _ENDINGS if text(goes_on, key).lower() == "true"]


def _gate_in_words(gate: Gate) -> Any:
    plain = len(gate.teams) == 1 and gate.teams[0].quorum == 1
    if plain and not (gate.self_approval or gate.reason_required or gate.expires):
        return gate.teams[0].team
    found: dict[str, Any] = {"teams": {one.team: one.quorum for one in gate.teams}}
    if gate.self_approval:
        found["self_approval"] = True
    if gate.reason_required:
        found["reason_required"] = True
    if gate.expires:
        found["expires"] = f"{gate.expires:g}s"
    return found


def _in_order(stage: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("name", "title", "kind", "owner", "needs", "depends", "gate", "timeout", "with")
    return {key: stage[key] for key in keys if key in stage}


def _short(name: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:63].strip("-_")
    return kept or "workflow"
