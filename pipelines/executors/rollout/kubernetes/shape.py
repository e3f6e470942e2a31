"""What a release is in one namespace, and the objects that each step applies. Pure: objects in, objects out.

A Deployment of the manifests becomes one Deployment for each release, named NAME-MARK, so that two releases stand
side by side and either may be scaled. The mark is a hash of the pod template: the same pods keep their Deployment. A
StatefulSet or DaemonSet keeps its name, because its volumes and nodes are shared: its pods are replaced in place.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition.durations import parse_duration
from pipelines.executors.kubernetes.kinds import phase
from pipelines.executors.kubernetes.names import DRAIN, Ref

Object = dict[str, Any]

# Label of pods, and of the Deployment that they are of: which pod template they have.
TEMPLATE = "burger-stack/template"
# Annotation of a Service or HTTPRoute: the weights that it carries, as JSON.
WEIGHTS = "burger-stack/weights"
# Its text for "evenly over all that is ready".
EVENLY = ""
# Seconds for which a pod that ends goes on answering, while the word spreads that it does.
DRAINS_FOR = 5.0
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
MARK_LENGTH = 10
# Whoever asks with this header is answered by the release that it names.
RELEASE_HEADER = "X-Burger-Release"
# As many as the Gateway API lets an HTTPRoute have.
MOST_RULES = 16


@dataclass(frozen=True, slots=True)
class Workload:
    """`name` is that of the manifest: the service. `mark` identifies its pods. `replicas` is None for a DaemonSet.
    `object` is as applied, its number of replicas aside. `served` tells whether a Service leads to it."""

    name: str
    kind: str
    mark: str
    replicas: int | None
    object: Object
    images: tuple[str, ...] = ()
    served: bool = False

    @property
    def shared(self) -> bool:
        return self.kind != "Deployment"

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, str(self.object["metadata"]["name"]), "apps")

    @property
    def settles(self) -> float:
        """Seconds for which a pod has to be ready before it counts."""
        return float(self.object["spec"].get("minReadySeconds") or 0)


@dataclass(frozen=True, slots=True)
class Layout:
    """A release in one namespace. `pinned` maps a Service to the Deployment whose pods alone it leads to, where that
    is so: those can be switched from one release to the other. `routed` are services that get their traffic by an
    HTTPRoute."""

    release: str
    workloads: Mapping[str, Workload]
    before: Sequence[Object] = ()
    jobs: Sequence[Object] = ()
    services: Sequence[Object] = ()
    routes: Sequence[Object] = ()
    scalers: Sequence[Object] = ()
    after: Sequence[Object] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)
    routed: frozenset[str] = frozenset()

    def mark(self, service: str) -> str:
        """The mark of the Deployment that the Service `service` leads to, "" where it is none alone."""
        workload = self.workloads.get(self.pinned.get(service, ""))
        return workload.mark if workload else ""

    @property
    def rest(self) -> list[Object]:
        """All that is applied as it stands, at the release's end."""
        return [*self.before, *self.scalers, *self.after]

    @property
    def refs(self) -> set[Ref]:
        return {Ref.of(item) for item in (*self.before, *self.jobs, *self.services, *self.routes, *self.after)}


def layout(release: str, objects: Iterable[Object], *, gateway: bool) -> Layout:
    """`objects` are a release's, rendered. Without `gateway` the cluster has no HTTPRoutes, and those are left out."""
    parts: dict[str, list[Object]] = {}
    for item in objects:
        parts.setdefault(_part(item), []).append(item)
    services = parts.get("services", [])
    workloads = {
        item["metadata"]["name"]: _workload(item, served=any(_leads_to(service, item) for service in services))
        for item in parts.get("workloads", [])
    }
    pinned = {service["metadata"]["name"]: name for service in services if (name := _alone(service, workloads))}
    routes = parts.get("routes", []) if gateway else []
    return Layout(
        release=release,
        workloads=workloads,
        before=parts.get("before", []),
        jobs=parts.get("jobs", []),
        services=services,
        routes=routes,
        scalers=[_scaler(item, workloads) for item in parts.get("scalers", [])],
        after=parts.get("after", []),
        pinned=pinned,
        routed=frozenset(pinned[name] for route in routes for name in _backends(route) if name in pinned),
    )


def content(objects: Iterable[Object], release: str) -> str:
    """Identity of what would run, whatever the release's name and the number of replicas."""
    plain = copy.deepcopy(list(objects))
    for item in plain:
        if item["kind"] in WORKLOADS:
            item["spec"].pop("replicas", None)
    # As a word: `shop-1` is not in `shop-1f3a`, which names an object by what it holds.
    word = re.compile(rf"(?<![0-9A-Za-z]){re.escape(release)}(?![0-9A-Za-z])")
    return hashlib.sha256(json.dumps(_without(plain, word), sort_keys=True).encode()).hexdigest()


