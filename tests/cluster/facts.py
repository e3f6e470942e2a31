"""What tests and other programs are told about the cluster that they run against."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.layout import home_of
from tests.cluster.processes import recorded


@dataclass(frozen=True)
class Registry:
    """A registry with TLS: HOST:PORT as the engine, the nodes and this machine all say it, its authority as a PEM
    file (empty: one that everybody trusts), and who may push and pull."""

    address: str
    ca: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Machine:
    """A node's address, and what to put before a command so that it runs in that node's network."""

    address: str
    inside: list[str]


@dataclass(frozen=True)
class Gateway:
    """Where the gateway answers (HOST:PORT), and how a route names it as its parent."""

    address: str
    class_: str
    name: str
    namespace: str
    section: str


@dataclass(frozen=True)
class Argo:
    """The workflow controller: its version, its namespace and the ConfigMap there, and the executor's image, which is
    on every node. It looks after the Workflows of all namespaces."""

    version: str
    namespace: str
    configmap: str
    executor: str


@dataclass(frozen=True)
class Authority:
    """Paths of the certificate and key that sign for everything here; the engine and the nodes trust them."""

    certificate: str
    key: str


@dataclass(frozen=True)
class Facts:
    """A cluster, an engine and a registry that are up. `host` is this machine's address as all of them see it; None
    and empty are what a cluster of somebody else's does not tell."""

    kubeconfig: str
    kubectl: str
    nodes: list[str]
    docker_host: str
    docker: str
    registry: Registry
    base_image: dict[str, str]
    host: str | None = None
    machines: dict[str, Machine] = field(default_factory=dict)
    gateway: Gateway | None = None
    ca: Authority | None = None
    storage_class: str | None = None
    argo: Argo | None = None

    def kubeconfig_of(self, account: str, token: str) -> dict[str, Any]:
        """As the administrator's, with a token of this account instead of the administrator's certificate."""
        known = yaml.safe_load(Path(self.kubeconfig).read_text())
        used = next(one for one in known["contexts"] if one["name"] == known["current-context"])["context"]
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [one for one in known["clusters"] if one["name"] == used["cluster"]],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": account, "context": {"cluster": used["cluster"], "user": account}}],
            "current-context": account,
        }


def read(path: Path) -> Facts:
    """The facts of a facts.json."""
    content: dict[str, Any] = json.loads(path.read_text())
    gateway = dict(content.pop("gateway"))
    gateway["class_"] = gateway.pop("class")
    return Facts(
        **{
            **content,
            "registry": Registry(**content["registry"]),
            "machines": {name: Machine(**machine) for name, machine in content["machines"].items()},
            "gateway": Gateway(**gateway),
            "ca": Authority(**content["ca"]),
            "argo": _argo(path.with_name("argo.json")),
        }
    )


def _argo(path: Path) -> Argo | None:
    """It comes after the rest, and may be started again while that runs."""
    return Argo(**json.loads(path.read_text())) if path.exists() else None


def facts() -> Facts | None:
    """The facts of this checkout's cluster (or that of BURGER_CLUSTER_HOME); None when it is not up."""
    home = home_of()
    path = home / "facts.json"
    if not path.exists() or None in recorded(home).values():
        return None
    return read(path)
