"""Workflows that somebody submits with other tools: each becomes a run of the pipeline that connections.yaml names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.definition.report import Report, format_problems
from pipelines.executors.workflow_places import Watch, WorkflowPlace
from pipelines.models import AdoptedWorkflow, Pipeline
from pipelines.runs import mirrored
from pipelines.runs.push import Push

from .adopt import AdoptError, watched
from .ownership import Rules, read_rules

log = logging.getLogger(__name__)

OURS = ("burger-stack/", "burger-stack.")  # what labels of our own begin with
CREATOR = "workflows.argoproj.io/creator"
CRON = "workflows.argoproj.io/cron-workflow"
_said: set[str] = set()


def begin(workflow: Mapping[str, Any], place: WorkflowPlace, watch: Watch) -> AdoptedWorkflow | None:
    """The row of its new run; None where it is none of theirs, or cannot be shown, which is said once."""
    metadata = workflow["metadata"]
    if any(label.startswith(OURS) for label in metadata.get("labels") or ()):
        return None
    pipeline = Pipeline.objects.filter(slug=watch.pipeline).first()
    if pipeline is None:
        _say(f"connections.yaml: workflows.{place.name}.watch names the pipeline {watch.pipeline}, and there is none.")
        return None
    if (workflow.get("spec") or {}).get("workflowTemplateRef") and not _is_resolved(workflow):
        return None  # the controller has not seen it yet
    try:
        found = watched(workflow, rules_of(watch.owners), watch.owner)
    except AdoptError as error:
        _say(f"The Workflow {metadata['name']} of {place.title} cannot be shown: {error}")
        return None
    stages = found.stages if watch.adoptable else tuple(replace(stage, gate=None) for stage in found.stages)
    labels = metadata.get("labels") or {}
    push = Push(
        ref="", commit="", subject=metadata["name"], trigger="argo",
        author=labels.get(CREATOR) or labels.get(CRON) or "somebody on the cluster",
        parameters=_parameters(workflow),
    )  # fmt: skip
    where = mirrored.Where(place.name, place.cluster.name, place.namespace, metadata["name"], metadata["uid"])
    run = mirrored.begin(
        pipeline=pipeline, push=push, stages=stages, where=where, manifest=found.woven.before, ours=False,
        adoptable=watch.adoptable,
    )  # fmt: skip
    return AdoptedWorkflow.objects.select_related("run").get(run=run)


def rules_of(file: Path | None) -> Rules:
    """An ownership file of the installation; no rules where there is none, or none that can be read, which is said."""
    if file is None:
        return Rules()
    report = Report()
    try:
        text = file.read_bytes()
    except OSError as error:
        _say(f"The ownership file {file} cannot be read: {error.strerror}.")
        return Rules()
    rules = read_rules(text, report)
    if problems := report.problems():
        _say(format_problems(problems, str(file), text))
    return rules or Rules()


def _is_resolved(workflow: Mapping[str, Any]) -> bool:
    return bool((workflow.get("status") or {}).get("storedWorkflowTemplateSpec"))


def _parameters(workflow: Mapping[str, Any]) -> dict[str, str]:
    given = ((workflow.get("spec") or {}).get("arguments") or {}).get("parameters") or ()
    return {str(one["name"]): str(one["value"]) for one in given if "name" in one and "value" in one}


def _say(words: str) -> None:
    if words not in _said:
        _said.add(words)
        log.warning("%s", words)
