"""Which keys Argo Workflows 3.7 knows, and where it wants a mapping, a list or one value: so that a key with a typing
error is named, where the controller would drop it without a word. What is Kubernetes' own is left to Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.definition.containers import Key, ListOf, MapOf, Record
from pipelines.definition.loader import Node
from pipelines.definition.report import Report
from pipelines.definition.shapes import BAD, Anything, Shape, wrong_type


@dataclass(frozen=True, slots=True)
class One:
    """One value: text, a number or a flag; Argo converts them into each other, and fills `{{...}}` in later."""

    expected: str = "one value"

    def read(self, node: Node, report: Report) -> Any:
        return node.value if node.kind == "scalar" else wrong_type(node, self, report)

    def json(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class Known:
    """The record of this name, looked up as late as it is read: a template's steps hold templates."""

    name: str

    @property
    def expected(self) -> str:
        return RECORDS[self.name].expected

    def read(self, node: Node, report: Report) -> Any:
        return RECORDS[self.name].read(node, report)

    def json(self) -> dict[str, Any]:
        return {"$ref": f"#/definitions/{self.name}"}


@dataclass(frozen=True, slots=True)
class OrNothing:
    """A key without a value counts as left out."""

    shape: Shape

    @property
    def expected(self) -> str:
        return self.shape.expected

    def read(self, node: Node, report: Report) -> Any:
        empty = node.kind == "scalar" and node.value is None
        return BAD if empty else self.shape.read(node, report)

    def json(self) -> dict[str, Any]:
        return self.shape.json()


_SHAPES: dict[str, Shape] = {
    "one": One(),
    "any": Anything(),
    "map": MapOf(Anything(), key=None),
    "list": ListOf(Anything()),
}


def _record(what: str, of: dict[str, Shape] | None = None, **keys: str) -> Record:
    """`keys` give the names of each shape, separated by spaces; `of` those that have one of their own."""
    named = {name: _SHAPES[shape] for shape, names in keys.items() for name in names.split()}
    return Record(what, {name: Key(OrNothing(shape), "") for name, shape in (named | (of or {})).items()})


_CALL: dict[str, Shape] = {
    "arguments": Known("arguments"),
    "templateRef": Known("templateRef"),
    "inline": Known("template"),
    "withItems": ListOf(Anything()),
    "withSequence": Known("withSequence"),
    "continueOn": Known("continueOn"),
    "hooks": MapOf(Known("hook"), key=None),
}
_OF_SPEC: dict[str, Shape] = {
    "templates": ListOf(Known("template")),
    "arguments": Known("arguments"),
    "workflowTemplateRef": Known("workflowTemplateRef"),
    "templateDefaults": Known("template"),
    "retryStrategy": Known("retryStrategy"),
    "hooks": MapOf(Known("hook"), key=None),
}
_OF_TEMPLATE: dict[str, Shape] = {
    "inputs": Known("arguments"),
    "outputs": Known("outputs"),
    "steps": ListOf(ListOf(Known("step"))),
    "dag": Known("dag"),
    "suspend": Known("suspend"),
    "retryStrategy": Known("retryStrategy"),
}
RECORDS: dict[str, Record] = {
    "spec": _record(
        "a workflow's spec", _OF_SPEC,
        one="entrypoint onExit serviceAccountName automountServiceAccountToken parallelism suspend hostNetwork "
        "dnsPolicy activeDeadlineSeconds priority schedulerName podPriorityClassName podSpecPatch shutdown "
        "archiveLogs",
        map="executor artifactRepositoryRef nodeSelector affinity dnsConfig ttlStrategy podGC securityContext "
        "podDisruptionBudget metrics synchronization volumeClaimGC podMetadata workflowMetadata artifactGC",
        list="volumes volumeClaimTemplates tolerations imagePullSecrets hostAliases",
    ),
    "cron": _record(
        "a CronWorkflow's spec", {"workflowSpec": Known("spec")},
        one="schedule concurrencyPolicy suspend startingDeadlineSeconds successfulJobsHistoryLimit "
        "failedJobsHistoryLimit timezone when",
        map="workflowMetadata stopStrategy", list="schedules",
    ),
    "template": _record(
        "a template", _OF_TEMPLATE,
        one="name daemon activeDeadlineSeconds parallelism failFast schedulerName priorityClassName priority "
        "serviceAccountName automountServiceAccountToken podSpecPatch timeout",
        map="nodeSelector affinity metadata container containerSet script resource data http plugin archiveLocation "
        "executor securityContext metrics synchronization memoize annotations",
        list="volumes initContainers sidecars tolerations hostAliases",
    ),
    "step": _record("a step", _CALL, one="name template withParam when onExit"),
    "task": _record("a task", _CALL, one="name template withParam when onExit depends", list="dependencies"),
    "dag": _record("a dag", {"tasks": ListOf(Known("task"))}, one="target failFast"),
    "suspend": _record("suspend", one="duration"),
    "hook": _record(
        "a hook", {"arguments": Known("arguments"), "templateRef": Known("templateRef")}, one="template expression"
    ),
    "templateRef": _record("a templateRef", one="name template clusterScope"),
    "workflowTemplateRef": _record("a workflowTemplateRef", one="name clusterScope"),
    "withSequence": _record("withSequence", one="count start end format"),
    "continueOn": _record("continueOn", one="error failed"),
    "retryStrategy": _record("a retryStrategy", one="limit retryPolicy expression", map="backoff affinity"),
    "arguments": _record("arguments or inputs", {"parameters": ListOf(Known("parameter"))}, list="artifacts"),
    "outputs": _record("outputs", {"parameters": ListOf(Known("parameter"))}, one="result exitCode", list="artifacts"),
    "parameter": _record(
        "a parameter", one="name default globalName description", any="value", map="valueFrom", list="enum"
    ),
}  # fmt: skip


def check(node: Node, record: str, report: Report) -> None:
    """Report the keys that Argo does not know, and what has the wrong form."""
    RECORDS[record].read(node, report)
