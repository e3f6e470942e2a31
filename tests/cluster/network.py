"""The cluster's network: one bridge on this machine, a network namespace for each node, and few rules, all named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.cluster.layout import Layout, Node
from tests.cluster.processes import run


def rules(layout: Layout) -> list[list[str]]:
    """This machine's own rules: table, chain and rule of each, to be put after `-I` or `-D`."""
    mark = ["-m", "comment", "--comment", layout.name]
    out = ["-s", layout.network, "!", "-d", layout.network]
    bridges = [(way, bridge) for bridge in (layout.bridge, layout.docker_bridge) for way in ("-i", "-o")]
    return [
        ["nat", "POSTROUTING", *out, *mark, "-j", "MASQUERADE"],
        # Where another program drops what is forwarded, such as a Docker Engine, this is let through.
        *(["filter", "FORWARD", way, bridge, *mark, "-j", "ACCEPT"] for way, bridge in bridges),
    ]


def up(layout: Layout) -> None:
    """Make the bridge, the nodes' machines and the way out."""
    run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    _bridge(layout.bridge, layout.host + "/24")
    _bridge(layout.docker_bridge, layout.address(3, 1) + "/24")
    for table, *rule in rules(layout):
        run(["iptables", "-w", "-t", table, "-I", *rule])
    for node in layout.nodes:
        _machine(layout, node)
    # Service addresses answer from here, too: by the first node's kube-proxy.
    run(["ip", "route", "add", layout.services, "via", layout.nodes[0].address])


def _bridge(name: str, address: str) -> None:
    run(["ip", "link", "add", name, "type", "bridge"])
    run(["ip", "address", "add", address, "dev", name])
    run(["ip", "link", "set", name, "up"])


def _machine(layout: Layout, node: Node) -> None:
    outside = f"{layout.name}-n{node.name[-1]}"
    run(["ip", "netns", "add", node.netns])
    run(["ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", node.netns])
    run(["ip", "link", "set", outside, "master", layout.bridge, "up"])
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", node.address + "/24", "dev", "eth0"],
        ["ip", "link", "set", "eth0", "up"],
        ["ip", "route", "add", "default", "via", layout.host],
        *(
            ["ip", "route", "add", other.pods, "via", other.address]
            for other in layout.nodes
            if other.name != node.name
        ),
        # Pods keep their addresses among each other, and leave as the node.
        [
            "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", node.pods, "!", "-d", layout.network,
            "-j", "MASQUERADE",
        ],
        ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
    ):  # fmt: skip
        run([*node.inside, *command])
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():
        run([*node.inside, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"])
    run(["ip", "route", "add", node.pods, "via", node.address])


def namespaces(layout: Layout) -> list[str]:
    """The network namespaces of this layout that exist."""
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.glob(f"{layout.name}-*")) if folder.exists() else []


def links(layout: Layout) -> list[str]:
    """The network links of this layout that exist: its own by name, and those whose address is in its network."""
    shown = json.loads(run(["ip", "-4", "-j", "address"]) or "[]")
    start = layout.network.removesuffix("0.0/16")
    names = {link["ifname"] for link in json.loads(run(["ip", "-j", "link"]) or "[]")}
    ours = {name for name in names if name == layout.bridge or name == layout.docker_bridge}
    ours |= {name for name in names if name.startswith(f"{layout.name}-")}
    for link in shown:
        if any(info.get("local", "").startswith(start) for info in link.get("addr_info", [])):
            ours.add(link["ifname"])
    return sorted(ours)


def left_rules(layout: Layout) -> list[list[str]]:
    """The rules of this layout that exist on this machine, once for each time."""
    found = []
    for table in ("nat", "filter"):
        for line in run(["iptables", "-w", "-t", table, "-S"]).splitlines():
            if f"--comment {layout.name} " in f"{line} ":
                found.append([table, *line.split()[1:]])
    return found


def down(layout: Layout) -> None:
    """Remove all of it, as far as it exists."""
    for table, *rule in left_rules(layout):
        run(["iptables", "-w", "-t", table, "-D", *rule])
    for name in namespaces(layout):
        run(["ip", "netns", "delete", name])
    for name in links(layout):
        # It may have gone with its namespace in the meantime.
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
