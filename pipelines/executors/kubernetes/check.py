"""The test of a connection: is the cluster there, and may our account do what a release needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes import kinds
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterError, Refused
from pipelines.executors.kubernetes.kinds import Kind

GATEWAY = "gateway.networking.k8s.io/v1/HTTPRoute"
# What is asked for beside the kinds: a failing container's last words.
_LOG = Kind("", "v1", "Pod", "pods/log", None, ("get",))
PATIENCE = 3.0


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """Rights that a release needs and the account lacks."""

    group: str
    resource: str
    verbs: tuple[str, ...]

    @property
    def line(self) -> str:
        """The rule that gives it, as it stands in docker/k8s/rbac/role.yaml."""
        verbs = ", ".join(self.verbs)
        return f'- {{apiGroups: ["{self.group}"], resources: [{self.resource}], verbs: [{verbs}]}}'


@dataclass(frozen=True, slots=True, order=True)
class Quota:
    """One limit of a ResourceQuota, as the cluster writes amounts ("1500m", "4Gi")."""

    name: str
    resource: str
    used: str
    hard: str


@dataclass(frozen=True, slots=True)
class PlaceReport:
    namespace: str
    missing: tuple[Need, ...] = ()
    quota: tuple[Quota, ...] = ()
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.missing and not self.problem


@dataclass(frozen=True, slots=True)
class Report:
    """`problem` says why the cluster cannot be reached, "" if it can. `gateway`: it has HTTPRoutes, so that a canary
    may shift traffic by weight."""

    cluster: str
    version: str = ""
    gateway: bool = False
    places: tuple[PlaceReport, ...] = ()
    problem: str = ""

    @property
    def reachable(self) -> bool:
        return not self.problem

    @property
    def ok(self) -> bool:
        return self.reachable and all(place.ok for place in self.places)

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong, in sentences, with the lines of RBAC that are missing."""
        return (self.problem,) if self.problem else tuple(self._problems())

    def _problems(self) -> Iterator[str]:
        for place in self.places:
            where = f"{self.cluster}/{place.namespace}"
            if place.problem:
                yield f"{where}: {place.problem}"
            elif place.missing:
                lines = "\n".join(need.line for need in place.missing)
                yield f"{where}: the account lacks rights. Apply docker/k8s/rbac there, or add to its Role:\n{lines}"


def check(cluster: Cluster, namespaces: Iterable[str], *, address: str | None = None) -> Report:
    """Try a cluster and our account in each namespace. Changes nothing, and never raises for what it finds."""
    client = Client(cluster, patience=PATIENCE, address=address)
    try:
        version = client.version()
        gateway = client.has(GATEWAY)
        places = tuple(_place(cluster, namespace, gateway, address) for namespace in namespaces)
    except ClusterError as error:
        return Report(cluster.name, problem=str(error))
    finally:
        client.close()
    return Report(cluster.name, version, gateway, places)


def needs(*, gateway: bool) -> list[Kind]:
    """What a release needs, kind by kind, with its verbs."""
    return [kind for kind in kinds.KINDS.values() if gateway or not kind.optional] + [_LOG]


def _place(cluster: Cluster, namespace: str, gateway: bool, address: str | None) -> PlaceReport:
    client = Client(cluster, namespace, patience=PATIENCE, address=address)
    try:
        missing = tuple(sorted(_missing(client, gateway)))
        lacking = {need.resource for need in missing}
        quota = () if "resourcequotas" in lacking else tuple(sorted(_quota(client)))
        return PlaceReport(namespace, missing, quota, "" if "configmaps" in lacking else _absent(client))
    except Refused as refused:
        return PlaceReport(namespace, problem=str(refused))
    finally:
        client.close()


def _absent(client: Client) -> str:
    """Rights can be given in a namespace that is not there, so that it has to be asked for by itself: creating
    anything in it, only tried, says so."""
    probe = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "burger-stack-check-", "namespace": client.namespace},
    }
    try:
        client.raw("POST", f"/api/v1/namespaces/{client.namespace}/configmaps", {"dryRun": "All"}, probe, what="a try")
    except Refused as refused:
        return str(refused)
    return ""


def _missing(client: Client, gateway: bool) -> Iterator[Need]:
    """One request tells all rules; what they do not give is asked for one by one, since other authorizers than
    RBAC may give it and need not tell."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": client.namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    rules = client.raw("POST", path, None, review, what="our rights")["status"].get("resourceRules") or ()
    for kind in needs(gateway=gateway):
        verbs = [verb for verb in kind.verbs if not any(_gives(rule, kind, verb) for rule in rules)]
        lacking = tuple(verb for verb in verbs if not _may(client, kind, verb))
        if lacking:
            yield Need(kind.group, kind.plural, lacking)


def _gives(rule: Mapping[str, Any], kind: Kind, verb: str) -> bool:
    if rule.get("resourceNames"):
        return False
    wanted = (("verbs", verb), ("apiGroups", kind.group), ("resources", kind.plural))
    return all({"*", value} & set(rule.get(part) or ()) for part, value in wanted)


def _may(client: Client, kind: Kind, verb: str) -> bool:
    plural, _, subresource = kind.plural.partition("/")
    attributes = {
        "namespace": client.namespace,
        "verb": verb,
        "group": kind.group,
        "resource": plural,
        "subresource": subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = client.raw("POST", path, None, review, what=f"may we {verb} {kind.plural}")
    return bool(answer["status"].get("allowed"))


def _quota(client: Client) -> Iterator[Quota]:
    for item in client.list("ResourceQuota"):
        status = item.get("status") or {}
        for resource, hard in (status.get("hard") or {}).items():
            yield Quota(item["metadata"]["name"], resource, (status.get("used") or {}).get(resource, "0"), hard)
