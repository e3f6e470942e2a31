"""Plans, applying, pruning and drift, by what a real API server says."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.apply import apply, prunable, prune
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.diff import ObjectChange, diff
from pipelines.executors.kubernetes.drift import drift
from pipelines.executors.kubernetes.errors import Conflict, Foreign, Refused
from pipelines.executors.kubernetes.manifests import load
from pipelines.executors.kubernetes.names import Ref, labels
from pipelines.executors.kubernetes.render import Setting, render, without_values
from pipelines.executors.kubernetes.versioned import configuration
from tests.cluster.facts import Facts

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
KEY = ContentKey(b"test")
HERE = {"pipeline": "shop", "environment": "staging"}
SECRETS = {
    "shop-staging-secret-key": "a-secret-key" * 4,
    "shop-staging-database-password": "hunter2",
    "burger:measure-token": "a.token",
}
BACKEND = Ref("Deployment", "backend", "apps")


def image(component: str, digit: str = "a") -> str:
    return f"registry.invalid/burger/{component}@sha256:{digit * 64}"


@pytest.fixture
def client(cluster: Facts, namespace: str) -> Iterator[Client]:
    with closing(Client(Cluster("main", Path(cluster.kubeconfig)), namespace)) as made:
        yield made


@pytest.fixture
def setting(namespace: str) -> Setting:
    images = {name: image(name) for name in ("backend", "frontend", "database", "agent")}
    return Setting(namespace=namespace, release="r1", images=images, host="shop.example", **HERE)


def shop(client: Client, setting: Setting, secrets: dict[str, str] = SECRETS) -> list[dict]:
    """The project's own manifests; scaled to nothing, since no node could pull these images."""
    objects = render(load(ROOT / "docker/k8s", "staging"), setting, key=KEY, secrets=secrets.__getitem__)
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet"):
            item["spec"]["replicas"] = 0
        elif item["kind"] == "Job":
            item["spec"]["suspend"] = True
        elif item["kind"] == "DaemonSet":
            item["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such-node"}
    return [item for item in objects if item["kind"] != "HTTPRoute" or client.has("HTTPRoute")]


def titles(changes: list[ObjectChange]) -> list[str]:
    return [
        f"{change.action} {change.ref.kind}/{change.ref.name.rpartition('-')[0] or change.ref.name}"
        for change in changes
    ]


def text_of(changes: list[ObjectChange], ref: Ref) -> str:
    return next(change.text for change in changes if (change.ref.kind, change.ref.name) == (ref.kind, ref.name))


