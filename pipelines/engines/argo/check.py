"""The test of the connection to Argo: is it there, may our account do what it has to, do the teams have theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.executors.connections import Argo
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterError, Refused

from .manifests import API

PATIENCE = 3.0
APPLY = "kubectl apply -k docker/runner/k8s"
LOOK = "kubectl apply -f docker/runner/k8s/controller.yaml"
UPGRADE = "See to the controller: https://argo-workflows.readthedocs.io/en/stable/installation/"
# What docker/runner/k8s/portal.yaml gives: group, resource, verbs; the last one holds for the whole cluster.
RIGHTS = (
    ("argoproj.io", "workflows", ("create", "get", "list", "watch", "patch")),
    ("argoproj.io", "workflowtemplates", ("create", "get", "list")),
    ("", "pods", ("get",)),
    ("", "serviceaccounts", ("get",)),
)
DEPLOYMENT = "workflow-controller"
OLDEST = (3, 7)
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
        missing = list(_missing(client, argo, list(teams)))
        facts["controller"], wrong = _controller(client, argo)
    except ClusterError as error:
        return Report(str(error), "Correct connections.yaml, or start the cluster.", facts)
    finally:
        client.close()
    return Report("\n".join([*missing, *wrong]), APPLY if missing else UPGRADE if wrong else "", facts)


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


def _controller(client: Client, argo: Argo) -> tuple[str, list[str]]:
    """What is known of the controller, and what is wrong with it: its Deployment says which version it is, where the
    portal's account may look at it. An API of its own it has none."""
    said = _looks_after(client)
    try:
        found = client.get("apps/v1/Deployment", DEPLOYMENT, argo.controller)
    except Refused:
        return f"{said}; {LOOK} would tell its version", []
    if found is None:
        return f"{said}; there is no Deployment {DEPLOYMENT} in {argo.controller}", []
    image = str(found["spec"]["template"]["spec"]["containers"][0]["image"])
    version = image.partition("@")[0].rpartition("/")[2].partition(":")[2] or "of no version"
    ready = (found.get("status") or {}).get("readyReplicas", 0)
    wrong = [] if ready else [f"The controller does not run: no pod of {argo.controller}/{DEPLOYMENT} is ready."]
    if (number := re.match(r"v?(\d+)\.(\d+)", version)) and tuple(map(int, number.groups())) < OLDEST:
        wrong.append(f"The controller is {version}; stages need Argo {'.'.join(map(str, OLDEST))} or later.")
    return f"{version}; {said}", wrong


def _looks_after(client: Client) -> str:
    """What the Workflows of this namespace tell of their controller."""
    try:
        found: list[dict[str, Any]] = client.list(f"{API}/Workflow")
    except Refused:
        return "unknown"
    waiting = [one["metadata"]["name"] for one in found if not (one.get("status") or {}).get("phase")]
    if waiting:
        return f"has not taken up {', '.join(waiting[:3])}"
    return f"looks after {len(found)} Workflows here" if found else "no Workflow here tells of it yet"
