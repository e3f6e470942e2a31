"""A node: a containerd, a kubelet and a kube-proxy, in a network and a view of the file system of their own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster import build, cgroups, images, pki
from tests.cluster.control_plane import kubectl
from tests.cluster.layout import ClusterError, Layout, Node
from tests.cluster.processes import recorded, run, start, wait

# Folders that a node's programs use whatever they are told, and in which two nodes would meet.
OWN = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/run/containerd")


def start_machine(layout: Layout, node: Node) -> None:
    """Start what holds the node's network and mounts, and give it folders of its own where programs insist."""
    command = ["unshare", "--mount", "--propagation", "slave", "--", layout.bin / "pause"]
    child = start(layout, node.name, [*node.inside, *command])
    outside = Path("/proc/self/ns/mnt").readlink()
    wait(layout, node.name, lambda: Path(f"/proc/{child.pid}/ns/mnt").readlink() != outside, log=node.name)
    for folder in OWN:
        own = node.data / "machine" / folder.strip("/")
        own.mkdir(parents=True, exist_ok=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
        run([*_inside(layout, node), "mount", "--bind", own, folder])


def _inside(layout: Layout, node: Node) -> list[str]:
    """What to put before a command so that it runs on the node: in its network, with its mounts."""
    machine = recorded(layout.home)[node.name]
    if machine is None:
        raise ClusterError(f"{node.name} has ended.")
    return ["nsenter", f"--target={machine.pid}", "--net", "--mount"]


def prepare(layout: Layout, node: Node) -> None:
    """Write everything that a node's programs read."""
    cgroups.make(node.cgroup)
    node.run.mkdir(parents=True, exist_ok=True)
    _network(layout, node)
    _containerd(layout, node)
    hosts = [node.name, node.address]
    group = ["system:nodes"]
    pair = pki.issue(layout.pki, node.name, f"system:node:{node.name}", groups=group, hosts=hosts)
    pki.kubeconfig(layout, layout.etc / f"{node.name}.kubeconfig", pair, user=node.name)
    _kubelet(layout, node, pair)


def _network(layout: Layout, node: Node) -> None:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(node.data / "addresses"),
            "ranges": [[{"subnet": node.pods, "gateway": node.gateway}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    content = {"cniVersion": "0.4.0", "name": node.netns, "plugins": plugins}
    pki.write(layout.etc / node.name / "cni" / "10-bridge.conflist", json.dumps(content, indent=1))


def _containerd(layout: Layout, node: Node) -> None:
    pki.write(
        layout.etc / node.name / "containerd.toml",
        f"""\
version = 2
root = "{node.data / "containerd"}"
state = "{node.run / "containerd"}"
[grpc]
address = "{node.containerd}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{node.run / "runc"}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{build.CNI}"
conf_dir = "{layout.etc / node.name / "cni"}"
""",
    )


def _kubelet(layout: Layout, node: Node, pair: pki.Pair) -> None:
    resolver = Path("/run/systemd/resolve/resolv.conf")
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(layout.pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pair.certificate),
        "tlsPrivateKeyFile": str(pair.key),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [layout.dns],
        "clusterDomain": "cluster.local",
        "resolvConf": str(resolver if resolver.exists() else "/etc/resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{node.containerd}",
        "podLogsDir": str(node.data / "logs"),
        "volumePluginDir": str(node.data / "plugins"),
        # The disk is shared with everything else on this machine: its fullness is no reason to evict.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "4s",
    }
    pki.write(layout.etc / node.name / "kubelet.json", json.dumps(content, indent=1))


def start_runtime(layout: Layout, node: Node) -> None:
    """Start containerd in the node's network, trusting the registry, with the images that no registry has."""
    name = f"{node.name}-containerd"
    trust = {"SSL_CERT_FILE": str(layout.pki / "trust.crt")}
    config = layout.etc / node.name / "containerd.toml"
    start(layout, name, [*_inside(layout, node), "containerd", "--config", config], env=trust)
    wait(layout, f"containerd of {node.name}", node.containerd.exists, log=name)
    for program, tag in (("pause", images.PAUSE), ("coredns", images.COREDNS)):
        give_image(node, images.single(layout, program, tag))


def give_image(node: Node, archive: Path) -> None:
    """Import an image that no registry has."""
    run(["ctr", "--address", node.containerd, "--namespace", "k8s.io", "images", "import", archive], timeout=300)


def start_kubelet(layout: Layout, node: Node) -> None:
    start(
        layout,
        f"{node.name}-kubelet",
        [
            *_inside(layout, node),
            layout.bin / "kubelet",
            f"--config={layout.etc / node.name / 'kubelet.json'}",
            f"--kubeconfig={layout.etc / f'{node.name}.kubeconfig'}",
            f"--root-dir={node.data / 'kubelet'}",
            f"--cert-dir={node.data / 'pki'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ],
    )


def start_proxy(layout: Layout, node: Node) -> None:
    start(
        layout,
        f"{node.name}-kube-proxy",
        [
            *_inside(layout, node),
            layout.bin / "kube-proxy",
            f"--kubeconfig={layout.etc / 'kube-proxy.kubeconfig'}",
            f"--hostname-override={node.name}",
            "--proxy-mode=iptables",
            "--iptables-min-sync-period=100ms",
            f"--cluster-cidr={layout.address(32, 0)}/19",
            "--conntrack-max-per-core=0",  # the machine's own setting, which a network namespace may not change
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
    )


def wait_ready(layout: Layout) -> None:
    """Wait until every node says that it is ready."""

    def ready() -> bool:
        listed = json.loads(kubectl(layout, "get", "nodes", "-o", "json"))["items"]
        states = {
            item["metadata"]["name"]: condition["status"]
            for item in listed
            for condition in item["status"].get("conditions", [])
            if condition["type"] == "Ready"
        }
        return all(states.get(node.name) == "True" for node in layout.nodes)

    wait(layout, "A node", ready, seconds=90, log=f"{layout.nodes[0].name}-kubelet")
