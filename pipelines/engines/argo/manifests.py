"""From the stages of a run to the Workflow and the WorkflowTemplates that are submitted for them. Pure: equal stages
and equal settings give equal bytes.

Argo decides when a stage's pod starts. Whether it may work is asked of the portal by the pod itself, so what cannot be
said in Argo's words (a condition over the state of a stage, a lock, a freeze) is left to that question.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.executors.connections import Argo

from .conditions import depends_of, when_of

if TYPE_CHECKING:
    from hera.workflows import DAG, Task

API = "argoproj.io/v1alpha1"
PREFIX = "burger-stack"
RUN, INSTALLATION, STAGE, PHASE = (f"{PREFIX}/{name}" for name in ("run", "installation", "stage", "phase"))
INSTANCE = "workflows.argoproj.io/controller-instanceid"
AUDIENCE = "burger-stack"
HOME = "/var/lib/burger"
TOKEN = "/var/run/burger/token"  # noqa: S105 - a path
LOST = 3  # pods of one stage that may be lost before it is given up
ENDED, AGAIN = 3, 75  # how a pod ends whose stage has ended badly, and one that asks for another pod; 1 is a crash
OVERTIME = 900  # seconds for which a pod may outlive its stage's timeout, to tell a portal that is away
EXCLUSIVE = frozenset({"rollout", "ansible"})  # what changes an environment
PAUSING = frozenset({"rollout", "verify"})  # what may wait for a person half way
# What a condition may ask of a run.
FACTS = ("branch", "commit", "number", "ref", "tag", "trigger")
_TASK = re.compile(r"[^A-Za-z0-9-]+")

Definition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compiled:
    """`tasks` maps each task of the Workflow to the stages that it stands for."""

    workflow: dict[str, Any]
    templates: tuple[dict[str, Any], ...]
    tasks: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Order:
    """What to compile: `stages` as a run has them, in order. `ended` are those that it had before and that are not done
    again. `facts` are what conditions may ask of the run."""

    name: str
    pipeline: str
    stages: Sequence[Definition]
    ended: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, str]:
        """The Workflow's parameters."""
        given = {f"p-{name}": value for name, value in self.parameters.items()}
        return given | {f"run-{name}": value for name, value in self.facts.items()}


def compile_run(order: Order, argo: Argo) -> Compiled:
    """Raises ValueError for stages that cannot be said in a Workflow."""
    from hera.workflows import DAG, Parameter, Workflow
    from hera.workflows.models import PodGC, TTLStrategy

    shapes = _Shapes(order, argo)
    main = [stage for stage in order.stages if not stage["on_exit"]]
    leaving = [stage for stage in order.stages if stage["on_exit"]]
    with Workflow(
        name=order.name,
        namespace=argo.namespace,
        api_version=API,
        entrypoint="main",
        labels={
            **order.labels,
            **({INSTANCE: argo.instance} if argo.instance else {}),
        },
        annotations=dict(order.annotations) or None,
        arguments=[Parameter(name=name, value=value) for name, value in sorted(order.given.items())] or None,
        image_pull_secrets=list(argo.pull_secrets) or None,
        pod_gc=PodGC(strategy="OnPodSuccess"),
        ttl_strategy=TTLStrategy(seconds_after_completion=argo.keep),
    ) as workflow:
        if leaving:
            workflow.on_exit = "exit" if main else None
        with DAG(name="main", fail_fast=False) as dag:
            shapes.tasks(dag, main or leaving)
        if leaving and main:
            with DAG(name="exit", fail_fast=False) as dag:
                shapes.tasks(dag, leaving)
    return Compiled(workflow.to_dict(), tuple(shapes.templates.values()), shapes.named)


