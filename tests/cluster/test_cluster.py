"""The cluster is a real one: pods on two nodes that pull with a password, meet by name, keep volumes, are routed to."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import elsewhere
from tests.cluster.conftest import pull_secret
from tests.cluster.facts import Facts
from tests.cluster.layout import ClusterError
from tests.cluster.processes import run

pytestmark = pytest.mark.cluster

SERVER = ["python3", "-m", "http.server", "8080"]


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, facts: Facts, namespace: str) -> None:
        self.command = [facts.kubectl, "--kubeconfig", facts.kubeconfig, "--namespace", namespace]

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        return run([*self.command, *arguments], given=given, timeout=120)

    def apply(self, *objects: dict[str, Any]) -> None:
        self("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def json(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json"))

    def inside(self, pod: str, *command: str) -> str:
        return self("exec", pod, "--", *command)

    def reaches(self, pod: str, url: str) -> bool:
        """Whether a request from inside the pod is answered."""
        try:
            return self.inside(pod, *fetch(url)) == "200\n"
        except ClusterError:
            return False


@pytest.fixture
def kubectl(cluster: Facts, namespace: str) -> Kubectl:
    return Kubectl(cluster, namespace)


def pod(facts: Facts, name: str, **spec: Any) -> dict[str, Any]:
    """A pod that serves its own folder at port 8080."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    container = {"name": "main", "image": facts.base_image["python"], "command": SERVER, "readinessProbe": probe}
    container |= spec.pop("container", {})
    metadata = {"name": name, "labels": {"app": name}}
    pod_spec = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec}


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """What `check` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)
    return found


def answers(url: str, host: str = "") -> bool:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def fetch(url: str) -> list[str]:
    return ["python3", "-c", f"import urllib.request as u; print(u.urlopen('{url}', timeout=3).status)"]


@pytest.fixture
def here(cluster: Facts) -> Iterator[str]:
    """A server of this test's own, as pods see it."""
    assert cluster.host
    server = http.server.ThreadingHTTPServer((cluster.host, 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{cluster.host}:{server.server_port}/pyproject.toml"
    server.shutdown()
    server.server_close()


def test_pods_on_two_nodes_meet_by_name_and_reach_and_are_reached_from_here(
    cluster: Facts, kubectl: Kubectl, namespace: str, here: str
) -> None:
    for name, node in zip(("one", "two"), cluster.nodes, strict=True):
        # In the same port of two nodes, which two processes of one machine could not have.
        ports = [{"containerPort": 8080, "hostPort": 18080}]
        kubectl.apply(pod(cluster, name, nodeName=node, container={"ports": ports}), service(name))
    kubectl("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=90s")
    for name, other in (("one", "two"), ("two", "one"), ("one", "one")):
        eventually(lambda name=name, other=other: kubectl.reaches(name, f"http://{other}.{namespace}/"))
    assert kubectl.reaches("one", here)
    assert "GET / HTTP" in kubectl("logs", "two")
    address = kubectl.json("service", "two")["spec"]["clusterIP"]
    eventually(lambda: answers(f"http://{address}/"))
    assert all(answers(f"http://{machine.address}:18080/") for machine in cluster.machines.values())


def test_a_pod_keeps_its_address_towards_a_pod_of_the_other_node(cluster: Facts, kubectl: Kubectl) -> None:
    for name, node in zip(("one", "two"), cluster.nodes, strict=True):
        kubectl.apply(pod(cluster, name, nodeName=node))
    kubectl("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=90s")
    addresses = {name: kubectl.json("pod", name)["status"]["podIP"] for name in ("one", "two")}
    kubectl.inside("one", *fetch(f"http://{addresses['two']}:8080/"))
    assert any(line.startswith(addresses["one"]) for line in kubectl("logs", "two").splitlines())


def test_a_rule_in_a_node_keeps_a_pod_from_another(cluster: Facts, kubectl: Kubectl) -> None:
    if not cluster.machines:
        pytest.skip("Rules can only be made in the nodes of our own cluster: unset KUBECONFIG.")
    node = cluster.nodes[0]
    for name in ("allowed", "denied", "target"):
        kubectl.apply(pod(cluster, name, nodeName=node))
    kubectl("wait", "--for=condition=Ready", "pod/allowed", "pod/denied", "pod/target", "--timeout=90s")
    addresses = {name: kubectl.json("pod", name)["status"]["podIP"] for name in ("denied", "target")}
    rule = ["-s", addresses["denied"], "-d", addresses["target"], "-j", "REJECT"]
    inside = cluster.machines[node].inside
    wanted = f"http://{addresses['target']}:8080/"
    run([*inside, "iptables", "-w", "-I", "FORWARD", *rule])
    try:
        assert kubectl.reaches("allowed", wanted)
        assert not kubectl.reaches("denied", wanted)
    finally:
        run([*inside, "iptables", "-w", "-D", "FORWARD", *rule])
    assert kubectl.reaches("denied", wanted)


def test_without_the_secret_nothing_is_pulled(cluster: Facts, kubectl: Kubectl) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "stranger"}}
    # A tag that no node has, so that it must ask.
    image = f"{cluster.registry.address}/library/python:never-{time.time_ns()}"
    kubectl.apply(account, pod(cluster, "one", serviceAccountName="stranger", container={"image": image}))

    def message() -> str:
        states = kubectl.json("pod", "one")["status"].get("containerStatuses", [])
        waiting = [state["state"].get("waiting", {}) for state in states]
        return "".join(each.get("message", "") for each in waiting if each.get("reason") == "ErrImagePull")

    assert "401 Unauthorized" in eventually(message)
    assert pull_secret(cluster)["type"] == "kubernetes.io/dockerconfigjson"


