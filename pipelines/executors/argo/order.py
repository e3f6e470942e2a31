"""What a stage of the kind `argo` submits: a whole Workflow of the repository, a template of it, or one of its tasks as
it stands there.

A task keeps all that Argo says of it (arguments, items, condition, hooks). What other tasks gave it is filled in
from what the stages of their names made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.definition.loader import load_all
from pipelines.definition.report import Report
from pipelines.executors.attempt import artifact
from pipelines.executors.base import Artifact, PlanError, StageSpec, Workplace
from pipelines.executors.connections import ConnectionsError, load
from pipelines.executors.store import Store
from pipelines.executors.workflow_places import WorkflowPlace

from .accounts import accounts_in, parameters_of

API = "argoproj.io/v1alpha1"
KINDS = ("Workflow", "CronWorkflow", "WorkflowTemplate")
KEYS = ("place", "file", "workflow", "template", "task", "arguments", "workspace")
ENTRY = "burger-stage"  # the template that calls the one task
ATTEMPT, STAGE, OWNER, PIPELINE = (f"burger-stack/{name}" for name in ("attempt", "stage", "owner", "pipeline"))
_GIVEN = re.compile(
    r"\{\{\s*(?:tasks|steps)\.(?P<stage>[A-Za-z0-9][A-Za-z0-9_-]*)\.(?:(?P<plain>status|exitCode|outputs\.result)"
    r"|outputs\.parameters\.(?P<parameter>[A-Za-z0-9_-]+))\s*\}\}"
)
_INPUT = re.compile(r"\{\{\s*inputs\.parameters\.(?P<name>[A-Za-z0-9_-]+)\s*\}\}")
_ORDER = ("depends", "dependencies", "continueOn")  # what the pipeline file says of a task instead


@dataclass(frozen=True, slots=True)
class Order:
    """`manifest` is a Workflow without a name. `source` says in words where it is from, `workspace` what holds it."""

    place: WorkflowPlace
    manifest: Mapping[str, Any]
    source: str
    account: str
    workspace: Artifact | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)


def order(spec: StageSpec, workplace: Workplace) -> Order:
    """Raises PlanError."""
    given = spec.with_
    if unknown := sorted(set(given) - {*KEYS, "_retry"}):
        raise PlanError(f"`with` has the unknown keys {', '.join(unknown)}; known are {', '.join(KEYS)}.")
    place = place_of(workplace.home, str(given.get("place") or ""), spec.owner)
    arguments = _arguments(given.get("arguments") or {})
    workspace = artifact(spec, given.get("workspace"))
    path = _path(str(given.get("file") or ""))
    document = _document(
        Store(workplace.home).unpacked(workspace.digest) / path, path, str(given.get("workflow") or "")
    )
    body = _spec_of(document)
    source = f"{path}"
    if task := str(given.get("task") or ""):
        _only_task(body, task, spec, path)
        source = f"{task} of {path}"
    elif template := str(given.get("template") or ""):
        _names(body, template, path)
        body["entrypoint"] = template
        source = f"{template} of {path}"
    _hand_over(body, arguments)
    account = _account(body, place, spec.owner)
    body["serviceAccountName"] = account
    labels = {OWNER: spec.owner, PIPELINE: spec.pipeline[:63]}
    metadata = {"namespace": place.namespace, "labels": labels}
    manifest = {"apiVersion": API, "kind": "Workflow", "metadata": metadata, "spec": body}
    return Order(place, manifest, source, account, workspace, arguments)


def place_of(home: Path, name: str, team: str) -> WorkflowPlace:
    """The place of this name, in which the team may run something. Raises PlanError."""
    try:
        places = load(home).workflows
    except ConnectionsError as error:
        raise PlanError(str(error)) from error
    place = places.get(name)
    if place is None:
        known = ", ".join(sorted(places)) or "none"
        raise PlanError(f"`with.place` is {name!r}; connections.yaml has the workflow places {known}.")
    if team not in place.teams:
        allowed = ", ".join(sorted(place.teams)) or "no team"
        raise PlanError(f"{team} may run nothing at {name}: connections.yaml allows {allowed} there.")
    return place


def named(manifest: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The manifest as it is submitted."""
    metadata = {**manifest["metadata"], "name": name, "labels": {**manifest["metadata"]["labels"], **labels}}
    return {**manifest, "metadata": metadata}


def _path(value: str) -> PurePosixPath:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or "\0" in value:
        raise PlanError(
            f"`with.file` is {value!r}; expected a path inside the repository, such as workflows/main.yaml."
        )
    return path