class _Shapes:
    """The WorkflowTemplates that the stages share, each named by what it holds, and the tasks that use them."""

    def __init__(self, order: Order, argo: Argo) -> None:
        self.order, self.argo = order, argo
        self.templates: dict[str, dict[str, Any]] = {}
        self.named: dict[str, tuple[str, ...]] = {}
        self._present = {stage["name"] for stage in order.stages}

    def tasks(self, dag: DAG, stages: Sequence[Definition]) -> None:
        groups: dict[str, list[Definition]] = {}
        for stage in stages:
            groups.setdefault(stage["group"] or stage["name"], []).append(stage)
        tasks = {
            name: [task_name(name)]
            if len({self._template(one) for one in members}) == 1
            else [task_name(one["name"]) for one in members]
            for name, members in groups.items()
        }
        for name, members in groups.items():
            if len(tasks[name]) == 1:
                self._task(tasks[name][0], members, tasks)
            else:
                for task, member in zip(tasks[name], members, strict=True):
                    self._task(task, [member], tasks)

    def _task(self, name: str, members: Sequence[Definition], tasks: Mapping[str, Sequence[str]]) -> Task:
        from hera.workflows import Parameter, Task
        from hera.workflows.models import TemplateRef

        first, stages = members[0], [member["name"] for member in members]
        self.named[name] = tuple(stages)
        fans = len(stages) > 1
        return Task(
            name=name,
            template_ref=TemplateRef(name=self._template(first), template="stage"),
            arguments=[Parameter(name="stage", value="{{item}}" if fans else stages[0])],
            with_items=stages if fans else None,
            depends=depends_of(first, tasks) or None,
            when=None if self.order.ended else when_of(first["when"], self.order.given) or None,
        )

    def _template(self, stage: Definition) -> str:
        """The name of the WorkflowTemplate of a stage, made when it is asked for the first time."""
        spec = self._spec(stage)
        text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        name = f"burger-{stage['kind']}-{digest[:12]}"
        self.templates[name] = {
            "apiVersion": API,
            "kind": "WorkflowTemplate",
            "metadata": {
                "name": name,
                "namespace": self.argo.namespace,
                "labels": {"app.kubernetes.io/managed-by": "burger-stack"},
                "annotations": {f"{PREFIX}/owner": stage["owner"], f"{PREFIX}/digest": f"sha256:{digest}"},
            },
            "spec": spec,
        }
        return name

    def _spec(self, stage: Definition) -> dict[str, Any]:
        if not has_door(stage):
            return {"templates": [self._pod(stage, "stage", "work")]}
        passed = {"arguments": {"parameters": [{"name": "stage", "value": "{{inputs.parameters.stage}}"}]}}
        names = ["plan", "door", "work"] if stage["gate"] else ["door", "work"]
        steps = [[{"name": name, "template": name, **passed}] for name in names]
        made = {"plan": self._pod(stage, "plan", "plan"), "door": _door(), "work": self._pod(stage, "work", "work")}
        top = {"name": "stage", "inputs": _INPUTS, "steps": steps}
        return {"templates": [top, *(made[name] for name in names)]}

    def _pod(self, stage: Definition, name: str, phase: str) -> dict[str, Any]:
        argo, team = self.argo, stage["owner"]
        template: dict[str, Any] = {
            "name": name,
            "inputs": _INPUTS,
            "metadata": {
                "labels": {f"{PREFIX}/owner": team, PHASE: phase},
                "annotations": {STAGE: "{{inputs.parameters.stage}}"},
            },
            "serviceAccountName": argo.account.replace("{team}", team),
            "securityContext": {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "runAsNonRoot": True},
            "container": self._container(team),
            "volumes": self._volumes(team),
            "retryStrategy": _retries(stage["retry"]),
        }
        if phase == "work" and stage["timeout"] and stage["kind"] not in PAUSING:
            template["activeDeadlineSeconds"] = int(stage["timeout"]) + OVERTIME
        if phase == "work" and stage["environment"] and stage["kind"] in EXCLUSIVE:
            mutex = f"{self.order.pipeline}.{stage['environment']}"
            template["synchronization"] = {"mutexes": [{"name": mutex}]}
        return template

    def _container(self, team: str) -> dict[str, Any]:
        mounts = [
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "token", "mountPath": TOKEN.rpartition("/")[0], "readOnly": True},
            {"name": "configuration", "mountPath": "/etc/burger", "readOnly": True},
            {"name": "secrets", "mountPath": f"/etc/burger-secrets/{team}", "readOnly": True},
        ]
        environment = [{"name": "BURGER_PORTAL", "value": self.argo.portal}, {"name": "BURGER_HOME", "value": HOME}]
        if self.argo.ca:
            mounts.append({"name": "ca", "mountPath": "/etc/burger-ca", "readOnly": True})
            environment.append({"name": "BURGER_CA", "value": "/etc/burger-ca"})
        return {
            "image": self.argo.image,
            "command": ["burger-runner"],
            "env": environment,
            "volumeMounts": mounts,
            "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }

    def _volumes(self, team: str) -> list[dict[str, Any]]:
        source = {"serviceAccountToken": {"audience": AUDIENCE, "path": "token", "expirationSeconds": 3600}}
        secrets = self.argo.secrets.replace("{team}", team)
        volumes: list[dict[str, Any]] = [
            {"name": "home", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "token", "projected": {"sources": [source]}},
            {"name": "configuration", "configMap": {"name": self.argo.configuration, "optional": True}},
            {"name": "secrets", "secret": {"secretName": secrets, "optional": True}},
        ]
        return volumes + ([{"name": "ca", "configMap": {"name": self.argo.ca}}] if self.argo.ca else [])


_INPUTS = {"parameters": [{"name": "stage"}]}
DOOR_SAYS = ("by", "reason", "digest", "at")


def has_door(stage: Definition) -> bool:
    """Whether its pod starts only once the portal says so: it has a gate, or shares an environment with others."""
    return bool(stage["gate"] or stage["environment"])


def _door() -> dict[str, Any]:
    supplied = {"valueFrom": {"supplied": {}, "default": ""}}
    says = [{"name": name, **supplied} for name in DOOR_SAYS]
    return {"name": "door", "inputs": _INPUTS, "suspend": {}, "outputs": {"parameters": says}}


def _retries(retry: Mapping[str, Any]) -> dict[str, Any]:
    """Further pods, unless the stage ended for good: those that the file allows, and some for pods that are lost."""
    made: dict[str, Any] = {
        "limit": str(retry["limit"] + LOST),
        "retryPolicy": "Always",
        "expression": f"asInt(lastRetry.exitCode) != {ENDED}",
    }
    if retry["limit"] and retry["backoff"]:
        longest = f"{int(max(1, min(retry['maximum'], 3600)))}"
        made["backoff"] = {
            "duration": f"{max(1, round(retry['backoff']))}",
            "factor": f"{max(1, round(retry['factor']))}",
            "cap": longest,
        }
    return made


def task_name(stage: str) -> str:
    """A stage's or a group's name as Argo takes it for a task; different names stay different."""
    made = _TASK.sub("-", stage).strip("-")
    if made == stage and len(stage) < 60:
        return stage
    return f"{made[:50].strip('-')}-{hashlib.sha256(stage.encode()).hexdigest()[:8]}"
