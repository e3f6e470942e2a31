"""The kinds that a release may consist of and what the portal's account needs for them; the rest is refused.

Only kinds within a namespace are here, and none that gives rights (Role, RoleBinding): otherwise a repository could
give itself what its operators did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["before", "job", "workload", "traffic"]

WRITE = ("create", "delete", "get", "list", "patch")
READ = ("get", "list")


@dataclass(frozen=True, slots=True)
class Kind:
    """`phase` says when a release applies it; None for what we only look at."""

    group: str
    version: str
    name: str
    plural: str
    phase: Phase | None = None
    verbs: tuple[str, ...] = READ
    optional: bool = False
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


# In the order in which a release applies them.
_ALL = (
    Kind("", "v1", "ServiceAccount", "serviceaccounts", "before", WRITE),
    Kind("", "v1", "ConfigMap", "configmaps", "before", WRITE),
    Kind("", "v1", "Secret", "secrets", "before", WRITE),
    # A volume's data outlives every release: there is no right to delete it.
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "before", ("create", "get", "list", "patch")),
    Kind("", "v1", "Service", "services", "before", WRITE),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "before", WRITE),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "before", WRITE),
    Kind("batch", "v1", "Job", "jobs", "job", WRITE),
    Kind("apps", "v1", "StatefulSet", "statefulsets", "workload", WRITE),
    Kind("apps", "v1", "Deployment", "deployments", "workload", (*WRITE, "watch")),
    Kind("apps", "v1", "DaemonSet", "daemonsets", "workload", WRITE),
    Kind("batch", "v1", "CronJob", "cronjobs", "workload", WRITE),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "workload", WRITE),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses", "traffic", WRITE),
    Kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", "traffic", WRITE, optional=True),
    # Only looked at; a pod is also deleted, which is how a DaemonSet moves node by node.
    Kind("", "v1", "Pod", "pods", None, (*READ, "watch", "delete")),
    Kind("", "v1", "Event", "events"),
    Kind("", "v1", "ResourceQuota", "resourcequotas"),
    Kind("apps", "v1", "ReplicaSet", "replicasets"),
    Kind("apps", "v1", "ControllerRevision", "controllerrevisions"),
    Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", None, (*READ, "watch")),
)
KINDS: Mapping[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in _ALL}
APPLIED = tuple(kind for kind in _ALL if kind.phase)
_PLACE = {(kind.group, kind.name): place for place, kind in enumerate(_ALL)}
# The kinds with a pod template, and where it is.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    # What a DaemonSet and a StatefulSet keep of their former templates.
    "ControllerRevision": ("data", "spec", "template"),
}


def group_of(api_version: str) -> str:
    group, slash, _ = api_version.partition("/")
    return group if slash else ""


def of(item: Mapping[str, Any]) -> Kind | None:
    """The kind of an object, None if a release may not hold it."""
    kind = KINDS.get((group_of(str(item.get("apiVersion", ""))), str(item.get("kind", ""))))
    return kind if kind and kind.phase else None


def named(kind: str) -> Kind | None:
    """The kind "Deployment", or "apps/v1/Deployment"."""
    api_version, _, name = kind.rpartition("/")
    if api_version:
        return KINDS.get((group_of(api_version), name))
    return next((known for known in _ALL if known.name == name), None)


def phase(item: Mapping[str, Any]) -> Phase:
    """When a release applies an object that `of` knows."""
    kind = KINDS[group_of(item["apiVersion"]), item["kind"]]
    return kind.phase or "before"


def order(item: Mapping[str, Any]) -> tuple[int, str]:
    """Sort key: the order in which a release's objects are applied."""
    place = _PLACE.get((group_of(str(item.get("apiVersion", ""))), str(item.get("kind", ""))), len(_PLACE))
    return place, str((item.get("metadata") or {}).get("name", ""))


def template_of(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """The pod template within an object, None where it has none; a Pod is its own."""
    if item.get("kind") == "Pod":
        return dict(item)
    found: Any = item
    for step in TEMPLATES.get(str(item.get("kind")), ("",)):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else None
