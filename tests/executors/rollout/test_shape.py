"""What becomes of a release's objects on a cluster; pure."""

from __future__ import annotations

import copy

import pytest

from pipelines.executors.rollout.kubernetes import reasons, shape
from pipelines.executors.rollout.kubernetes.seen import count, endpoints

LABELS = {"app": "web"}


def workload(kind: str = "Deployment", name: str = "web", release: str = "r1", **spec) -> dict:
    container = {"name": "c", "image": "x@sha256:1", "env": [{"name": "RELEASE", "value": release}]}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "n"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            **spec,
        },
    }


def service(name: str = "web", **spec) -> dict:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "nodePort": 31000}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": spec}


def route() -> dict:
    rules = [{"backendRefs": [{"name": "web", "port": 80}, {"name": "api", "port": 80, "weight": 3}]}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "n"},
        "spec": {"rules": rules},
    }


def laid(*objects, gateway: bool = True) -> shape.Layout:
    return shape.layout("r1", objects, gateway=gateway)


def test_each_release_has_a_deployment_of_its_own_and_the_same_pods_keep_theirs():
    one, again = laid(workload()).workloads["web"], laid(workload()).workloads["web"]
    other = laid(workload(release="r2")).workloads["web"]
    assert one.ref.name == again.ref.name == f"web-{one.mark}"
    assert other.mark != one.mark
    scaled = shape.scaled(one, 2)
    assert scaled["spec"]["replicas"] == 2
    assert scaled["spec"]["selector"]["matchLabels"] == {**LABELS, shape.TEMPLATE: one.mark}
    assert scaled["spec"]["template"]["metadata"]["labels"][shape.TEMPLATE] == one.mark


