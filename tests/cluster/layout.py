"""Where a cluster lives: its folder, and the names and addresses that no other checkout on this machine has."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CLAIMS = Path("/run/burger-clusters")
SLOTS = 32
SHOPS = ("shop-staging", "shop-north", "shop-south")  # the namespaces of `make demo-cluster`
LONGEST_HOME = 60  # sockets lie below it, and their paths end at 107 characters


class ClusterError(Exception):
    """What was found, what was expected, what to do."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster: a network namespace with a kubelet, a containerd and a kube-proxy of its own."""

    name: str
    netns: str
    address: str
    pods: str
    gateway: str
    cgroup: str
    data: Path
    run: Path

    @property
    def containerd(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def inside(self) -> list[str]:
        """What to put before a command so that it runs in this machine's network."""
        return ["nsenter", f"--net=/run/netns/{self.netns}"]


@dataclass(frozen=True)
class Layout:
    """All names and addresses of one cluster. `slot` is this machine's number for it, 0 to 31."""

    home: Path
    build: Path
    slot: int

    @property
    def name(self) -> str:
        """Name of the bridge, the cgroup and the rules, and the head of all other names; at most 8 characters."""
        return f"burger{self.slot}"

    @property
    def run(self) -> Path:
        return Path("/run") / self.name

    @property
    def network(self) -> str:
        """Everything of this cluster is in here: machines, pods, services, the engine's containers."""
        return f"10.{208 + self.slot}.0.0/16"

    def address(self, third: int, fourth: int) -> str:
        return f"10.{208 + self.slot}.{third}.{fourth}"

    @property
    def host(self) -> str:
        """This machine as the nodes see it; API server, registry and gateway listen here."""
        return self.address(0, 1)

    @property
    def services(self) -> str:
        return self.address(64, 0) + "/18"

    @property
    def dns(self) -> str:
        return self.address(64, 10)

    @property
    def api(self) -> str:
        return f"https://{self.host}:6443"

    @property
    def registry(self) -> str:
        return f"{self.host}:5000"

    @property
    def gateway(self) -> str:
        return f"{self.host}:8000"

    @property
    def shops(self) -> dict[str, str]:
        """HOST:PORT at which the gateway answers for each namespace of the demo; its listener has the same name."""
        return {name: f"{self.host}:{8001 + number}" for number, name in enumerate(SHOPS)}

    @property
    def bridge(self) -> str:
        return self.name

    @property
    def docker_bridge(self) -> str:
        return f"{self.name}d"

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._node(number) for number in (1, 2))

    def _node(self, number: int) -> Node:
        name = f"node{number}"
        return Node(
            name=name,
            netns=f"{self.name}-{name}",
            address=self.address(0, 10 + number),
            pods=self.address(32 + number, 0) + "/24",
            gateway=self.address(32 + number, 1),
            cgroup=f"{self.name}/{name}",
            data=self.home / "data" / name,
            run=self.run / name,
        )

    @property
    def bin(self) -> Path:
        return self.build / "bin"

    @property
    def pki(self) -> Path:
        return self.home / "pki"

    @property
    def etc(self) -> Path:
        return self.home / "etc"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def facts(self) -> Path:
        return self.home / "facts.json"


def home_of(environment: dict[str, str] | None = None) -> Path:
    """The cluster's folder: BURGER_CLUSTER_HOME, else var/cluster of this checkout."""
    environment = dict(os.environ) if environment is None else environment
    home = Path(environment.get("BURGER_CLUSTER_HOME") or CHECKOUT / "var" / "cluster").resolve()
    if len(str(home)) > LONGEST_HOME:
        raise ClusterError(
            f"{home} has {len(str(home))} characters; sockets below it allow {LONGEST_HOME}. "
            "Name a shorter folder in BURGER_CLUSTER_HOME."
        )
    return home


def build_of(home: Path) -> Path:
    """What was built and downloaded, kept by `down`: BURGER_CLUSTER_BUILD, else build/ of the cluster's folder."""
    return Path(os.environ.get("BURGER_CLUSTER_BUILD") or home / "build").resolve()


@contextmanager
def _claims() -> Iterator[None]:
    CLAIMS.mkdir(parents=True, exist_ok=True)
    with (CLAIMS / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def preferred(home: Path) -> int:
    """The slot that a folder's path asks for first."""
    return int.from_bytes(hashlib.sha256(str(home).encode()).digest()[:4], "big") % SLOTS


def claimed(home: Path) -> Layout | None:
    """The layout that this folder already holds on this machine, or None."""
    for claim in sorted(CLAIMS.glob("[0-9]*")):
        if claim.read_text() == str(home):
            return Layout(home=home, build=build_of(home), slot=int(claim.name))
    return None


def abandoned() -> list[Layout]:
    """The layouts of clusters whose folders were removed under them."""
    claims = [(int(claim.name), Path(claim.read_text())) for claim in sorted(CLAIMS.glob("[0-9]*"))]
    return [Layout(home, build_of(home), slot) for slot, home in claims if not (home / "lock").exists()]


def claim(home: Path) -> Layout:
    """Hold a slot for this folder: the one it holds, else the first from its preferred one whose claim and network
    are free."""
    with _claims():
        held = claimed(home)
        if held:
            return held
        taken = _routed()
        for step in range(SLOTS):
            layout = Layout(home=home, build=build_of(home), slot=(preferred(home) + step) % SLOTS)
            path = CLAIMS / str(layout.slot)
            if path.exists() or any(ipaddress.ip_network(layout.network).overlaps(other) for other in taken):
                continue
            path.write_text(str(home))
            return layout
    raise ClusterError(
        f"All {SLOTS} places for clusters on this machine are taken (10.208.0.0/16 to 10.239.0.0/16, {CLAIMS}). "
        "Stop one with `make cluster-down` in its checkout."
    )


def release(layout: Layout) -> None:
    with _claims():
        (CLAIMS / str(layout.slot)).unlink(missing_ok=True)


def alone(layout: Layout) -> bool:
    """Whether no other checkout holds a cluster on this machine."""
    return not [claim for claim in CLAIMS.glob("[0-9]*") if claim.name != str(layout.slot)]


def _routed() -> list[ipaddress.IPv4Network]:
    routes = json.loads(subprocess.run(["ip", "-4", "-j", "route"], check=True, capture_output=True).stdout or "[]")
    return [ipaddress.IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]
