"""Enforces, in the nodes of our own cluster, what the NetworkPolicies of a namespace say of its pods among themselves.

Our cluster's own network enforces none. This reads the policies that are there, so what they allow passes, what they do
not allow does not, and a wrong one shows.
"""

from __future__ import annotations

import ipaddress
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.client import Client
from tests.cluster.facts import Facts

EVERY = 0.3
# What has ended keeps its address in its status, and another pod may have it.
GOING = "status.phase!=Succeeded,status.phase!=Failed"
# Ports; None means every one of them.
Ports = frozenset[int] | None


@contextmanager
def enforced(cluster: Facts, namespace: str) -> Iterator[None]:
    """What a network plugin would do."""
    chain = f"ans-{namespace[-8:]}"
    rules: list[str] = []

    def everywhere(*command: str, text: str = "") -> None:
        for machine in cluster.machines.values():
            words = [*machine.inside, *command]
            subprocess.run(words, check=True, timeout=30, capture_output=True, input=text.encode())

    def put(lines: list[str]) -> None:
        # All at once: what is allowed before and after is allowed in between.
        everywhere(
            "iptables-restore", "-w", "--noflush", text="\n".join(["*filter", f":{chain} -", *lines, "COMMIT\n"])
        )

    def follow() -> None:
        with closing(Client(Cluster("main", Path(cluster.kubeconfig)), namespace)) as client:
            while not stop.wait(EVERY):
                pods = [pod for pod in client.list("Pod", fields=GOING) if (pod.get("status") or {}).get("podIP")]
                wanted = _rules(chain, pods, client.list("NetworkPolicy"), namespace)
                if wanted != rules:
                    put(wanted)
                    rules[:] = wanted

    stop = threading.Event()
    put([])
    everywhere("iptables", "-w", "-I", "FORWARD", "-j", chain)
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        everywhere("iptables", "-w", "-D", "FORWARD", "-j", chain)
        everywhere("iptables", "-w", "-F", chain)
        everywhere("iptables", "-w", "-X", chain)


def _rules(chain: str, pods: list[Any], policies: list[Any], namespace: str) -> list[str]:
    """For iptables-restore: answers pass, then of each pair of pods what both of them allow, and nothing else; nor what
    comes from pods that are too young to be known."""
    found = []
    for target in pods:
        to = f"-d {target['status']['podIP']}"
        for source in pods:
            ports = _both(
                _allowed("Egress", source, target, policies, namespace),
                _allowed("Ingress", target, source, policies, namespace),
            )
            pair = f"-A {chain} -s {source['status']['podIP']} {to}"
            if ports is None:
                found.append(f"{pair} -j RETURN")
            else:
                found += [f"{pair} -p tcp --dport {port} -j RETURN" for port in sorted(ports)] + [f"{pair} -j DROP"]
        if _about("Ingress", target, policies):
            found.append(f"-A {chain} {to} -j DROP")
    answers = f"-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
    return [answers, *found]


def _allowed(way: str, pod: Any, other: Any, policies: list[Any], namespace: str) -> Ports:
    """What the policies of `pod` allow it to send to, or to take from, `other`."""
    if not (about := _about(way, pod, policies)):
        return None
    allowed: set[int] = set()
    for rule in (rule for spec in about for rule in spec.get(way.lower()) or ()):
        peers = rule.get("to" if way == "Egress" else "from")
        if peers and not any(_is_peer(peer, other, namespace) for peer in peers):
            continue
        if not rule.get("ports"):
            return None
        allowed |= {int(port["port"]) for port in rule["ports"] if port.get("protocol", "TCP") == "TCP"}
    return frozenset(allowed)


def _about(way: str, pod: Any, policies: list[Any]) -> list[Any]:
    specs = (policy["spec"] for policy in policies)
    return [spec for spec in specs if way in spec["policyTypes"] and _selects(spec.get("podSelector") or {}, pod)]


def _is_peer(peer: Mapping[str, Any], pod: Any, namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(pod["status"]["podIP"])
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(one) for one in block.get("except") or ()
        )
    spaces = peer.get("namespaceSelector")
    home = {"metadata": {"labels": {"kubernetes.io/metadata.name": namespace}}}
    return (spaces is None or _selects(spaces, home)) and _selects(peer.get("podSelector") or {}, pod)


def _selects(selector: Mapping[str, Any], item: Any) -> bool:
    labels = item["metadata"].get("labels") or {}
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]


def _both(one: Ports, other: Ports) -> Ports:
    if one is None or other is None:
        return other if one is None else one
    return one & other