def _without(value: Any, word: re.Pattern[str]) -> Any:
    match value:
        case str():
            return word.sub("", value)
        case list():
            return [_without(item, word) for item in value]
        case dict():
            return {_without(key, word): _without(item, word) for key, item in value.items()}
    return value


# --- what a step applies --------------------------------------------------------------------------


def scaled(workload: Workload, replicas: int, old: int = 0) -> Object:
    """The workload with so many replicas; of a StatefulSet the first `old` stay with the former template."""
    item = copy.deepcopy(workload.object)
    if workload.kind == "DaemonSet":
        return item
    item["spec"]["replicas"] = replicas
    if workload.kind == "StatefulSet":
        strategy = {**item["spec"].get("updateStrategy", {}).get("rollingUpdate", {}), "partition": old}
        item["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": strategy}
    return item


def service(item: Object, mark: str, weights: Mapping[str, int] | None) -> Object:
    """A Service that leads to the pods with this mark only, or, with "", to those of every release."""
    changed = annotated(item, weights)
    if mark:
        changed["spec"]["selector"] = {**changed["spec"]["selector"], TEMPLATE: mark}
    return changed


def release_service(item: Object, mark: str) -> Object:
    """The Service that leads to one release's pods, for an HTTPRoute to give a weight to."""
    found = service(item, mark, None)
    found["metadata"]["name"] = beside(item["metadata"]["name"], mark)
    found["metadata"]["labels"] = {**found["metadata"].get("labels", {}), TEMPLATE: mark}
    for name in ("clusterIP", "clusterIPs", "loadBalancerIP", "externalIPs"):
        found["spec"].pop(name, None)
    found["spec"]["type"] = "ClusterIP"
    for port in found["spec"].get("ports", ()):
        port.pop("nodePort", None)
    return found


def route(
    item: Object,
    shares: Mapping[str, Sequence[tuple[str, int]]],
    chosen: Mapping[str, Mapping[str, str]] | None = None,
) -> Object:
    """An HTTPRoute whose backends are replaced: `shares` maps a Service to (Service of a release, weight) pairs.

    `chosen` maps a release to the Services that take the place of others for who asks for it by header, so that it
    can be measured whatever its weight is.
    """
    changed = copy.deepcopy(item)
    rules = changed["spec"].get("rules") or []
    for rule in rules:
        _split(rule, shares)
    only: list[Object] = []
    for release, services in (chosen or {}).items():
        alone = {name: [(own, 1)] for name, own in services.items()}
        for rule in item["spec"].get("rules") or []:
            if any(ref.get("name") in services for ref in rule.get("backendRefs", ())):
                only.append(_asked_for(rule, release, alone))
    if len(rules) + len(only) <= MOST_RULES:
        changed["spec"]["rules"] = [*only, *rules]
    return changed


def _split(rule: Object, shares: Mapping[str, Sequence[tuple[str, int]]]) -> None:
    backends: list[Object] = []
    for backend in rule.get("backendRefs", ()):
        split = shares.get(backend.get("name", "")) if _is_service(backend) else None
        if not split:
            backends.append(backend)
            continue
        whole = int(backend.get("weight", 1))
        backends += [{**backend, "name": name, "weight": weight * whole} for name, weight in split]
    if backends:
        rule["backendRefs"] = backends


def _asked_for(rule: Object, release: str, alone: Mapping[str, Sequence[tuple[str, int]]]) -> Object:
    """The rule for requests that name the release."""
    changed = copy.deepcopy(rule)
    changed.pop("name", None)
    header = {"type": "Exact", "name": RELEASE_HEADER, "value": release}
    matches = changed.get("matches") or [{"path": {"type": "PathPrefix", "value": "/"}}]
    changed["matches"] = [{**match, "headers": [*match.get("headers", ()), header]} for match in matches]
    _split(changed, alone)
    return changed


def final(layout: Layout) -> list[Object]:
    """All objects of a release that is alone, in the order in which they are applied; its Jobs aside."""
    workloads = [scaled(workload, workload.replicas or 0) for workload in layout.workloads.values()]
    return [*layout.rest, *workloads, *(at_rest(item) for item in (*layout.services, *layout.routes))]


def at_rest(item: Object) -> Object:
    """A Service or HTTPRoute as the manifest has it: there is only one release for it to lead to."""
    changed = annotated(item, None)
    notes = changed["metadata"].get("annotations") or {}
    changed["metadata"]["annotations"] = {**notes, WEIGHTS: EVENLY}
    return changed