def lines(text: str) -> set[str]:
    """The lines that a diff adds and takes, without their indentation."""
    found = (line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---"))
    return {f"{line[0]} {line[1:].strip()}" for line in found}


# --- the plan ---------------------------------------------------------------------------------------------


def test_the_first_plan_creates_everything_and_is_stable(client, setting):
    objects = shop(client, setting)
    first, second = diff(client, objects, key=KEY), diff(client, objects, key=KEY)
    assert first == second
    assert {change.action for change in first} == {"create"}
    assert len(first) == len(objects)
    assert not [item for item in objects if client.get(Ref.of(item))], "a plan changes nothing"


def test_after_it_was_applied_nothing_is_left_to_do(client, setting):
    objects = shop(client, setting)
    assert all(one.changed for one in apply(client, objects))
    assert diff(client, objects, key=KEY) == []
    assert not [one for one in apply(client, objects) if one.changed]
    assert drift(client, objects) == []


def test_the_next_plan_shows_what_differs_and_no_more(client, setting):
    apply(client, shop(client, setting))
    newer = replace(setting, release="r2", images=setting.images | {"backend": image("backend", "b")})
    changes = diff(client, shop(client, newer), key=KEY)
    assert titles(changes) == [
        "create Job/migrate",
        "update Deployment/backend",
        "update Deployment/frontend",
        "update DaemonSet/agent",
    ]
    shown = lines(text_of(changes, BACKEND))
    assert {f"- image: {image('backend')}", f"+ image: {image('backend', 'b')}"} <= shown
    assert lines(text_of(changes, Ref("Deployment", "frontend"))) == {
        "- burger-stack/release: r1",
        "+ burger-stack/release: r2",
        "- value: r1",
        "+ value: r2",
    }
    assert "managedFields" not in str(changes)
    assert "resourceVersion" not in str(changes)


def test_no_secret_is_in_a_plan(client, setting):
    apply(client, shop(client, setting))
    changed = SECRETS | {"shop-staging-database-password": "hunter3"}
    changes = diff(client, shop(client, setting, changed), key=KEY)
    assert "create Secret/database" in titles(changes)
    text = json.dumps([change.as_change().diff for change in changes])
    for value in {*SECRETS.values(), *changed.values()}:
        assert value not in text
        assert base64.b64encode(value.encode()).decode() not in text
    assert "(secret, content " in text


def test_what_the_server_does_not_accept_is_said_in_its_words(client, setting):
    objects = shop(client, setting)
    backend = next(item for item in objects if Ref.of(item).kind == "Deployment")
    backend["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"cpu": "1m"}
    with pytest.raises(Refused, match="must be less than or equal to cpu limit"):
        diff(client, objects, key=KEY)


# --- applying ---------------------------------------------------------------------------------------------


def test_what_somebody_else_made_is_not_taken(client, setting):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"}}
    ports = [{"name": "http", "port": 80, "targetPort": 1}]
    client.create(service | {"spec": {"ports": ports}}, manager="kubectl-create")
    objects = shop(client, setting)
    for attempt in (lambda: apply(client, objects), lambda: diff(client, objects, key=KEY)):
        with pytest.raises(Foreign, match="Service/backend is there already, and its label"):
            attempt()
    assert client.get("ConfigMap", objects[1]["metadata"]["name"]) is None, "found out before anything was applied"
    # They hand it over.
    client.patch(Ref("Service", "backend"), {"metadata": {"labels": labels(**HERE)}}, manager="kubectl-label")
    (change,) = (one for one in diff(client, objects, key=KEY) if one.overrides)
    assert [(one.manager, one.field.rpartition(".")[2]) for one in change.overrides] == [
        ("kubectl-create", "targetPort")
    ]
    apply(client, objects, force=True)
    assert diff(client, objects, key=KEY) == []


def test_another_environment_in_the_same_namespace_is_somebody_else(client, setting):
    apply(client, shop(client, setting))
    other = render(
        load(ROOT / "docker/k8s"),
        replace(setting, environment="production"),
        key=KEY,
        secrets=lambda reference: SECRETS[reference.replace("production", "staging")],
    )
    with pytest.raises(Foreign, match="'staging' instead of 'production'"):
        apply(client, [item for item in other if item["kind"] == "Deployment"])


def test_a_kept_release_comes_back_with_its_configuration_and_no_values_at_hand(client, setting):
    old = shop(client, setting)
    kept = without_values(old)
    apply(client, old)
    newer = replace(setting, release="r2", images=setting.images | {"backend": image("backend", "b")})
    apply(client, shop(client, newer, SECRETS | {"shop-staging-secret-key": "another-key" * 4}))
    apply(client, kept)
    pod = client.get(BACKEND)["spec"]["template"]
    names = {ref.name for ref in configuration([client.get(BACKEND)]) if ref.kind == "Secret"}
    assert pod["spec"]["containers"][0]["image"] == image("backend")
    (secret,) = names - {"environment"}  # which the playbooks write, and no release
    assert base64.b64decode(client.get("Secret", secret)["data"]["SECRET_KEY"]).decode() == "a-secret-key" * 4
    assert diff(client, kept, key=KEY) == []
    client.delete(BACKEND)
    client.delete(Ref("Secret", secret))
    with pytest.raises(Refused, match="of the kept release is gone"):
        apply(client, kept)


# --- pruning ----------------------------------------------------------------------------------------------


def test_only_what_is_ours_and_not_needed_is_pruned(client, setting):
    old = shop(client, setting)
    apply(client, old)
    mine = labels(**HERE)
    for name, found in (
        ("left-over", mine),
        ("of-another", mine | {"burger-stack/environment": "production"}),
        ("of-nobody", {}),
    ):
        client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": found}})
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": mine},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    client.create(volume)
    without_route = [item for item in old if item["kind"] not in ("HTTPRoute", "PodDisruptionBudget")]
    found = prunable(client, without_route, **HERE)
    expected = {f"{item['kind']}/{item['metadata']['name']}" for item in old if item not in without_route}
    assert {str(ref) for ref in found} == expected | {"ConfigMap/left-over"}
    assert titles(diff(client, without_route, key=KEY, prune=found)) == [
        f"delete {ref.kind}/{ref.name.rpartition('-')[0] or ref.name}" for ref in found
    ]
    assert set(prune(client, found, **HERE)) == set(found)
    assert prunable(client, without_route, **HERE) == []
    assert client.get("PersistentVolumeClaim", "data")
    assert client.get("ConfigMap", "of-another")


def test_configuration_of_a_release_to_go_back_to_stays(client, setting):
    old = shop(client, setting)
    apply(client, old)
    changed = SECRETS | {"shop-staging-secret-key": "another-key" * 4}
    new = shop(client, replace(setting, release="r2"), changed)
    apply(client, new)
    before = {Ref.of(item).name for item in old} - {Ref.of(item).name for item in new}
    jobs = {name for name in before if name.startswith("migrate-")}
    found = {ref.name for ref in prunable(client, new, **HERE)}
    assert before - jobs, "the Secret has another name now"
    # The Deployment's controller keeps the old template, so the old Secret is not in question; the old Job is.
    assert found <= jobs
    client.delete(BACKEND)
    revisions = {ref.name for ref in prunable(client, new, **HERE, keep=[Ref("Secret", name) for name in before])}
    assert revisions <= jobs


# --- drift ------------------------------------------------------------------------------------------------


def test_drift_says_who_changed_what(client, setting):
    objects = shop(client, setting)
    apply(client, objects)
    client.patch(BACKEND, {"spec": {"revisionHistoryLimit": 9}}, manager="kubectl-edit")
    other_image = {"spec": {"template": {"spec": {"containers": [{"name": "backend", "image": "evil"}]}}}}
    client.patch(BACKEND, other_image, how="strategic", manager="kubectl-set")
    added = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    client.patch(BACKEND, added, manager="kubectl-rollout")
    client.delete(Ref("Service", "frontend"))
    found = drift(client, without_values(objects))
    assert [(str(one.ref), one.kind, one.field, one.wanted, one.found, one.manager) for one in found] == [
        ("Deployment/backend", "added", ".spec.template.metadata.annotations.restarted", "", "now", "kubectl-rollout"),
        ("Deployment/backend", "changed", ".spec.revisionHistoryLimit", "5", "9", "kubectl-edit"),
        (
            "Deployment/backend",
            "changed",
            '.spec.template.spec.containers[name="backend"].image',
            image("backend"),
            "evil",
            "kubectl-set",
        ),
        ("Service/frontend", "deleted", "", "", "", ""),
    ]
    assert all(one.when for one in found if one.kind != "deleted")
    assert all(one.place == client.place for one in found)


def test_what_somebody_removed_is_drift_too(client, setting):
    objects = shop(client, setting)
    apply(client, objects)
    drop = [{"op": "remove", "path": "/spec/template/spec/containers/0/lifecycle"}]
    client.patch(BACKEND, drop, how="json", manager="kubectl-edit")
    found = drift(client, objects)
    assert {(one.kind, one.field) for one in found} == {
        ("removed", '.spec.template.spec.containers[name="backend"].lifecycle.preStop.sleep.seconds')
    }


def test_drift_is_in_the_plan_and_only_overridden_when_it_is_said(client, setting):
    objects = shop(client, setting)
    apply(client, objects)
    client.patch(BACKEND, {"spec": {"revisionHistoryLimit": 9}}, manager="kubectl-edit")
    (change,) = diff(client, objects, key=KEY)
    assert [(one.manager, one.field) for one in change.overrides] == [("kubectl-edit", ".spec.revisionHistoryLimit")]
    assert change.as_change().before == "kubectl-edit set .spec.revisionHistoryLimit to 9"
    assert lines(change.text) == {"- revisionHistoryLimit: 9", "+ revisionHistoryLimit: 5"}
    with pytest.raises(Conflict, match="kubectl-edit"):
        apply(client, objects)
    assert client.get(BACKEND)["spec"]["revisionHistoryLimit"] == 9
    apply(client, objects, force=True)
    assert drift(client, objects) == []


def test_our_own_steps_are_no_drift(client, setting):
    objects = shop(client, setting)
    apply(client, objects)
    client.patch(BACKEND, {"spec": {"paused": True, "revisionHistoryLimit": 7}}, manager="burger-stack-rollout")
    assert drift(client, objects) == []
    apply(client, objects)


def test_replicas_are_the_autoscalers(client, setting):
    objects = shop(client, setting)
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": copy.deepcopy(objects[0]["metadata"]) | {"name": "backend"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
            "maxReplicas": 3,
        },
    }
    apply(client, [*objects, scaler])
    # As the autoscaler does: by the scale, as Kubernetes' own manager.
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 0}}
    client.patch(BACKEND, scale, subresource="scale", manager="kube-controller-manager")
    backend = next(item for item in objects if str(Ref.of(item)) == "Deployment/backend")
    backend["spec"]["replicas"] = 5
    assert diff(client, [*objects, scaler], key=KEY) == []
    apply(client, [*objects, scaler])
    assert client.get(BACKEND)["spec"]["replicas"] == 0
    assert drift(client, [*objects, scaler]) == []
