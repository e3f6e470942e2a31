"""The project's playbooks on a real cluster: what they plan, what they do, and whether it has an effect."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import replace

import pytest
import yaml
from kubernetes import client

from pipelines.executors.ansible import AnsibleExecutor
from pipelines.executors.base import EngineAwayError, Progress, Workplace
from pipelines.executors.secrets import SecretError, resolve
from tests.cluster.ansible_helpers import SECRET, as_the_portal, connect, installation, keep, spec, start, workspace
from tests.cluster.enforcer import enforced
from tests.cluster.forwarder import Forwarder

pytestmark = pytest.mark.cluster

WRITING = ["variables", "secrets", "access"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Ansible's compiled files, made once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path, cache):
    return installation(tmp_path, cache)


def test_two_namespaces_are_configured_as_planned_and_a_second_run_changes_nothing(
    home, cluster, kubernetes_client, make_namespace
):
    north, south = sorted((make_namespace(), make_namespace()))
    connect(
        home, "staging", {"main": cluster.kubeconfig, "other": cluster.kubeconfig}, [("main", north), ("other", south)]
    )
    stage = spec(workspace(home), secrets={"SHOP_KEY": "shop-key"}, tags=WRITING)
    executor = AnsibleExecutor(Workplace(home))
    plan = executor.plan(stage)
    assert plan.details["hosts"] == [f"main/{north}", f"other/{south}"]
    shown = json.dumps(plan.as_dict(), ensure_ascii=False)
    assert "Burger Stack (staging)" in shown
    assert "default-deny" in shown
    assert "to-database" in shown
    for hidden in (
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        "managedFields",
        "resourceVersion",
        "creationTimestamp",
        '\\"uid',
    ):
        assert hidden not in shown

    # It plans again, and begins only if the digest is the same.
    log, events, end = start(home, replace(stage, approved_digest=plan.digest))
    assert (end.state, end.reason) == ("succeeded", "6 changes on 2 hosts")
    assert f"  changed main/{north}" in log
    counts = [event for event in events if isinstance(event, Progress)][-1].data["hosts"]
    assert {host: found["changed"] for host, found in counts.items()} == {f"main/{north}": 3, f"other/{south}": 3}
    core, network = client.CoreV1Api(kubernetes_client), client.NetworkingV1Api(kubernetes_client)
    for namespace in (north, south):
        assert core.read_namespaced_config_map("environment", namespace).data["SHOP_CURRENCY"] == "EUR"
        data = core.read_namespaced_secret("environment", namespace).data
        assert {name: base64.b64decode(value).decode() for name, value in data.items()} == {"SHOP_KEY": SECRET}
        policies = {
            policy.metadata.name: policy.spec for policy in network.list_namespaced_network_policy(namespace).items
        }
        assert policies["default-deny"].policy_types == ["Ingress", "Egress"]
        (allowed,) = policies["to-database"].ingress
        assert allowed.ports[0].port == 5432
        assert allowed._from[0].pod_selector.match_expressions[0].values == ["backend", "migrate"]
    assert SECRET not in log

    assert start(home, stage, key="b")[2].reason == "nothing to change on 2 hosts"
    assert executor.plan(stage).summary.endswith("no changes")


def test_a_plan_names_what_differs_and_policies_that_are_not_asked_for_any_more_go(
    home, cluster, kubernetes_client, namespace
):
    connect(home, "staging", {"main": cluster.kubeconfig}, [("main", namespace)])
    stage = spec(workspace(home), secrets={"SHOP_KEY": "shop-key"}, tags=WRITING)
    assert start(home, stage)[2].state == "succeeded"
    keep(home, "shop-key", "another")
    core, network = client.CoreV1Api(kubernetes_client), client.NetworkingV1Api(kubernetes_client)
    core.patch_namespaced_config_map("environment", namespace, {"data": {"SHOP_CURRENCY": "USD"}})
    services = [{"app": "backend", "port": 8000, "from": ["agent"], "outside": True}]
    stage = replace(stage, with_={**stage.with_, "variables": {"network_policies_services": services}})
    plan = AnsibleExecutor(Workplace(home)).plan(stage)
    titles = "\n".join(change.title for change in plan.changes)
    diffs = "".join(change.diff for change in plan.changes)
    assert "environment_variables : Write the ConfigMap of the variables" in titles
    assert "secrets : Foresee the Secret" in titles
    assert "(NetworkPolicy/to-database)" in titles
    assert "-  SHOP_CURRENCY: USD" in diffs
    assert "-SHOP_KEY: " in diffs
    assert "another" not in json.dumps(plan.as_dict())
    assert start(home, replace(stage, approved_digest=plan.digest), key="b")[2].state == "succeeded"
    left = {policy.metadata.name for policy in network.list_namespaced_network_policy(namespace).items}
    assert "to-backend" in left
    assert not left & {"to-database", "reach-database", "to-frontend"}


def test_no_file_of_the_repository_says_where_a_place_is(home, cluster, kubernetes_client, make_namespace):
    ours, theirs = make_namespace(), make_namespace()
    connect(home, "staging", {"main": cluster.kubeconfig}, [("main", ours)])
    said = yaml.safe_dump({"burger_namespace": theirs, "burger_cluster_access": {"K8S_AUTH_KUBECONFIG": "/nowhere"}})
    files = {f"inventories/staging/host_vars/main/{ours}.yml": said, f"host_vars/main/{ours}.yml": said}
    stage = spec(workspace(home, **files), tags=["variables"])
    log, _, end = start(home, stage)
    assert (end.state, end.reason) == ("succeeded", "1 change on 1 host"), log
    core = client.CoreV1Api(kubernetes_client)
    assert core.read_namespaced_config_map("environment", ours).data["SHOP_CURRENCY"] == "EUR"
    assert "environment" not in {item.metadata.name for item in core.list_namespaced_config_map(theirs).items}


def test_two_ways_out_of_one_service_by_one_port_are_said_to_be_one(home, cluster, namespace):
    connect(home, "staging", {"main": cluster.kubeconfig}, [("main", namespace)])
    ways = [{"app": "backend", "to": [{"ipBlock": {"cidr": f"192.0.2.{n}/32"}}], "port": 443} for n in (1, 2)]
    stage = spec(workspace(home), tags=["access"], variables={"network_policies_egress": ways})
    log, _, end = start(home, stage)
    assert end.state == "failed"
    assert "each app and port once, with all that it may reach in the list `to`" in log
    one = [{"app": "backend", "to": [*ways[0]["to"], *ways[1]["to"]], "port": 443}]
    stage = replace(stage, with_={**stage.with_, "variables": {"network_policies_egress": one}})
    assert start(home, stage, key="b")[2].state == "succeeded"
    assert start(home, stage, key="c")[2].reason == "nothing to change on 1 host"


def probing(artifact, cluster, unenforced, patience=2):
    variables = {
        "network_effect_image": cluster.base_image["python"],
        "network_effect_unenforced": unenforced,
        "network_effect_patience": patience,
    }
    return spec(artifact, tags=["access", "effect"], variables=variables)


def test_a_cluster_that_does_not_enforce_is_said_to_be_such(home, cluster, kubernetes_client, namespace, tmp_path):
    if not cluster.machines:
        pytest.skip("Another cluster may well enforce its policies: unset KUBECONFIG.")
    kubeconfig = as_the_portal(cluster, namespace, tmp_path / "account.kubeconfig")
    connect(home, "staging", {"main": kubeconfig}, [("main", namespace)])
    artifact = workspace(home)
    _, _, end = start(home, probing(artifact, cluster, "warn"))
    words = "the cluster main does not enforce network policies"
    assert (end.state, words in end.reason) == ("succeeded", True), end.reason
    assert words in end.data["warnings"][f"main/{namespace}"]
    _, _, end = start(home, probing(artifact, cluster, "fail"), key="b")
    assert (end.state, words in end.reason) == ("failed", True), end.reason
    jobs = client.BatchV1Api(kubernetes_client).list_namespaced_job(namespace).items
    assert [job for job in jobs if job.metadata.deletion_timestamp is None] == []


def test_policies_that_are_enforced_are_proven(home, cluster, kubernetes_client, namespace):
    if not cluster.machines:
        pytest.skip("Rules can only be made in the nodes of our own cluster: unset KUBECONFIG.")
    connect(home, "staging", {"main": cluster.kubeconfig}, [("main", namespace)])
    with enforced(cluster, namespace):
        shop(client.AppsV1Api(kubernetes_client), cluster, namespace)
        stage = probing(workspace(home), cluster, "fail", patience=20)
        # Without an image of its own it takes that of the shop, which has to run by then.
        backend = {"to": address(kubernetes_client, namespace), "port": 8000}
        checks = [{"from": "agent", **backend, "reach": True}, {"from": "database", **backend, "reach": False}]
        variables = {**stage.with_["variables"], "network_effect_image": "", "network_effect_checks": checks}
        log, _, end = start(home, replace(stage, with_={**stage.with_, "variables": variables}))
    assert (end.state, end.data["warnings"]) == ("succeeded", {}), f"{end.reason}\n{log}"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"ingress": [{}], "egress": [{}]}, "the cluster main does not enforce network policies"),
        ({}, "What is allowed does not pass: "),
    ],
    ids=["allow-all", "deny-all"],
)
def test_policies_that_are_wrong_are_found_out_where_they_are_enforced(home, cluster, namespace, policy, words):
    if not cluster.machines:
        pytest.skip("Rules can only be made in the nodes of our own cluster: unset KUBECONFIG.")
    connect(home, "staging", {"main": cluster.kubeconfig}, [("main", namespace)])
    policy_spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], **policy}
    meta = {"name": "only", "namespace": namespace, "labels": {"burger-stack/role": "network-policies"}}
    only = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": policy_spec}
    template = {"roles/network_policies/templates/policies.yaml.j2": yaml.safe_dump([only])}
    with enforced(cluster, namespace):
        _, _, end = start(home, probing(workspace(home, **template), cluster, "fail", patience=8))
    assert (end.state, words in end.reason) == ("failed", True), end.reason


def shop(apps, cluster, namespace):
    """A Deployment whose pods answer as the backend does."""
    serving = {"image": cluster.base_image["python"], "command": ["python3", "-m", "http.server", "8000"]}
    labels = {"app": "backend"}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "backend", **serving}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    body = {"metadata": {"name": "backend"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    apps.create_namespaced_deployment(namespace, body)


def address(kubernetes_client, namespace):
    """The address of the backend's pod, once it has one and runs."""
    core, deadline = client.CoreV1Api(kubernetes_client), time.monotonic() + 120
    while True:
        pods = core.list_namespaced_pod(namespace, label_selector="app=backend").items
        if pods and pods[0].status.phase == "Running":
            return pods[0].status.pod_ip
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_secret_comes_out_of_the_namespace_of_its_team(home, cluster, kubernetes_client):
    core, mark = client.CoreV1Api(kubernetes_client), f"ans-{secrets.token_hex(4)}"
    where = {"secrets": {"kubernetes": {"cluster": "main", "namespace": mark + "-{team}"}}}
    (home / "connections.yaml").write_text(
        yaml.safe_dump({"clusters": {"main": {"kubeconfig": str(cluster.kubeconfig)}}, **where})
    )
    core.create_namespace({"metadata": {"name": f"{mark}-ops"}})
    try:
        stored = {"metadata": {"name": "registry"}, "stringData": {"value": SECRET, "user": "robot"}}
        core.create_namespaced_secret(f"{mark}-ops", stored)
        assert resolve(home, "ops", "kubernetes:registry") == SECRET
        assert resolve(home, "ops", "kubernetes:registry/user") == "robot"
        with pytest.raises(SecretError, match=f"expected 'value' in the Secret registry of the namespace {mark}-dev"):
            resolve(home, "dev", "kubernetes:registry")
    finally:
        core.delete_namespace(f"{mark}-ops")