def test_a_route_of_any_namespace_is_answered_by_the_gateway(cluster: Facts, kubectl: Kubectl, namespace: str) -> None:
    if not cluster.gateway:
        pytest.skip("This cluster names no gateway: BURGER_TEST_GATEWAY=HOST:PORT/CLASS/NAMESPACE/NAME/SECTION.")
    gateway = cluster.gateway
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {
            "parentRefs": [{"name": gateway.name, "namespace": gateway.namespace, "sectionName": gateway.section}],
            "hostnames": [f"{namespace}.example"],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        },
    }
    kubectl.apply(pod(cluster, "web"), service("web"), route)
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=90s")
    eventually(lambda: answers(f"http://{gateway.address}/", f"{namespace}.example"))
    assert not answers(f"http://{gateway.address}/", "somewhere-else.example")


def test_a_claim_gets_a_volume_that_outlives_its_pod_and_goes_with_it(cluster: Facts, kubectl: Kubectl) -> None:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": wanted}
    spec = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
        "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}], "workingDir": "/data"},
    }
    kubectl.apply(claim)
    for name, command in (("first", ["touch", "/data/kept"]), ("second", ["ls", "/data/kept"])):
        kubectl.apply(pod(cluster, name, **{**spec, "container": dict(spec["container"])}))
        kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
        kubectl.inside(name, *command)
        kubectl("delete", "pod", name, "--wait=true")
    volume = kubectl.json("pvc", "data")["spec"]["volumeName"]
    kubectl("delete", "pvc", "data")
    eventually(lambda: volume not in kubectl("get", "pv", "-o", "name"))


def test_the_engine_builds_on_the_base_image_and_pushes(cluster: Facts, kubectl: Kubectl, namespace: str) -> None:
    tag = f"{cluster.registry.address}/{namespace}/image:1"
    docker = [cluster.docker, "--host", cluster.docker_host]
    text = f"FROM {cluster.base_image['python']}\nRUN echo {namespace} > /mark\n"
    login = ["login", "--username", cluster.registry.username, "--password-stdin", cluster.registry.address]
    run([*docker, *login], given=cluster.registry.password)
    try:
        run([*docker, "build", "--tag", tag, "-"], given=text, timeout=300)
        run([*docker, "push", tag], timeout=300)
    finally:
        run([*docker, "logout", cluster.registry.address])
    kubectl.apply(pod(cluster, "own", container={"image": tag}))
    kubectl("wait", "--for=condition=Ready", "pod/own", "--timeout=90s")
    assert kubectl.inside("own", "cat", "/mark").strip() == namespace


def test_a_kubeconfig_names_another_cluster(cluster: Facts, tmp_path: Path) -> None:
    other = tmp_path / "config"
    shutil.copy(cluster.kubeconfig, other)
    found = elsewhere.facts_of({"KUBECONFIG": str(other)}, own=cluster)
    assert found is not None
    assert (found.kubeconfig, found.nodes) == (str(other), cluster.nodes)
    assert found.registry == cluster.registry
    assert found.machines == {}
    assert elsewhere.facts_of({"KUBECONFIG": cluster.kubeconfig}, own=cluster) is None
