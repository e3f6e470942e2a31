"""Releases that change more than images on a real cluster: kinds, nodes, and a first release that is taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.executors.base import Log
from pipelines.executors.kubernetes.names import Ref
from tests.cluster.rollout_helpers import Installation, Said, container, installation, service, until, workload
from tests.cluster.test_rollout_refused import quota

pytestmark = pytest.mark.cluster

FOR_EVER = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]}}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shop", "annotations": {"team": "ops"}}}


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    with installation(cluster, tmp_path_factory.mktemp("kinds")) as made:
        made.rolled(made.spec("a", [workload(replicas=2), service()]))
        yield made


@pytest.fixture
def empty(cluster, tmp_path):
    """An environment without a release."""
    with installation(cluster, tmp_path) as made:
        yield made


def kinds(place: Installation) -> set[str]:
    listed = [item for kind in ("Deployment", "StatefulSet", "DaemonSet") for item in place.client().list(kind)]
    return {f"{item['kind']}/{item['metadata']['name'].partition('-')[0]}" for item in listed}


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_service_becomes_another_kind_and_a_deployment_again(place: Installation, kind: str) -> None:
    other = [workload(kind, replicas=2), service()]
    release = place.rolled(place.spec("b", other))
    assert kinds(place) == {f"{kind}/web"}
    assert place.releases_of_pods() == {release: 2}
    outcome, _ = place.roll(place.spec("a", [workload(replicas=2), service()], FOR_EVER), f"from-{kind}")
    assert outcome.state == "paused"
    place.executor.cancel(place.spec("a", other, FOR_EVER), f"from-{kind}")
    until(lambda: place.releases_of_pods() == {release: 2}, "the way back")
    assert kinds(place) == {f"{kind}/web"}
    release = place.rolled(place.spec("a", [workload(replicas=2), service()]))
    assert kinds(place) == {"Deployment/web"}
    assert place.releases_of_pods() == {release: 2}


def agent(**selector: str) -> dict[str, Any]:
    item = workload("DaemonSet", "agent")
    item["spec"]["template"]["spec"]["nodeSelector"] = selector
    return item


def test_a_daemon_set_that_no_node_is_fit_for_is_complete_without_pods(place: Installation) -> None:
    web = [workload(replicas=2), service()]
    release = place.rolled(place.spec("a", [*web, agent(disk="of-gold")], progressDeadline=20))
    assert place.releases_of_pods() == {release: 2}
    release = place.rolled(place.spec("b", [*web, agent()], progressDeadline=20))
    assert place.releases_of_pods() == {release: 2 + len(place.facts.nodes)}
    # And back to none, also step by step.
    strategy = {"canary": {"steps": [{"setWeight": 50}, {"setWeight": 100}]}}
    release = place.rolled(place.spec("a", [*web, agent(disk="of-gold")], strategy, progressDeadline=20))
    until(lambda: place.releases_of_pods() == {release: 2}, "the agents to be gone")


def test_a_quota_that_a_stateful_set_meets_half_way_is_said(place: Installation) -> None:
    place.rolled(place.spec("a", [workload("StatefulSet", "data", 2), service("data")]))
    grown = place.spec("a", [workload("StatefulSet", "data", 4), service("data")], progressDeadline=8)
    with quota(place.client(), pods="2"):
        outcome, _ = place.roll(grown, "grown")
    assert outcome.state == "failed"
    assert "exceeded quota: few" in outcome.reason
    place.rolled(place.spec("a", [workload(replicas=2), service()]))


def test_what_others_changed_is_in_the_plan_and_told_when_it_is_taken_back(place: Installation) -> None:
    objects = [workload(replicas=2), service(), ACCOUNT]
    place.rolled(place.spec("a", objects))
    client = place.client()
    path = f"/api/v1/namespaces/{client.namespace}/serviceaccounts/shop"
    body = {"metadata": {"annotations": {"team": "somebody"}}}
    client.raw("PATCH", path, {"fieldManager": "kubectl"}, body, "application/merge-patch+json")
    spec = place.spec("b", objects)
    plan = place.executor.plan(spec)
    assert "kubectl" in repr(plan.changes)
    outcome, events = place.roll(replace(spec, approved_digest=plan.digest), "drifted")
    assert outcome.state == "succeeded", outcome
    told = [event.text for event in events if isinstance(event, Log) and "was changed by others" in event.text]
    assert len(told) == 1
    assert "ServiceAccount/shop" in told[0]
    assert "(by kubectl)" in told[0]
    assert client.get("ServiceAccount", "shop")["metadata"]["annotations"] == {"team": "ops"}
    assert place.status()["drift"] == []


def test_what_others_do_to_a_canary_is_shown_meanwhile_and_told_when_it_is_taken_back(place: Installation) -> None:
    objects = [workload(replicas=4), service()]
    place.rolled(place.spec("a", objects))
    spec = place.spec("b", objects, FOR_EVER)
    outcome, _ = place.roll(spec, "hands-off")
    canary = outcome.data["release"]
    (mine,) = (
        pod for pod in place.client().list("Deployment") if pod["metadata"]["labels"]["burger-stack/release"] == canary
    )
    pod = {"containers": [{"name": "server", "image": place.images["a"]}]}
    body = {"spec": {"template": {"spec": pod}}}
    place.client().patch(Ref.of(mine), body, how="strategic", manager="kubectl")
    shown = until(lambda: place.status()["drift"], "the drift to be shown", 40)
    assert len(shown) == 1
    assert "kubectl" in shown[0]
    assert ".image to " in shown[0]
    outcome, events = place.roll(replace(spec, resumes=1), "hands-off")
    assert outcome.state == "succeeded", outcome
    told = [event.text for event in events if isinstance(event, Log) and "was changed by others" in event.text]
    assert len(told) == 1
    assert "(by kubectl)" in told[0]
    until(lambda: {pod["spec"]["containers"][0]["image"] for pod in place.pods()} == {place.images["b"]}, "the images")


def test_a_job_that_does_not_end_says_what_it_waits_for(place: Installation) -> None:
    missing = {**container(), "image": "10.255.255.1:5000/nothing@sha256:" + "1" * 64, "args": ["migrate"]}
    missing.pop("readinessProbe")
    template = {"spec": {"restartPolicy": "Never", "containers": [missing]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": {"template": template}}
    before = place.releases_of_pods()
    outcome, _ = place.roll(place.spec("a", [workload(replicas=4), service(), job], progressDeadline=5), "job")
    assert outcome.state == "failed"
    assert "Not done within 5 s: " in outcome.reason
    assert "cannot be pulled" in outcome.reason
    until(lambda: {name: n for name, n in place.releases_of_pods().items() if name in before} == before, "as before")


def test_a_first_release_is_taken_back_with_what_keeps_data_and_what_is_on_each_node(empty: Installation) -> None:
    objects = [workload(replicas=2), service(), workload("StatefulSet", "data", 1), service("data"), agent()]
    broken = workload(name="broken", replicas=1, CRASH="no database")
    outcome, _ = empty.roll(empty.spec("a", [*objects, broken], progressDeadline=8), "first")
    assert outcome.state == "failed"
    assert "it breaks: no database" in outcome.reason
    until(lambda: not empty.pods(), "no pod to be left")
    assert kinds(empty) == set()
    assert empty.status()["release"] == ""
    assert empty.roll(empty.spec("a", objects), "second", Said())[0].state == "succeeded"