LOSING = """
- name: Lose a cluster
  hosts: clusters
  gather_facts: false
  environment: "{{ burger_cluster_access }}"
  tasks:
    - name: Look once
      kubernetes.core.k8s_info: &look
        api_version: v1
        kind: ConfigMap
        namespace: "{{ burger_namespace }}"
    - name: Go on when told
      ansible.builtin.wait_for: {path: "{{ go }}", timeout: 120}
    - name: Look again
      kubernetes.core.k8s_info: *look
"""


def test_a_cluster_that_is_away_is_waited_for_and_one_that_goes_away_is_tried_again(
    home, cluster, make_namespace, tmp_path
):
    near, far = make_namespace(), make_namespace()
    forwarder = Forwarder(cluster.kubeconfig, tmp_path / "far.kubeconfig")
    clusters = {"near": cluster.kubeconfig, "far": forwarder.kubeconfig}
    connect(home, "staging", clusters, [("near", near), ("far", far)])
    go = tmp_path / "go"
    stage = spec(workspace(home, losing=LOSING), playbook="playbooks/losing.yml", variables={"go": str(go)})
    executor = AnsibleExecutor(Workplace(home))
    _, _, end = start(home, stage)
    assert (end.state, f"Unreachable: far/{far}." in end.reason) == ("engine", True), end.reason
    with pytest.raises(EngineAwayError, match=f"Unreachable: far/{far}"):
        executor.plan(stage)

    ends = []
    with forwarder:
        thread = threading.Thread(target=lambda: ends.append(start(home, stage)[2]))
        thread.start()
        events = home / "work" / "a" / "events.jsonl"
        deadline = time.monotonic() + 120
        while not (events.exists() and "Go on when told" in events.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    go.touch()
    thread.join(120)
    (end,) = ends
    assert (end.state, end.retry_hint) == ("error", {"limit": [f"far/{far}"]}), end.reason
    assert f"Unreachable: far/{far} (" in end.reason
    assert (end.data["hosts"][f"far/{far}"]["unreachable"], end.data["hosts"][f"near/{near}"]["failed"]) == (1, 0)
    with forwarder:
        again = replace(stage, with_={**stage.with_, "_retry": end.retry_hint})
        _, _, end = start(home, again, key="b")
    assert (end.state, list(end.data["hosts"])) == ("succeeded", [f"far/{far}"])