def test_what_has_volumes_or_nodes_keeps_its_name():
    stateful = laid(workload("StatefulSet")).workloads["web"]
    item = shape.scaled(stateful, 3, 2)
    assert item["metadata"]["name"] == "web"
    assert item["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    daemon = laid(workload("DaemonSet")).workloads["web"]
    assert shape.scaled(daemon, 9)["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert (stateful.shared, daemon.shared, daemon.replicas) == (True, True, None)


def test_only_pods_that_are_served_drain_and_a_hook_of_ones_own_stays():
    plain = laid(workload()).workloads["web"].object["spec"]["template"]["spec"]
    assert "lifecycle" not in plain["containers"][0]
    item = workload()
    item["metadata"]["annotations"] = {shape.DRAIN: "40s"}
    served = laid(item, service()).workloads["web"].object["spec"]["template"]["spec"]
    assert served["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 40}}}
    assert served["terminationGracePeriodSeconds"] == 45
    own = workload()
    own["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["/bye"]}}}
    kept = laid(own, service()).workloads["web"].object["spec"]["template"]["spec"]
    assert kept["containers"][0]["lifecycle"] == {"preStop": {"exec": {"command": ["/bye"]}}}


@pytest.mark.parametrize(
    ("objects", "pinned"),
    [
        ([workload(), service()], {"web": "web"}),
        ([workload(), service(clusterIP="None")], {}),
        ([workload("StatefulSet"), service()], {}),
        ([workload(), service(selector={})], {}),
        ([workload(), service(selector={"app": "other"})], {}),
    ],
)
def test_a_service_is_switched_where_it_leads_to_one_deployment_alone(objects, pinned):
    assert laid(*objects).pinned == pinned


def test_a_route_divides_each_backend_and_keeps_its_weight_among_the_others():
    item = route()
    before = copy.deepcopy(item)
    shares = {"api": [("api-1", 75), ("api-2", 25)]}
    (rule,) = shape.route(item, shares)["spec"]["rules"]
    assert [(one["name"], one.get("weight")) for one in rule["backendRefs"]] == [
        ("web", None), ("api-1", 225), ("api-2", 75),
    ]  # fmt: skip
    assert item == before, "what the manifests say stays as it is"


def test_a_release_can_be_asked_for_by_header():
    chosen = {"r2": {"web": "web-2"}}
    first, second = shape.route(route(), {"web": [("web-1", 100)]}, chosen)["spec"]["rules"]
    (match,) = first["matches"]
    assert match["headers"] == [{"type": "Exact", "name": "X-Burger-Release", "value": "r2"}]
    assert first["backendRefs"][0]["name"] == "web-2"
    assert second["backendRefs"][0]["name"] == "web-1"


def test_without_a_gateway_traffic_follows_the_number_of_replicas():
    objects = [workload(), service(), route()]
    assert laid(*objects).routed == {"web"}
    without = laid(*objects, gateway=False)
    assert (without.routes, without.routed) == ([], frozenset())


def test_a_releases_own_service_has_no_address_or_port_that_is_taken():
    own = shape.release_service(service(type="NodePort", clusterIP="10.0.0.1"), "abc")
    assert own["metadata"]["name"] == "web-abc"
    assert own["spec"] == {"selector": {**LABELS, shape.TEMPLATE: "abc"}, "ports": [{"port": 80}], "type": "ClusterIP"}


def test_content_knows_neither_the_name_of_a_release_nor_numbers():
    first, second = workload(release="shop-1-abc"), workload(release="shop-2-def", replicas=7)
    assert shape.content([first], "shop-1-abc") == shape.content([second], "shop-2-def")
    second["spec"]["template"]["spec"]["containers"][0]["image"] = "y@sha256:2"
    assert shape.content([first], "shop-1-abc") != shape.content([second], "shop-2-def")


def test_a_name_that_begins_like_the_releases_is_another():
    secrets = [{"kind": "Secret", "metadata": {"name": "shop-1f3a", "annotations": {"by": f"a\n{name}"}}}
               for name in ("shop-1", "shop-2")]  # fmt: skip
    assert shape.content(secrets[:1], "shop-1") == shape.content(secrets[1:], "shop-2")
    assert shape.content(secrets[:1], "shop-1f3a") != shape.content(secrets[1:], "shop-2")


# --- pods -------------------------------------------------------------------------------------------------


def pod(ready: bool = True, going: bool = False, **status) -> dict:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    metadata = {"name": "web-1", "uid": "1"} | ({"deletionTimestamp": "now"} if going else {})
    return {"metadata": metadata, "spec": {}, "status": {"conditions": conditions, **status}}


def test_pods_that_go_do_not_count():
    assert count([pod(), pod(ready=False), pod(going=True), pod(phase="Failed")]) == shape_count(2, 1)


def shape_count(running: int, ready: int):
    from pipelines.executors.rollout.strategy import Count

    return Count(running, ready)


def test_endpoints_are_counted_once_and_only_of_the_release():
    ends = [{"targetRef": {"name": "a"}, "conditions": {"ready": True}}, {"targetRef": {"name": "b"}}]
    ends.append({"targetRef": {"name": "c"}, "conditions": {"ready": False}})
    slices = [{"metadata": {"labels": {shape.TEMPLATE: "m"}}, "endpoints": ends}]
    assert endpoints([*slices, *slices], "m") == 2
    assert endpoints(slices, "other") == 0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no  such\nimage"}}, "cannot be pulled: no such image"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}, "cannot be started: no secret"),
        ({"terminated": {"exitCode": 3, "reason": "Error"}}, "ended with exit code 3, 2 times now: the last words"),
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "using too much memory with exit code 137"),
        ({"running": {"startedAt": "now"}}, "readiness probe does not pass yet"),
    ],
)
def test_a_pod_that_is_not_ready_says_why(status, expected):
    one = {"name": "web", "image": "x", "state": status, "restartCount": 2, "ready": False}
    said = reasons.why(pod(ready=False, containerStatuses=[one]), lambda *_: "the last words")
    assert said.startswith("web-1: ")
    assert expected in said


def test_a_pod_without_a_node_says_what_the_scheduler_said():
    conditions = [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]
    found = {"metadata": {"name": "web-1"}, "status": {"conditions": conditions}}
    assert reasons.why(found, lambda *_: "") == "web-1: cannot be placed on a node: 0/2 nodes are available"
    assert reasons.why(pod(), lambda *_: "") == ""
