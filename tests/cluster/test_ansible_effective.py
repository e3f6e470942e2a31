"""What playbooks write is in force when they end: pods read their variables when they start, so they start anew."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import yaml
from kubernetes import client

from pipelines.executors.ansible import AnsibleExecutor
from pipelines.executors.base import Workplace
from tests.cluster.ansible_helpers import (
    PROJECT,
    SECRET,
    as_the_portal,
    connect,
    installation,
    spec,
    start,
    workspace,
)

pytestmark = pytest.mark.cluster


@pytest.fixture
def home(tmp_path):
    (tmp_path / "cache").mkdir()
    return installation(tmp_path, tmp_path / "cache")


TELLING = (
    "import os, time; print(os.environ.get('SHOP_CURRENCY'), os.environ.get('SHOP_KEY'), flush=True); time.sleep(900)"
)


def telling(kubernetes_client, cluster, namespace, name, kind="Deployment", **more):
    """A workload whose pods say with which configuration they started, and go on."""
    labels = {"app": name}
    container = {"name": name, "image": cluster.base_image["python"], "command": ["python3", "-c", TELLING], **more}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    given = {"replicas": 2} if kind == "Deployment" else {"updateStrategy": {"type": "OnDelete"}}
    template = {"metadata": {"labels": labels}, "spec": pod}
    body = {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **given}}
    apps = client.AppsV1Api(kubernetes_client)
    make = {"Deployment": apps.create_namespaced_deployment, "DaemonSet": apps.create_namespaced_daemon_set}[kind]
    make(namespace, body)


def told(kubernetes_client, namespace, app):
    """Pod to what it said when it started, of those that run and are to go on running."""
    core = client.CoreV1Api(kubernetes_client)
    pods = core.list_namespaced_pod(namespace, label_selector=f"app={app}").items
    running = [
        pod.metadata.name for pod in pods if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp
    ]
    return {name: core.read_namespaced_pod_log(name, namespace).strip() for name in running}


def test_pods_that_take_variables_are_replaced_when_these_change_and_no_others(
    home, cluster, kubernetes_client, namespace, tmp_path
):
    kubeconfig = as_the_portal(cluster, namespace, tmp_path / "account.kubeconfig")
    connect(home, "staging", {"main": kubeconfig}, [("main", namespace)])
    both = [{name: {"name": "environment", "optional": True}} for name in ("configMapRef", "secretRef")]
    key = {"secretKeyRef": {"name": "environment", "key": "SHOP_KEY", "optional": True}}
    telling(kubernetes_client, cluster, namespace, "web", envFrom=both)
    telling(kubernetes_client, cluster, namespace, "agent", "DaemonSet", env=[{"name": "SHOP_KEY", "valueFrom": key}])
    telling(kubernetes_client, cluster, namespace, "apart")
    apps = ("web", "agent", "apart")
    deadline = time.monotonic() + 120
    while sum(len([text for text in told(kubernetes_client, namespace, app).values() if text]) for app in apps) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    apart = told(kubernetes_client, namespace, "apart")

    stage = spec(workspace(home), secrets={"SHOP_KEY": "shop-key"}, tags=["variables", "secrets", "wait"])
    plan = AnsibleExecutor(Workplace(home)).plan(stage)
    diffs = "".join(change.diff for change in plan.changes)
    assert "+Deployment/web is restarted, a few pods at a time" in diffs
    assert "+DaemonSet/agent is restarted" in diffs
    assert "apart" not in diffs
    log, _, end = start(home, stage)
    assert (end.state, end.reason) == ("succeeded", "3 changes on 1 host"), log
    assert set(told(kubernetes_client, namespace, "web").values()) == {f"EUR {SECRET}"}
    assert set(told(kubernetes_client, namespace, "agent").values()) == {f"None {SECRET}"}
    assert len(told(kubernetes_client, namespace, "agent")) == len(cluster.nodes)

    before = {app: set(told(kubernetes_client, namespace, app)) for app in apps}
    assert start(home, stage, key="b")[2].reason == "nothing to change on 1 host"
    assert {app: set(told(kubernetes_client, namespace, app)) for app in apps} == before

    # It was written, and whoever did so died before the pods were told.
    values = yaml.safe_load((PROJECT / "playbooks/inventories/staging/group_vars/clusters.yml").read_text())
    dollars = {**values["environment_variables_values"], "SHOP_CURRENCY": "USD"}
    stage = replace(stage, with_={**stage.with_, "variables": {"environment_variables_values": dollars}})
    assert start(home, replace(stage, with_={**stage.with_, "tags": ["variables"]}), key="c")[2].state == "succeeded"
    _, _, end = start(home, stage, key="d")
    assert (end.state, end.reason) == ("succeeded", "1 change on 1 host")
    assert set(told(kubernetes_client, namespace, "web").values()) == {f"USD {SECRET}"}
    assert set(told(kubernetes_client, namespace, "agent")) == before["agent"], "it takes nothing from the ConfigMap"
    assert told(kubernetes_client, namespace, "apart") == apart
