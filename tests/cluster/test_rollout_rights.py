"""A rollout needs no more than the account that the project ships, with its rights in the environment's namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.executors import rollout
from pipelines.executors.kubernetes.errors import Refused
from tests.cluster.rollout_helpers import Installation, Said, container, installation, route, service, until, workload
from tests.cluster.shop import ACCOUNT, RBAC

pytestmark = pytest.mark.cluster

STEPS = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]}}


@pytest.fixture
def place(cluster, tmp_path) -> Iterator[Installation]:
    with installation(cluster, tmp_path) as made:
        made.connect(kubeconfig=account(made, tmp_path / "account"))
        yield made


def account(place: Installation, path: Path) -> str:
    """The shipped account in the environment's namespace, with the shipped rights and no others; its kubeconfig."""
    admin = place.client()
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}})
    binding = yaml.safe_load((RBAC / "binding.yaml").read_text())
    binding["subjects"][0]["namespace"] = admin.namespace
    for item in (yaml.safe_load((RBAC / "role.yaml").read_text()), binding):
        admin.apply(item)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    accounts = f"/api/v1/namespaces/{admin.namespace}/serviceaccounts"
    token = admin.raw("POST", f"{accounts}/{ACCOUNT}/token", None, request)["status"]["token"]
    config = yaml.safe_load(Path(place.facts.kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path.write_text(json.dumps(config))
    return str(path)


def objects(place: Installation, greeting: str) -> list[dict[str, Any]]:
    """One of everything that a rollout moves."""
    migrate = {**container(WHAT=greeting), "args": ["migrate"]}
    migrate.pop("readinessProbe")
    found = [
        workload("Deployment", "web", 2),
        service(),
        workload("StatefulSet", "data", 2),
        workload("DaemonSet", "agent"),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"greeting": greeting},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "migrate"},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [migrate]}}},
        },
    ]
    return [*found, route(place.facts, "rights.example")] if place.facts.gateway else found


def test_canary_abort_promotion_and_roll_back_with_the_shipped_rights(place):
    with pytest.raises(Refused, match="forbidden"):
        place.client().list("Pod", "kube-system")
    first = place.rolled(place.spec("a", objects(place, "hello")))
    before = place.releases_of_pods()
    spec, control = place.spec("b", objects(place, "welcome"), STEPS, progressDeadline=60), Said()
    assert place.executor.plan(spec).changes
    outcome, events = place.roll(spec, control=control)
    assert outcome.state == "paused", events
    control.orders = ("abort",)
    outcome, _ = place.roll(replace(spec, resumes=1), f"run-{spec.run}", control)
    assert (outcome.state, outcome.reason) == ("failed", "aborted by a person")
    until(lambda: place.releases_of_pods() == before, "the canary to be gone")
    second = place.rolled(place.spec("b", objects(place, "welcome"), {"blueGreen": {"keep": "1s"}}))
    until(lambda: rollout.retire(place.home), "the former set to be taken away")
    assert set(place.releases_of_pods()) == {second}
    back = place.spec("b", objects(place, "welcome"))
    back = replace(back, with_={"target": "kubernetes", "release": first})
    assert place.roll(back)[0].state == "succeeded"
    status = place.status()
    assert (status["release"], status["drift"]) == (first, [])
    assert [one["name"] for one in rollout.releases(place.home, "staging")] == [first, second]
