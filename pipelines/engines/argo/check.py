"""The test of the connection to Argo: is it there, may our account do what it has to, do the teams have theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.executors.connections import Argo
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterError, Refused

from .manifests import API

PATIENCE = 3.0
APPLY = "kubectl apply -k docker/runner/k8s"
# What docker/runner/k8s/portal.yaml gives: group, resource, verbs; the last one holds for the whole cluster.
RIGHTS = (
    ("argoproj.io", "workflows", ("create", "get", "list", "watch", "patch")),
    ("argoproj.io", "workflowtemplates", ("create", "get", "list")),
    ("", "pods", ("get",)),
    ("", "serviceaccounts", ("get",)),
)
TOKENS = ("authentication.k8s.io", "tokenreviews", ("create",))


@dataclass(frozen=True, slots=True)
class Report:
    """`problem` says in sentences what is wrong, "" if nothing is, and `remedy` what brings it."""

    problem: str = ""
    remedy: str = ""
    facts: dict[str, str] = field(default_factory=dict)


def check(argo: Argo, teams: Iterable[str] = ()) -> Report:
    """Changes nothing, and never raises for what it finds."""
    client = Client(argo.cluster, argo.namespace, patience=PATIENCE)
    facts = {"cluster": argo.cluster.name, "namespace": argo.namespace, "runner": argo.image}
    try:
        facts["version"] = client.version()
        if not client.has(f"{API}/Workflow"):
            return Report(
                f"The cluster {argo.cluster.name} has no Workflows: there is no Argo on it.",
                "Install Argo Workflows 3.7 there: https://argo-workflows.readthedocs.io/en/stable/installation/",
                facts,
            )
        problems = list(_missing(client, argo, list(teams)))
        if not problems:
            facts |= _controller(client)
    except ClusterError as error:
        return Report(str(error), "Correct connections.yaml, or start the cluster.", facts)
    finally:
        client.close()
    return Report("\n".join(problems), APPLY if problems else "", facts)


def _missing(client: Client, argo: Argo, teams: list[str]) -> Iterator[str]:
    for group, resource, verbs in RIGHTS:
        if lacking := [verb for verb in verbs if not _may(client, argo.namespace, group, resource, verb)]:
            yield f"The portal's account may not {', '.join(lacking)} {resource} in {argo.namespace}."
    group, resource, verbs = TOKENS
    if not all(_may(client, "", group, resource, verb) for verb in verbs):
        yield f"The portal's account may not create {resource}, so it cannot tell whose pod asks for a stage."
    for team in teams:
        account = argo.account.replace("{team}", team)
        if _is_absent(client, argo.namespace, account):
            yield f"{argo.namespace} has no ServiceAccount {account}, under which the stages of {team} run."


def _is_absent(client: Client, namespace: str, account: str) -> bool:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}"
    try:
        client.raw("GET", path, what=f"get ServiceAccount/{account}")
    except Refused as refused:
        return refused.code == 404
    return False


def _may(client: Client, namespace: str, group: str, resource: str, verb: str) -> bool:
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    return bool(client.raw("POST", path, None, review, what=f"may we {verb} {resource}")["status"].get("allowed"))


def _controller(client: Client) -> dict[str, str]:
    """What the Workflows of this namespace tell of their controller: an API of its own it has none."""
    found: list[dict[str, Any]] = client.list(f"{API}/Workflow")
    waiting = [one["metadata"]["name"] for one in found if not (one.get("status") or {}).get("phase")]
    if waiting:
        return {"controller": f"has not taken up {', '.join(waiting[:3])}"}
    return {"controller": f"looks after {len(found)} Workflows here" if found else "no Workflow here tells of it yet"}