def annotated(item: Object, weights: Mapping[str, int] | None) -> Object:
    changed = copy.deepcopy(item)
    if weights is not None:
        notes = changed["metadata"].get("annotations") or {}
        changed["metadata"]["annotations"] = {**notes, WEIGHTS: weights_text(weights)}
    return changed


def weights_text(weights: Mapping[str, int]) -> str:
    return json.dumps(dict(weights), sort_keys=True, separators=(",", ":"))


def beside(name: str, mark: str) -> str:
    return f"{name[: 62 - len(mark)]}-{mark}"


def as_if(workload: Workload, there: Workload | None) -> Object:
    """For a plan: the workload as a change of the one that is there, so that its difference can be read."""
    item = scaled(workload, workload.replicas or 0)
    if there is None or workload.kind != "Deployment" or there.kind != "Deployment":
        return item
    item["metadata"]["name"] = there.object["metadata"]["name"]
    for labels in (
        item["metadata"]["labels"],
        item["spec"]["selector"]["matchLabels"],
        item["spec"]["template"]["metadata"]["labels"],
    ):
        labels[TEMPLATE] = there.mark
    return item


# --- parts of a release ---------------------------------------------------------------------------


def _part(item: Object) -> str:
    kind = item["kind"]
    if kind in WORKLOADS:
        return "workloads"
    if kind in ("Service", "HTTPRoute"):
        return "services" if kind == "Service" else "routes"
    if kind == "HorizontalPodAutoscaler":
        return "scalers"
    return {"before": "before", "job": "jobs"}.get(phase(item), "after")


def _workload(item: Object, *, served: bool) -> Workload:
    item = copy.deepcopy(item)
    name, kind, spec = item["metadata"]["name"], item["kind"], item["spec"]
    template = spec["template"]
    if served:
        _drain(template["spec"], _drains_for(item))
    text = json.dumps([kind, name, template], sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()[:MARK_LENGTH]
    template.setdefault("metadata", {}).setdefault("labels", {})[TEMPLATE] = mark
    replicas = None if kind == "DaemonSet" else int(spec.get("replicas", 1))
    images = tuple(str(container.get("image", "")) for container in template["spec"].get("containers", ()))
    if kind == "Deployment":
        item["metadata"]["name"] = beside(name, mark)
        item["metadata"].setdefault("labels", {})[TEMPLATE] = mark
        selector = spec.setdefault("selector", {})
        selector["matchLabels"] = {**selector.get("matchLabels", {}), TEMPLATE: mark}
        # How many there are of each release is said by us, so the controller has nothing to replace.
        spec["strategy"] = {"type": "RollingUpdate"}
    elif kind == "DaemonSet":
        spec["updateStrategy"] = {"type": "OnDelete"}
    return Workload(name, kind, mark, replicas, item, images, served)


def _drains_for(item: Object) -> float:
    given = (item["metadata"].get("annotations") or {}).get(DRAIN)
    return parse_duration(str(given)) if given else DRAINS_FOR


def _drain(pod: Object, seconds: float) -> None:
    """A pod that ends goes on answering for a while: some do not know yet that it does."""
    whole = max(1, round(seconds))
    for container in pod.get("containers", ()):
        lifecycle = container.setdefault("lifecycle", {})
        lifecycle.setdefault("preStop", {"sleep": {"seconds": whole}})
    least = whole + 5
    if int(pod.get("terminationGracePeriodSeconds", 30)) < least:
        pod["terminationGracePeriodSeconds"] = least


def _leads_to(service: Object, workload: Object) -> bool:
    selector = service["spec"].get("selector") or {}
    labels = workload["spec"]["template"].get("metadata", {}).get("labels", {})
    return bool(selector) and selector.items() <= labels.items()


def _alone(service: Object, workloads: Mapping[str, Workload]) -> str:
    """The one Deployment that a Service leads to, "" where there is another or it has no address of its own."""
    found = [name for name, workload in workloads.items() if _leads_to(service, workload.object)]
    if len(found) != 1 or workloads[found[0]].shared or service["spec"].get("clusterIP") == "None":
        return ""
    return found[0]


def _backends(route: Object) -> list[str]:
    refs = [ref for rule in route["spec"].get("rules", ()) for ref in rule.get("backendRefs", ())]
    return [str(ref["name"]) for ref in refs if _is_service(ref)]


def _is_service(ref: Mapping[str, Any]) -> bool:
    return ref.get("kind", "Service") == "Service" and not ref.get("group")


def _scaler(item: Object, workloads: Mapping[str, Workload]) -> Object:
    """An autoscaler names the Deployment as the manifest does; its release's one has another name."""
    item = copy.deepcopy(item)
    target = item["spec"].get("scaleTargetRef", {})
    found = workloads.get(target.get("name", ""))
    if found is not None and target.get("kind") == found.kind:
        target["name"] = found.object["metadata"]["name"]
    return item
