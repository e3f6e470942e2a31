"""What every cluster of ours holds from the start: cluster DNS, a gateway that Traefik answers, volumes."""

from __future__ import annotations

from typing import Any

from tests.cluster import images
from tests.cluster.layout import Layout

GATEWAY_CLASS = "traefik"
GATEWAY = "burger"
GATEWAY_NAMESPACE = "gateway"
TRAEFIK = "traefik"
STORAGE_CLASS = "standard"
PROVISIONER = "burger.local/folders"

Manifest = dict[str, Any]

COREFILE = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }
    forward . /etc/resolv.conf
    cache 5
    reload
}
"""


def _role(name: str, subject: str, namespace: str, rules: list[Manifest]) -> list[Manifest]:
    """A service account, a cluster role and what binds them."""
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": subject, "namespace": namespace}},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": namespace}],
        },
    ]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def dns(layout: Layout) -> list[Manifest]:
    """CoreDNS, one on each node, behind the address that the kubelets tell every pod."""
    read = ["list", "watch"]
    labels = {"app": "coredns"}
    metadata = {"name": "coredns", "namespace": "kube-system"}
    container = {
        "name": "coredns",
        "image": images.COREDNS,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}],
        # On a busy machine it is slow, and everything needs it: taken out, nobody would find anything.
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1, "timeoutSeconds": 10},
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}},
        "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}, "runAsUser": 0},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    names = [("dns", "UDP"), ("dns-tcp", "TCP")]
    ports = [{"name": name, "port": 53, "protocol": protocol} for name, protocol in names]
    return [
        *_role(
            "burger:coredns",
            "coredns",
            "kube-system",
            [
                _rule("", ["endpoints", "services", "pods", "namespaces"], read),
                _rule("discovery.k8s.io", ["endpointslices"], read),
            ],
        ),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": layout.dns, "selector": labels, "ports": ports},
        },
    ]


def gateway(layout: Layout) -> list[Manifest]:
    """The gateway's class, the gateway that routes of all namespaces may name, and what Traefik may read."""
    read, group = ["get", "list", "watch"], "gateway.networking.k8s.io"
    listeners = [
        {
            "name": name,
            "protocol": "HTTP",
            "port": int(address.rpartition(":")[2]),
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }
        for name, address in {"http": layout.gateway, **layout.shops}.items()
    ]
    kinds = ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "tcproutes", "tlsroutes", "udproutes"]
    kinds += ["referencegrants", "backendtlspolicies", "listenersets"]
    statuses = [f"{kind}/status" for kind in kinds if kind != "referencegrants"]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY_NAMESPACE}},
        *_role(
            "burger:traefik",
            TRAEFIK,
            GATEWAY_NAMESPACE,
            [
                _rule("", ["namespaces", "services", "secrets", "configmaps", "nodes"], read),
                _rule("discovery.k8s.io", ["endpointslices"], read),
                _rule(group, kinds, read),
                _rule(group, statuses, ["update", "patch"]),
            ],
        ),
        {
            "apiVersion": f"{group}/v1",
            "kind": "GatewayClass",
            "metadata": {"name": GATEWAY_CLASS},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE},
            "spec": {"gatewayClassName": GATEWAY_CLASS, "listeners": listeners},
        },
    ]


def storage() -> list[Manifest]:
    """The default storage class: a folder on the node that a claim's first pod is put on."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE_CLASS, "annotations": default},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]
