"""Enforces, in the nodes of our own cluster, what the policies of the probe's pods say."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client

from tests.cluster.facts import Facts


@contextmanager
def enforced(cluster: Facts, core: client.CoreV1Api, namespace: str) -> Iterator[None]:
    """What a network plugin would do for the probe's pods: on each node, strangers do not get through to the target."""
    mark = f"ans-{namespace[-8:]}"
    sources, targets = f"{mark}-from", f"{mark}-to"

    def everywhere(*command: str) -> None:
        for machine in cluster.machines.values():
            subprocess.run([*machine.inside, *command], check=True, timeout=30, capture_output=True)

    rule = ("-m", "set", "--match-set", sources, "src", "-m", "set", "--match-set", targets, "dst", "-j", "DROP")
    stop = threading.Event()

    def follow() -> None:
        known: set[tuple[str, str]] = set()
        while not stop.wait(0.3):
            for pod in core.list_namespaced_pod(namespace, label_selector="burger-stack/probe").items:
                app = pod.metadata.labels["app"]
                named = {"policy-probe": targets, "policy-probe-stranger": sources}.get(app)
                if named and pod.status.pod_ip and (named, pod.status.pod_ip) not in known:
                    everywhere("ipset", "-exist", "add", named, pod.status.pod_ip)
                    known.add((named, pod.status.pod_ip))

    for name in (sources, targets):
        everywhere("ipset", "create", name, "hash:ip")
    everywhere("iptables", "-w", "-I", "FORWARD", *rule)
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        everywhere("iptables", "-w", "-D", "FORWARD", *rule)
        for name in (sources, targets):
            everywhere("ipset", "destroy", name)
