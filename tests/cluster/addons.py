"""What runs on top of a bare cluster: DNS, the Gateway API with Traefik, storage."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

from tests.cluster import build, manifests, pki
from tests.cluster.control_plane import kubectl
from tests.cluster.layout import ClusterError, Layout
from tests.cluster.processes import start, wait


def apply(layout: Layout, objects: list[manifests.Manifest]) -> None:
    """Apply manifests as the cluster's own."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    arguments = ["apply", "--server-side", "--force-conflicts", "--field-manager=burger-cluster", "-f", "-"]
    kubectl(layout, *arguments, given=text)


def custom_resources(layout: Layout) -> None:
    """The Gateway API's own kinds."""
    source = build.module(layout, "gateway", "sigs.k8s.io/gateway-api") / "config" / "crd"
    kubectl(layout, "apply", "--server-side", "-k", str(source))
    kinds = ["gatewayclasses", "gateways", "httproutes"]
    names = [f"crd/{kind}.gateway.networking.k8s.io" for kind in kinds]
    kubectl(layout, "wait", "--for=condition=Established", "--timeout=30s", *names)


def traefik_program() -> str:
    """Traefik of the virtual environment, else of the PATH."""
    beside = Path(sys.executable).parent / "traefik"
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if not found:
        raise ClusterError("There is no traefik beside this Python: run `make setup`.")
    return found


def start_traefik(layout: Layout) -> None:
    """Start Traefik outside the cluster, as the gateway's controller and data plane."""
    account = [manifests.TRAEFIK, "--namespace", manifests.GATEWAY_NAMESPACE]
    token = kubectl(layout, "create", "token", *account, "--duration=720h").strip()
    config = {
        "entryPoints": {name: {"address": at} for name, at in {"web": layout.gateway, **layout.shops}.items()},
        "providers": {
            "providersThrottleDuration": "50ms",
            "kubernetesGateway": {
                "endpoint": layout.api,
                "token": token,
                "certAuthFilePath": str(layout.pki / "ca.crt"),
                "throttleDuration": "50ms",
                "statusAddress": {"ip": layout.host},
            },
        },
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN"},
    }
    path = pki.write(layout.etc / "traefik.json", json.dumps(config, indent=1))
    static = path.with_suffix(".yaml")  # JSON is YAML; Traefik goes by the name
    path.rename(static)
    start(layout, "traefik", [traefik_program(), f"--configFile={static}"])


def wait_traefik(layout: Layout) -> None:
    host, _, port = layout.gateway.rpartition(":")

    def listens() -> bool:
        socket.create_connection((host, int(port)), timeout=2).close()
        return True

    wait(layout, "Traefik", listens, log="traefik")
    arguments = [f"gateway/{manifests.GATEWAY}", "--namespace", manifests.GATEWAY_NAMESPACE]
    kubectl(layout, "wait", "--for=condition=Programmed", "--timeout=60s", *arguments, timeout=70)


def wait_dns(layout: Layout) -> None:
    arguments = ["rollout", "status", "daemonset/coredns", "--namespace", "kube-system", "--timeout=90s"]
    kubectl(layout, *arguments, timeout=100)


def start_storage(layout: Layout) -> None:
    """Start what gives claims their folders, on the side of the nodes' disks: this machine's."""
    command = [layout.bin / "storage", f"--kubeconfig={layout.kubeconfig}", f"--name={manifests.PROVISIONER}"]
    start(layout, "storage", [*command, f"--root={layout.home / 'data'}"])