def _arguments(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise PlanError(f"`with.arguments` is {given!r}; expected a mapping of parameters to values.")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def _document(file: Path, path: PurePosixPath, wanted: str) -> dict[str, Any]:
    if not file.is_file():
        raise PlanError(f"`with.file` is {path}, and the repository has no such file at this commit.")
    report = Report()
    documents = [one.plain() for one in load_all(file.read_bytes(), report)]
    if problems := report.problems():
        raise PlanError(f"{path}:{problems[0].line}: {problems[0].message}.")
    known = [one for one in documents if isinstance(one, dict) and one.get("kind") in KINDS]
    found = [one for one in known if wanted in ("", _called(one))]
    if not wanted:
        found = [one for one in found if one["kind"] != "WorkflowTemplate"] or found
    if len(found) != 1:
        names = ", ".join(_called(one) for one in known) or "none"
        raise PlanError(
            f"{path} has {len(found)} workflows that could be meant; name one with `workflow`. It has: {names}."
        )
    return found[0]


def _called(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata") or {}
    return str(metadata.get("name") or metadata.get("generateName") or "")


def _spec_of(document: Mapping[str, Any]) -> dict[str, Any]:
    spec = document.get("spec") or {}
    spec = spec.get("workflowSpec") or {} if document["kind"] == "CronWorkflow" else spec
    found: dict[str, Any] = json.loads(
        json.dumps({key: value for key, value in spec.items() if key != "workflowMetadata"})
    )
    return found


def _templates(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(one.get("name")): one for one in body.get("templates") or () if isinstance(one, dict)}


def _names(body: dict[str, Any], template: str, path: PurePosixPath) -> dict[str, Any]:
    """The template; what the whole Workflow does at its end is not the stage's."""
    for key in ("onExit", "hooks"):
        body.pop(key, None)
    templates = _templates(body)
    if template not in templates and "workflowTemplateRef" not in body:
        raise PlanError(f"{path} has no template {template}; it has {', '.join(templates) or 'none'}.")
    return templates.get(template, {})


def _only_task(body: dict[str, Any], task: str, spec: StageSpec, path: PurePosixPath) -> None:
    """Make the Workflow one that does nothing but the named task."""
    above, _, name = task.partition("/")
    template = _names(body, above, path)
    calls = [
        *((template.get("dag") or {}).get("tasks") or ()),
        *(one for group in template.get("steps") or () for one in group),
    ]
    found = next((one for one in calls if one.get("name") == name), None)
    if found is None:
        known = ", ".join(f"{above}/{one.get('name')}" for one in calls) or "none"
        raise PlanError(f"{path} has no task {task}; it has {known}.")
    call = {key: value for key, value in found.items() if key not in _ORDER}
    call = _filled(call, spec, _inputs(template, body))
    entry: dict[str, Any] = {"name": ENTRY, "steps": [[call]]}
    if re.search(rf"(?:tasks|steps)\.{re.escape(name)}\.outputs\.result", json.dumps(template)):
        # Argo keeps the output of a pod only for who asks for it, and who does is in another Workflow here.
        asked = {"parameter": f"{{{{steps.{name}.outputs.result}}}}", "default": ""}
        entry["outputs"] = {"parameters": [{"name": "result", "valueFrom": asked}]}
    body["templates"] = [*body["templates"], entry]
    body["entrypoint"] = ENTRY


def _inputs(template: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs of the template in which the task stands are, as an entrypoint gets them."""
    given = {one.get("name") for one in (body.get("arguments") or {}).get("parameters") or ()}
    found = {}
    for one in (template.get("inputs") or {}).get("parameters") or ():
        name = one.get("name")
        found[str(name)] = (
            f"{{{{workflow.parameters.{name}}}}}" if name in given else str(one.get("value", one.get("default", "")))
        )
    return found


def _filled(value: Any, spec: StageSpec, inputs: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, spec, inputs) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, spec, inputs) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    value = _INPUT.sub(lambda found: inputs.get(found["name"], found[0]), value)
    return _GIVEN.sub(lambda found: _given(found, spec), value)


def _given(found: re.Match[str], spec: StageSpec) -> str:
    """What another stage's Workflow gave. Raises PlanError."""
    stage = found["stage"]
    made = spec.artifacts.get(stage)
    outputs = made.meta.get("outputs") if made is not None else None
    if outputs is None:
        raise PlanError(f"It takes {found[0]} from the stage {stage}, which gave nothing, or is not among its needs.")
    if found["plain"] == "status":
        return str(outputs.get("status", ""))
    if found["plain"]:
        value = outputs.get("exitCode" if found["plain"] == "exitCode" else "result")
    else:
        value = outputs.get("parameters", {}).get(found["parameter"])
    if value is None:
        raise PlanError(f"It takes {found[0]}, and the stage {stage} gave no such thing.")
    if "{{" in str(value):
        raise PlanError(
            f"It takes {found[0]}, and what the stage {stage} gave has {{{{ in it, which Argo would fill in."
        )
    return str(value)


def _hand_over(body: dict[str, Any], arguments: Mapping[str, str]) -> None:
    if not arguments:
        return
    given = body.setdefault("arguments", {})
    kept = [one for one in given.get("parameters") or () if one.get("name") not in arguments]
    given["parameters"] = [*kept, *({"name": name, "value": value} for name, value in arguments.items())]


def _account(body: Mapping[str, Any], place: WorkflowPlace, team: str) -> str:
    """The service account that it runs with, which is one of the team's, as all are that it names. Raises PlanError."""
    allowed = place.teams[team]
    for key, value in accounts_in(body, parameters_of(body)):
        refuse_account(place, team, key, value, "The Workflow")
    return str(body.get("serviceAccountName") or allowed[0])


def refuse_account(place: WorkflowPlace, team: str, key: str, account: str, what: str) -> None:
    """Raises PlanError where `what` names an account by `key` that the team does not have there."""
    if account not in (allowed := place.teams[team]):
        raise PlanError(
            f"{what} names the service account {account!r} ({key}); {team} has {', '.join(allowed)} at {place.name}."
        )
